"""Embeddings -> classifier -> model folder."""
