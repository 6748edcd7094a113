"""What all players of a clip share: tempo, key, chords, form and swing."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ..pattern import Pattern, apply_swing, count_onsets, parse_steps
from ..rng import SeededRandom
from ..score import Note, Passage
from ..style import DRUM_SYMBOLS, MELODY_SYMBOLS, Bassline, Comping, Groove, Melody, Style, Vocabulary, parse_pattern
from ..theory import Chord, Key

Element = TypeVar("Element", Groove, Bassline, Comping, Melody)
_LOOSE_SECONDS = 0.014  # standard deviation of a note's timing at looseness 1


@dataclass
class Song:
    """The plan of one clip, from which players write their parts. Times are in beats."""

    rng: SeededRandom
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
    theme: list[Note] = field(default_factory=list)  # the first melody, which a second one may follow
    groove: str = ""  # the pattern that the first drummer plays
    comping: str = ""  # the pattern that the first chord instrument plays

    def __post_init__(self) -> None:
        self.bars = math.ceil(self.beats / self.style.metre)
        self._starts = [start for start, _ in self.chords]
        self._loose = self.style.looseness * _LOOSE_SECONDS * self.tempo / 60.0

    def chord_at(self, beat: float) -> tuple[Chord, float]:
        """The chord at a beat, and the beat where it ends."""
        place = max(0, bisect_right(self._starts, beat + 1e-6) - 1)
        ends = self._starts[place + 1] if place + 1 < len(self._starts) else math.inf
        return self.chords[place][1], ends

    def playing(self, part: str) -> list[int]:
        """The bars in which a part plays."""
        return [
            bar for passage in self.passages if part in passage.parts for bar in range(passage.first, passage.last)
        ]

    def note(self, beat: float, grid: int, length: float, pitch: int, velocity: float) -> Note:
        """Make a note with swing and with small random changes of timing and velocity.

        Args:
            beat: Start without swing, in beats from the start of the clip.
            grid: Steps in a beat of the note's pattern; multiples of 3 are triplets, which do not swing.
            length: Length in beats.
            pitch: MIDI note number, or the General-MIDI key of a drum.
            velocity: Up to 1, before the random change.

        Returns:
            The note, with a start of at least 0 and a velocity from 0.08 to 1.
        """
        start = apply_swing(beat, grid, self.swing, self.style.swing_grid) + self.rng.bell_curve(self._loose)
        varied = min(1.0, max(0.08, velocity * (1.0 + self.rng.bell_curve(0.05 + 0.06 * self.style.looseness))))
        return Note(max(0.0, start), length, pitch, varied)

    def choose(self, names: Mapping[str, float], table: Mapping[str, Element], avoid: str = "") -> str:
        """Draw one of the style's elements, more often one as dense as the mood.

        With little swing, elements in triplets are drawn only if there are no others.

        Args:
            names: Names of the elements, with their weights.
            table: All elements of this type by name.
            avoid: Name of an element that is drawn only if there is no other. Default: none.

        Returns:
            Name of the element.
        """
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
        return self.rng.weighted_choice(left)


def in_triplets(element: Groove | Bassline | Comping | Melody) -> bool:
    """Whether a pattern has triplets."""
    return any(step.grid % 3 == 0 for rhythm in _rhythms(element) for bar in rhythm for step in bar)


def _busyness(element: Groove | Bassline | Comping | Melody) -> float:
    """The mean number of onsets in a bar; for a melody the mean over its rhythms."""
    rhythms = _rhythms(element)
    total = sum(count_onsets(rhythm) for rhythm in rhythms)
    return total / len(rhythms) if isinstance(element, Melody) else total


def _rhythms(element: Groove | Bassline | Comping | Melody) -> list[Pattern]:
    """The patterns of an element: of each drum, of each rhythm, or the only one."""
    if isinstance(element, Groove):
        return [parse_steps(steps, element.beats, DRUM_SYMBOLS) for steps in element.voices.values()]
    if isinstance(element, Melody):
        return [parse_steps(rhythm, element.beats, MELODY_SYMBOLS) for rhythm in element.rhythms]
    return [parse_pattern(element)]
