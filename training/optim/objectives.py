"""The loss of each problem type: one label of several, any number of labels, or a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..metrics import compute, is_within, multi_label_metrics, number_metrics, single_label_metrics
from ..models.classifier import MULTI, REGRESSION, SINGLE

if TYPE_CHECKING:
    from ..data.features import Features


@dataclass(frozen=True, slots=True)
class Objective:
    """What a training minimises: the mean of the rows' losses, each row with a weight.

    `balance` is the weight of each label (one label of several) or of each label's presence beside its absence (any
    number of labels), None for none; `scale` is what errors are divided by (a number); `smoothing` the share of the
    target distribution that training spreads over all labels (one label of several).
    """

    problem: str
    balance: Tensor | None = None  # float32 [labels]
    scale: float = 1.0
    smoothing: float = 0.0

    def losses(self, logits: Tensor, labels: Tensor, *, training: bool = False) -> Tensor:
        """float32 [n]: each row's loss, before its weight. Labels are smoothed in training alone."""
        if self.problem == SINGLE:
            smoothing = self.smoothing if training else 0.0
            return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        if self.problem == MULTI:
            each = functional.binary_cross_entropy_with_logits(
                logits, labels, pos_weight=self.balance, reduction="none"
            )
            return each.mean(dim=1)
        return ((logits[:, 0] - labels) / self.scale).square()

    def weights(self, labels: Tensor, rows: Tensor | None = None) -> Tensor:
        """float32 [n]: each row's weight, from its label and from `rows`, the weights that the rows have already."""
        if self.problem == SINGLE and self.balance is not None:
            of_label = self.balance[labels]
            return of_label if rows is None else of_label * rows
        return torch.ones(len(labels), device=labels.device) if rows is None else rows


def objective(features: Features, balanced: bool, device: torch.device | str = "cpu") -> Objective:
    """Make the loss of a task from its training labels.

    Args:
        features: The data.
        balanced: Whether rare labels weigh as much as frequent ones. It has no effect on a regression.
        device: The device of the label weights.

    Returns:
        The loss. Of a regression it divides errors by the standard deviation of the training labels.
    """
    labels = features.train.labels
    if features.problem_type == REGRESSION:
        return Objective(REGRESSION, scale=float(labels.double().std(correction=0)))
    balance = features.class_weights().to(device) if balanced else None
    return Objective(features.problem_type, balance)


def scores(problem: str, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Compute the metrics of a task over all rows.

    Args:
        problem: The problem type.
        logits: float32 [n, labels].
        labels: The true labels, as in `Split`.

    Returns:
        The metrics by name.
    """
    if problem == SINGLE:
        return single_scores(logits, labels)
    return multi_scores(logits, labels) if problem == MULTI else number_scores(logits, labels)


def single_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and macro-F1 as `training.metrics` defines them: the mean is over the labels that some row has."""
    metrics = single_label_metrics(labels.cpu().numpy(), logits.argmax(dim=1).cpu().numpy(), logits.shape[1])
    values = compute(metrics, len(labels))
    return {name: float(values[name]) for name in ("accuracy", "macro_f1")}


def multi_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean average precision over the labels that some row has, and the best macro-F1 with its threshold."""
    probabilities, truth = logits.double().sigmoid().cpu().numpy(), labels.cpu().numpy() > 0.5
    there = truth.any(axis=0)
    if not there.any():
        return {"map": float("nan"), "macro_f1": float("nan"), "threshold": 0.5}
    precision = compute(multi_label_metrics(truth, probabilities), len(truth))["map"]
    threshold, f1 = best_threshold(probabilities[:, there], truth[:, there])
    return {"map": float(precision), "macro_f1": f1, "threshold": threshold}


def best_threshold(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The one threshold for all labels with the highest macro-F1, and that macro-F1.

    float64 [n, labels] and bool [n, labels], each label true somewhere; a label is named where its probability is at
    least the threshold, which lies half-way between two probabilities that occur. Exact: every one of them is tried.
    """
    order = np.argsort(-probabilities, axis=0, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=0)
    hits = np.cumsum(np.take_along_axis(truth, order, axis=0), axis=0)
    named = np.arange(1, len(truth) + 1)[:, None]
    f1 = 2 * hits / (named + hits[-1])  # of each label, if its first 1, 2, ... rows are named
    change = np.diff(f1, axis=0, prepend=0.0).ravel()
    flat = np.argsort(-falling.ravel(), kind="stable")
    values = falling.ravel()[flat]
    macro = np.cumsum(change[flat]) / truth.shape[1]
    ends = np.flatnonzero(np.append(values[1:] < values[:-1], True))  # equal probabilities are named together
    best = ends[macro[ends].argmax()]
    below = values[best + 1] if best + 1 < len(values) else 0.0
    middle = (values[best] + below) / 2
    return float(middle if middle > below else values[best]), float(macro[best])


def number_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean absolute error in the label's unit, and the share of rows that are within 4 % of the truth."""
    truth, estimate = labels.double().cpu().numpy(), logits[:, 0].double().cpu().numpy()
    mae = compute(number_metrics(truth, estimate), len(truth))["mae"]
    return {"mae": float(mae), "within_4_percent": float(is_within(truth, estimate).mean())}
