"""Embeddings, labels and splits for training."""
