"""What recording media and codecs leave in the sound: tape, vinyl, hiss, hum, lossy compression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.random import Generator
from scipy.signal import lfilter

from .effects import cut_lows, modulate, oscillate, saturate_buses, shelve

_HOP = 512  # samples between the frames of the codec
_BANDS = 24
_FRAMES = 64  # coded at a time
_NOISE = 100_003  # samples after which noise repeats


def warp_time(
    buses: Sequence[np.ndarray], wow: float, flutter: float, random: Generator, rate: int
) -> list[np.ndarray]:
    """Change the speed a little and slowly, as tape recorders and turntables do.

    Args:
        buses: The mix and its stems, float32 [channels, samples] each.
        wow: Peak deviation of the speed in percent, once in one to two seconds.
        flutter: Peak deviation of the speed in percent, six to eleven times a second.
        random: The random numbers, for rates and phases.
        rate: The sampling rate in Hz.
    """
    delays = draw_delays(buses[0].shape[1], wow, flutter, random, rate)
    return [modulate(bus, delays) for bus in buses]


def draw_delays(length: int, wow: float, flutter: float, random: Generator, rate: int) -> np.ndarray:
    """Draw by how many samples each sample of `warp_time` is late: float32 [length]."""
    delays = np.full(length, 1.0, np.float32)
    for percent, low, high in ((wow, 0.45, 1.1), (flutter, 6.0, 11.0)):
        hertz, phase = low + (high - low) * random.random(), random.random()
        if percent > 0.0:
            depth = percent / 100.0 * rate / (2.0 * math.pi * hertz)
            delays += np.float32(depth) * (oscillate(length, hertz, phase, rate) + np.float32(1.0))
    return delays


def saturate_tape(buses: Sequence[np.ndarray], drive: float, emphasis: float, rate: int) -> list[np.ndarray]:
    """Saturate a mix as tape does: treble is boosted before the curve and cut after it, so that it saturates first.

    Args:
        buses: The mix and its stems, float32 [channels, samples] each.
        drive: dB of the sound's RMS relative to the curve's knee: -20 clean, 0 dense.
        emphasis: dB by which the treble is boosted before the curve.
        rate: The sampling rate in Hz.

    Returns:
        The mix, float32 [channels, samples], with the RMS that it had, and the stems, which get its gains.
    """
    mix = buses[0]
    level = float(np.sqrt(np.mean(mix * mix)))
    if level < 1e-6:
        return list(buses)
    gain = 10 ** (drive / 20) / level
    if emphasis:
        buses = [shelve(bus, (60.0, 0.0), (3000.0, emphasis), rate) for bus in buses]
    buses = saturate_buses(buses, gain, 0.05)
    for bus in buses:
        bus -= bus.mean(axis=1, keepdims=True)
    if emphasis:
        buses = [shelve(bus, (60.0, 0.0), (3000.0, -emphasis), rate) for bus in buses]
    gain = level / max(1e-6, float(np.sqrt(np.mean(buses[0] * buses[0]))))
    for bus in buses:
        bus *= np.float32(gain)
    return buses


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


def code(buses: Sequence[np.ndarray], ratio: float, top: float, rate: int) -> list[np.ndarray]:
    """Compress a mix lossily and decode it, as MP3 and AAC do at low bit rates.

    The coefficients of a modified discrete cosine transform (Princen, Johnson and Bradley 1987) are rounded to steps
    that follow each band's level. What is far below its band's level becomes zero, and so does what is above `top`.

    Args:
        buses: The mix and its stems, float32 [channels, samples] each.
        ratio: Signal-to-noise ratio in dB of the lowest bands; the highest have 12 dB less. 6 is poor, 24 is good.
        top: Hz above which nothing is kept.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples] each. Rounding changes each coefficient of the mix by a factor, from 0 to 2, which
        those of the stems are multiplied by.
    """
    channels, length = buses[0].shape
    frames = -(-length // _HOP) + 1
    padded = np.zeros((channels, len(buses), frames + 1, _HOP), np.float32)
    for number, bus in enumerate(buses):
        padded.reshape(channels, len(buses), -1)[:, number, _HOP : _HOP + length] = bus
    out = np.zeros_like(padded)
    for channel in range(channels):
        for first in range(0, frames, _FRAMES):  # frames that stay in the cache
            blocks = padded[channel, :, first : first + _FRAMES + 1]
            coded = out[channel, :, first : first + _FRAMES + 1]
            _code_frames(blocks, coded, ratio, round(top / (rate / 2) * _HOP), rate)
    return list(out.reshape(channels, len(buses), -1)[:, :, _HOP : _HOP + length].swapaxes(0, 1))


def _code_frames(blocks: np.ndarray, out: np.ndarray, ratio: float, top: int, rate: int) -> None:
    """Code the frames of consecutive blocks and add them to `out`; nothing from bin `top` on.

    Both are [buses, frames + 1, _HOP].
    """
    half = np.sin((np.arange(_HOP, dtype=np.float32) + np.float32(0.5)) * np.float32(math.pi / 2 / _HOP))
    quarter = _HOP // 2
    rising, falling = blocks[:, :-1] * half, blocks[:, 1:] * half[::-1]
    a, b, c, d = rising[..., :quarter], rising[..., quarter:], falling[..., :quarter], falling[..., quarter:]
    spectra = scipy.fft.dct(np.concatenate([-c[..., ::-1] - d, a - b[..., ::-1]], axis=-1), type=4, norm="ortho")
    spectrum, stems = spectra[0], spectra[1:]

    starts = _codec_bands(rate)
    widths = np.diff(np.append(starts, _HOP))
    power = np.add.reduceat(spectrum * spectrum, starts, axis=1) / widths.astype(np.float32)
    ratios = ratio - 12.0 * np.arange(len(starts)) / len(starts)
    steps = np.sqrt(12.0 * power) * (10 ** (-ratios / 20)).astype(np.float32) + np.float32(1e-5)
    steps = np.repeat(steps.astype(np.float32), widths, axis=1)
    exact = spectrum.copy() if len(stems) else spectrum
    spectrum /= steps
    np.rint(spectrum, out=spectrum)
    spectrum *= steps
    spectrum[:, top:] = 0.0
    if len(stems):
        stems *= np.divide(spectrum, exact, out=np.zeros_like(exact), where=spectrum != 0.0)

    folded = scipy.fft.dct(spectra, type=4, norm="ortho")
    left, right = folded[..., :quarter], folded[..., quarter:]
    out[:, :-1] += np.concatenate([right, -right[..., ::-1]], axis=-1) * half
    out[:, 1:] += np.concatenate([-left[..., ::-1], -left], axis=-1) * half[::-1]
