"""What recording media and codecs leave in the sound: tape, vinyl, hiss, hum, lossy compression."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.random import Generator
from scipy.signal import lfilter

from .effects import BLOCK, cut_lows, modulate, oscillate, saturate, shelve

_HOP = 512  # samples between the frames of the codec
_BANDS = 24
_FRAMES = 64  # coded at a time
_NOISE = 100_003  # samples after which noise repeats


def warp_time(
    sound: np.ndarray, wow: float, flutter: float, random: Generator, rate: int, stems: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Change the speed a little and slowly, as tape recorders and turntables do.

    Args:
        sound: float32 [channels, samples].
        wow: Peak deviation of the speed in percent, once in one to two seconds.
        flutter: Peak deviation of the speed in percent, six to eleven times a second.
        random: The random numbers, for rates and phases.
        rate: The sampling rate in Hz.
        stems: What `sound` is the sum of. Their speed is changed in place.
    """
    delays = draw_delays(sound.shape[1], wow, flutter, random, rate)
    for stem in stems:
        stem[:] = modulate(stem, delays)
    return modulate(sound, delays)


def draw_delays(
    length: int, wow: float, flutter: float, random: Generator, rate: int, curve: Callable[..., np.ndarray] = oscillate
) -> np.ndarray:
    """Draw by how many samples each sample of `warp_time` is late: float32 [length].

    With `oscillate_blocks` as `curve`, only the values at each BLOCK samples.
    """
    delays = np.ones(length if curve is oscillate else -(-length // BLOCK) + 1, np.float32)
    for percent, low, high in ((wow, 0.45, 1.1), (flutter, 6.0, 11.0)):
        hertz, phase = low + (high - low) * random.random(), random.random()
        if percent > 0.0:
            depth = percent / 100.0 * rate / (2.0 * math.pi * hertz)
            delays += np.float32(depth) * (curve(length, hertz, phase, rate) + np.float32(1.0))
    return delays


def saturate_tape(
    sound: np.ndarray, drive: float, emphasis: float, rate: int, stems: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Saturate as tape does: treble is boosted before the curve and cut after it, so that it saturates first.

    Args:
        sound: float32 [channels, samples].
        drive: dB of the sound's RMS relative to the curve's knee: -20 clean, 0 dense.
        emphasis: dB by which the treble is boosted before the curve.
        rate: The sampling rate in Hz.
        stems: What `sound` is the sum of. Changed in place, by the gains that `sound` gets.

    Returns:
        float32 [channels, samples] with the sound's RMS.
    """
    level = float(np.sqrt(np.mean(sound * sound)))
    if level < 1e-6:
        return sound
    gain = 10 ** (drive / 20) / level
    x = _boost_treble(sound, emphasis, rate, stems)
    x = saturate(x, gain, 0.05, stems)
    for one in (x, *stems):
        one -= one.mean(axis=1, keepdims=True)
    x = _boost_treble(x, -emphasis, rate, stems)
    gain = level / max(1e-6, float(np.sqrt(np.mean(x * x))))
    for one in (x, *stems):
        one *= np.float32(gain)
    return x


def _boost_treble(sound: np.ndarray, gain: float, rate: int, stems: Sequence[np.ndarray]) -> np.ndarray:
    """A shelf of `gain` dB above 3 kHz, of the stems in place."""
    if not gain:
        return sound
    for stem in stems:
        stem[:] = shelve(stem, (60.0, 0.0), (3000.0, gain), rate)
    return shelve(sound, (60.0, 0.0), (3000.0, gain), rate)


def make_hiss(channels: int, length: int, colour: float, random: Generator, rate: int) -> np.ndarray:
    """Noise of unit power: `colour` 0 is white, 1 loses its treble from 1 kHz on."""
    noise = random.random((channels, min(length, _NOISE)), dtype=np.float32) - np.float32(0.5)
    if colour > 0.0:
        noise = shelve(noise, (60.0, 0.0), (1500.0, -18.0 * colour), rate)
    noise /= np.float32(np.sqrt(np.mean(noise * noise)))
    return np.tile(noise, (1, -(-length // _NOISE)))[:, :length]


def make_hum(length: int, hertz: float, random: Generator, rate: int) -> np.ndarray:
    """Mains hum of unit power: the mains frequency and five harmonics, float32 [1, length]."""
    period = round(rate / hertz * 100)  # a hundred turns are close to a whole number of samples
    turns = np.arange(period) * (100.0 / period)
    hum = np.zeros(period)
    for harmonic in range(1, 7):
        strength = random.random() / harmonic
        hum += strength * np.sin(2.0 * math.pi * (harmonic * turns + random.random()))
    hum /= np.sqrt(np.mean(hum * hum))
    return np.tile(hum.astype(np.float32), -(-length // period))[None, :length]


def make_crackle(channels: int, length: int, density: float, random: Generator, rate: int) -> np.ndarray:
    """The clicks of a vinyl record: float32 [channels, length].

    Args:
        channels: 1 or 2.
        length: Samples.
        density: Clicks a second.
        random: The random numbers.
        rate: The sampling rate in Hz.

    Returns:
        Clicks whose heights have a heavy tail; the median click has a height of about 0.5.
    """
    count = 1 + int(density * length / rate)
    places = (random.random(count) * length).astype(np.intp)
    heights = np.exp(0.9 * random.standard_normal(count)) * np.sign(random.random(count) - 0.5)
    clicks = np.zeros((channels, length), np.float32)
    for channel in range(channels):
        clicks[channel, places] += (heights * (0.5 + random.random(count))).astype(np.float32)
    pole, turn = 0.72, 2.0 * math.pi * 2500.0 / rate
    poles = np.array([1.0, -2.0 * pole * math.cos(turn), pole * pole], np.float32)
    ringing = np.asarray(lfilter(np.array([1.0, -1.0], np.float32), poles, clicks))
    return cut_lows(ringing, 300.0, rate)


@lru_cache(maxsize=4)
def _codec_bands(rate: int) -> np.ndarray:
    """The first bin of each band of the codec, about equally wide on the Bark scale: [bands]."""
    hertz = (np.arange(_HOP) + 0.5) * rate / 2 / _HOP
    bark = 13.0 * np.arctan(0.00076 * hertz) + 3.5 * np.arctan((hertz / 7500.0) ** 2)
    return np.unique(np.searchsorted(bark, np.linspace(0.0, bark[-1], _BANDS, endpoint=False)))


def code(sound: np.ndarray, ratio: float, top: float, rate: int, stems: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Compress lossily and decode, as MP3 and AAC do at low bit rates.

    The coefficients of a modified discrete cosine transform (Princen, Johnson and Bradley 1987) are rounded to steps
    that follow each band's level. What is far below its band's level becomes zero, and so does what is above `top`.

    Args:
        sound: float32 [channels, samples].
        ratio: Signal-to-noise ratio in dB of the lowest bands; the highest have 12 dB less. 6 is poor, 24 is good.
        top: Hz above which nothing is kept.
        rate: The sampling rate in Hz.
        stems: What `sound` is the sum of. Changed in place: rounding changes each coefficient of `sound` by a factor
            from 0 to 2, and theirs by the same.

    Returns:
        float32 [channels, samples].
    """
    channels, length = sound.shape
    frames = -(-length // _HOP) + 1
    padded = np.zeros((frames + 1, _HOP), np.float32)
    gains = np.empty((frames if stems else 0, _HOP), np.float32)
    coded = np.empty_like(sound)
    for channel in range(channels):
        for number, one in enumerate((sound, *stems)):
            padded.reshape(-1)[_HOP : _HOP + length] = one[channel]
            out = np.zeros_like(padded)
            for first in range(0, frames, _FRAMES):  # frames that stay in the cache
                spectrum = _transform(padded[first : first + _FRAMES + 1])
                if number:
                    spectrum *= gains[first : first + _FRAMES]
                else:
                    _round_coefficients(
                        spectrum, gains[first : first + _FRAMES], ratio, round(top / (rate / 2) * _HOP), rate
                    )
                _add_frames(spectrum, out[first : first + _FRAMES + 1])
            (one if number else coded)[channel] = out.reshape(-1)[_HOP : _HOP + length]
    return coded


def _window() -> np.ndarray:
    """The rising half of the sine window."""
    return np.sin((np.arange(_HOP, dtype=np.float32) + np.float32(0.5)) * np.float32(math.pi / 2 / _HOP))


def _transform(blocks: np.ndarray) -> np.ndarray:
    """The coefficients of the frames of consecutive blocks: [frames + 1, _HOP] to [frames, _HOP]."""
    half, quarter = _window(), _HOP // 2
    rising, falling = blocks[:-1] * half, blocks[1:] * half[::-1]
    a, b, c, d = rising[:, :quarter], rising[:, quarter:], falling[:, :quarter], falling[:, quarter:]
    folded = np.concatenate([-c[:, ::-1] - d, a - b[:, ::-1]], axis=1)
    return np.asarray(scipy.fft.dct(folded, type=4, norm="ortho", overwrite_x=True))


def _round_coefficients(spectrum: np.ndarray, gains: np.ndarray, ratio: float, top: int, rate: int) -> None:
    """Round [frames, _HOP] coefficients in place; from bin `top` on they are 0. Fills `gains`, unless empty."""
    starts = _codec_bands(rate)
    widths = np.diff(np.append(starts, _HOP))
    power = np.add.reduceat(spectrum * spectrum, starts, axis=1) / widths.astype(np.float32)
    ratios = ratio - 12.0 * np.arange(len(starts)) / len(starts)
    steps = np.sqrt(12.0 * power) * (10 ** (-ratios / 20)).astype(np.float32) + np.float32(1e-5)
    steps = np.repeat(steps.astype(np.float32), widths, axis=1)
    spectrum /= steps
    if len(gains):
        gains[:] = spectrum
    np.rint(spectrum, out=spectrum)
    if len(gains):
        gains += spectrum == 0.0  # no division by 0: the gain is 0
        np.divide(spectrum, gains, out=gains)
        gains[:, top:] = 0.0
    spectrum *= steps
    spectrum[:, top:] = 0.0


def _add_frames(spectrum: np.ndarray, out: np.ndarray) -> None:
    """Add the frames with these coefficients to the blocks that they overlap."""
    half, quarter = _window(), _HOP // 2
    folded = scipy.fft.dct(spectrum, type=4, norm="ortho")
    left, right = folded[:, :quarter], folded[:, quarter:]
    out[:-1] += np.concatenate([right, -right[:, ::-1]], axis=1) * half
    out[1:] += np.concatenate([-left[:, ::-1], -left], axis=1) * half[::-1]
