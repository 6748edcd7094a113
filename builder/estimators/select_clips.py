"""Choose clips of a corpus by an expression, and weigh them by how many of their labels the sound agrees with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from .agreement import SHARES, iterate_compared_rows
from .where import Where, check_columns, list_columns

WEIGHED = tuple(name for name in SHARES if name != "tempo")  # the tempo in any octave counts, not the tempo as well


@dataclass(frozen=True, slots=True)
class ClipChoice:
    """The clips of a corpus that an expression chooses, and weights of all.

    Attributes:
        kept: The ids for which the expression is true.
        left_out: The other ids.
        weights: By id, in (0, 1]: with k labels that an estimate can be compared with, of which a agree,
            (1 + a) / (1 + k). A clip without any has 1.
    """

    kept: frozenset[str]
    left_out: frozenset[str]
    weights: dict[str, float]


def choose_clips(corpus: str | Path, where: str | None) -> ClipChoice:
    """Choose clips by an expression.

    Args:
        corpus: A corpus that `synthmir annotate` has measured.
        where: See `Where`. None: all clips.

    Raises:
        RecipeError: The expression does not parse, names no column, compares what cannot be compared, or is true of no
            clip.
        DataError: The corpus has no estimates, or not of all its clips.
    """
    expression = None if where is None else Where.parse(where)
    kept: list[str] = []
    left_out: list[str] = []
    weights: dict[str, float] = {}
    known: set[str] = set()
    for row in iterate_compared_rows(corpus):
        known |= list_columns(row)
        chosen = expression is None or expression.matches(row)
        (kept if chosen else left_out).append(row["id"])
        agrees = [row["agrees"][name] for name in WEIGHED if row["agrees"][name] is not None]
        weights[row["id"]] = (1 + sum(agrees)) / (1 + len(agrees))
    if expression is not None:
        check_columns(expression, known)
    if not kept:
        raise RecipeError(f"where: {where!r} is true of none of {len(left_out):,} clips", "ask for less")
    return ClipChoice(frozenset(kept), frozenset(left_out), weights)
