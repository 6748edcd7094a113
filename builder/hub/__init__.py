"""Folders on their way to the Hugging Face Hub: checked, sent once, verified by hash, then tagged."""
