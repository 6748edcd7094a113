"""Estimators: what is measured in the sound of a clip, with confidence, whatever its prompt asked for."""
