"""MelStats: 768 statistics of a log-mel spectrogram, six for each of 128 mel bands. No weights, no download."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import RecipeError
from ..mel import mel_filters

if TYPE_CHECKING:
    from ..recipe import EmbedderSettings

SAMPLING_RATE = 32_000  # Hz
FRAME = 2_000  # samples, 62.5 ms: 16 Hz a bin, so that every mel band holds one (and ~3x the speed of 2,048)
HOP = 640  # samples, 20 ms: 50 frames a second
BANDS = 128
LOWEST, HIGHEST = 30.0, 10_000.0  # Hz: what collections at 22.05 kHz (GTZAN) and low-rate MP3 hold too
FLOOR = 1e-8  # 80 dB under the window's mean
PULSE = (0.5, 4.0)  # Hz, 30 to 240 beats a minute

STATISTICS = ("level", "spread", "low", "high", "change", "pulse")
FEATURES = tuple(f"{statistic}.{band}" for statistic in STATISTICS for band in range(BANDS))
"""The name of each of the 768 numbers, in order: `FEATURES[256]` is "low.0", the 10th percentile of band 0."""


class MelStats:
    """What a listener would call timbre, dynamics and pulse, band by band.

    The spectrogram: Hann frames of 62.5 ms every 20 ms, power, 128 triangular bands from 30 Hz to 10 kHz equally wide
    on Slaney's mel scale, in dB relative to the window's mean band power and never under -80 dB. Being relative, a
    gain (mastering, loudness normalisation) does not move the vector.

    With band b = 0..127, low to high, over the frames of a window:

    | index     | statistic | what it is                                        | unit          |
    |-----------|-----------|---------------------------------------------------|---------------|
    | b         | level     | mean: the long-term spectrum                      | dB            |
    | 128 + b   | spread    | standard deviation                                | dB            |
    | 256 + b   | low       | 10th percentile: what sounds between the notes    | dB            |
    | 384 + b   | high      | 90th percentile: the notes and hits               | dB            |
    | 512 + b   | change    | mean absolute difference of neighbouring frames   | dB per 20 ms  |
    | 640 + b   | pulse     | RMS of the modulation between 0.5 and 4 Hz        | dB            |

    Mean and spread of log-spectral bands are the classic timbre model (Tzanetakis and Cook 2002, Musical genre
    classification of audio signals); low and high are the valley and peak of Jiang et al. 2002 (Music type
    classification by spectral contrast feature), in time instead of frequency; change is spectral flux kept apart by
    band; pulse is the beat range of the fluctuation patterns of Pampalk, Rauber and Merkl 2002 (Content-based
    organization and visualization of music archives).

    A tail of exact zeros (the padding of short audio) is cut before anything is measured, so a padded clip has the
    vector of the clip alone. Silence has level, low and high at -80 and the rest at 0.
    """

    name = "melstats"
    revision = "2"  # of the definition above: a change of any number of it is a new revision
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
        heard = bands.any(dim=1).nonzero().flatten()
        self._bins = slice(int(heard[0]), int(heard[-1]) + 1)  # the others are in no band
        self._bands, self._window = bands[self._bins].contiguous(), torch.hann_window(FRAME)

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """float32 [batch, samples] in [-1, 1] at 32 kHz -> float32 [batch, 768], see the class for what they are."""
        # One window at a time: a vector cannot depend on its neighbours, not by a bit, and stays in the cache.
        return np.stack([_statistics(self._decibels(window)) for window in audio])

    def _decibels(self, samples: np.ndarray) -> np.ndarray:
        """float32 [samples] -> float32 [bands, frames] in dB relative to the mean, at least two frames."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        samples = samples[: len(samples) - int(np.argmax(samples[::-1] != 0))]  # silence alone stays as it is
        if len(samples) < FRAME + HOP:
            samples = np.pad(samples, (0, FRAME + HOP - len(samples)))
        with torch.inference_mode():
            spectrum = torch.fft.rfft(torch.from_numpy(samples).unfold(0, FRAME, HOP) * self._window)[:, self._bins]
            # Squares of the parts: the absolute value would take a root only to square it again.
            power = ((spectrum.real.square() + spectrum.imag.square()) @ self._bands).T.numpy()
        relative = power / max(power.mean(), np.finfo(np.float32).tiny)
        return np.ascontiguousarray(10 * np.log10(np.maximum(relative, np.float32(FLOOR))))


def _statistics(decibels: np.ndarray) -> np.ndarray:
    """float32 [bands, frames] -> float32 [6 * bands], one statistic after the other."""
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
    """float32 [rows, n] -> float64 [rows] a share, between neighbours in a straight line, as numpy's percentile.

    numpy's own selects, which takes twenty times as long as to sort.
    """
    ranked = np.sort(values, axis=1)
    found = []
    for share in shares:
        place = share * (values.shape[1] - 1)
        below, above = (ranked[:, f(place)].astype(np.float64) for f in (floor, ceil))
        found.append(below + (above - below) * (place - floor(place)))
    return found
