"""Taxonomy and seed -> prompts."""
