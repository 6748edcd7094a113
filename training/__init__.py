"""Embeddings -> classifier -> model folder. Importing it makes transformers' Auto classes know the classifier."""

from .model import SynthmirClassifier, SynthmirConfig, load_model

__all__ = ["SynthmirClassifier", "SynthmirConfig", "load_model"]
