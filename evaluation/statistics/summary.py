"""Score the predictions of a model: metrics with intervals, and the tables that reports show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from builder.errors import DataError
from builder.names import format_count
from builder.settings import EvaluationSettings
from training.metrics import TEMPO_TASKS, MetricValues, compute

from ..results.predictions import Predictions
from ..results.scores import (
    MULTI,
    SINGLE,
    BenchmarkScores,
    Calibration,
    ClassScores,
    MultiLabelScores,
    Pair,
    PerClass,
    Proportion,
    Quantity,
    Range,
    RegressionScores,
    ReliabilityBin,
    Sampling,
    SingleLabelScores,
    TagScores,
)
from .bootstrap import ConfidenceIntervals, confidence_intervals, group_codes
from .calibration import Confidences
from .metrics import RANKING_METRICS, MetricSet, combine, count_octaves, multi_label, number, single_label, tempo

LISTED = 8  # labels named in a note


def score_predictions(
    predictions: Predictions, settings: EvaluationSettings, task: str, /, **about: Any
) -> BenchmarkScores:
    """Score a model's predictions on one set of recordings.

    Args:
        predictions: What the model predicted for each track.
        settings: How resamples for the confidence intervals are drawn.
        task: What the model predicts, such as "genre" or "tempo_bpm".
        **about: Fields of `BenchmarkScores` that describe the recordings: `name`, `source`, ...

    Returns:
        The metrics of the problem with 95 % confidence intervals, the scores of each label, and the calibration.

    Raises:
        DataError: No track has any of the labels of a model with many labels a track.
    """
    if predictions.problem == MULTI and not predictions.truth.any():
        raise DataError(
            f"{about['name']}: no track has any of the model's labels", "evaluate the model on other recordings"
        )
    n, groups = len(predictions), predictions.groups()
    metrics, confidences = metric_set(predictions, task), _confidences(predictions)
    if confidences is not None:
        width, mass = confidences.equal_width(), confidences.equal_mass()
        errors = (confidences.calibration_error(*one) for one in (("ece", width), ("ece_equal_mass", mass)))
        metrics = combine(metrics, *errors)
    bounds = confidence_intervals(
        metrics, n, groups, settings.bootstrap, settings.seed, settings.interval, RANKING_METRICS
    )
    scores = _Scores(compute(metrics, n), bounds, n)
    common = about | {
        "notes": list(predictions.notes),
        "n": n,
        "skipped": len(predictions.skips),
        "skips": list(predictions.skips),
        "labels": list(predictions.labels),
        "sampling": describe_sampling(
            predictions,
            settings,
            {
                name: [predictions.labels[index] for index in map(int, np.flatnonzero(exact))] if exact.ndim else []
                for name, exact in bounds.exact.items()
                if exact.any()
            },
        ),
    }
    if confidences is None:
        return _regression_scores(predictions, scores, task, common)
    common["calibration"] = Calibration(
        ece=scores.proportion("ece"),
        ece_equal_mass=scores.proportion("ece_equal_mass"),
        equal_width=_bins(confidences, width),
        equal_mass=_bins(confidences, mass),
    )
    by_problem = _single_label_scores if predictions.problem == SINGLE else _multi_label_scores
    return by_problem(predictions, scores, common)


def describe_sampling(
    predictions: Predictions, settings: EvaluationSettings, exact: dict[str, list[str]] | None = None
) -> Sampling:
    """Describe how the intervals of predictions are computed.

    Args:
        predictions: The predictions, with the artists of their tracks.
        settings: How resamples are drawn.
        exact: The metrics with exact intervals; of a metric with a value for each label, these labels.
    """
    n, groups = len(predictions), predictions.groups()
    return Sampling(
        method=settings.interval,
        over="tracks" if groups is None else "artists",
        units=int(group_codes(groups, n).max()) + 1,
        alone=0 if groups is None else sum(artist is None for artist in groups),
        resamples=settings.bootstrap,
        seed=settings.seed,
        exact=exact or {},
    )


def metric_set(predictions: Predictions, task: str) -> MetricSet:
    """Return the metrics of predictions as a function of the tracks' weights."""
    if predictions.problem == SINGLE:
        return single_label(predictions.truth, predictions.predicted, len(predictions.labels))
    if predictions.problem == MULTI:
        predicted = None if predictions.threshold is None else predictions.predicted
        return multi_label(predictions.truth, predictions.outputs, predicted)
    return regression_metrics(task)(predictions.truth, predictions.outputs)


def regression_metrics(task: str) -> Callable[[np.ndarray, np.ndarray], MetricSet]:
    """Return the function that makes the metrics of a regression: those of a tempo, or of any other number."""
    return tempo if task in TEMPO_TASKS else number


