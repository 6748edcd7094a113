"""What a model said of each track -> its scores: figures with intervals, and the tables behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from builder.errors import DataError
from builder.recipe import EvaluationSettings

from ..results.predictions import Predictions
from ..results.scores import (
    MULTI,
    SINGLE,
    BenchmarkScores,
    Calibration,
    ClassScores,
    Figure,
    MultiLabelScores,
    Pair,
    PerClass,
    Quantity,
    Range,
    RegressionScores,
    ReliabilityBin,
    Sampling,
    SingleLabelScores,
    TagScores,
)
from .bootstrap import group_codes, intervals
from .calibration import Confidences
from .metrics import RANKINGS, MetricSet, MetricValues, both, count_octaves, multi_label, numbers, single_label, tempo

TEMPO_TASKS = frozenset({"tempo_bpm", "tempo", "bpm"})


def score(judged: Predictions, settings: EvaluationSettings, task: str, **about: Any) -> BenchmarkScores:
    """Figures with bootstrap 95 % intervals. `about` fills what is known of the benchmark (`name`, `source`, ...)."""
    if judged.problem == MULTI and not judged.truth.any():
        raise DataError(f"{about['name']}: no track bears any label of the model's", "judge it on other recordings")
    groups = judged.groups()
    claims = _claims(judged)
    judge = metric_set(judged, task)
    if claims is not None:
        judge = both(
            judge, claims.judge("ece", claims.equal_width()), claims.judge("ece_equal_mass", claims.equal_mass())
        )
    bounds = intervals(judge, len(judged), groups, settings.bootstrap, settings.seed, settings.interval, RANKINGS)
    values = {name: value[0] for name, value in judge(np.ones((1, len(judged)))).items()}
    told = _Told(values, bounds, len(judged))
    common = about | {
        "notes": [*judged.notes, *_about_artists(judged)],
        "n": len(judged),
        "skipped": len(judged.skips),
        "skips": list(judged.skips),
        "labels": list(judged.labels),
        "sampling": Sampling(
            method=settings.interval,
            over="tracks" if groups is None else "artists",
            units=int(group_codes(groups, len(judged)).max()) + 1,
            resamples=settings.bootstrap,
            seed=settings.seed,
            exact={
                name: [judged.labels[index] for index in map(int, np.flatnonzero(alike))] if alike.ndim else []
                for name, alike in bounds.exact.items()
                if alike.any()
            },
        ),
    }
    if claims is None:
        return _of_numbers(judged, told, task, common)
    common["calibration"] = Calibration(
        ece=told.figure("ece"),
        ece_equal_mass=told.figure("ece_equal_mass"),
        equal_width=_bins(claims, claims.equal_width()),
        equal_mass=_bins(claims, claims.equal_mass()),
    )
    return (_of_classes if judged.problem == SINGLE else _of_tags)(judged, told, common)


def metric_set(judged: Predictions, task: str) -> MetricSet:
    """The figures of what was judged, for any weights of its tracks."""
    if judged.problem == SINGLE:
        return single_label(judged.truth, judged.predicted, len(judged.labels))
    if judged.problem == MULTI:
        return multi_label(judged.truth, judged.outputs, None if judged.threshold is None else judged.predicted)
    return (tempo if task in TEMPO_TASKS else numbers)(judged.truth, judged.outputs)


class _Told:
    """Values and bounds by name, as the file holds them."""

    def __init__(self, values: dict[str, np.ndarray], bounds: MetricValues, n: int) -> None:
        self.values, self.bounds, self.n = values, bounds, n

    def figure(self, name: str, index: int | tuple[()] = ()) -> Figure:
        found = self.maybe(name, index)
        if found is None:
            raise ValueError(f"{name} is not defined for these tracks")
        return found

    def maybe(self, name: str, index: int | tuple[()] = ()) -> Figure | None:
        """None for a figure that is not there or is 0/0."""
        told = self._told(name, index)
        return Figure(**told, n=self.n) if told else None

    def amount(self, name: str) -> Quantity:
        """As `figure`, of what is no share."""
        return Quantity(**self._told(name, ()), n=self.n)

    def _told(self, name: str, index: int | tuple[()]) -> dict[str, Any]:
        if name not in self.values or np.isnan(value := float(self.values[name][index])):
            return {}
        low, high = (None if np.isnan(bound[index]) else float(bound[index]) for bound in self.bounds[name])
        return {"value": value, "low": low, "high": high}

    def range(self, name: str, index: int) -> Range | None:
        low, high = self.bounds[name][:, index]
        return None if np.isnan(low) else Range(low=float(low), high=float(high))


def _of_classes(judged: Predictions, told: _Told, common: dict[str, Any]) -> SingleLabelScores:
    size = len(judged.labels)
    cells = judged.truth * size + judged.predicted
    confusion = np.bincount(cells, minlength=size * size).reshape(size, size)
    names: tuple[PerClass, ...] = ("precision", "recall", "f1")
    return SingleLabelScores(
        **common,
        problem="single_label_classification",
        accuracy=told.figure("accuracy"),
        macro_f1=told.figure("macro_f1"),
        balanced_accuracy=told.figure("balanced_accuracy"),
        per_class=[
            ClassScores(
                label=label,
                support=int(confusion[index].sum()),
                intervals={name: told.range(name, index) for name in names},
                **{name: float(np.nan_to_num(told.values[name][index])) for name in names},
            )
            for index, label in enumerate(judged.labels)
        ],
        confusion_matrix=confusion.tolist(),
        worst_pair=worst_pair(confusion, judged.labels),
    )


def _of_tags(judged: Predictions, told: _Told, common: dict[str, Any]) -> MultiLabelScores:
    support = judged.truth.sum(axis=0)
    if absent := [label for label, count in zip(judged.labels, support, strict=True) if not count]:
        listed = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        common["notes"] = [*common["notes"], f"{len(absent)} label(s) that no track bears enter no mean: {listed}"]

    def share(name: str, index: int) -> float | None:
        return float(np.nan_to_num(told.values[name][index])) if name in told.values and support[index] else None

    return MultiLabelScores(
        **common,
        problem="multi_label_classification",
        map=told.figure("map"),
        macro_roc_auc=told.maybe("macro_roc_auc"),
        micro_roc_auc=told.maybe("micro_roc_auc"),
        threshold=judged.threshold,
        macro_f1=told.maybe("macro_f1"),
        micro_f1=told.maybe("micro_f1"),
        per_tag=[
            TagScores(
                label=label,
                support=int(support[index]),
                average_precision=told.maybe("average_precision", index),
                roc_auc=told.maybe("roc_auc", index),
                precision=share("precision", index),
                recall=share("recall", index),
                f1=share("f1", index),
            )
            for index, label in enumerate(judged.labels)
        ],
    )


def _of_numbers(judged: Predictions, told: _Told, task: str, common: dict[str, Any]) -> RegressionScores:
    return RegressionScores(
        **common,
        problem="regression",
        unit="bpm" if task in TEMPO_TASKS else "",
        mae=told.amount("mae"),
        accuracy_1=told.maybe("accuracy_1"),
        accuracy_2=told.maybe("accuracy_2"),
        octave_error=told.amount("octave_error") if task in TEMPO_TASKS else None,
        octaves=count_octaves(judged.truth, judged.outputs) if task in TEMPO_TASKS else None,
    )


def _claims(judged: Predictions) -> Confidences | None:
    if judged.problem == SINGLE:
        return Confidences.from_top_class(judged.truth, judged.outputs)
    if judged.problem == MULTI:
        held = judged.truth.any(axis=0)
        return Confidences.from_tags(judged.truth[:, held], judged.outputs[:, held])
    return None


def _bins(claims: Confidences, edges: np.ndarray) -> list[ReliabilityBin]:
    return [ReliabilityBin(**asdict(found)) for found in claims.reliability(edges)]


def _about_artists(judged: Predictions) -> list[str]:
    unknown = sum(artist is None for artist in judged.artists)
    if judged.groups() is None or not unknown:
        return []
    return [f"{unknown} track(s) of unknown artist are drawn one by one in the intervals, the others by artist"]


def worst_pair(confusion: np.ndarray, labels: Sequence[str]) -> Pair | None:
    """Who is taken for whom, by the largest share of a class's tracks (then by count); None where no error is."""
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
