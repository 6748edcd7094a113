"""Classifiers, their heads, and the forms they are saved in."""
