"""The effects of a mixing desk: saturation, filters, dynamics, delays. Pure functions of float32 [channels, samples].

Gains of compressors and limiters are computed for blocks of BLOCK samples, a millisecond at 32 kHz, and interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import lfilter

BLOCK = 32  # samples
_SILENCE = 1e-5
_CHUNK = 16_384  # samples


def follow(before: np.ndarray, after: np.ndarray, stems: Sequence[np.ndarray]) -> None:
    """Apply to the stems of a mix, in place, the gain of each sample that took the mix from `before` to `after`."""
    gain = after / (before + (before == 0.0)) if stems else after
    for stem in stems:
        stem *= gain


def saturate(sound: np.ndarray, gain: float, bias: float = 0.0, stems: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Clip softly by x / sqrt(1 + x * x), without audible aliasing.

    The antiderivative of the curve is averaged over each sample (Parker, Zavalishin and Le Bivic, "Reducing the
    aliasing of nonlinear waveshaping using continuous-time convolution", DAFx 2016). For this curve the quotient is
    (a + b) / (sqrt(1 + a * a) + sqrt(1 + b * b)), which needs no division by small differences.

    Args:
        sound: float32 [channels, samples].
        gain: The factor before the curve.
        bias: Added before the curve; it makes the curve asymmetric, which adds even harmonics.
        stems: What `sound` is the sum of. Changed in place: divided by what `sound` is divided by, so that they add up
            to the result without what the bias adds.

    Returns:
        float32 [channels, samples] in (-2, 2): the curve's value less its value at rest.
    """
    x = sound * np.float32(gain) + np.float32(bias)
    root = np.sqrt(x * x + np.float32(1.0))
    out = np.empty_like(x)
    out[..., 0] = x[..., 0] / root[..., 0]
    np.add(x[..., 1:], x[..., :-1], out=out[..., 1:])
    between = root[..., 1:] + root[..., :-1]
    out[..., 1:] /= between
    out -= np.float32(bias / math.sqrt(1.0 + bias * bias))
    if stems:
        root[..., 1:] = between
        np.divide(np.float32(gain), root, out=root)
    for stem in stems:
        stem[..., 1:] += stem[..., :-1]
        stem *= root
    return out


def cut_lows(sound: np.ndarray, hertz: float, rate: int) -> np.ndarray:
    """A high-pass filter of 6 dB per octave."""
    pole = math.exp(-2.0 * math.pi * hertz / rate)
    gain = (1.0 + pole) / 2.0
    return _filter([gain, -gain], [1.0, -pole], sound)


def cut_highs(sound: np.ndarray, hertz: float, rate: int) -> np.ndarray:
    """A low-pass filter of 6 dB per octave."""
    pole = math.exp(-2.0 * math.pi * hertz / rate)
    return _filter([1.0 - pole], [1.0, -pole], sound)


def pass_band(sound: np.ndarray, low: float, high: float, rate: int) -> np.ndarray:
    """A high-pass and a low-pass filter of 6 dB per octave."""
    bass, treble = (math.exp(-2.0 * math.pi * hertz / rate) for hertz in (low, high))
    gain = (1.0 + bass) / 2.0 * (1.0 - treble)
    return _filter([gain, -gain, 0.0], [1.0, -bass - treble, bass * treble], sound)


def shelve(sound: np.ndarray, low: tuple[float, float], high: tuple[float, float], rate: int) -> np.ndarray:
    """Apply a low and a high shelf of 6 dB per octave.

    Args:
        sound: float32 [channels, samples].
        low: The corner in Hz and the gain in dB below it.
        high: The corner in Hz and the gain in dB above it.
        rate: The sampling rate in Hz.
    """
    numerator, denominator = np.ones(1), np.ones(1)
    for (hertz, decibels), is_high in ((low, False), (high, True)):
        # The bilinear transform of (s + w * sqrt(G)) / (s + w / sqrt(G)), with the gain moved to the shelf's side.
        warped, root = math.tan(math.pi * hertz / rate), 10 ** (decibels / 40)
        top, bottom = (1.0 / root, root) if is_high else (root, 1.0 / root)
        zero, pole = [1.0 + warped * top, warped * top - 1.0], [1.0 + warped * bottom, warped * bottom - 1.0]
        scale = 10 ** (decibels / 20) if is_high else 1.0
        numerator = np.convolve(numerator, np.array(zero) * scale / pole[0])
        denominator = np.convolve(denominator, np.array(pole) / pole[0])
    return _filter(numerator, denominator, sound)


