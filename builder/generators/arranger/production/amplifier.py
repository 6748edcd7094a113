"""Electric guitars and basses through an amplifier and a loudspeaker cabinet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.signal import oaconvolve

from .effects import cut_lows, measure_powers, pass_band, saturate

_TAPS = 512  # of a cabinet's response: 16 ms at 32 kHz
_FLOOR = 1e-4  # -80 dB: the deepest that a minimum-phase response may fall


@dataclass(frozen=True, slots=True)
class Amplifier:
    """The settings of an amplifier and its cabinet.

    Attributes:
        gain: Drive of the first stage in dB: -6 clean, 40 heavily distorted.
        stages: 1 or 2 clipping stages.
        bias: Asymmetry of the first stage, 0 to 0.8.
        tight: Hz below which the bass is cut before clipping.
        tone: Hz above which the treble is cut between the stages.
        body: Centre in Hz and gain in dB of the cabinet's bass resonance.
        scoop: Centre in Hz and gain in dB of the dip or peak in the middle.
        bite: Centre in Hz and gain in dB of the cone's break-up.
        top: Hz above which the cabinet is silent.
    """

    gain: float
    stages: int
    bias: float
    tight: float
    tone: float
    body: tuple[float, float]
    scoop: tuple[float, float]
    bite: tuple[float, float]
    top: float


def amplify(sound: np.ndarray, amplifier: Amplifier, rate: int) -> np.ndarray:
    """Play a sound through an amplifier: filters, asymmetric soft clipping, filters, cabinet.

    Args:
        sound: float32 [channels, samples].
        amplifier: The settings.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples] with the loudness (RMS) of the input.
    """
    power = float(np.mean(sound * sound))
    if power < 1e-12:
        return sound
    # The clipping depends on the level while the player plays, not on the rests.
    powers = measure_powers(sound)
    level = float(np.mean(powers[powers > 0.01 * power])) ** 0.5
    x = cut_lows(sound, amplifier.tight, rate)
    x = saturate(x, 0.35 * 10 ** (amplifier.gain / 20) / level, amplifier.bias)
    x = pass_band(x, 30.0, amplifier.tone, rate)
    if amplifier.stages > 1:
        x = saturate(x, 4.0, 0.3 * amplifier.bias)
    out = oaconvolve(x, make_cabinet(amplifier, rate)[None], axes=1)[:, : sound.shape[1]]
    out *= np.float32((power / max(1e-12, float(np.mean(out * out)))) ** 0.5)
    return np.asarray(out, dtype=np.float32)


def make_cabinet(amplifier: Amplifier, rate: int) -> np.ndarray:
    """The impulse response of a cabinet: float32 [512], minimum phase."""
    frequencies = np.maximum(np.arange(2 * _TAPS + 1) * (rate / 4 / _TAPS), 1.0)
    octaves = np.log2(frequencies)
    decibels = sum(
        gain * np.exp(-(((octaves - np.log2(centre)) / width) ** 2))
        for (centre, gain), width in ((amplifier.body, 0.5), (amplifier.scoop, 0.9), (amplifier.bite, 0.6))
    )
    magnitude = 10 ** (decibels / 20) / np.sqrt(1.0 + (75.0 / frequencies) ** 4)
    magnitude /= np.sqrt(1.0 + (frequencies / amplifier.top) ** 10)
    return make_minimum_phase(magnitude)[:_TAPS]


def make_minimum_phase(magnitude: np.ndarray) -> np.ndarray:
    """The minimum-phase impulse response of a magnitude spectrum, by its cepstrum.

    Oppenheim and Schafer, Discrete-Time Signal Processing, section 13.5.

    Args:
        magnitude: The magnitude from 0 Hz to the Nyquist frequency: [size / 2 + 1].

    Returns:
        float32 [size].
    """
    cepstrum = scipy.fft.irfft(np.log(np.maximum(magnitude, _FLOOR)))
    size = len(cepstrum)
    cepstrum[1 : size // 2] *= 2.0
    cepstrum[size // 2 + 1 :] = 0.0
    return np.asarray(scipy.fft.irfft(np.exp(scipy.fft.rfft(cepstrum)), size), dtype=np.float32)
