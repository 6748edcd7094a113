"""The sung part of a clip: who sings, which syllables, and the synthesis of the voice."""
