"""Scores and predictions as files."""
