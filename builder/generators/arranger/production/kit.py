"""A drum kit of a clip's own: the sound font's drums in another tuning, with another decay, layered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .effects import resample


@dataclass(frozen=True, slots=True)
class DrumTuning:
    """How a drum of the sound font is changed.

    Attributes:
        semitones: How much higher it is.
        decay: Factor of its decay: 0.5 damped, 2 ringing.
        gain: dB.
        layer: The General-MIDI key of a drum that sounds along with it; 0: none.
        layer_gain: dB of that drum.
    """

    semitones: float = 0.0
    decay: float = 1.0
    gain: float = 0.0
    layer: int = 0
    layer_gain: float = 0.0


def tune_drum(sound: np.ndarray, layer: np.ndarray | None, tuning: DrumTuning, rate: int) -> np.ndarray:
    """Tune a drum.

    Args:
        sound: float32 [channels, samples].
        layer: The drum that sounds along with it, None without one.
        tuning: How it is changed.
        rate: The sampling rate in Hz.

    Returns:
        float32 [channels, samples], shorter or longer by the tuning.
    """
    tuned = np.stack([resample(channel, 2.0 ** (tuning.semitones / 12)) for channel in sound])
    if layer is not None:
        shared = min(tuned.shape[1], layer.shape[1])
        tuned[:, :shared] += np.float32(10 ** (tuning.layer_gain / 20)) * layer[:, :shared]
    time = np.arange(tuned.shape[1], dtype=np.float32) * np.float32(1.0 / rate)
    # A drum falls by 60 dB in about 0.9 s: less or more of that makes it damped or ringing.
    curve = np.exp(np.float32(-7.0 * (1.0 / tuning.decay - 1.0)) * np.minimum(time, np.float32(0.5)))
    tuned *= curve * np.float32(10 ** (tuning.gain / 20))
    return tuned