class _Scores:
    """Metrics and their bounds as the fields of scores.json."""

    def __init__(self, values: MetricValues, bounds: ConfidenceIntervals, n: int) -> None:
        self.values, self.bounds, self.n = values, bounds, n

    def proportion(self, name: str, index: int | tuple[()] = ()) -> Proportion:
        """Return a share. Raises ValueError where it is not defined."""
        score = self.maybe(name, index)
        if score is None:
            raise ValueError(f"{name} is not defined for these tracks")
        return score

    def maybe(self, name: str, index: int | tuple[()] = ()) -> Proportion | None:
        """Return a share, or None where it is not defined."""
        fields = self._fields(name, index)
        return Proportion(**fields, n=self.n) if fields else None

    def quantity(self, name: str) -> Quantity:
        """Return a number that is no share."""
        return Quantity(**self._fields(name, ()), n=self.n)

    def _fields(self, name: str, index: int | tuple[()]) -> dict[str, Any]:
        if name not in self.values or np.isnan(value := float(self.values[name][index])):
            return {}
        low, high = (None if np.isnan(bound[index]) else float(bound[index]) for bound in self.bounds[name])
        return {"value": value, "low": low, "high": high}

    def range(self, name: str, index: int) -> Range | None:
        """Return the interval of a label's metric."""
        low, high = self.bounds[name][:, index]
        return None if np.isnan(low) else Range(low=float(low), high=float(high))


def _single_label_scores(predictions: Predictions, scores: _Scores, common: dict[str, Any]) -> SingleLabelScores:
    size = len(predictions.labels)
    cells = predictions.truth * size + predictions.predicted
    confusion = np.bincount(cells, minlength=size * size).reshape(size, size)
    names: tuple[PerClass, ...] = ("precision", "recall", "f1")
    return SingleLabelScores(
        **common,
        problem="single_label_classification",
        accuracy=scores.proportion("accuracy"),
        macro_f1=scores.proportion("macro_f1"),
        balanced_accuracy=scores.proportion("balanced_accuracy"),
        per_class=[
            ClassScores(
                label=label,
                support=int(confusion[index].sum()),
                intervals={name: scores.range(name, index) for name in names},
                **{name: float(np.nan_to_num(scores.values[name][index])) for name in names},
            )
            for index, label in enumerate(predictions.labels)
        ],
        confusion_matrix=confusion.tolist(),
        worst_pair=find_worst_pair(confusion, predictions.labels),
    )


def _multi_label_scores(predictions: Predictions, scores: _Scores, common: dict[str, Any]) -> MultiLabelScores:
    support = predictions.truth.sum(axis=0)
    if absent := [label for label, count in zip(predictions.labels, support, strict=True) if not count]:
        listed = ", ".join(absent[:LISTED]) + (f" and {len(absent) - LISTED} more" if len(absent) > LISTED else "")
        note = f"all means leave out {format_count(len(absent), 'label')} that no track has: {listed}"
        common["notes"] = [*common["notes"], note]

    def share(name: str, index: int) -> float | None:
        return float(np.nan_to_num(scores.values[name][index])) if name in scores.values and support[index] else None

    return MultiLabelScores(
        **common,
        problem="multi_label_classification",
        map=scores.proportion("map"),
        macro_roc_auc=scores.maybe("macro_roc_auc"),
        micro_roc_auc=scores.maybe("micro_roc_auc"),
        threshold=predictions.threshold,
        macro_f1=scores.maybe("macro_f1"),
        micro_f1=scores.maybe("micro_f1"),
        per_tag=[
            TagScores(
                label=label,
                support=int(support[index]),
                average_precision=scores.maybe("average_precision", index),
                roc_auc=scores.maybe("roc_auc", index),
                precision=share("precision", index),
                recall=share("recall", index),
                f1=share("f1", index),
            )
            for index, label in enumerate(predictions.labels)
        ],
    )


def _regression_scores(
    predictions: Predictions, scores: _Scores, task: str, common: dict[str, Any]
) -> RegressionScores:
    is_tempo = task in TEMPO_TASKS
    return RegressionScores(
        **common,
        problem="regression",
        unit="bpm" if is_tempo else "",
        mae=scores.quantity("mae"),
        accuracy_1=scores.maybe("accuracy_1"),
        accuracy_2=scores.maybe("accuracy_2"),
        octave_error=scores.quantity("octave_error") if is_tempo else None,
        octaves=count_octaves(predictions.truth, predictions.outputs) if is_tempo else None,
    )


def _confidences(predictions: Predictions) -> Confidences | None:
    if predictions.problem == SINGLE:
        return Confidences.from_top_class(predictions.truth, predictions.outputs)
    if predictions.problem == MULTI:
        held = predictions.truth.any(axis=0)
        return Confidences.from_tags(predictions.truth[:, held], predictions.outputs[:, held])
    return None


def _bins(confidences: Confidences, edges: np.ndarray) -> list[ReliabilityBin]:
    return [ReliabilityBin(**asdict(one)) for one in confidences.reliability_bins(edges)]


def find_worst_pair(confusion: np.ndarray, labels: Sequence[str]) -> Pair | None:
    """Find the two labels that are most often confused.

    Args:
        confusion: int64 [labels, labels], rows true, columns predicted.
        labels: Their names.

    Returns:
        The pair with the largest share of the true label's tracks, then with the most tracks; None without an error.
    """
    errors = confusion - np.diag(np.diagonal(confusion))
    if not errors.any():
        return None
    shares = errors / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    truth, predicted = max(np.argwhere(errors), key=lambda cell: (shares[tuple(cell)], errors[tuple(cell)]))
    return Pair(
        truth=labels[truth],
        predicted=labels[predicted],
        count=int(errors[truth, predicted]),
        share=float(shares[truth, predicted]),
    )
