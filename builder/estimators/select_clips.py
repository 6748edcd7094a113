"""Choose clips of a corpus by an expression, and weigh them by how many of their labels the sound agrees with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .agreement import SHARES, iterate_compared_rows
from .where import Where, check_columns, list_columns

BY_WHERE, BY_RANK = "where", "rank"  # why a clip is left out

WEIGHED = tuple(name for name in SHARES if name != "tempo")  # the tempo in any octave counts, not the tempo as well


@dataclass(frozen=True, slots=True)
class ClipChoice:
    """The clips of a corpus that an expression chooses, and weights of all.

    Attributes:
        kept: The ids for which the expression is true.
        left_out: The other ids.
        weights: By id, in (0, 1]: with k labels that an estimate can be compared with, of which a agree,
            (1 + a) / (1 + k). A clip without any has 1.
        genres: The genre of every clip, by id.
        reasons: Of those left out, by id: "where", the expression is not true; "rank", it is, and others of the genre
            are better.
    """

    kept: frozenset[str]
    left_out: frozenset[str]
    weights: dict[str, float]
    genres: dict[str, str]
    reasons: dict[str, str]


def choose_clips(
    corpus: str | Path, where: str | None, keep: float | None = None, counts: Mapping[str, int] | None = None
) -> ClipChoice:
    """Choose clips by an expression, and of those the best of each genre.

    The better of two clips is the one with the higher weight. Of equal weights it is the one with the higher `clap`,
    where the corpus has that estimate, and then the one whose id has the lower SHA-256: a draw that does not change.

    Args:
        corpus: A corpus that `synthmir annotate` has measured.
        where: See `Where`. None: all clips.
        keep: The share of each genre's clips that is kept, in (0, 1], rounded up. None: all for which `where` is true.

        counts: In place of `keep`, how many clips of each genre are kept.

    Raises:
        RecipeError: There are fewer clips of a genre than `counts` asks for; `keep` is not in (0, 1]; the expression
            does not parse, names no column, compares what cannot be compared, or is true of no clip.
        DataError: The corpus has no estimates, or not of all its clips.
    """
    if keep is not None and not 0 < keep <= 1:
        raise RecipeError(f"keep: {keep} is not a share", "use a number above 0, and 1 at most: 0.8")
    expression = None if where is None else Where.parse(where)
    ranked: dict[str, list[tuple[float, float, str, str]]] = {}  # by genre
    weights: dict[str, float] = {}
    genres: dict[str, str] = {}
    reasons: dict[str, str] = {}
    known: set[str] = set()
    for row in iterate_compared_rows(corpus):
        known |= list_columns(row)
        one, genre = row["id"], row["asked"]["genre"]
        genres[one], weights[one] = genre, _weigh(row["agrees"])
        if expression is None or expression.matches(row):
            ranked.setdefault(genre, []).append(_rank_key(row, weights[one]))
        else:
            reasons[one] = BY_WHERE
    if expression is not None:
        check_columns(expression, known)
    if not ranked:
        raise RecipeError(f"where: {where!r} is true of none of {len(weights):,} clips", "ask for less")
    if counts is not None:
        _check_counts({genre: len(ranked.get(genre, ())) for genre in counts}, counts, genres)
    kept: list[str] = []
    for genre, clips in ranked.items():
        if counts is not None:
            number = counts.get(genre, 0)
        else:
            number = len(clips) if keep is None else count_kept(len(clips), keep)
        best = [key[-1] for key in (sorted(clips) if number < len(clips) else clips)]
        kept += best[:number]
        reasons |= dict.fromkeys(best[number:], BY_RANK)
    return ClipChoice(frozenset(kept), frozenset(reasons), weights, genres, reasons)


def _check_counts(there: Mapping[str, int], counts: Mapping[str, int], genres: Mapping[str, str]) -> None:
    """Raise RecipeError if fewer clips of a genre can be kept than are asked for."""
    short = {genre: number for genre, number in there.items() if number < counts[genre]}
    if not short:
        return
    made = Counter(genres.values())
    listed = ", ".join(f"{number:,} of {counts[genre]:,} {genre}" for genre, number in short.items())
    enough = max((made[genre] / number for genre, number in short.items() if number), default=0.0)
    fix = f"make more: select.oversample: {math.ceil(11 * enough) / 10:g}" if all(short.values()) else "ask for less"
    raise RecipeError(f"select: where is true of too few clips: {listed}", f"{fix}; or change select.where")


def count_kept(clips: int, keep: float) -> int:
    """How many of a genre's clips a share keeps: rounded up, so that no genre is left without any."""
    return max(1, math.ceil(round(clips * keep, 6)))  # 0.07 x 100 is 7.000000000000001


def _weigh(agrees: Mapping[str, Any]) -> float:
    """The weight of a clip by what its labels agree with."""
    values = [agrees[name] for name in WEIGHED if agrees[name] is not None]
    return (1 + sum(values)) / (1 + len(values))


def _rank_key(row: Mapping[str, Any], weight: float) -> tuple[float, float, str, str]:
    """What the clips of a genre are sorted by, the best first; it ends with the id."""
    clap = row.get("clap")
    return -weight, -clap if clap is not None else math.inf, sha256(row["id"].encode()).hexdigest(), row["id"]
