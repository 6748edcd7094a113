"""Figures of several trainings of one kind: their mean with its interval over tracks, and what each reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from builder.recipe import EvaluationSettings

from .bootstrap import intervals
from .comparison import judge_rows
from .figures import Figures, Judge
from .judged import Judged
from .scores import HEADLINES, Amount, Part
from .summary import judge_of


class Seeded(Part):
    """A figure: the mean over trainings with its 95 % interval over tracks, and what each training reached."""

    mean: Amount
    seeds: list[float]


def seeded_figures(judged: Sequence[Judged], task: str, settings: EvaluationSettings) -> dict[str, Seeded]:
    """The headline figures of trainings judged on the same tracks, as far as all of them have one."""
    judges = [judge_of(one, task) for one in judged]
    n = len(judged[0])
    each = [judge(np.ones((1, n))) for judge in judges]
    bounds = intervals(mean_judge(judges), n, judged[0].groups(), settings.bootstrap, settings.seed, settings.interval)
    return {
        key: Seeded(
            mean=_amount(np.mean([one[key][0] for one in each]), bounds[key], n),
            seeds=[float(one[key][0]) for one in each],
        )
        for key in HEADLINES[judged[0].problem]
        if all(key in one and np.isfinite(one[key][0]) for one in each)
    }


def mean_judge(judges: Sequence[Judge]) -> Judge:
    """The mean over trainings of every figure."""

    def judge(weights: np.ndarray) -> Figures:
        told = [one(weights) for one in judges]
        return {name: np.mean([some[name] for some in told], axis=0) for name in told[0]}

    return judge


def mean_of_rows(rows: np.ndarray, like: Judged, task: str) -> Judge:
    """`mean_judge` of the rows [n, trainings, ...] that `comparison.rows_of` made of what was judged."""
    return mean_judge([judge_rows(rows[:, seed], like, task) for seed in range(rows.shape[1])])


def _amount(value: Any, bounds: np.ndarray, n: int) -> Amount:
    low, high = (None if np.isnan(bound) else float(bound) for bound in bounds)
    return Amount(value=float(value), low=low, high=high, n=n)
