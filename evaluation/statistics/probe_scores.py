"""Compare a model with linear probes on real recordings: the learning curve of real tracks, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from builder.names import format_count
from builder.settings import EvaluationSettings

from ..results.predictions import Predictions
from ..results.scores import HEADLINES, SINGLE, Comparison, LinearProbes, ProbeScores, Worth
from .across_seeds import score_seeds
from .compare import compare_seeds, describe_difference
from .linear_probe import ProbeRun, Shots, count_folds, run_probes

WORTH = "balanced_accuracy"
DRAWS = 10  # as in MTEB


def score_probes(
    embeddings: np.ndarray, predictions: Predictions, shots: Sequence[Shots], task: str, settings: EvaluationSettings
) -> tuple[LinearProbes, list[ProbeRun]] | str:
    """Score linear probes on the recordings that a model was evaluated on.

    Args:
        embeddings: float [n, dim], one of each recording.
        predictions: The model's predictions for these recordings.
        shots: Real recordings of each label that probes are trained on.
        task: What the model predicts.
        settings: How resamples are drawn, and their seed.

    Returns:
        The scores and the predictions of the probes; or the reason why there are none.
    """
    if len(np.unique(predictions.truth)) < 2:
        return "no linear probe: the tracks have only one label"
    if (folds := count_folds(predictions)) < 2:
        return "no linear probe: the tracks cannot be divided by artist"
    ordered = sorted(dict.fromkeys(shots), key=lambda one: np.inf if one == "all" else one)
    runs = [run_probes(embeddings, predictions, one, DRAWS, settings.seed) for one in ordered]
    points = [
        ProbeScores(
            shots=run.shots, rows=run.rows, fewer=run.fewer, scores=score_seeds(run.predictions, task, settings)
        )
        for run in runs
    ]
    value = score_seeds([predictions], task, settings)[WORTH].mean.value
    labels = len(np.unique(predictions.truth))
    worth = estimate_worth([point.rows / labels for point in points], points, value) if len(points) > 1 else None
    return LinearProbes(draws=DRAWS, folds=folds, seed=settings.seed, points=points, worth=worth), runs


def compare_with_probes(
    predictions: Predictions, runs: Sequence[ProbeRun], task: str, settings: EvaluationSettings, benchmark: str
) -> list[Comparison]:
    """Compare a model with linear probes on the same recordings, each the mean over its draws.

    Args:
        predictions: The model's predictions.
        runs: The probes' predictions, as `score_probes` returns them.
        task: What the model predicts.
        settings: How resamples are drawn.
        benchmark: The name of the recordings.
    """
    comparisons = []
    for run in runs:
        tested = compare_seeds([predictions] * len(run.predictions), run.predictions, task, settings)
        comparisons += [
            Comparison(
                benchmark=benchmark,
                against=describe_shots(run.shots),
                metric=key,
                **describe_difference(tested[key]),
            )
            for key in HEADLINES[SINGLE]
            if key in tested
        ]
    return comparisons


def describe_shots(shots: Shots) -> str:
    """Name a linear probe by the recordings that it was trained on."""
    tracks = "all real tracks" if shots == "all" else f"{format_count(shots, 'real track')} of each label"
    return f"linear probe, {tracks}"


def estimate_worth(tracks: Sequence[float], points: Sequence[ProbeScores], value: float) -> Worth:
    """Estimate how many real recordings of each label give the score of a model.

    Args:
        tracks: Training recordings of each label of some probes, from few to many.
        points: The scores of these probes.
        value: The model's balanced accuracy.

    Returns:
        The number at which the curve of the probes first reaches `value`, interpolated on a logarithmic scale.
    """
    scores = [point.scores[WORTH].mean.value for point in points]
    reached = next((place for place, score in enumerate(scores) if score >= value), None)
    if reached is None:
        return Worth(metric=WORTH, value=value, tracks=tracks[-1], bound="more")
    if reached == 0:
        return Worth(metric=WORTH, value=value, tracks=tracks[0], bound="fewer" if scores[0] > value else None)
    share = (value - scores[reached - 1]) / (scores[reached] - scores[reached - 1])
    between = np.exp(np.interp(share, [0, 1], np.log(tracks[reached - 1 : reached + 1])))
    return Worth(metric=WORTH, value=value, tracks=float(between), bound=None)
