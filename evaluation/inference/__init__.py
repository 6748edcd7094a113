"""Models on recordings: embeddings and predictions."""
