"""Two corpora side by side: what their labels say, how loud and long they are, how far apart they sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .layout import lay_out, remembered

if TYPE_CHECKING:
    import pandas as pd

    from .clip_table import Clips

SHOWN = 750  # clips of each on the shared map
LARGEST = 5_000  # clips of each that distances are measured on
LEVELS = {"tempo_bpm": "bpm", "duration": "s", "loudness": "LUFS", "peak": "dBFS", "attempts": ""}
BALLS = 10  # clips of a side that precision and recall take at least


@dataclass(frozen=True)
class Comparison:
    """What differs. Distances and map are there where both have embeddings of one embedder; else `why` tells."""

    names: tuple[str, str]
    labels: pd.DataFrame  # column, label, and the share of clips that have it: this, other
    levels: pd.DataFrame  # what, unit, and its median and 5th to 95th percentile in each
    distances: pd.DataFrame  # figure, value, meaning; no rows without embeddings
    embedder: str | None = None
    map: np.ndarray | None = None  # float32 [m, 2] in [-1, 1], of both together
    side: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))  # [m]: 0 this, 1 other
    positions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [m]: in that side's table
    why: str = ""


def compare(this: Clips, other: Clips) -> Comparison:
    """Hold two corpora against each other; `this` is judged, `other` is what it is held against."""
    import pandas as pd

    names = (this.place.name, other.place.name)
    labels, levels = _labels(this, other), _levels(this, other)
    columns = ["figure", "value", "meaning"]
    if why := _apart(this, other):
        return Comparison(names, labels, levels, pd.DataFrame(columns=columns), why=why)
    (embedder, x), (_, y) = this.embeddings, other.embeddings  # type: ignore[misc]
    chosen = [_spread(len(side), SHOWN) for side in (x, y)]
    together = np.concatenate([side[rows] for side, rows in zip((x, y), chosen, strict=True)])
    points = remembered(together, lambda: lay_out(together)) if len(together) >= 3 else None
    side = np.repeat(np.array([0, 1], np.int8), [len(rows) for rows in chosen])
    distances = pd.DataFrame(_distances(x, y), columns=columns)
    return Comparison(names, labels, levels, distances, embedder, points, side, np.concatenate(chosen))


def _apart(this: Clips, other: Clips) -> str:
    """Why embeddings cannot be compared, "" where they can."""
    for side in (this, other):
        if side.why:
            return side.why
    (mine, x), (theirs, y) = this.embeddings, other.embeddings  # type: ignore[misc]
    if mine != theirs or x.shape[1] != y.shape[1]:
        return f"embeddings of {mine} and of {theirs} cannot be compared; embed both with the same embedder"
    revisions = [side.revision(mine) for side in (this, other)]
    if None not in revisions and revisions[0] != revisions[1]:
        return f"the embeddings are of two revisions of {mine} ({revisions[0]}, {revisions[1]}): embed one anew"
    if min(len(x), len(y)) < 2:
        return "it takes two clips of a side"
    return ""


def _labels(this: Clips, other: Clips) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for column in ("genre", "subgenre", "mood", "instruments", "vocals", "split"):
        words = dict.fromkeys([*this.facets()[column], *other.facets()[column]])
        shares = [side.shares(column) for side in (this, other)]
        rows += [(column, word, *(share.get(word, 0.0) for share in shares)) for word in words]
    return pd.DataFrame(rows, columns=["column", "label", "this", "other"])


def _levels(this: Clips, other: Clips) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for column, unit in LEVELS.items():
        told: list[float | None] = []
        for side in (this, other):
            values = side.table[column].to_numpy(np.float64, na_value=np.nan)
            values = values[np.isfinite(values)]
            told += [float(part) for part in np.percentile(values, (50, 5, 95))] if len(values) else [None] * 3
        if any(value is not None for value in told):
            rows.append((column, unit, *told))
    ends = [f"{side} {part}" for side in ("this", "other") for part in ("median", "5 %", "95 %")]
    return pd.DataFrame(rows, columns=["what", "unit", *ends])


def _distances(x: np.ndarray, y: np.ndarray) -> list[tuple[str, float, str]]:
    """The first figures of `synthmir fidelity`, in the other corpus's frame."""
    from ..fidelity.coverage import coverage
    from ..fidelity.frechet import frechet_distance
    from ..fidelity.kernel import gaussian_kernel, kernel_distance, median_bandwidth

    x, y = x[_spread(len(x), LARGEST)], y[_spread(len(y), LARGEST)]
    rows = [("Fréchet distance", frechet_distance(x, y), "0: the same mean and spread")]
    distance = kernel_distance(x, y, gaussian_kernel(median_bandwidth(y)))
    rows.append(("kernel distance", distance.value, "0: the same; the same clips drawn twice come out about 0"))
    if (size := min(len(x), len(y))) >= BALLS:
        found = coverage(x[_spread(len(x), size)], y[_spread(len(y), size)])
        rows.append(
            ("precision", float(found.precise.mean()), "share of this corpus's clips that the other could hold")
        )
        rows.append(("recall", float(found.recalled.mean()), "share of the other's clips that this one could hold"))
    return rows


def _spread(count: int, size: int) -> np.ndarray:
    """`size` places of `count` at most, evenly spread."""
    return np.linspace(0, count - 1, min(size, count)).round().astype(np.int64)
