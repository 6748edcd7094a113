"""Audio containers: where the streams are in a file, and what is missing."""
