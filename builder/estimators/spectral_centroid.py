"""Spectral centroid: how bright a clip is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..corpus.schema import SAMPLING_RATE
from .base import Estimate, EstimatorSettings
from .sound import FLOOR, FRAME, Sound


class SpectralCentroid:
    """Spectral centroid in Hz: the mean frequency weighted by amplitude, averaged over frames that are not silent."""

    name = "spectral_centroid"
    revision = "1"
    about = "Mean over frames of 64 ms of the frequency that is the centre of the amplitudes, in Hz."
    light = True

    def __init__(self, settings: EstimatorSettings) -> None:
        settings.refuse_source()

    def columns(self) -> dict[str, Any]:
        """`spectral_centroid` in Hz."""
        from datasets import Value

        return {"spectral_centroid": Value("float32")}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Measure each clip; None for silence."""
        return [{"spectral_centroid": _measure_centroid(sound.power)} for sound in sounds]


def _measure_centroid(power: np.ndarray) -> float | None:
    amplitude = np.sqrt(power[power.sum(axis=1) > FLOOR])
    if not len(amplitude):
        return None
    frequencies = np.arange(amplitude.shape[1], dtype=np.float32) * (SAMPLING_RATE / FRAME)
    return round(float(np.mean(amplitude @ frequencies / amplitude.sum(axis=1))), 1)
