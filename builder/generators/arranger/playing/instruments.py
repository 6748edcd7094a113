"""The instruments of version 2: tracks of cached notes of a sound font, with the font's envelopes and filters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np

from ..production.effects import cut_highs
from ..production.kit import DrumTuning, tune_drum
from ..score import LEAD_IN, Score, Track
from ..style import DrumSound, Vocabulary
from .soundfont import SoundFont
from .synthesis import play_note, release_seconds
from .tuning import measure_tuning

_LENGTHS = tuple(0.4 * 1.25**place for place in range(21))  # seconds of the cached notes: 0.4 to 35
_MEASURED = 1.0 / 3.0  # seconds of a note that set its level
_LAYERS = (56, 104)  # MIDI velocities that are played; a note takes the nearest
_BETWEEN = sum(_LAYERS) / 2
_LEVEL = 0.1  # RMS of a pitched note's first third of a second, peak / 5 of a drum
_STEP = 4.0 / 32_767  # of a cached note: half the memory of float32, and peaks up to 4
_EVEN = 0.5  # how much the levels of an instrument's notes are made equal: 0 not, 1 fully
_RELEASE = (0.04, 0.8)  # least and most seconds of a release, to -60 dB
_CHOKE = 0.012  # seconds in which a drum ends that another one chokes
_SPLIT = 2500.0  # Hz between the dark and the bright part of a track


_NOTHING = (-1.0, np.zeros((1, 0), np.int16))  # of the cache


class Instruments:
    """Plays tracks with a sound font. A note depends on the arguments only.

    Args:
        font: The sound font.
        rate: Sampling rate in Hz.
        channels: 1 or 2.
        vocabulary: The ranges of the instruments, and the levels of the drums.
        cache_bytes: Of played notes.
    """

    def __init__(
        self, font: SoundFont, rate: int, channels: int, vocabulary: Vocabulary, cache_bytes: int = 96 << 20
    ) -> None:
        self.font, self.rate, self.channels = font, rate, channels
        self._vocabulary, self._limit = vocabulary, cache_bytes
        self._drums = {sound.key: sound for sound in vocabulary.drums.values()}
        self._cache: OrderedDict[tuple[int, bool, int, int], tuple[float, np.ndarray]] = OrderedDict()
        self._bytes = 0
        self.find_program = lru_cache(None)(font.find_program)
        self._tuning = lru_cache(None)(partial(measure_tuning, font))
        self._reference = lru_cache(None)(self._measure_reference)
        self._class = lru_cache(None)(self._find_class)
        self._release = lru_cache(None)(self._find_release)

    def play_track(
        self,
        track: Track,
        length: int,
        tempo: int,
        boost: float = 0.0,
        kit: Mapping[int, DrumTuning] = MappingProxyType({}),
    ) -> np.ndarray:
        """Play a track.

        Args:
            track: Its notes.
            length: Samples of the clip.
            tempo: Beats per minute.
            boost: dB of the part above 2.5 kHz.
            kit: How drums are changed, by their keys.

        Returns:
            float32 [channels, length].
        """
        out = np.zeros((self.channels, length), np.float32)
        program = self.find_program(track.program, track.is_drum)
        if program is None:
            return out
        beat, level = 60.0 / tempo, 10 ** (track.level / 20)
        ends = self._choked(track, program) if track.is_drum else {}
        tuned: dict[tuple[int, int], np.ndarray] = {}
        longest: dict[tuple[int, int], float] = {}
        for note in track.notes if not track.is_drum else ():
            key, seconds = (note.pitch, _layer(note.velocity)), note.duration * beat
            seconds = min(seconds + self._release(program, False, note.pitch), length / self.rate - note.start * beat)
            longest[key] = max(longest.get(key, 0.0), seconds)
        for place, note in enumerate(track.notes):
            start = round((note.start * beat + LEAD_IN) * self.rate)
            held, release = note.duration * beat, self._release(program, track.is_drum, note.pitch)
            if track.is_drum:
                held = self._ring(note.pitch, kit.get(note.pitch))
            key = (note.pitch, _layer(note.velocity))
            if not track.is_drum:
                sound = self.note(program, False, note.pitch, note.velocity, longest[key])
            elif note.pitch not in kit:
                sound = self.note(program, True, note.pitch, note.velocity, held + release)
            else:
                if key not in tuned:
                    tuned[key] = self._tune(program, note.pitch, note.velocity, kit[note.pitch])
                sound = tuned[key]
            if place in ends:
                held, release = (ends[place] - note.start) * beat, _CHOKE
            released, fade = round(held * self.rate), _fade(round(release * self.rate))
            stop = min(released + len(fade), sound.shape[1], length - start)
            if stop <= 0:
                continue
            wave = sound[:, :stop] * np.float32(level * note.velocity**1.7 * _STEP)
            if released < stop:
                wave[:, released:] *= fade[: stop - released]
            out[:, start : start + stop] += wave
        return _brighten(out, boost, self.rate) if boost else out

    def find_tuning(self, track: Track, pitch: int) -> float:
        """Return how far a held note of a track is from its pitch, in semitones: see `measure_tuning`."""
        program = self.find_program(track.program, track.is_drum)
        return 0.0 if program is None else self._tuning(program, pitch)

    def list_substitutes(self, score: Score) -> dict[str, int]:
        """List the programs that the font lacks: the program that stands in, by the instrument's name."""
        tracks = [track for track in score.tracks if track.role != "voice"]  # voices are sung
        programs = {track.instrument: self.find_program(track.program, track.is_drum) for track in tracks}
        return {
            track.instrument: program
            for track in tracks
            if (program := programs[track.instrument]) is not None and program != track.program
        }

    def note(self, program: int, is_drum: bool, pitch: int, velocity: float, seconds: float) -> np.ndarray:
        """Return a held note: int16 [channels, samples] in units of `_STEP`, not to be modified.

        Args:
            program: A program, or kit, that the font has.
            is_drum: Whether it is a kit.
            pitch: MIDI note number; of a kit the General-MIDI key of the drum.
            velocity: 0 to 1; chooses the timbre, not the level.
            seconds: How long the note must be held at least; it may be longer. The longest are held for 35 seconds.
        """
        key = (program, is_drum, pitch, _layer(velocity))
        held, sound = self._cache.get(key, _NOTHING)
        if held >= min(seconds, _LENGTHS[-1]):
            self._cache.move_to_end(key)
            return sound
        # The start of a note does not depend on how long it is held: the longest one serves for all.
        held = next((length for length in _LENGTHS if length >= seconds), _LENGTHS[-1])
        self._bytes -= sound.nbytes
        sound = self._make(*key, held)
        self._cache[key] = held, sound
        self._cache.move_to_end(key)
        self._bytes += sound.nbytes
        while self._bytes > self._limit and len(self._cache) > 1:
            self._bytes -= self._cache.popitem(last=False)[1][1].nbytes
        return sound

    def _ring(self, key: int, tuning: DrumTuning | None) -> float:
        """How many seconds a drum sounds."""
        return self._drums.get(key, DrumSound(key=key)).decay * (min(1.0, tuning.decay) if tuning else 1.0)

    def _tune(self, program: int, pitch: int, velocity: float, tuning: DrumTuning) -> np.ndarray:
        """Play a drum with its tuning, in units of `_STEP`: float32 [channels, samples]."""
        seconds = self._ring(pitch, tuning) + _RELEASE[1] + 0.01  # some samples more than are played
        sound = self.note(program, True, pitch, velocity, seconds * 2.0 ** (tuning.semitones / 12)).astype(np.float32)
        layer = self.note(program, True, tuning.layer, velocity, seconds) if tuning.layer else None
        return tune_drum(sound, layer, tuning, self.rate)

    def _make(self, program: int, is_drum: bool, pitch: int, layer: int, held: float) -> np.ndarray:
        """Play a note with a set level. It ends where it has become silent."""
        samples = play_note(self.font, program, is_drum, pitch, layer, held, self.rate, self.channels)
        samples *= np.float32(self._gain(program, is_drum, pitch, samples) / _STEP)
        np.rint(samples, out=samples)
        np.clip(samples, -32_767, 32_767, out=samples)
        silent = min(int((channel[::-1] != 0).argmax()) if channel.any() else len(channel) for channel in samples)
        return samples[:, : max(1, samples.shape[1] - silent)].astype(np.int16)

    def _gain(self, program: int, is_drum: bool, pitch: int, samples: np.ndarray) -> float:
        """The gain of a note: drums have the vocabulary's peaks, other notes partly equal levels."""
        if is_drum:
            sound = self._drums.get(pitch, DrumSound(key=pitch))
            peak = float(np.abs(samples[:, : self.rate // 4]).max())
            return float(5 * _LEVEL * 10 ** (sound.level / 20) / max(1e-4, peak))
        reference, own = self._reference(program), _measure(samples, self.rate)
        return _LEVEL / reference * min(4.0, max(0.25, reference / own)) ** _EVEN

    def _measure_reference(self, program: int) -> float:
        """The level of an instrument, from three of its notes."""
        low, high = self._vocabulary.envelope(program).range
        keys = [low + (high - low) * place // 4 for place in (1, 2, 3)]
        notes = (
            play_note(self.font, program, False, key, _LAYERS[1], _MEASURED, self.rate, self.channels) for key in keys
        )
        return float(np.median([_measure(note, self.rate) for note in notes]))

    def _find_release(self, program: int, is_drum: bool, key: int) -> float:
        """The seconds of the longest release of a note's zones, to -60 dB, within limits."""
        zones = self.font.list_zones(program, is_drum, key, _LAYERS[1])
        seconds = max((release_seconds(zone) for zone, _ in zones), default=0.0)
        return min(_RELEASE[1], max(_RELEASE[0], 0.6 * seconds))

    def _find_class(self, program: int, key: int) -> int:
        """The exclusive class of a drum: one of the same class ends it. 0: none."""
        zones = self.font.list_zones(program, True, key, _LAYERS[1])
        return next((zone[57] for zone, _ in zones if zone.get(57)), 0)

    def _choked(self, track: Track, program: int) -> dict[int, float]:
        """The beats at which drums end that another one chokes, by the place of their notes."""
        last: dict[int, int] = {}
        ends = {}
        order = sorted(range(len(track.notes)), key=lambda place: track.notes[place].start)
        for place in order:
            note = track.notes[place]
            if group := self._class(program, note.pitch):
                if group in last and note.start > track.notes[last[group]].start + 0.02:
                    ends[last[group]] = note.start
                last[group] = place
        return ends


def _layer(velocity: float) -> int:
    """The MIDI velocity that is played for a velocity of 0 to 1: the nearest one."""
    return _LAYERS[127 * velocity > _BETWEEN]


def _measure(samples: np.ndarray, rate: int) -> float:
    """The RMS of a note's loudest channel, from 20 ms to a third of a second; at least 1e-4."""
    part = samples[:, rate // 50 : round(_MEASURED * rate)]
    return max(1e-4, float(np.sqrt(np.mean(part**2, axis=1)).max())) if part.shape[1] else 1e-4


@lru_cache(64)
def _fade(length: int) -> np.ndarray:
    """A release: a decay by 60 dB that ends in silence, float32 [length]."""
    time = np.linspace(0.0, 1.0, max(2, length), dtype=np.float32)
    return np.exp(np.float32(-6.908) * time) * (1 - time**4)


def _brighten(sound: np.ndarray, boost: float, rate: int) -> np.ndarray:
    """Change the level of the part above 2.5 kHz, 6 dB per octave, by `boost` dB."""
    dark = cut_highs(sound, _SPLIT, rate)
    sound -= dark
    sound *= np.float32(10 ** (boost / 20))
    sound += dark
    return sound
