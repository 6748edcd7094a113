"""Linear probes: logistic regressions on embeddings, trained on a few labelled recordings of each class.

With 8 recordings of each class this is the linear probe of the MTEB and MAEB benchmarks (Muennighoff et al. 2023,
"MTEB", section 3.1: classification), here with artists kept apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..results.predictions import Predictions
from .bootstrap import group_codes

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Shots = int | Literal["all"]  # training recordings of each class
FOLDS = 5
INVERSE_PENALTY = 0.01  # C of the logistic regression; also suits more dimensions than clips


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """The probes of one number of recordings.

    Attributes:
        shots: Training recordings of each class.
        predictions: Of each draw, for all recordings.
        rows: Training recordings of all classes together, the mean over draws and folds.
        fewer: Classes with fewer training recordings than `shots` in some fold, with their mean number.
    """

    shots: Shots
    predictions: list[Predictions]
    rows: float
    fewer: dict[str, float]


def create_probe(balanced: bool = False) -> Pipeline:
    """Create a linear classifier of embeddings: standardisation, then L2-penalised logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weight = "balanced" if balanced else None
    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=300, tol=1e-3, class_weight=weight)
    return make_pipeline(StandardScaler(), regression)


def run_probes(embeddings: np.ndarray, recordings: Predictions, shots: Shots, draws: int, seed: int = 0) -> ProbeRun:
    """Train and test linear probes on a few recordings of each class.

    Each draw divides the artists into folds. The recordings of a fold are predicted by a probe that was
    trained on `shots` recordings of each class of the other folds, from as many artists as there are. So each draw
    predicts every recording, and no probe has seen an artist that it is tested on.

    Args:
        embeddings: float [n, dim], one of each recording.
        recordings: Their true labels and artists; the outputs are not used. A recording of unknown artist is an
            artist of its own.
        shots: Training recordings of each class; "all": those of all other folds. A class with fewer gives all.
        draws: How many times folds and recordings are drawn.
        seed: Of the draws.

    Returns:
        The predictions of each draw, in the order of the recordings.
    """
    truth, artists = recordings.truth, group_codes(recordings.artists or None, len(recordings))
    predicted, rows, counts = [], list[int](), Counter[int]()
    short: set[int] = set()
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        outputs = np.zeros((len(truth), len(recordings.labels)))
        for test in _divide(truth, artists, count_folds(recordings), rng):
            chosen = _draw_rows(np.flatnonzero(~test), truth, artists, shots, rng)
            if len(known := np.unique(truth[chosen])) == 1:  # the others have no recording outside of this fold
                outputs[test, known[0]] = 1.0
            else:
                probe = create_probe(balanced=True).fit(embeddings[chosen], truth[chosen])
                outputs[np.ix_(test, known)] = probe.predict_proba(embeddings[test])
            rows.append(len(chosen))
            found = Counter(truth[chosen].tolist())
            counts += found
            short |= {label for label in np.unique(truth).tolist() if shots != "all" and found[label] < shots}
        predicted.append(replace(recordings, outputs=outputs))
    fewer = {recordings.labels[label]: counts[label] / len(rows) for label in sorted(short)}
    return ProbeRun(shots, predicted, float(np.mean(rows)), fewer)


def count_folds(recordings: Predictions) -> int:
    """Return into how many folds recordings can be divided by artist, at most FOLDS."""
    artists = group_codes(recordings.artists or None, len(recordings))
    return min(FOLDS, int(artists.max()) + 1, int(np.bincount(recordings.truth).max()))


def _divide(truth: np.ndarray, artists: np.ndarray, folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The test rows of each fold, bool [n]; each artist is in one fold."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=int(rng.integers(1 << 31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer recordings than folds
        parts = [test for _, test in splitter.split(truth, truth, artists)]
    return [np.isin(np.arange(len(truth)), part) for part in parts if len(part)]


def _draw_rows(
    rows: np.ndarray, truth: np.ndarray, artists: np.ndarray, shots: Shots, rng: np.random.Generator
) -> np.ndarray:
    """Draw rows of each class: one of each artist, in random order, then a second of each, until there are enough."""
    if shots == "all":
        return rows
    chosen = []
    for label in np.unique(truth[rows]):
        mine = rng.permutation(rows[truth[rows] == label])
        seen: Counter[int] = Counter()
        turns = []
        for artist in artists[mine].tolist():
            turns.append(seen[artist])
            seen[artist] += 1
        chosen.append(mine[np.argsort(turns, kind="stable")[:shots]])
    return np.concatenate(chosen)
