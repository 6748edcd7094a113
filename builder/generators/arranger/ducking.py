"""Side-chain compression: the kick drum lowers the other instruments."""

from __future__ import annotations

import numpy as np

from .score import LEAD_IN, Score

_KICKS = frozenset((35, 36))  # General-MIDI keys


def duck(score: Score, depth: float, seconds: float, length: int, rate: int) -> np.ndarray:
    """Compute the gain of the instruments that the kick drum lowers.

    Args:
        score: The score, with its drums.
        depth: 0 none .. 1 silence at each stroke.
        seconds: The time in which the gain returns to 1.
        length: Samples of the clip.
        rate: The sampling rate in Hz.

    Returns:
        float32 [length], 0..1.
    """
    gain = np.ones(length, np.float32)
    dip = 1.0 - depth * (1.0 - np.linspace(0.0, 1.0, round(seconds * rate), dtype=np.float32) ** 1.5)
    for track in score.tracks:
        for note in track.notes if track.is_drum else ():
            if note.pitch in _KICKS:
                start = round((note.start * 60.0 / score.tempo + LEAD_IN) * rate)
                part = gain[start : start + len(dip)]
                np.minimum(part, dip[: len(part)], out=part)
    return gain
