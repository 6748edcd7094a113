"""Prompts -> audio. One back end a file; `base` holds the protocol and the registry."""
