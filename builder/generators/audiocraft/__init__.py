"""MusicGen from audiocraft's checkpoints."""
