"""What is played in a clip or a recording: beats, chords, key, sections, melody and notes."""
