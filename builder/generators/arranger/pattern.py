"""Step strings: one bar of rhythm written as text, the way a step sequencer shows it.

`x--. x-x-` is a bar of eight steps: a symbol starts something, `-` holds it one step longer, `.` is a rest. Spaces
are for the eye and `|` parts bars. The number of steps in a bar gives the grid: 8 or 16 in 4/4 are eighths and
sixteenths, 12 are triplets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

REST, HOLD, BAR = ".", "-", "|"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that starts at a place in a bar. Times are in beats from the start of the bar."""

    at: float
    symbol: str
    length: float
    grid: int  # steps a beat: 3 and 6 are triplets and do not swing


Pattern = tuple[tuple[Step, ...], ...]  # bars of steps


@lru_cache(maxsize=4096)
def parse(text: str, beats: int, symbols: str) -> Pattern:
    """Read a step string of bars of `beats` beats. Raises ValueError that says what is wrong with it."""
    bars = ["".join(bar.split()) for bar in text.split(BAR)]
    pattern = []
    for number, bar in enumerate(bars, start=1):
        if not bar or len(bar) % beats:
            raise ValueError(f"bar {number} has {len(bar)} steps, which {beats} beats do not divide")
        if stray := sorted(set(bar) - set(symbols) - {REST, HOLD}):
            raise ValueError(f"bar {number} holds {''.join(stray)!r}; known here: {symbols}{REST}{HOLD}")
        pattern.append(_bar(bar, len(bar) // beats))
    return tuple(pattern)


def _bar(bar: str, grid: int) -> tuple[Step, ...]:
    steps = []
    for place, symbol in enumerate(bar):
        if symbol in (REST, HOLD):
            continue
        held = 1
        while place + held < len(bar) and bar[place + held] == HOLD:
            held += 1
        steps.append(Step(place / grid, symbol, held / grid, grid))
    return tuple(steps)


def onsets(pattern: Pattern) -> float:
    """Onsets a bar: how busy a pattern is."""
    return sum(len(bar) for bar in pattern) / len(pattern)


def swung(at: float, grid: int, swing: float, swing_grid: int) -> float:
    """A time in beats, its off-beats late by `swing`: 0 is straight, 1 a full triplet (2 to 1).

    `swing_grid` is 8 or 16, the note that swings. Triplet grids stay as they are.
    """
    if swing == 0.0 or grid % 3 == 0:
        return at
    unit = 8 / swing_grid  # beats that hold one swung pair
    pair, place = divmod(at, unit)
    half, late = unit / 2, unit * (0.5 + swing / 6.0)
    warped = place * late / half if place < half else late + (place - half) * (unit - late) / half
    return pair * unit + warped
