"""The instruments of version 1: notes of a General-MIDI sound font, shaped by an envelope and cached.

The font gives a held note, in tune and looped. Decay and damping are added here. A note is cached as two layers, dark
and bright, so that velocity can change its timbre.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import lru_cache, partial

import numpy as np
from scipy.signal import lfilter

from ....soundfonts import DEFAULT, find_font
from ..playing.soundfont import SoundFont
from ..playing.tuning import measure_tuning
from ..score import Track
from ..style import DrumSound, Vocabulary

_CACHE_BYTES = 96 << 20
_LENGTHS = (0.3, 0.5, 0.8, 1.2, 2.0, 3.2, 5.0, 8.0, 12.0, 20.0, 32.0)  # seconds of the cached notes
_LEVEL = 0.1  # RMS of a pitched note's first third of a second, peak / 5 of a drum
Layers = tuple[np.ndarray, np.ndarray]  # dark, bright: float32 [samples] each; their sum is the note at full velocity


class Sampler:
    """Gives notes by General-MIDI program and pitch. They depend on the arguments only and must not be modified."""

    def __init__(self, sampling_rate: int, vocabulary: Vocabulary) -> None:
        self.sampling_rate = sampling_rate
        self._vocabulary = vocabulary
        self._drums = {sound.key: sound for sound in vocabulary.drums.values()}
        self._font = SoundFont(find_font(DEFAULT).path)
        self._tuning = lru_cache(None)(partial(measure_tuning, self._font))
        self._cache: OrderedDict[tuple[int, bool, int, float], Layers] = OrderedDict()
        self._bytes = 0

    def note(self, program: int, is_drum: bool, pitch: int, seconds: float) -> Layers:
        """Return the dark and the bright layer of a note.

        Args:
            program: General-MIDI program, 0 to 127, or the drum kit.
            is_drum: Whether the note is of a drum kit.
            pitch: MIDI note number; of a drum kit the General-MIDI key of the drum.
            seconds: How long the note must be held at least. The longest notes are held for 32 seconds.

        Returns:
            Two float32 [samples]. Do not modify them: they are cached.
        """
        held = next((length for length in _LENGTHS if length >= seconds), _LENGTHS[-1])
        key = (program, is_drum, pitch, held)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        samples = self._font.play(program, is_drum, pitch, held, self.sampling_rate)
        layers = self._shape(program, is_drum, pitch, samples)
        self._cache[key] = layers
        self._bytes += sum(layer.nbytes for layer in layers)
        while self._bytes > _CACHE_BYTES:
            _, old = self._cache.popitem(last=False)
            self._bytes -= sum(layer.nbytes for layer in old)
        return layers

    def find_tuning(self, track: Track, pitch: int) -> float:
        """Return how far a held note of a track is from its pitch, in semitones: see `measure_tuning`."""
        return self._tuning(track.program, pitch)

    def ring(self, key: int, held: float) -> float:
        """How many seconds a drum sounds whose step is `held` seconds long."""
        sound = self._drums.get(key, DrumSound(key=key))
        return min(sound.decay, max(0.1, held)) if sound.choked else sound.decay

    def _shape(self, program: int, is_drum: bool, pitch: int, samples: np.ndarray) -> Layers:
        """Split a held note into two layers, with a normalised level, attack and decay."""
        rate = self.sampling_rate
        samples = samples - samples[: rate // 3].mean()
        if is_drum:
            sound = self._drums.get(pitch, DrumSound(key=pitch))
            samples *= 5 * _LEVEL * 10 ** (sound.level / 20) / max(1e-4, float(np.abs(samples[: rate // 4]).max()))
            dark = _low_pass(samples, 2500.0, rate)
            fade = _decay(len(samples), sound.decay, rate)
            return dark * fade, (samples - dark) * fade
        envelope = self._vocabulary.envelope(program)
        frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
        samples *= _LEVEL / max(1e-4, float(np.sqrt(np.mean(samples[rate // 50 : rate // 3] ** 2))))
        if envelope.attack:
            rise = min(len(samples), round(envelope.attack * rate))
            samples[:rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32) ** 2
        dark = _low_pass(samples, min(5000.0, 300.0 + 2.5 * frequency), rate)
        bright = samples - dark
        if envelope.decay is not None:
            seconds = envelope.decay * 2.0 ** ((60 - pitch) / 24)  # low strings ring longer
            dark *= _decay(len(samples), seconds, rate)
            bright *= _decay(len(samples), seconds / envelope.damping, rate)
        return dark, bright


def _low_pass(samples: np.ndarray, cutoff: float, rate: int) -> np.ndarray:
    """A one-pole low-pass filter, 6 dB per octave."""
    pole = math.exp(-2.0 * math.pi * cutoff / rate)
    return np.asarray(lfilter([1.0 - pole], [1.0, -pole], samples), dtype=np.float32)


def _decay(length: int, seconds: float, rate: int) -> np.ndarray:
    """An exponential that decays by 60 dB in `seconds`."""
    return np.exp(np.arange(length, dtype=np.float32) * np.float32(-6.908 / (seconds * rate)))
