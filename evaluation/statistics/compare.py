"""Models held against one another on the same tracks, figure by figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from builder.recipe import EvaluationSettings

from ..results.predictions import Predictions
from ..results.scores import HEADLINES, MULTI, SINGLE, Comparison, Quantity
from .metrics import MetricSet, multi_label, numbers, single_label, tempo
from .paired import Difference, holm, paired_bootstrap
from .summary import TEMPO_TASKS


def compare(
    ours: Predictions, theirs: Predictions, settings: EvaluationSettings, task: str, benchmark: str, against: str
) -> list[Comparison]:
    """Each headline figure of the one less that of the other, on the tracks that both could read."""
    place = {identity: row for row, identity in enumerate(theirs.ids)}
    mine = [row for row, identity in enumerate(ours.ids) if identity in place]
    other = [place[ours.ids[row]] for row in mine]
    columns = [list(theirs.labels).index(label) for label in ours.labels]
    outputs = theirs.outputs[other] if theirs.outputs.ndim == 1 else theirs.outputs[other][:, columns]
    same = replace(ours, ids=[ours.ids[row] for row in mine], truth=ours.truth[mine], outputs=ours.outputs[mine])
    artists = ours.groups()
    found = paired_bootstrap(
        paired_rows(same),
        paired_rows(replace(same, outputs=outputs, threshold=theirs.threshold)),
        figure=lambda rows: metrics_of_rows(rows, ours, task),
        groups=None if artists is None else [artists[row] for row in mine],
        resamples=settings.bootstrap,
        seed=settings.seed,
        method=settings.interval,
    )
    return [
        Comparison(
            benchmark=benchmark,
            against=against,
            metric=name,
            value=found[name].a,
            other=found[name].b,
            difference=to_quantity(found[name]),
            p=found[name].p,
            p_holm=found[name].p,  # of one comparison; of several the family's are put in together
        )
        for name in HEADLINES[ours.problem]
        if name in found
    ]


def to_quantity(found: Difference) -> Quantity:
    """A difference with its interval, as files hold it."""
    return Quantity(value=found.difference, low=found.low, high=found.high, n=found.n)


def paired_rows(judged: Predictions) -> np.ndarray:
    """[n, 2] or [n, 3, labels]: what is true and what was said, so that answers can change places between models."""
    if judged.problem == MULTI:
        named = judged.predicted if judged.threshold is not None else np.full(judged.outputs.shape, np.nan)
        return np.stack([judged.truth, judged.outputs, named], axis=1)
    return np.stack([judged.truth, judged.predicted], axis=1)


def metrics_of_rows(rows: np.ndarray, like: Predictions, task: str) -> MetricSet:
    """The figures of rows that `rows_of` made, of a model like `like`."""
    if like.problem == MULTI:
        named = None if np.isnan(rows[:, 2]).any() else rows[:, 2] > 0
        return multi_label(rows[:, 0] > 0, rows[:, 1], named)
    if like.problem == SINGLE:
        truth, predicted = rows.astype(np.int64).T
        return single_label(truth, predicted, len(like.labels))
    return (tempo if task in TEMPO_TASKS else numbers)(*rows.T)


def family(compared: Sequence[Comparison]) -> list[Comparison]:
    """p-values by Holm, over all comparisons of one figure."""
    adjusted: dict[int, float] = {}
    for metric in {entry.metric for entry in compared}:
        mine = [index for index, entry in enumerate(compared) if entry.metric == metric]
        adjusted |= dict(zip(mine, holm([compared[index].p for index in mine]), strict=True))
    return [entry.model_copy(update={"p_holm": adjusted[index]}) for index, entry in enumerate(compared)]
