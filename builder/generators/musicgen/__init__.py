"""MusicGen from transformers' checkpoints, on an engine of its own."""
