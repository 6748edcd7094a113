"""Metrics with the tracks that each is computed from, which exact confidence intervals need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training import metrics
from training.metrics import TEMPO_FACTORS, MetricValues, WeightedMetrics, is_within

from ..results.scores import Octave

Evidence = Mapping[str, tuple[np.ndarray, ...]]
RANKING_METRICS = frozenset({"map", "macro_roc_auc", "micro_roc_auc", "average_precision", "roc_auc"})


@dataclass(frozen=True)
class MetricSet:
    """Metrics as a function of the tracks' weights, with the tracks that each is computed from.

    Attributes:
        compute: Gives the metrics for weights, float64 [r, n].
        evidence: By the name of a metric in `lowest` to 1, bool [n] or [n, labels]: the tracks that it is computed
            from. A mean over labels has [n, labels]. Of several arrays the one with the fewest tracks counts: a
            ROC-AUC compares tracks that have a label with tracks that do not.
        lowest: 0 for shares, -1 for differences of shares.
    """

    compute: WeightedMetrics
    evidence: Evidence = field(default_factory=dict)
    lowest: float = 0.0

    def __call__(self, weights: np.ndarray) -> MetricValues:
        """Compute the metrics for weights [r, n]."""
        return self.compute(weights)


def single_label(truth: np.ndarray, predicted: np.ndarray, classes: int) -> MetricSet:
    """Compute `training.metrics.single_label_metrics` with the tracks that each metric is computed from.

    Args:
        truth: int64 [n], the true classes.
        predicted: int64 [n], the predicted classes.
        classes: The number of classes.

    Returns:
        The metrics.
    """
    compute = metrics.single_label_metrics(truth, predicted, classes)
    has, called = (values[:, None] == np.arange(classes) for values in (truth, predicted))
    means = dict.fromkeys(("macro_f1", "balanced_accuracy"), (has,))
    labels = {"precision": (called,), "recall": (has,), "f1": (has | called,)}
    return MetricSet(compute, {"accuracy": (np.ones(len(truth), bool),)} | means | labels)


def multi_label(truth: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray | None = None) -> MetricSet:
    """Return `training.metrics.multi_label_metrics` with their evidence.

    Args:
        truth: bool [n, labels].
        probabilities: float64 [n, labels].
        predicted: bool [n, labels], the labels at or above a threshold; None for no threshold.
    """
    compute = metrics.multi_label_metrics(truth, probabilities, predicted)
    has, lacks = truth.astype(bool), ~truth.astype(bool)
    held = truth.any(axis=0)
    evidence: dict[str, Any] = {
        "map": (has,),
        "macro_roc_auc": (has, lacks),
        "micro_roc_auc": (has.any(axis=1), lacks[:, held].any(axis=1)),
        "average_precision": (has,),
        "roc_auc": (has, lacks),
    }
    if predicted is not None:
        either: np.ndarray = has | predicted
        evidence |= {"macro_f1": (has,), "micro_f1": (either[:, held].any(axis=1),)}
        evidence |= {"precision": (predicted.astype(bool),), "recall": (has,), "f1": (either,)}
    return MetricSet(compute, evidence)


def tempo(truth: np.ndarray, estimate: np.ndarray) -> MetricSet:
    """Return `training.metrics.tempo_metrics` of tempi in bpm, float64 [n], with their evidence."""
    every = (np.ones(len(truth), bool),)
    return MetricSet(metrics.tempo_metrics(truth, estimate), dict.fromkeys(("accuracy_1", "accuracy_2"), every))


def number(truth: np.ndarray, estimate: np.ndarray) -> MetricSet:
    """Return `training.metrics.number_metrics` of numbers of any unit, float64 [n]."""
    return MetricSet(metrics.number_metrics(truth, estimate))


def mean_value(values: np.ndarray) -> MetricSet:
    """Return the mean of one number a track, float64 [n], under the name "mean"."""
    return MetricSet(lambda weights: {"mean": weights @ values / weights.sum(axis=1)})


def combine(*sets: MetricSet) -> MetricSet:
    """Return the metrics of several sets as one."""

    def compute(weights: np.ndarray) -> MetricValues:
        return {name: values for one in sets for name, values in one(weights).items()}

    return MetricSet(compute, {name: arrays for one in sets for name, arrays in one.evidence.items()})


def mean_over(sets: list[MetricSet]) -> MetricSet:
    """Return the mean of each metric over several sets, as of trainings with different seeds."""

    def compute(weights: np.ndarray) -> MetricValues:
        each = [one(weights) for one in sets]
        return {name: np.mean([values[name] for values in each], axis=0) for name in each[0]}

    return MetricSet(compute, merge_evidence(*(one.evidence for one in sets)))


def merge_evidence(*several: Evidence) -> Evidence:
    """Return the evidence of metrics of several models on the same tracks: the tracks that count for any of them."""
    names = [name for name in several[0] if all(name in one for one in several)]
    return {
        name: tuple(np.logical_or.reduce(arrays) for arrays in zip(*(one[name] for one in several), strict=True))
        for name in names
    }


def count_octaves(truth: np.ndarray, estimate: np.ndarray) -> dict[Octave, int]:
    """Count the tracks whose estimate is within 4 % of the true tempo, of a multiple of it, or of none of these.

    Args:
        truth: float64 [n], bpm.
        estimate: float64 [n], bpm.

    Returns:
        Counts that sum to n. A track counts for the first factor of `TEMPO_FACTORS` that fits.
    """
    left = np.ones(len(truth), bool)
    counts: dict[Any, int] = {}
    for name, factor in TEMPO_FACTORS.items():
        near = left & is_within(truth, estimate, factor)
        counts[name] = int(near.sum())
        left &= ~near
    return {**counts, "other": int(left.sum())}
