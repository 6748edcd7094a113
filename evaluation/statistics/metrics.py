"""What each kind of problem is judged by, as functions of how much each track weighs.

Drawing tracks again is weighing them by how often they were drawn, leaving one out is weighing it nothing: intervals,
their corrections and comparisons of models need nothing but these functions, and each takes many weightings at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..results.scores import Octave

MetricValues = dict[str, np.ndarray]  # float64 [r] or [r, labels] by name; NaN stands for what is not defined
Evidence = Mapping[str, tuple[np.ndarray, ...]]
BLOCK = 250_000  # weights worked on at once: what stays in the cache
RANKINGS = frozenset({"map", "macro_roc_auc", "micro_roc_auc", "average_precision", "roc_auc"})
TOLERANCE = 0.04  # of the true tempo, after Gouyon et al. 2006
OCTAVES = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)  # factors that Accuracy 2 forgives


@dataclass(frozen=True)
class MetricSet:
    """Figures of float64 weights [r, n], and the tracks that each share among them is computed from.

    Attributes:
        figures: computes them.
        evidence: by the name of a figure from `lowest` to 1, bool [n] or [n, labels]: the tracks that the figure, or
            each label's, is computed from. A mean over labels has [n, labels]. Of several arrays the one of fewest
            tracks counts: a ROC-AUC compares tracks that have a label with those that do not.
        lowest: 0 of shares, -1 of differences of shares.
    """

    figures: Callable[[np.ndarray], MetricValues]
    evidence: Evidence = field(default_factory=dict)
    lowest: float = 0.0

    def __call__(self, weights: np.ndarray) -> MetricValues:
        """Compute the figures of weights [r, n]."""
        return self.figures(weights)


def merge_evidence(*several: Evidence) -> Evidence:
    """Evidence of figures computed from several models' answers on the same tracks: that of any of them."""
    names = [name for name in several[0] if all(name in one for one in several)]
    return {
        name: tuple(np.logical_or.reduce(arrays) for arrays in zip(*(one[name] for one in several), strict=True))
        for name in names
    }


def single_label(truth: np.ndarray, predicted: np.ndarray, classes: int) -> MetricSet:
    """int64 [n], int64 [n] -> accuracy, macro_f1, balanced_accuracy [r]; precision, recall, f1 [r, classes].

    Means run over the classes that have tracks, as in the metric `genre_report`.
    """
    true, called = _one_hot(truth, classes), _one_hot(predicted, classes)
    hit = true * called

    def judge(weights: np.ndarray) -> MetricValues:
        hits, support, calls = weights @ hit, weights @ true, weights @ called
        f1 = _over(2 * hits, support + calls)
        recall = _over(hits, support)
        return {
            "accuracy": _over(hits.sum(axis=1), support.sum(axis=1)),
            "macro_f1": _mean_where(f1, support > 0),
            "balanced_accuracy": _mean_where(recall, support > 0),
            "precision": _over(hits, calls),
            "recall": recall,
            "f1": f1,
        }

    has, named = true > 0, called > 0
    means = dict.fromkeys(("macro_f1", "balanced_accuracy"), (has,))
    labels = {"precision": (named,), "recall": (has,), "f1": (has | named,)}
    return MetricSet(judge, {"accuracy": (np.ones(len(truth), bool),)} | means | labels)


def multi_label(truth: np.ndarray, probabilities: np.ndarray, named: np.ndarray | None = None) -> MetricSet:
    """bool [n, tags], float64 [n, tags] -> map, macro_roc_auc, micro_roc_auc; average_precision, roc_auc by tag.

    With `named`, bool [n, tags] of what is over the threshold, also macro_f1 and micro_f1; precision, recall, f1 by
    tag. Tags that no track bears are NaN and in no mean, macro or micro, as in the metric `tagging_report`; those that
    every track bears have no ROC-AUC.
    """
    ranks = [Ranking(column, scores) for column, scores in zip(truth.T, probabilities.T, strict=True)]
    held = truth.any(axis=0)
    owners = np.repeat(np.arange(len(truth)), held.sum())
    flat = Ranking(truth[:, held].ravel(), probabilities[:, held].ravel(), owners)
    true = truth.astype(np.float64)

    def judge(weights: np.ndarray) -> MetricValues:
        told = [rank.figures(weights) for rank in ranks]
        precision, auc = (np.stack([pair[i] for pair in told], axis=1) for i in (0, 1))
        figures = {
            "map": _mean_where(precision, ~np.isnan(precision)),
            "macro_roc_auc": _mean_where(auc, ~np.isnan(auc)),
            "micro_roc_auc": flat.figures(weights)[1],
            "average_precision": precision,
            "roc_auc": auc,
        }
        if named is not None:
            hits, support, calls = weights @ (true * named), weights @ true, weights @ named.astype(np.float64)
            f1 = _over(2 * hits, support + calls)
            figures |= {
                "macro_f1": _mean_where(f1, support > 0),
                "micro_f1": _over(2 * hits.sum(axis=1), (support + calls)[:, held].sum(axis=1)),
                "precision": _over(hits, calls),
                "recall": _over(hits, support),
                "f1": f1,
            }
        return figures

    has, lacks = truth.astype(bool), ~truth.astype(bool)
    evidence: dict[str, Any] = {
        "map": (has,),
        "macro_roc_auc": (has, lacks),
        "micro_roc_auc": (has.any(axis=1), lacks[:, held].any(axis=1)),
        "average_precision": (has,),
        "roc_auc": (has, lacks),
    }
    if named is not None:
        either: np.ndarray = has | named
        evidence |= {"macro_f1": (has,), "micro_f1": (either[:, held].any(axis=1),)}
        evidence |= {"precision": (named.astype(bool),), "recall": (has,), "f1": (either,)}
    return MetricSet(judge, evidence)


