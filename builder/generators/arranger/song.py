"""What all players of a clip share: time, key, chords, form and feel."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .chance import Chance
from .form import Passage
from .pattern import Pattern, onsets, parse, swung
from .score import Note
from .style import DRUM_SYMBOLS, MELODY_SYMBOLS, Bassline, Comping, Groove, Melody, Style, Vocabulary, pattern
from .theory import Chord, Key

Element = TypeVar("Element", Groove, Bassline, Comping, Melody)
_LOOSE_SECONDS = 0.014  # standard deviation of a note's timing at looseness 1


@dataclass
class Song:
    """One clip on its way to a score. Times are in beats."""

    chance: Chance
    style: Style
    vocabulary: Vocabulary
    tempo: int
    key: Key
    swing: float
    density: float  # 0 sparse .. 1 busy
    register: int  # semitones
    beats: float  # length of the clip
    passages: list[Passage]
    chords: list[tuple[float, Chord]]  # start, chord; in order
    theme: list[Note] = field(default_factory=list)  # the first melody, for those who answer it
    groove: str = ""  # the pattern that the first drummer plays
    comping: str = ""  # the pattern that the first chord instrument plays

    def __post_init__(self) -> None:
        self.bars = math.ceil(self.beats / self.style.metre)
        self._starts = [start for start, _ in self.chords]
        self._loose = self.style.looseness * _LOOSE_SECONDS * self.tempo / 60.0

    def chord_at(self, beat: float) -> tuple[Chord, float]:
        """The chord that sounds at a beat, and the beat where it ends."""
        place = max(0, bisect_right(self._starts, beat + 1e-6) - 1)
        ends = self._starts[place + 1] if place + 1 < len(self._starts) else math.inf
        return self.chords[place][1], ends

    def playing(self, part: str) -> list[int]:
        """The bars in which a part plays."""
        return [
            bar for passage in self.passages if part in passage.parts for bar in range(passage.first, passage.last)
        ]

    def note(self, beat: float, grid: int, length: float, pitch: int, velocity: float) -> Note:
        """A note as a person plays it: swung, a little early or late, a little louder or softer."""
        start = swung(beat, grid, self.swing, self.style.swing_grid) + self.chance.bell(self._loose)
        heard = min(1.0, max(0.08, velocity * (1.0 + self.chance.bell(0.05 + 0.06 * self.style.looseness))))
        return Note(max(0.0, start), length, pitch, heard)

    def choose(self, names: Mapping[str, float], table: Mapping[str, Element], avoid: str = "") -> str:
        """One of the style's elements, those as busy as the mood likes more often; not `avoid` if there is another."""
        left = {name: weight for name, weight in names.items() if name != avoid} or dict(names)
        if self.swing < 0.3:  # triplets against straight eighths would clash
            left = {name: weight for name, weight in left.items() if not in_triplets(table[name])} or left
        busy = {name: _busyness(table[name]) for name in left}
        low, high = min(busy.values()), max(busy.values())
        if high > low:
            left = {
                name: weight * math.exp(-2.0 * ((busy[name] - low) / (high - low) - self.density) ** 2)
                for name, weight in left.items()
            }
        return self.chance.weighted(left)


def in_triplets(element: Groove | Bassline | Comping | Melody) -> bool:
    """Whether it divides beats by three."""
    return any(step.grid % 3 == 0 for rhythm in _rhythms(element) for bar in rhythm for step in bar)


def _busyness(element: Groove | Bassline | Comping | Melody) -> float:
    """Onsets a bar; of a melody, of one of its rhythms."""
    rhythms = _rhythms(element)
    total = sum(onsets(rhythm) for rhythm in rhythms)
    return total / len(rhythms) if isinstance(element, Melody) else total


def _rhythms(element: Groove | Bassline | Comping | Melody) -> list[Pattern]:
    if isinstance(element, Groove):
        return [parse(steps, element.beats, DRUM_SYMBOLS) for steps in element.voices.values()]
    if isinstance(element, Melody):
        return [parse(rhythm, element.beats, MELODY_SYMBOLS) for rhythm in element.rhythms]
    return [pattern(element)]
