"""MelStats: 768 statistics of a log-mel spectrogram, six for each of 128 mel bands, without weights or download."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import RecipeError
from ..mel import mel_filters

if TYPE_CHECKING:
    from ..settings import EmbedderSettings

SAMPLING_RATE = 32_000  # Hz
FRAME = 2_000  # samples, 62.5 ms: 16 Hz a bin, so that every mel band holds one (and ~3x the speed of 2,048)
HOP = 640  # samples, 20 ms: 50 frames a second
BANDS = 128
LOWEST, HIGHEST = 30.0, 10_000.0  # Hz: what collections at 22.05 kHz (GTZAN) and low-rate MP3 hold too
FLOOR = 1e-8  # 80 dB below the window's mean
PULSE = (0.5, 4.0)  # Hz, 30 to 240 beats a minute

STATISTICS = ("level", "spread", "low", "high", "change", "pulse")
FEATURES = tuple(f"{statistic}.{band}" for statistic in STATISTICS for band in range(BANDS))
"""The names of the 768 numbers in order: `FEATURES[256]` is "low.0", the 10th percentile of band 0."""


class MelStats:
    """Statistics of timbre, dynamics and pulse for each mel band.

    The spectrogram has Hann frames of 62.5 ms every 20 ms and 128 triangular bands from 30 Hz to 10 kHz, equally wide
    on Slaney's mel scale. Band power is in dB relative to the window's mean band power, and at least -80 dB. A gain
    (mastering, loudness normalisation) therefore does not change the vector.

    For band b = 0..127, low to high, over the frames of a window:

    | index     | statistic | definition                                        | unit          |
    |-----------|-----------|---------------------------------------------------|---------------|
    | b         | level     | mean (the long-term spectrum)                     | dB            |
    | 128 + b   | spread    | standard deviation                                | dB            |
    | 256 + b   | low       | 10th percentile (between the notes)               | dB            |
    | 384 + b   | high      | 90th percentile (notes and hits)                  | dB            |
    | 512 + b   | change    | mean absolute difference of neighbouring frames   | dB per 20 ms  |
    | 640 + b   | pulse     | RMS of the modulation between 0.5 and 4 Hz        | dB            |

    Sources: mean and spread of spectral bands describe timbre in Tzanetakis and Cook 2002 (Musical genre
    classification of audio signals). Low and high are the valley and peak of Jiang et al. 2002 (Music type
    classification by spectral contrast feature), over time instead of frequency. Change is spectral flux by band.
    Pulse is the beat range of the fluctuation patterns in Pampalk, Rauber and Merkl 2002 (Content-based organization
    and visualization of music archives).

    Trailing zeros (the padding of short audio) are removed first, so a padded clip has the vector of the clip itself.
    For silence level, low and high are -80 and the rest is 0.
    """

    name = "melstats"
    revision = "2"  # of the definition above; any change of the numbers needs a new revision
    dim = len(FEATURES)
    sampling_rate = SAMPLING_RATE
    window_seconds = 10.0
    light = True
    about = (
        "melstats is not a neural network: it is 768 statistics of a log-mel spectrogram (level, spread, percentiles, "
        "change and pulse of 128 mel bands), which need no download and say less about music than a pretrained model."
    )

    def __init__(self, settings: EmbedderSettings) -> None:
        if settings.weights is not None:
            raise RecipeError(
                f"embedder.weights: melstats has no weights, found {settings.weights!r}", "remove embedder.weights"
            )
        settings.refuse("arch", "layer", "dtype")
        bands = torch.from_numpy(mel_filters(SAMPLING_RATE, FRAME, BANDS, LOWEST, HIGHEST, "slaney"))
        used = bands.any(dim=1).nonzero().flatten()
        self._bins = slice(int(used[0]), int(used[-1]) + 1)  # the other bins are in no band
        self._bands, self._window = bands[self._bins].contiguous(), torch.hann_window(FRAME)

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """Embed float32 [batch, samples] in [-1, 1] at 32 kHz: float32 [batch, 768], defined in the class."""
        # One window at a time: a vector is the same bit for bit in any batch, and a window fits into the cache.
        return np.stack([_statistics(self._decibels(window)) for window in audio])

    def _decibels(self, samples: np.ndarray) -> np.ndarray:
        """The spectrogram of float32 [samples]: float32 [bands, frames] in dB, at least two frames."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        samples = samples[: len(samples) - int(np.argmax(samples[::-1] != 0))]  # all zeros: nothing is removed
        if len(samples) < FRAME + HOP:
            samples = np.pad(samples, (0, FRAME + HOP - len(samples)))
        with torch.inference_mode():
            spectrum = torch.fft.rfft(torch.from_numpy(samples).unfold(0, FRAME, HOP) * self._window)[:, self._bins]
            # Squares of real and imaginary part: the absolute value would take a root that is squared again.
            power = ((spectrum.real.square() + spectrum.imag.square()) @ self._bands).T.numpy()
        relative = power / max(power.mean(), np.finfo(np.float32).tiny)
        return np.ascontiguousarray(10 * np.log10(np.maximum(relative, np.float32(FLOOR))))


def _statistics(decibels: np.ndarray) -> np.ndarray:
    """The statistics of float32 [bands, frames], one after the other: float32 [6 * bands]."""
    frames = decibels.shape[1]
    level = decibels.mean(axis=1)
    low, high = _percentiles(decibels, (0.1, 0.9))
    change = np.abs(np.diff(decibels, axis=1)).mean(axis=1)
    frequency = np.fft.rfftfreq(frames, HOP / SAMPLING_RATE)
    beat = (frequency >= PULSE[0]) & (frequency <= PULSE[1])
    spectrum = np.fft.rfft(decibels - level[:, None], axis=1)[:, beat]
    pulse = np.sqrt(2 * (np.abs(spectrum) ** 2).sum(axis=1)) / frames  # Parseval
    return np.concatenate([level, decibels.std(axis=1), low, high, change, pulse]).astype(np.float32)


def _percentiles(values: np.ndarray, shares: tuple[float, ...]) -> list[np.ndarray]:
    """Percentiles of float32 [rows, n], linearly interpolated: one float64 [rows] a share.

    Sorting takes a twentieth of the time of numpy.percentile, which partitions.
    """
    ranked = np.sort(values, axis=1)
    percentiles = []
    for share in shares:
        place = share * (values.shape[1] - 1)
        below, above = (ranked[:, f(place)].astype(np.float64) for f in (floor, ceil))
        percentiles.append(below + (above - below) * (place - floor(place)))
    return percentiles
