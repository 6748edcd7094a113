"""Corpora as audio files and tables, for other tools."""