def _filter(numerator: object, denominator: object, sound: np.ndarray) -> np.ndarray:
    """Filter in the data type of the sound."""
    b, a = (np.asarray(side, dtype=sound.dtype) for side in (numerator, denominator))
    return np.asarray(lfilter(b, a, sound))


def measure_peaks(sound: np.ndarray) -> np.ndarray:
    """The highest absolute sample of each block over all channels: float32 [ceil(samples / BLOCK)]."""
    return np.asarray(_split(np.abs(sound).max(axis=0)).max(axis=1))


def measure_powers(sound: np.ndarray) -> np.ndarray:
    """The mean power of each block over all channels: float32 [ceil(samples / BLOCK)]."""
    return sum(np.einsum("ij,ij->i", part, part) for part in map(_split, sound)) / np.float32(BLOCK * len(sound))


def _split(samples: np.ndarray) -> np.ndarray:
    """Blocks of a channel, the last one filled with zeros: [blocks, BLOCK]."""
    missing = -len(samples) % BLOCK
    return (np.pad(samples, (0, missing)) if missing else samples).reshape(-1, BLOCK)


def apply_gain(sound: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Multiply a sound by the gain of each block, interpolated so that no sample exceeds its block's gain."""
    edges = np.concatenate([gain[:1], np.minimum(gain[1:], gain[:-1]), gain[-1:]])
    return np.asarray(sound * interpolate(edges)[: sound.shape[1]])


def interpolate(edges: np.ndarray) -> np.ndarray:
    """Interpolate linearly between values that are BLOCK apart: float32 [(values - 1) * BLOCK]."""
    edges = edges.astype(np.float32)
    ramp = np.arange(BLOCK, dtype=np.float32) / np.float32(BLOCK)
    return np.asarray(edges[:-1, None] + np.diff(edges)[:, None] * ramp).reshape(-1)


def compress(
    levels: np.ndarray,
    threshold: float,
    ratio: float,
    attack: float,
    release: float,
    rate: int,
    knee: float = 6.0,
) -> np.ndarray:
    """The gain of a feed-forward compressor (Giannoulis, Massberg and Reiss, "Digital dynamic range compressor
    design", JAES 60, 2012), with a release that is linear in decibels.

    Args:
        levels: Peak or RMS of each block, linear.
        threshold: dBFS above which the gain falls.
        ratio: Decibels above the threshold for each decibel that is left.
        attack: Time constant in seconds of the falling gain.
        release: Seconds in which the gain rises by 10 dB.
        rate: The sampling rate in Hz.
        knee: Width in dB of the bend around the threshold.

    Returns:
        float32 [blocks]: factors from 0 to 1.
    """
    over = 20.0 * np.log10(np.maximum(levels, _SILENCE)) - threshold
    bend = np.clip(over + knee / 2, 0.0, knee) ** 2 / (2 * knee) if knee else np.zeros_like(over)
    reduction = (1.0 - 1.0 / ratio) * np.where(over > knee / 2, over, bend)
    reduction = _release(reduction, release, rate)
    pole = math.exp(-BLOCK / (max(attack, 1e-4) * rate))
    reduction = lfilter([1.0 - pole], [1.0, -pole], reduction)
    return np.asarray(10 ** (-reduction / 20), dtype=np.float32)


def _release(reduction: np.ndarray, release: float, rate: int) -> np.ndarray:
    """Let a gain reduction in dB fall by at most 10 dB in `release` seconds."""
    slope = 10.0 * BLOCK / (release * rate) * np.arange(len(reduction))
    return np.asarray(np.maximum.accumulate(reduction + slope) - slope)


def limit(peaks: np.ndarray, ceiling: float, ahead: float, release: float, rate: int) -> np.ndarray:
    """The gain of a limiter that sees `ahead` seconds into the future and never lets a peak over the ceiling.

    Args:
        peaks: The peak of each block.
        ceiling: The highest sample that is allowed.
        ahead: Seconds in which the gain falls before a peak.
        release: Seconds in which the gain rises by 10 dB.
        rate: The sampling rate in Hz.

    Returns:
        float32 [blocks]: factors from 0 to 1. `apply_gain` keeps the guarantee.
    """
    reach = max(1, round(ahead * rate / BLOCK))
    reduction = 20.0 * np.log10(np.maximum(peaks.astype(np.float64), ceiling) / ceiling)
    held = _release(-minimum_filter1d(-reduction, 2 * reach + 1, mode="nearest"), release, rate)
    # The minimum over the window is at most what each of its blocks needs, and so is a mean of such minima.
    return np.asarray(uniform_filter1d(10 ** (-held / 20), 2 * reach + 1, mode="nearest"), dtype=np.float32)


def echo(sound: np.ndarray, delay: int, feedback: float, darker: float, rate: int, cross: bool = True) -> np.ndarray:
    """The repeats of a delay, without the dry sound.

    Args:
        sound: float32 [channels, samples].
        delay: Samples between repeats.
        feedback: The level of each repeat relative to the one before, below 1.
        darker: Hz above which each repeat loses treble.
        rate: The sampling rate in Hz.
        cross: Whether repeats change sides in stereo.
    """
    out = np.zeros_like(sound)
    repeat, at, level = sound, delay, 1.0
    while at < sound.shape[1] and level > 0.03:
        repeat = cut_highs(repeat[:, : sound.shape[1] - at], darker, rate)
        repeat = repeat[::-1] if cross else repeat
        out[:, at:] += np.float32(level) * repeat
        at, level = at + delay, level * feedback
    return out


def modulate(sound: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Delay a sound by a time that changes, with linear interpolation: chorus, flutter, wow.

    Args:
        sound: float32 [channels, samples].
        delays: float32 [samples] or [channels, samples], in samples, at least 0. Before the first sample is silence.
    """
    out = np.empty_like(sound)
    length, lead = sound.shape[1], int(delays.max()) + 2
    for channel in range(len(sound)):
        padded = np.concatenate([np.zeros(lead, np.float32), sound[channel]])
        late = delays if delays.ndim == 1 else delays[channel]
        for start in range(0, length, _CHUNK):  # chunks that stay in the cache
            part = late[start : start + _CHUNK]
            whole = part.astype(np.intp)
            place = np.arange(start + lead, start + lead + len(part)) - whole
            now = padded.take(place)
            place -= 1
            before = padded.take(place)
            before -= now
            before *= part - whole.astype(np.float32)
            now += before
            out[channel, start : start + _CHUNK] = now
    return out


def oscillate(length: int, hertz: float, phase: float, rate: int) -> np.ndarray:
    """A slow sine, up to 100 Hz: float32 [length] in [-1, 1]; `phase` in turns."""
    return interpolate(oscillate_blocks(length, hertz, phase, rate))[:length]


def oscillate_blocks(length: int, hertz: float, phase: float, rate: int) -> np.ndarray:
    """The values of `oscillate` at each BLOCK samples, and the one after them: float32 [ceil(length / BLOCK) + 1]."""
    angles = 2.0 * math.pi * (np.arange(-(-length // BLOCK) + 1) * (BLOCK * hertz / rate) + phase)
    return np.sin(angles).astype(np.float32)


def resample(samples: np.ndarray, ratio: float) -> np.ndarray:
    """Play a float32 [samples] faster (`ratio` over 1) or slower, with linear interpolation."""
    place = np.arange(max(1, int((len(samples) - 2) / ratio))) * ratio
    whole = place.astype(np.int32)
    part = (place - whole).astype(np.float32)
    here = samples[whole]
    return np.asarray(here + part * (samples[whole + 1] - here))


def sweep(sound: np.ndarray, corner: float, openness: np.ndarray, rate: int) -> np.ndarray:
    """A low-pass filter that opens and closes.

    Args:
        sound: float32 [channels, samples].
        corner: Hz of the closed filter.
        openness: float32 [samples]: 0 closed .. 1 open.
        rate: The sampling rate in Hz.
    """
    closed = cut_highs(sound, corner, rate)
    sound = sound - closed
    sound *= openness
    sound += closed
    return sound
