"""Scores of several trainings of one kind, which differ in their seed alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from builder.errors import RecipeError
from builder.settings import EvaluationSettings
from builder.validation import suggest
from training.metrics import compute

from ..results.predictions import Predictions
from ..results.scores import HEADLINES, Quantity, SeedScores
from .bootstrap import confidence_intervals
from .metrics import mean_over
from .summary import metric_set


def score_seeds(predictions: Sequence[Predictions], task: str, settings: EvaluationSettings) -> dict[str, SeedScores]:
    """Score trainings on the same tracks.

    Args:
        predictions: Those of each training, on the same tracks.
        task: What the models predict.
        settings: How resamples are drawn.

    Returns:
        By headline metric the mean over trainings with its 95 % interval over tracks, and the score of each. Metrics
        that are not defined for every training are left out.
    """
    sets = [metric_set(one, task) for one in predictions]
    n, groups = len(predictions[0]), predictions[0].groups()
    scores = [compute(one, n) for one in sets]
    bounds = confidence_intervals(mean_over(sets), n, groups, settings.bootstrap, settings.seed, settings.interval)
    summary = {}
    for key in HEADLINES[predictions[0].problem]:
        if all(key in one and np.isfinite(one[key]) for one in scores):
            seeds = [float(one[key]) for one in scores]
            low, high = (None if np.isnan(bound) else float(bound) for bound in bounds[key])
            summary[key] = SeedScores(mean=Quantity(value=float(np.mean(seeds)), low=low, high=high, n=n), seeds=seeds)
    return summary


def check_metric(metric: str | None) -> None:
    """Raise RecipeError where no problem has a metric of this name."""
    known = [key for keys in HEADLINES.values() for key in keys]
    if metric is not None and metric not in known:
        names = ", ".join(dict.fromkeys(known))
        raise RecipeError(f"--metric: there is no metric {metric!r}{suggest(metric, known)}", f"use one of: {names}")


def choose_metric(wanted: str | None, problem: str, known: Collection[str]) -> str:
    """Return the metric to order and compare by.

    Args:
        wanted: The metric's key. None: the first headline metric of the problem.
        problem: The problem type.
        known: The metrics that are defined.

    Raises:
        RecipeError: The problem has no such metric, or it is not defined for these tracks.
    """
    if wanted is None:
        return next(key for key in HEADLINES[problem] if key in known)
    if wanted not in known:
        names = [key for key in HEADLINES[problem] if key in known]
        raise RecipeError(
            f"--metric: there is no metric {wanted!r} of these tracks{suggest(wanted, names)}",
            f"use one of: {', '.join(names)}",
        )
    return wanted
