"""The times of the audio: what bends, vibrato and a medium's unsteady speed do to the times of a score."""

from __future__ import annotations

import numpy as np
from numpy.random import PCG64, Generator

from ..playing.bends import measure_bends
from ..production.effects import BLOCK, oscillate_blocks
from ..production.media import draw_delays
from ..production.movement import delay_vibrato
from ..production.parameters import Medium, MixProduction
from ..score import LEAD_IN, Score, Track


class Clock:
    """Turns the times of a score into those of its sound.

    Args:
        score: The score.
        seconds: The length of the clip.
        rate: The sampling rate in Hz.
        production: The production of version 2; None for version 1, which shifts nothing.
    """

    def __init__(self, score: Score, seconds: float, rate: int, production: MixProduction | None) -> None:
        self.rate, self.seconds, self.beat = rate, seconds, 60.0 / score.tempo
        self._score, self._production = score, production
        self._length = round(seconds * rate)
        self._samples = BLOCK * np.arange(-(-self._length // BLOCK) + 1, dtype=np.float64)
        medium = production.medium if production else Medium()
        self._mix: np.ndarray | None = None  # the sample of the dry mix that sounds at each of _samples
        if medium.wow or medium.flutter:
            random = Generator(PCG64((score.seed, 1)))
            delays = draw_delays(self._length, medium.wow, medium.flutter, random, rate, oscillate_blocks)
            self._mix = self._samples - delays

    def to_seconds(self, beats: np.ndarray) -> np.ndarray:
        """The times in the sound of beats of the score, in seconds."""
        return self.shift(beats * self.beat + LEAD_IN, None)

    def trace(self, track: Track | None) -> np.ndarray | None:
        """The sample of a track, as its score has it, that sounds at every BLOCK samples; None if nothing is moved.

        Args:
            track: The track; None for what belongs to the mix.
        """
        places = self._mix
        if track is None or self._production is None:
            return places
        movement = self._production.tracks[track.instrument].movement
        if movement is not None and movement.kind == "pitch":
            turns = self._score.tempo / 60.0 / movement.beats
            curve = oscillate_blocks(self._length, turns, movement.phase, self.rate)
            delays = delay_vibrato(movement, curve, self._score.tempo, self.rate)
            places = self._samples if places is None else places
            places = places - np.interp(places, self._samples, delays)
        if track.role != "voice":
            start = self._samples if places is None else places
            late = measure_bends(track, self._score, start, self._length, self.rate)
            places = places if late is None else start - late
        return places

    def shift(self, seconds: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """The times in the sound of times in the score, both in seconds.

        Args:
            seconds: float64 [times].
            places: What `trace` returned of the track. Default: that of the mix.
        """
        places = self._mix if places is None else places
        if places is None:
            return seconds
        late = np.interp(seconds * self.rate, places, self._samples - places)
        return np.asarray(seconds + late / self.rate)

    def unshift(self, seconds: np.ndarray, places: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """The times in the score of times in the sound, and how much faster than the score it sounds there.

        Args:
            seconds: float64 [times], in the sound.
            places: What `trace` returned of the track.

        Returns:
            float64 [times] in seconds, and float64 [times], the factor of the frequencies; None if it is 1.
        """
        if places is None:
            return seconds, None
        speed = np.gradient(places, BLOCK)
        at = seconds * self.rate
        return np.interp(at, self._samples, places) / self.rate, np.interp(at, self._samples, speed)
