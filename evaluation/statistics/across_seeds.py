"""Figures of several trainings of one kind: their mean with its interval over tracks, and what each reached."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from builder.recipe import EvaluationSettings

from ..results.predictions import Predictions
from ..results.scores import HEADLINES, Quantity, SeedScores
from .bootstrap import intervals
from .compare import metrics_of_rows, paired_rows
from .metrics import MetricSet, MetricValues, merge_evidence
from .paired import Difference, paired_bootstrap
from .summary import metric_set


def score_seeds(judged: Sequence[Predictions], task: str, settings: EvaluationSettings) -> dict[str, SeedScores]:
    """The headline figures of trainings judged on the same tracks, as far as all of them have one."""
    judges = [metric_set(one, task) for one in judged]
    n = len(judged[0])
    each = [judge(np.ones((1, n))) for judge in judges]
    bounds = intervals(
        mean_metrics(judges), n, judged[0].groups(), settings.bootstrap, settings.seed, settings.interval
    )
    return {
        key: SeedScores(
            mean=_amount(np.mean([one[key][0] for one in each]), bounds[key], n),
            seeds=[float(one[key][0]) for one in each],
        )
        for key in HEADLINES[judged[0].problem]
        if all(key in one and np.isfinite(one[key][0]) for one in each)
    }


def compare_seeds(
    ours: Sequence[Predictions], theirs: Sequence[Predictions], task: str, settings: EvaluationSettings
) -> dict[str, Difference]:
    """Every figure of some trainings less that of others on the same tracks, the mean over trainings on both sides."""
    a, b = (np.stack([paired_rows(one) for one in some], axis=1) for some in (ours, theirs))
    return paired_bootstrap(
        a,
        b,
        figure=partial(_mean_of_rows, like=ours[0], task=task),
        groups=ours[0].groups(),
        resamples=settings.bootstrap,
        seed=settings.seed,
        method=settings.interval,
    )


def mean_metrics(judges: Sequence[MetricSet]) -> MetricSet:
    """The mean over trainings of every figure."""

    def judge(weights: np.ndarray) -> MetricValues:
        told = [one(weights) for one in judges]
        return {name: np.mean([some[name] for some in told], axis=0) for name in told[0]}

    return MetricSet(judge, merge_evidence(*(one.evidence for one in judges)))


def _mean_of_rows(rows: np.ndarray, like: Predictions, task: str) -> MetricSet:
    """`mean_judge` of the rows [n, trainings, ...] that `comparison.rows_of` made of what was judged."""
    return mean_metrics([metrics_of_rows(rows[:, seed], like, task) for seed in range(rows.shape[1])])


def _amount(value: Any, bounds: np.ndarray, n: int) -> Quantity:
    low, high = (None if np.isnan(bound) else float(bound) for bound in bounds)
    return Quantity(value=float(value), low=low, high=high, n=n)
