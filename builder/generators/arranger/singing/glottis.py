"""The source of a sung voice: one period of the glottal flow's derivative, by the model of Liljencrants and Fant."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.fft

TABLE_BITS = 12
TABLE = 1 << TABLE_BITS  # samples of a period


def solve_shape(rd: float) -> tuple[float, float, float, float]:
    """Solve the LF model for a voice quality (Fant 1995, "The LF-model revisited", equations 2 to 4).

    Args:
        rd: The shape parameter, from 0.4 (pressed) over 1 (normal) to 2.7 (breathy).

    Returns:
        The time of the flow's peak and of closure, in periods; the growth of the open phase and the decay of the
        return phase, per period.
    """
    returning, skew = (-1.0 + 4.8 * rd) / 100.0, (22.4 + 11.8 * rd) / 100.0
    peak = 2.0 * (0.11 * rd / (0.5 + 1.2 * skew) - returning) / skew
    closure = peak * (1.0 + skew)
    closed = 1.0 - closure
    decay = 1.0 / returning
    for _ in range(60):
        decay = (1.0 - math.exp(-decay * closed)) / returning
    tail = math.exp(-decay * closed)
    back = ((1.0 - tail) / decay - closed * tail) / (decay * returning)
    turn = math.pi / peak
    sine, cosine = math.sin(turn * closure), math.cos(turn * closure)

    def net_flow(growth: float) -> float:
        """The flow over a period, which must be 0, with an excitation of 1."""
        opened = (growth * sine - turn * cosine + turn * math.exp(-growth * closure)) / (growth**2 + turn**2)
        return -opened / sine - back

    low, high = -100.0, 300.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if net_flow(middle) > 0.0 else (low, middle)
    return peak, closure, low, decay


@lru_cache(maxsize=64)
def pulse_spectrum(rd: float) -> np.ndarray:
    """The Fourier series of a pulse: complex [TABLE // 2 + 1], of unit power."""
    peak, closure, growth, decay = solve_shape(rd)
    time = np.arange(TABLE) / TABLE
    rise = np.exp(growth * (time - closure)) * np.sin(math.pi * time / peak) / math.sin(math.pi * closure / peak)
    tail = math.exp(-decay * (1.0 - closure))
    fall = (np.exp(-decay * (time - closure)) - tail) / (1.0 - tail)
    spectrum = scipy.fft.rfft(-np.where(time < closure, rise, fall))
    spectrum[0] = 0.0
    return np.asarray(spectrum / np.sqrt(2.0 * np.sum(np.abs(spectrum) ** 2)) * TABLE)


@lru_cache(maxsize=256)
def pulse_table(rd: float, harmonics: int) -> np.ndarray:
    """One period with so many harmonics, of unit RMS with all of them.

    Args:
        rd: The shape parameter, see `solve_shape`.
        harmonics: The number of harmonics, so that none is above half the sampling rate.

    Returns:
        complex64 [TABLE]: each sample, and as its imaginary part the step to the next one.
    """
    spectrum = pulse_spectrum(rd).copy()
    spectrum[harmonics + 1 :] = 0.0
    period = scipy.fft.irfft(spectrum, TABLE)
    return np.asarray(period + 1j * (np.roll(period, -1) - period), dtype=np.complex64)
