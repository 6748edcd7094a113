"""Mel scales and triangular mel filter banks, from their definitions."""

from __future__ import annotations

from typing import Literal

import numpy as np

Scale = Literal["htk", "slaney"]
SLANEY_BREAK, SLANEY_WIDTH, SLANEY_STEP = 1_000.0, 200.0 / 3, np.log(6.4) / 27  # Hz, Hz a mel below, log step above


def hz_to_mel(hertz: np.ndarray | float, scale: Scale = "htk") -> np.ndarray:
    """Convert frequencies to mels.

    Args:
        hertz: Frequencies in Hz, of any shape.
        scale: "htk": 2595 log10(1 + f / 700) (O'Shaughnessy 1987; the HTK Book). "slaney": linear below 1 kHz,
            logarithmic above (Slaney 1998, Auditory Toolbox, Technical Report 1998-010).

    Returns:
        float64 mels, of the same shape.
    """
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    above = np.log(np.maximum(hertz, SLANEY_BREAK) / SLANEY_BREAK) / SLANEY_STEP
    return np.asarray(np.minimum(hertz, SLANEY_BREAK) / SLANEY_WIDTH + above)


def mel_to_hz(mels: np.ndarray | float, scale: Scale = "htk") -> np.ndarray:
    """Convert mels to frequencies in Hz: the inverse of `hz_to_mel`."""
    mels = np.asarray(mels, np.float64)
    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    knee = SLANEY_BREAK / SLANEY_WIDTH
    return np.asarray(np.minimum(mels, knee) * SLANEY_WIDTH * np.exp(np.maximum(mels - knee, 0) * SLANEY_STEP))


def mel_filters(
    sampling_rate: float, fft_size: int, bands: int, low: float, high: float, scale: Scale = "htk"
) -> np.ndarray:
    """Make a bank of triangular filters with a peak of 1, equally wide in mels, each reaching its neighbours' centres.

    Args:
        sampling_rate: Hz.
        fft_size: Samples in a Fourier transform.
        bands: Number of filters.
        low: Lower edge of the first filter in Hz.
        high: Upper edge of the last filter in Hz.
        scale: See `hz_to_mel`.

    Returns:
        float32 [fft_size // 2 + 1, bands] in [0, 1]: power spectrum @ filters = power in each band.
    """
    bins = np.arange(fft_size // 2 + 1) * (sampling_rate / fft_size)
    edges = mel_to_hz(np.linspace(hz_to_mel(low, scale), hz_to_mel(high, scale), bands + 2), scale)
    rise = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
