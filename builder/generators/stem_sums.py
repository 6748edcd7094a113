"""Stems whose 16-bit values add up to those of their clip."""

from __future__ import annotations

import numpy as np

_STEPS = np.float32(32_768)  # of 16 bits from 0 to 1, as libsndfile rounds them
_PART = np.float32(0.49)  # of a step, which rounding leaves out
_HIGHEST = 1.0 - 2.0 / 32_768  # rounding may add a step


def move_excess(stems: list[np.ndarray]) -> None:
    """Move what exceeds [-1, 1] to the stems of the opposite sign. Their sum must not exceed it.

    Args:
        stems: Float32, of one shape. They are changed in place.
    """
    over = np.logical_or.reduce([np.abs(stem) > _HIGHEST for stem in stems])
    if not over.any():
        return
    samples = np.stack([stem[over] for stem in stems])
    clipped = np.clip(samples, -_HIGHEST, _HIGHEST)
    excess = (samples - clipped).sum(axis=0)
    opposite = np.where(clipped * excess < 0.0, np.abs(clipped), 0.0)
    clipped += excess * opposite / np.maximum(opposite.sum(axis=0), 1e-12)
    for stem, moved in zip(stems, np.clip(clipped, -_HIGHEST, _HIGHEST), strict=True):
        stem[over] = moved


def round_together(mix: np.ndarray, stems: list[np.ndarray]) -> list[np.ndarray]:
    """Round stems to 16 bits, each value by a step at most, so that their sum is the mix, rounded.

    Args:
        mix: Float32 in [-1, 1].
        stems: Float32 of its shape, whose sum is the mix but for rounding.

    Returns:
        The stems. The last one keeps what the mix is not rounded by, which rounding leaves out in both.
    """
    rounded, total, before = [], np.zeros_like(mix), np.zeros_like(mix)
    for stem in stems[:-1]:
        total += stem
        now = np.rint(total * _STEPS)
        rounded.append((now - before) / _STEPS)
        before = now
    exact = mix * _STEPS
    whole = np.rint(exact)
    return [*rounded, (np.clip(exact, whole - _PART, whole + _PART) - before) / _STEPS]
