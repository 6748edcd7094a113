"""A drum kit of a clip's own: the sound font's drums in another tuning, with another decay, layered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .effects import resample
from .sampler import Layers, Sampler


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


class TunedSampler:
    """A sampler whose drums are tuned for one clip."""

    def __init__(self, sampler: Sampler, kit: dict[int, DrumTuning]) -> None:
        self.sampling_rate = sampler.sampling_rate
        self._sampler = sampler
        self._kit = kit
        self._tuned: dict[tuple[int, int], Layers] = {}

    def note(self, program: int, is_drum: bool, pitch: int, seconds: float) -> Layers:
        """Return the dark and the bright layer of a note, as `Sampler.note` does."""
        tuning = self._kit.get(pitch) if is_drum else None
        if tuning is None:
            return self._sampler.note(program, is_drum, pitch, seconds)
        key = (program, pitch)
        if key not in self._tuned or len(self._tuned[key][0]) < seconds * self.sampling_rate:
            longest = self.ring(pitch, 60.0) + 0.1
            self._tuned[key] = self._tune(program, pitch, max(seconds, longest), tuning)
        return self._tuned[key]

    def ring(self, key: int, held: float) -> float:
        """How many seconds a drum sounds whose step is `held` seconds long."""
        tuning = self._kit.get(key)
        return self._sampler.ring(key, held) * (min(1.0, tuning.decay) if tuning else 1.0)

    def _tune(self, program: int, pitch: int, seconds: float, tuning: DrumTuning) -> Layers:
        """The layers of a drum with its tuning, decay and second drum."""
        ratio = 2.0 ** (tuning.semitones / 12)
        needed = round(1.1 * seconds * ratio * self.sampling_rate) + 2
        source = self._sampler.note(program, True, pitch, seconds * ratio)
        layers = [resample(part[:needed], ratio) for part in source]
        if tuning.layer:
            gain = np.float32(10 ** (tuning.layer_gain / 20))
            for part, other in zip(layers, self._sampler.note(program, True, tuning.layer, seconds), strict=True):
                shared = min(len(part), len(other))
                part[:shared] += gain * other[:shared]
        time = np.arange(len(layers[0]), dtype=np.float32) * np.float32(1.0 / self.sampling_rate)
        # A drum falls by 60 dB in about 0.9 s: less or more of that makes it damped or ringing.
        curve = np.exp(np.float32(-7.0 * (1.0 / tuning.decay - 1.0)) * np.minimum(time, np.float32(0.5)))
        curve *= np.float32(10 ** (tuning.gain / 20))
        return layers[0] * curve, layers[1] * curve
