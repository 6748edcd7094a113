"""Classifier, corpus, real music -> figures and pictures."""
