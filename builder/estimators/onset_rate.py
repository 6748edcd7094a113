"""Onset rate: how many notes or strokes begin in a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import Estimate, EstimatorSettings
from .sound import FRAME_RATE, Sound

PEAK, MEAN = 3, 10  # frames to each side: where an onset is the highest, and over which the mean is taken
ABOVE = 0.05  # over the mean: decades of the mel spectrum


class OnsetRate:
    """Onsets a second: peaks of the onset strength that are well above their surroundings (Böck et al. 2012)."""

    name = "onset_rate"
    revision = "1"
    about = "Onsets a second: peaks of the spectral flux (Böck, Krebs and Schedl 2012)."
    light = True

    def __init__(self, settings: EstimatorSettings) -> None:
        settings.refuse_source()

    def columns(self) -> dict[str, Any]:
        """`onset_rate` in onsets a second."""
        from datasets import Value

        return {"onset_rate": Value("float32")}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Count the onsets of each clip; 0 for silence."""
        return [{"onset_rate": round(_count_onsets(sound.onset_strength) / _seconds(sound), 3)} for sound in sounds]


def _seconds(sound: Sound) -> float:
    return max(len(sound.onset_strength) - 1, 1) / FRAME_RATE


def _count_onsets(strength: np.ndarray) -> int:
    """The peaks of an onset strength, as Böck, Krebs and Schedl 2012 pick them (section 2.3)."""
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    highest = maximum_filter1d(strength, 2 * PEAK + 1, mode="constant")
    mean = uniform_filter1d(strength, 2 * MEAN + 1, mode="constant")
    return int(((strength == highest) & (strength >= mean + ABOVE)).sum())
