"""Finish the stems of a clip, so that they add up to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..stem_sums import move_excess, round_together
from .production.effects import interpolate, measure_powers

SILENT = 1e-4  # the highest sample of a stem that is left out: -80 dBFS
_WINDOW = 64  # blocks over which a stem's power is measured, 64 ms
_AT_REST = 1e-6  # the share of a stem's mean power that counts while it rests


def finish_stems(mix: np.ndarray, stems: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave out silent stems, and make the others add up to the mix.

    What the stems lack is noise (hiss, hum, crackle), and the little that an asymmetric saturation adds. A stem of
    its own would be noise alone. So it is shared out: in proportion to the power of the stems at each time, and to
    their mean power while all rest. A stem that rests beside one that plays gets next to nothing.

    Stems may be louder than their mix. What exceeds [-1, 1] moves to the stems of the opposite sign, which cancel it.
    Values are rounded to 16 bits together, so that FLAC files of them add up to that of the clip in every sample.

    Args:
        mix: float32 [channels, samples] or [samples] in [-1, 1].
        stems: The stems by name, of the same shape.

    Returns:
        The stems with samples over `SILENT`, or all where none has: float32 of the same shape, in [-1, 1].
    """
    kept = {name: stem for name, stem in stems.items() if float(np.abs(stem).max()) > SILENT} or dict(stems)
    if not kept:
        return {}
    names, sounds = list(kept), [np.atleast_2d(stem) for stem in kept.values()]
    whole = np.atleast_2d(mix)
    _share(whole - sum(sounds), sounds)
    move_excess(sounds)
    return {name: stem.reshape(mix.shape) for name, stem in zip(names, round_together(whole, sounds), strict=True)}


def _share(rest: np.ndarray, stems: list[np.ndarray]) -> None:
    """Add to each stem its share of what is in the mix alone."""
    powers = np.stack([measure_powers(stem) for stem in stems]).astype(np.float64)
    shares = uniform_filter1d(powers, _WINDOW, axis=1) + _AT_REST * powers.mean(axis=1, keepdims=True) + 1e-30
    shares /= shares.sum(axis=0)
    for stem, share in zip(stems, shares, strict=True):
        stem += rest * interpolate(np.append(share, share[-1]))[: rest.shape[1]]
