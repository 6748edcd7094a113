"""Scores of predicted beats, chords, keys, melodies, notes and instruments against annotations."""
