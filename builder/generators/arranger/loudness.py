"""Weights by frequency for the loudness of a mix."""

from __future__ import annotations

import numpy as np


def weight_loudness(frequencies: np.ndarray) -> np.ndarray:
    """Power weights close to ITU-R BS.1770's K weighting: bass cut below 60 Hz, 4 dB more above 2 kHz."""
    low = (frequencies / 60.0) ** 4
    return np.asarray(low / (1.0 + low) * (1.0 + 1.5 / (1.0 + (1500.0 / np.maximum(frequencies, 1.0)) ** 4)))
