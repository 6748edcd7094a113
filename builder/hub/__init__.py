"""Publishing to the Hugging Face Hub: folders are checked, uploaded, verified by hash, and tagged."""
