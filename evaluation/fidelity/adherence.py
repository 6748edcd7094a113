"""Prompt adherence: whether a linear probe predicts the genre that a clip's prompt has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..results import fidelity as results
from ..statistics.linear_probe import create_probe
from .intervals import share_with_interval
from .two_sample import FOLDS, assign_folds

PROBE_SAMPLE = 10_000  # labelled clips that a probe is trained on, at most
Probe = Literal["reference", "corpus"]  # what a probe was trained on


@dataclass(frozen=True, slots=True)
class ProbePredictions:
    """What a probe predicts for clips. Genres are indices into `names`."""

    names: list[str]
    prompted: np.ndarray  # int64 [n]
    predicted: np.ndarray  # int64 [n]
    probe_correct: int  # of the clips that the probe was trained on, each predicted when held out
    probe_n: int

    def is_correct(self) -> np.ndarray:
        """Return for which clips the prediction is the genre in the prompt, bool [n]."""
        return np.asarray(self.predicted == self.prompted)


def cross_validate(x: np.ndarray, labels: np.ndarray, groups: Sequence[str], seed: int = 0) -> np.ndarray | None:
    """Predict each row by a probe that is trained on the other folds.

    Args:
        x: [n, dim].
        labels: int64 [n].
        groups: Rows of one group are in the same fold.
        seed: Of the folds.

    Returns:
        int64 [n], or None if a fold would lack a label.
    """
    names = set(labels.tolist())
    groups_of = {name: [groups[row] for row in np.flatnonzero(labels == name).tolist()] for name in names}
    folds = min(FOLDS, *(len(set(own)) for own in groups_of.values())) if len(names) > 1 else 0
    if folds < 2:
        return None
    fold = np.empty(len(x), np.int64)
    for name, own in groups_of.items():  # for each label by itself, so that each fold has all labels
        fold[labels == name] = assign_folds(own, folds, seed)
    predicted = np.empty(len(x), np.int64)
    for held_out in range(folds):
        probe = create_probe(balanced=True).fit(x[fold != held_out], labels[fold != held_out])
        predicted[fold == held_out] = probe.predict(x[fold == held_out])
    return predicted


def predict_by_reference(
    x: np.ndarray, prompted: np.ndarray, y: np.ndarray, labels: np.ndarray, groups: Sequence[str], names: list[str]
) -> ProbePredictions | None:
    """Predict clips by a probe that is trained on real recordings.

    Args:
        x: Clips [n, dim].
        prompted: The genre in each clip's prompt, int64 [n].
        y: Recordings [m, dim].
        labels: The genre of each recording, int64 [m].
        groups: The group of each recording, such as its artist.
        names: The genres.

    Returns:
        None if no probe can be trained.
    """
    y, labels, groups = _sample(y, labels, groups)
    held_out = cross_validate(y, labels, groups)
    if held_out is None:
        return None
    predicted = create_probe(balanced=True).fit(y, labels).predict(x)
    return ProbePredictions(names, prompted, predicted, int((held_out == labels).sum()), len(y))


def predict_by_corpus(
    x: np.ndarray, prompted: np.ndarray, groups: Sequence[str], names: list[str]
) -> ProbePredictions | None:
    """Predict clips by probes that are trained on the corpus itself, with clips of a prompt in one fold.

    It measures whether genres differ, not whether they are right: a corpus whose "rock" is always jazz passes.

    Args:
        x: Clips [n, dim].
        prompted: The genre in each clip's prompt, int64 [n].
        groups: The prompt group of each clip.
        names: The genres.

    Returns:
        None if no probe can be trained.
    """
    x, prompted, groups = _sample(x, prompted, groups)
    predicted = cross_validate(x, prompted, groups)
    if predicted is None:
        return None
    return ProbePredictions(names, prompted, predicted, int((predicted == prompted).sum()), len(x))


def _sample(x: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """At most `PROBE_SAMPLE` rows, drawn at random."""
    if len(x) <= PROBE_SAMPLE:
        return x, labels, groups
    rows = np.sort(np.random.default_rng(0).choice(len(x), PROBE_SAMPLE, replace=False))
    return x[rows], labels[rows], [groups[row] for row in rows.tolist()]


def summarize_adherence(predictions: ProbePredictions, probe: Probe) -> results.Adherence:
    """Compute accuracy and confusion matrix.

    Args:
        predictions: What a probe predicts.
        probe: What it was trained on.
    """
    size = len(predictions.names)
    cells = np.bincount(predictions.prompted * size + predictions.predicted, minlength=size * size)
    return results.Adherence(
        probe=probe,
        accuracy=share_with_interval(int(predictions.is_correct().sum()), len(predictions.prompted)),
        probe_accuracy=share_with_interval(predictions.probe_correct, predictions.probe_n),
        labels=predictions.names,
        confusion_matrix=cells.reshape(size, size).tolist(),
    )