def tempo(truth: np.ndarray, estimate: np.ndarray) -> MetricSet:
    """float64 [n] bpm, float64 [n] bpm -> accuracy_1, accuracy_2, mae (bpm), octave_error (octaves)."""
    columns = {
        "accuracy_1": within(truth, estimate, 1.0),
        "accuracy_2": np.any([within(truth, estimate, factor) for factor in OCTAVES], axis=0),
        "mae": np.abs(estimate - truth),
        "octave_error": octaves(truth, estimate),
    }
    values = np.stack([column.astype(np.float64) for column in columns.values()], axis=1)

    def judge(weights: np.ndarray) -> MetricValues:
        means = _over(weights @ values, weights.sum(axis=1, keepdims=True))
        return dict(zip(columns, means.T, strict=True))

    return MetricSet(judge, dict.fromkeys(("accuracy_1", "accuracy_2"), (np.ones(len(truth), bool),)))


def numbers(truth: np.ndarray, estimate: np.ndarray) -> MetricSet:
    """float64 [n], float64 [n] of any unit -> mae, in that unit."""
    errors = np.abs(estimate - truth)

    def judge(weights: np.ndarray) -> MetricValues:
        return {"mae": _over(weights @ errors, weights.sum(axis=1))}

    return MetricSet(judge)


def within(truth: np.ndarray, estimate: np.ndarray, factor: float) -> np.ndarray:
    """bool [n]: whether the estimate is within 4 % of `factor` times the true tempo."""
    near: np.ndarray = np.abs(estimate - factor * truth) <= TOLERANCE * factor * truth
    return near


def octaves(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """float64 [n]: how many octaves the estimate is off, whichever way; an estimate under 1 bpm counts as 1 bpm."""
    off: np.ndarray = np.abs(np.log2(np.maximum(estimate, 1.0) / truth))
    return off


def both(*judges: MetricSet) -> MetricSet:
    """The figures of several in one."""

    def judge(weights: np.ndarray) -> MetricValues:
        return {name: values for one in judges for name, values in one(weights).items()}

    return MetricSet(judge, {name: arrays for one in judges for name, arrays in one.evidence.items()})


class Ranking:
    """Items in the order of their scores, the highest first; equal scores are one step.

    `tracks` [items] tells whose weight an item has where that is not its own place.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray, tracks: np.ndarray | None = None) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        new = np.append(True, ranked[1:] != ranked[:-1])[: len(order)]
        starts = np.append(np.flatnonzero(new), len(order))
        self.tracks = order if tracks is None else tracks[order]
        self.positive = np.flatnonzero(truth[order])
        step = (np.cumsum(new) - 1)[self.positive]
        self.first, self.end = starts[step], starts[step + 1]  # of the step that a positive item stands in
        self.latest = np.searchsorted(self.positive, self.end) - 1  # the last positive item of that step

    def figures(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights [r, tracks] -> average precision [r] and area under the ROC curve [r], as scikit-learn has them."""
        found = np.full((2, len(weights)), np.nan)
        at_once = max(1, BLOCK // max(1, len(self.tracks)))
        for start in range(0, len(weights) if len(self.positive) else 0, at_once):
            some = slice(start, start + at_once)
            found[:, some] = self._block(weights[some])
        return found[0], found[1]

    def _block(self, weights: np.ndarray) -> np.ndarray:
        drawn = weights.take(self.tracks, axis=1)
        own = drawn[:, self.positive]
        drawn[:, self.positive] = 0.0
        misses = np.zeros((len(drawn), drawn.shape[1] + 1))
        np.cumsum(drawn, axis=1, out=misses[:, 1:])
        hits, above, before = np.cumsum(own, axis=1)[:, self.latest], misses[:, self.end], misses[:, self.first]
        named = hits + above
        precision = np.divide(hits, named, out=np.zeros_like(hits), where=named > 0)
        positives = own.sum(axis=1)
        average = _over((own * precision).sum(axis=1), positives)
        area = 1.0 - _over((own * (before + above)).sum(axis=1) / 2, positives * misses[:, -1])
        return np.clip(np.stack([average, area]), 0.0, 1.0)  # of rounding


def count_octaves(truth: np.ndarray, estimate: np.ndarray) -> dict[Octave, int]:
    """How many tracks got the true tempo, twice it, half, three times, a third, or none of these, within 4 %."""
    names: tuple[Octave, ...] = ("right", "double", "half", "triple", "third")
    left = np.ones(len(truth), bool)
    counts: dict[Octave, int] = {}
    for name, factor in zip(names, OCTAVES, strict=True):
        found = left & within(truth, estimate, factor)
        counts[name] = int(found.sum())
        left &= ~found
    return {**counts, "other": int(left.sum())}


def _one_hot(values: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[values] if len(values) else np.zeros((0, classes))


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, NaN where that is 0/0."""
    bottom = np.broadcast_to(bottom, top.shape)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _mean_where(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """[r, labels] -> [r]: the mean of those that are held, NaN where none is."""
    return _over(np.where(held, values, 0.0).sum(axis=1), held.sum(axis=1).astype(np.float64))
