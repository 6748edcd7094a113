"""Audio -> embeddings. One embedder a file; `base` holds the protocol and the registry."""
