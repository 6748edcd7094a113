"""Compare the predictions of two models, or of two sets of trainings, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from builder.settings import EvaluationSettings

from ..results.predictions import Predictions
from ..results.scores import HEADLINES, MULTI, SINGLE, Comparison, Quantity
from .metrics import MetricSet, mean_over, multi_label, single_label
from .paired import Difference, adjust_holm, paired_bootstrap
from .summary import regression_metrics


def compare_predictions(
    first: Predictions, second: Predictions, settings: EvaluationSettings, task: str, benchmark: str, against: str
) -> list[Comparison]:
    """Compare two models on the tracks that both have predictions for.

    Args:
        first: Predictions of the model that is evaluated.
        second: Predictions of the other model, of the same labels in any order.
        settings: How resamples are drawn.
        task: What the models predict, such as "genre" or "tempo_bpm".
        benchmark: The name of the tracks.
        against: The name of the other model.

    Returns:
        A comparison of each headline metric that is defined for both. Their p-values are not yet adjusted: see
        `adjust_p_values`.
    """
    place = {identity: row for row, identity in enumerate(second.ids)}
    rows = [row for row, identity in enumerate(first.ids) if identity in place]
    others = [place[first.ids[row]] for row in rows]
    columns = [list(second.labels).index(label) for label in first.labels]
    outputs = second.outputs[others] if second.outputs.ndim == 1 else second.outputs[others][:, columns]
    shared = first.take(rows)
    differences = paired_bootstrap(
        as_rows(shared),
        as_rows(replace(shared, outputs=outputs, threshold=second.threshold)),
        metrics_of=partial(metrics_of_rows, like=first, task=task),
        groups=None if first.groups() is None else shared.artists,
        resamples=settings.bootstrap,
        seed=settings.seed,
        method=settings.interval,
    )
    return [
        Comparison(
            benchmark=benchmark,
            against=against,
            metric=name,
            **describe_difference(differences[name]),
        )
        for name in HEADLINES[first.problem]
        if name in differences
    ]


def compare_seeds(
    first: Sequence[Predictions], second: Sequence[Predictions], task: str, settings: EvaluationSettings
) -> dict[str, Difference]:
    """Compare two sets of trainings on the same tracks: the mean over the trainings of each metric.

    Args:
        first: Predictions of each training of one kind.
        second: Predictions of each training of the other kind, on the same tracks.
        task: What the models predict.
        settings: How resamples are drawn.
    """
    a, b = (np.stack([as_rows(one) for one in trainings], axis=1) for trainings in (first, second))
    return paired_bootstrap(
        a,
        b,
        metrics_of=partial(_mean_of_rows, like=first[0], task=task),
        groups=first[0].groups(),
        resamples=settings.bootstrap,
        seed=settings.seed,
        method=settings.interval,
    )


def adjust_p_values(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Set `p_holm` of comparisons: by Holm (1979) over all comparisons of one metric."""
    adjusted: dict[int, float] = {}
    for metric in {entry.metric for entry in comparisons}:
        family = [index for index, entry in enumerate(comparisons) if entry.metric == metric]
        adjusted |= dict(zip(family, adjust_holm([comparisons[index].p for index in family]), strict=True))
    return [entry.model_copy(update={"p_holm": adjusted[index]}) for index, entry in enumerate(comparisons)]


def describe_difference(tested: Difference) -> dict[str, Any]:
    """Return the fields of a tested difference that comparisons in files have. Its p-value is not yet adjusted."""
    difference = to_quantity(tested)
    return {"value": tested.a, "other": tested.b, "difference": difference, "p": tested.p, "p_holm": tested.p}


def to_quantity(difference: Difference) -> Quantity:
    """Return a difference with its interval as files hold it."""
    return Quantity(value=difference.difference, low=difference.low, high=difference.high, n=difference.n)


def as_rows(predictions: Predictions) -> np.ndarray:
    """Return truth and prediction of each track as one row, so that rows can be swapped between models.

    Returns:
        float64 [n, 2]; with many labels a track [n, 3, labels]: truth, probability, and whether the label is
        predicted, NaN without a threshold.
    """
    if predictions.problem == MULTI:
        outputs = predictions.outputs
        predicted = predictions.predicted if predictions.threshold is not None else np.full(outputs.shape, np.nan)
        return np.stack([predictions.truth, outputs, predicted], axis=1)
    return np.stack([predictions.truth, predictions.predicted], axis=1)


def metrics_of_rows(rows: np.ndarray, like: Predictions, task: str) -> MetricSet:
    """Return the metrics of rows that `as_rows` made.

    Args:
        rows: float64 [n, 2]; with many labels a track [n, 3, labels]. See `as_rows`.
        like: Predictions of the same problem type and labels as the rows.
        task: The task, which chooses the metrics of a regression.

    Returns:
        The metrics.
    """
    if like.problem == MULTI:
        predicted = None if np.isnan(rows[:, 2]).any() else rows[:, 2] > 0
        return multi_label(rows[:, 0] > 0, rows[:, 1], predicted)
    if like.problem == SINGLE:
        truth, chosen = rows.astype(np.int64).T
        return single_label(truth, chosen, len(like.labels))
    return regression_metrics(task)(*rows.T)


def _mean_of_rows(rows: np.ndarray, like: Predictions, task: str) -> MetricSet:
    """Return the mean over trainings of the metrics of rows [n, trainings, ...]."""
    return mean_over([metrics_of_rows(rows[:, seed], like, task) for seed in range(rows.shape[1])])
