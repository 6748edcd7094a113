"""Two corpora compared: shares of labels, tempo and levels, and distances between their embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .clip_table import FACETS, Clips
from .map_layout import compute_layout, load_or_compute_layout

MAP_CLIPS = 750  # of each corpus on the common map
DISTANCE_CLIPS = 5_000  # of each corpus that distances are computed from
LEVELS = {"tempo_bpm": "bpm", "duration": "s", "loudness": "LUFS", "peak": "dBFS", "attempts": ""}
MINIMUM_CLIPS = 10  # of each corpus for precision and recall


@dataclass(frozen=True)
class Comparison:
    """How two corpora differ. Without comparable embeddings there are no distances and no map: see `reason`."""

    names: tuple[str, str]
    labels: pd.DataFrame  # column, label, and the share of clips that have it: this, other
    levels: pd.DataFrame  # column, unit, and median, 5th and 95th percentile of each corpus
    distances: pd.DataFrame  # metric, value, meaning
    embedder: str | None = None
    map_points: np.ndarray | None = None  # float32 [m, 2] in [-1, 1], both corpora together
    side: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))  # [m]: 0 this, 1 other
    positions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [m]: in that corpus's table
    reason: str = ""


def compare_corpora(this: Clips, other: Clips) -> Comparison:
    """Compare a corpus with another one, which serves as the reference of the distances."""
    names = (this.source.name, other.source.name)
    labels, levels = _compare_labels(this, other), _compare_levels(this, other)
    columns = ["metric", "value", "meaning"]
    embedder, x, y, reason = _comparable_embeddings(this, other)
    if reason:
        return Comparison(names, labels, levels, pd.DataFrame(columns=columns), reason=reason)
    positions = [_spaced(len(vectors), MAP_CLIPS) for vectors in (x, y)]
    joined = np.concatenate([vectors[chosen] for vectors, chosen in zip((x, y), positions, strict=True)])
    points = load_or_compute_layout(joined, lambda: compute_layout(joined)) if len(joined) >= 3 else None
    side = np.repeat(np.array([0, 1], np.int8), [len(chosen) for chosen in positions])
    distances = pd.DataFrame(_compute_distances(x, y), columns=columns)
    return Comparison(names, labels, levels, distances, embedder, points, side, np.concatenate(positions))


def _comparable_embeddings(this: Clips, other: Clips) -> tuple[str, np.ndarray, np.ndarray, str]:
    """The embedder's name and both corpora's embeddings, or empty ones and why they cannot be compared."""
    none = np.zeros((0, 0), np.float32)
    if this.embeddings is None or other.embeddings is None:
        return "", none, none, this.no_embeddings_reason or other.no_embeddings_reason
    (name, x), (other_name, y) = this.embeddings, other.embeddings
    revisions = [corpus.embedder_revision(name) for corpus in (this, other)]
    reason = ""
    if name != other_name or x.shape[1] != y.shape[1]:
        reason = f"embeddings of {name} and of {other_name} cannot be compared; embed both with the same embedder"
    elif None not in revisions and revisions[0] != revisions[1]:
        reason = f"the embeddings are of two revisions of {name} ({revisions[0]}, {revisions[1]}); embed one again"
    elif min(len(x), len(y)) < 2:
        reason = "a corpus with fewer than two clips cannot be compared"
    return name, x, y, reason


def _compare_labels(this: Clips, other: Clips) -> pd.DataFrame:
    rows = []
    for column in FACETS:
        names = dict.fromkeys([*this.facets()[column], *other.facets()[column]])
        shares = [corpus.label_shares(column) for corpus in (this, other)]
        rows += [(column, name, *(share.get(name, 0.0) for share in shares)) for name in names]
    return pd.DataFrame(rows, columns=["column", "label", "this", "other"])


def _compare_levels(this: Clips, other: Clips) -> pd.DataFrame:
    rows = []
    for column, unit in LEVELS.items():
        percentiles: list[float | None] = []
        for corpus in (this, other):
            values = corpus.table[column].to_numpy(np.float64, na_value=np.nan)
            values = values[np.isfinite(values)]
            percentiles += (
                [float(value) for value in np.percentile(values, (50, 5, 95))] if len(values) else [None] * 3
            )
        if any(value is not None for value in percentiles):
            rows.append((column, unit, *percentiles))
    names = [f"{corpus} {part}" for corpus in ("this", "other") for part in ("median", "5 %", "95 %")]
    return pd.DataFrame(rows, columns=["column", "unit", *names])


def _compute_distances(x: np.ndarray, y: np.ndarray) -> list[tuple[str, float, str]]:
    """The first metrics of `synthmir fidelity`, with `y` as the reference."""
    from ..fidelity.frechet import frechet_distance
    from ..fidelity.kernel_distance import gaussian_kernel, kernel_distance, median_bandwidth
    from ..fidelity.prdc import compute_prdc

    x, y = x[_spaced(len(x), DISTANCE_CLIPS)], y[_spaced(len(y), DISTANCE_CLIPS)]
    distance = kernel_distance(x, y, gaussian_kernel(median_bandwidth(y)))
    rows = [
        ("Fréchet distance", frechet_distance(x, y), "0: equal means and covariances"),
        ("Kernel distance", distance.value, "0: equal distributions; an unbiased estimate, so it can be negative"),
    ]
    if (size := min(len(x), len(y))) >= MINIMUM_CLIPS:
        prdc = compute_prdc(x[_spaced(len(x), size)], y[_spaced(len(y), size)])
        rows += [
            (
                "Precision",
                float(prdc.precision.mean()),
                "share of this corpus's clips within the other's distribution",
            ),
            ("Recall", float(prdc.recall.mean()), "share of the other's clips within this corpus's distribution"),
        ]
    return rows


def _spaced(count: int, size: int) -> np.ndarray:
    """At most `size` of `count` positions, evenly spaced."""
    return np.linspace(0, count - 1, min(size, count)).round().astype(np.int64)
