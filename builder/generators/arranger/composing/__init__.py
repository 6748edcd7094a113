"""The score of a clip from its labels: line-up, form, chords, and each player's part."""
