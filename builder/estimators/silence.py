"""Silence: the share of a clip that is quieter than a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..corpus.schema import SAMPLING_RATE
from .base import Estimate, EstimatorSettings
from .sound import Sound

BLOCK = SAMPLING_RATE // 20  # samples: 50 ms
THRESHOLD = -60.0  # dBFS of a block's root mean square


class Silence:
    """The share of a clip's blocks of 50 ms that are below -60 dBFS."""

    name = "silence"
    revision = "1"
    about = "Share of blocks of 50 ms with a root mean square below -60 dBFS."
    light = True

    def __init__(self, settings: EstimatorSettings) -> None:
        settings.refuse_source()

    def columns(self) -> dict[str, Any]:
        """`silence` in [0, 1]."""
        from datasets import Value

        return {"silence": Value("float32")}

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Measure each clip."""
        return [{"silence": _measure_silence(sound.samples)} for sound in sounds]


def _measure_silence(samples: np.ndarray) -> float:
    starts = np.arange(0, len(samples), BLOCK)
    power = np.add.reduceat(samples.astype(np.float64) ** 2, starts) / np.diff([*starts, len(samples)])
    return round(float((power < 10 ** (THRESHOLD / 10)).mean()), 4)
