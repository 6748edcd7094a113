"""Step strings: rhythm written as text, as in a step sequencer.

`x--. x-x-` is a bar of eight steps: a symbol starts a note, `-` holds it one step longer, `.` is a rest. Spaces are
ignored and `|` separates bars. The number of steps in a bar gives the grid: in 4/4, 8 steps are eighths, 16 are
sixteenths and 12 are triplets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

REST, HOLD, BAR = ".", "-", "|"


@dataclass(frozen=True, slots=True)
class Step:
    """A note of a pattern. Times are in beats from the start of the bar."""

    at: float
    symbol: str
    length: float
    grid: int  # steps a beat: 3 and 6 are triplets and do not swing


Pattern = tuple[tuple[Step, ...], ...]  # bars of steps


@lru_cache(maxsize=4096)
def parse_steps(text: str, beats: int, symbols: str) -> Pattern:
    """Read a step string.

    Args:
        text: The string, of one bar or more: "x--. x-x- | x---x---".
        beats: Beats in a bar, which must divide its number of steps.
        symbols: The characters that start a note.

    Returns:
        The notes of each bar, with times in beats from its start.

    Raises:
        ValueError: A bar has a wrong number of steps or an unknown character. The message names the bar.
    """
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


def count_onsets(pattern: Pattern) -> float:
    """The mean number of onsets in a bar."""
    return sum(len(bar) for bar in pattern) / len(pattern)


def apply_swing(at: float, grid: int, swing: float, swing_grid: int) -> float:
    """Delay the off-beats of a time in beats.

    Args:
        at: The time in beats.
        grid: Steps in a beat of its pattern; multiples of 3 are triplets, which do not swing.
        swing: From 0 (straight) to 1 (a triplet, 2 to 1).
        swing_grid: 8 or 16: the note value that swings.
    """
    if swing == 0.0 or grid % 3 == 0:
        return at
    unit = 8 / swing_grid  # beats of one swung pair
    pair, place = divmod(at, unit)
    half, late = unit / 2, unit * (0.5 + swing / 6.0)
    warped = place * late / half if place < half else late + (place - half) * (unit - late) / half
    return pair * unit + warped
