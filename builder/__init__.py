"""Prompts -> audio -> dataset -> embeddings: everything that makes a corpus."""
