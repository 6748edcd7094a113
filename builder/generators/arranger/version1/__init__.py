"""The sound of synthmir 0.1, which its corpora resume and grow with."""
