"""Frame models: beats, chords, key, melody, notes and more, from audio by one network."""

FRAME_RATE = 50  # frames a second, of spectrograms and of activations; frame i is at i / FRAME_RATE seconds
