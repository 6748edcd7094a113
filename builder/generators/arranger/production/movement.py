"""The delays of a track whose pitch goes up and down."""

from __future__ import annotations

import math

import numpy as np

from .parameters import Movement

_CENTS = 15.0  # of the deepest vibrato


def delay_vibrato(movement: Movement, curve: np.ndarray, tempo: float, rate: int) -> np.ndarray:
    """Return the delays that make a vibrato.

    Args:
        movement: The movement, of the kind "pitch".
        curve: float32 [samples], a sine in [-1, 1] that turns once in `movement.beats`.
        tempo: Beats a minute.
        rate: The sampling rate in Hz.

    Returns:
        float32 [samples], in samples, at least 0.
    """
    # A sine whose speed differs by this much at most has this many samples of delay.
    cents = movement.depth * _CENTS
    depth = (2.0 ** (cents / 1200) - 1.0) * rate * movement.beats * 60.0 / tempo / (2.0 * math.pi)
    return np.asarray(np.float32(depth) * (curve + np.float32(1.0)))
