"""Rooms, plates and springs: impulse responses of reverberation, made from noise and echoes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

LONGEST = 2.0  # seconds of an impulse response


@dataclass(frozen=True, slots=True)
class Space:
    """A reverberation.

    Attributes:
        seconds: Time in which the middle frequencies decay by 60 dB.
        predelay: Seconds before the reverberation.
        rise: Seconds in which the diffuse part builds up: about 0 for a plate, up to 0.06 for a hall.
        damping: How much faster the treble decays, 1 to 8.
        crossover: Hz between bass and treble.
        early: Level in dB of the early reflections relative to the diffuse part.
        size: Seconds over which the early reflections are spread.
        width: 0 equal channels .. 1 independent channels.
        gate: Seconds after which the reverberation is cut off; 0: never.
    """

    seconds: float
    predelay: float
    rise: float
    damping: float
    crossover: float
    early: float
    size: float
    width: float
    gate: float = 0.0


def make_space(space: Space, channels: int, random: Generator, rate: int) -> np.ndarray:
    """The impulse response of a reverberation, without the direct sound.

    The diffuse part is noise that decays exponentially (Polack 1988), its treble faster than its bass. The early part
    is twelve reflections, whose times differ between the channels.

    Args:
        space: The reverberation.
        channels: 1 or 2.
        random: The random numbers.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples], of unit energy in each channel.
    """
    start = round(space.predelay * rate)
    length = max(64, round(min(LONGEST, 1.1 * space.seconds, space.gate or LONGEST) * rate))
    noise = random.standard_normal((channels, length), dtype=np.float32)
    if channels == 2:
        noise[1] *= np.float32(space.width)
        noise[1] += np.float32((1.0 - space.width**2) ** 0.5) * noise[0]
    time = np.arange(length, dtype=np.float32) * np.float32(1.0 / rate)
    # A moving average over a quarter of the crossover's period: its zeros are above, its pass band below.
    size = max(2, round(0.45 * rate / space.crossover))
    total = np.cumsum(np.pad(noise, ((0, 0), (size, 0))), axis=1, dtype=np.float64)
    dark = ((total[:, size:] - total[:, :-size]) / size).astype(np.float32)
    tail = (noise - dark) * np.exp(np.float32(-6.9 * space.damping / space.seconds) * time)
    tail += 1.6 * dark * np.exp(np.float32(-6.9 / space.seconds) * time)
    if space.rise:
        tail *= np.minimum(np.float32(1.0), time * np.float32(1.0 / space.rise))
    tail /= np.sqrt(np.sum(tail * tail, axis=1, keepdims=True))

    out = np.zeros((channels, start + max(length, round(space.size * rate) + 2)), np.float32)
    out[:, start : start + length] = tail
    level = 10 ** (space.early / 20)
    shared = random.random(12)
    for channel in range(channels):
        own = random.random(12)
        times = start + ((0.6 * shared + 0.4 * own) * space.size * rate).astype(np.intp)
        heights = (random.random(12) - 0.5) * np.exp(-2.0 * (times - start) / (space.size * rate))
        out[channel, times] += np.float32(level) * (heights / np.sqrt(np.sum(heights**2))).astype(np.float32)
    out /= np.sqrt(np.sum(out * out, axis=1, keepdims=True))
    return out
