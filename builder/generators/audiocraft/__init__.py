"""The generator `audiocraft`: MusicGen checkpoints in audiocraft's format."""
