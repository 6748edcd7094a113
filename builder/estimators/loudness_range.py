"""Loudness range: how much the loudness of a clip varies (EBU Tech 3342)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..corpus.schema import SAMPLING_RATE
from .base import Estimate, EstimatorSettings
from .sound import Sound

WINDOW, HOP = 3 * SAMPLING_RATE, SAMPLING_RATE // 10  # samples of a short-term loudness, and between two of them
ABSOLUTE, RELATIVE = -70.0, -20.0  # gates: LUFS, and LU below the mean
QUIET, LOUD = 10, 95  # percentiles, whose distance is the range


class LoudnessRange:
    """Loudness range of a clip in LU (EBU Tech 3342, 2016): from the 10th to the 95th percentile over 3 s windows."""

    name = "loudness_range"
    revision = "1"
    about = "Loudness range in LU (EBU Tech 3342), over windows of 3 s; of clips under 3 s there is none."
    light = True

    def __init__(self, settings: EstimatorSettings) -> None:
        settings.refuse_source()

    def columns(self) -> dict[str, Any]:
        """`loudness_range` in LU."""
        from datasets import Value

        return {"loudness_range": Value("float32")}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Measure each clip; None for less than three seconds, and for silence."""
        return [{"loudness_range": measure_loudness_range(sound.samples)} for sound in sounds]


def measure_loudness_range(samples: np.ndarray) -> float | None:
    """Measure the loudness range.

    Args:
        samples: float32 [samples] at 32 kHz.

    Returns:
        LU, rounded to 0.01; None for less than three seconds, and for silence.
    """
    if len(samples) < WINDOW:
        return None
    from scipy.signal import lfilter

    weighted = samples.astype(np.float64)
    for numerator, denominator in _weighting():
        weighted = lfilter(numerator, denominator, weighted)
    energy = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(samples) - WINDOW + 1, HOP)
    means = (energy[starts + WINDOW] - energy[starts]) / WINDOW
    means = means[means > _power(ABSOLUTE)]
    if len(means) == 0:
        return None
    levels = -0.691 + 10 * np.log10(means)
    gate = -0.691 + 10 * np.log10(means.mean()) + RELATIVE
    low, high = np.percentile(levels[levels >= gate], [QUIET, LOUD])
    return round(float(high - low), 2)


def _power(loudness: float) -> float:
    return float(10 ** ((loudness + 0.691) / 10))


@lru_cache(maxsize=1)
def _weighting() -> list[tuple[np.ndarray, np.ndarray]]:
    """The two filters of the K weighting (ITU-R BS.1770-4), as numerators and denominators."""
    import pyloudnorm

    return [(part.b, part.a) for part in pyloudnorm.Meter(SAMPLING_RATE)._filters.values()]
