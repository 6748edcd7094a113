"""Heads without epochs: logistic regression and k nearest neighbours, stored as the same classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from builder.errors import DataError, RecipeError
from builder.settings import TrainingSettings

from ..data.features import Features
from ..optim.objectives import Objective, objective, scores
from ..optim.outcome import Epoch, Fit
from .classifier import MULTI, REGRESSION, SINGLE, Neighbours, SynthmirClassifier, SynthmirConfig

STRENGTHS = tuple(10.0**power for power in range(-5, 2))  # C, the inverse of the penalty, from strong to weak
ITERATIONS, TOLERANCE = 300, 1e-5
AT_ONCE = 4096  # rows


def fit_logistic(config: SynthmirConfig, features: Features, settings: TrainingSettings) -> Fit:
    """Fit scikit-learn's logistic regression on standardised embeddings, its C chosen by the loss on validation.

    With any number of labels it is one regression for each, all with one C. It is stored as a linear layer.

    Args:
        config: The classifier's config. Its hidden layers are removed.
        features: The training and validation rows.
        settings: The training settings. `class_weights` is whether rare labels weigh as much as frequent ones.

    Returns:
        The classifier with the best C, and the loss and the metrics of each C in `search`.

    Raises:
        RecipeError: The task is a regression.
    """
    if features.problem_type == REGRESSION:
        raise RecipeError(
            f"training.head: logistic is for labels, and {features.task} is a number", "training.head: linear"
        )
    config.hidden = ()
    model = SynthmirClassifier(config)
    model.standardise_by(features.standardisation)
    x = model.represent(features.train.embeddings).detach().numpy()
    goal = objective(features, settings.class_weights)
    weight = goal.weights(features.train.labels, features.train.weights).numpy()
    solvers = _solvers(features, settings)
    search: list[Epoch] = []
    best: Epoch = {"validation_loss": float("inf")}
    state: dict[str, torch.Tensor] = {}
    for strength in STRENGTHS:  # each starts from where the last one ended
        rows = [_solve(solver, truth, strength, x, weight, settings) for solver, truth in solvers]
        coefficients, intercepts = (torch.from_numpy(np.concatenate(part)).float() for part in zip(*rows, strict=True))
        model.output.load_state_dict({"weight": coefficients, "bias": intercepts})
        point = {"C": strength, **validate_head(model, features, goal)}
        search.append(point)
        if point["validation_loss"] < best["validation_loss"]:
            best, state = point, {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(state)
    model.config.threshold = best.get("threshold")
    return Fit(model.eval(), [], best, stopped_early=False, search=search)


def _solvers(features: Features, settings: TrainingSettings) -> list[tuple[Any, np.ndarray]]:
    """One regression over all labels, or one a label, each with its targets."""
    from sklearn.linear_model import LogisticRegression

    def fresh() -> Any:
        return LogisticRegression(max_iter=ITERATIONS, warm_start=True, tol=TOLERANCE)

    labels = features.train.labels.numpy()
    if features.problem_type == MULTI:
        return [(fresh(), labels[:, index] > 0.5) for index in range(labels.shape[1])]
    return [(fresh(), labels)]


def _solve(
    solver: Any, truth: np.ndarray, strength: float, x: np.ndarray, weight: np.ndarray, settings: TrainingSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [outputs, dim] and intercepts [outputs]; two labels are two outputs of opposite sign."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    if truth.dtype == bool and settings.class_weights:  # presence weighs as absence does
        weight = weight * np.where(truth, (~truth).sum() / truth.sum(), 1.0)
    solver.C = strength
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty has no need of the last digit
        solver.fit(x, truth, sample_weight=weight)
    if len(solver.coef_) == 1 and truth.dtype != bool:
        return np.concatenate([-solver.coef_, solver.coef_]) / 2, np.concatenate(
            [-solver.intercept_, solver.intercept_]
        ) / 2
    return solver.coef_, solver.intercept_


def fit_neighbours(config: SynthmirConfig, features: Features, settings: TrainingSettings) -> Fit:
    """Make a classifier of the k nearest neighbours by cosine: the standardised training embeddings are the model.

    Args:
        config: The classifier's config. Its hidden layers are removed, and it gets the numbers of examples and
            neighbours.
        features: The training and validation rows.
        settings: The training settings. `neighbors` is k.

    Returns:
        The classifier, with the loss and the metrics on validation.

    Raises:
        DataError: There are fewer training rows than neighbours.
    """
    rows = len(features.train)
    if settings.neighbors > rows:
        raise DataError(
            f"training.neighbors: {settings.neighbors} of {rows} training rows", f"training.neighbors: {rows} at most"
        )
    config.hidden, config.examples, config.neighbors = (), rows, settings.neighbors
    model = SynthmirClassifier(config)
    model.standardise_by(features.standardisation, features.train.labels)
    assert isinstance(model.output, Neighbours)
    for start in range(0, rows, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        labels = features.train.labels[part]
        if features.problem_type == SINGLE:
            votes = torch.nn.functional.one_hot(labels, len(features.names)).float()
        else:
            votes = (
                labels if features.problem_type == MULTI else (labels[:, None] - model.label_mean) / model.label_std
            )
        model.output.store(start, model.represent(features.train.embeddings[part]).detach(), votes)
    best: Epoch = {"neighbors": settings.neighbors, **validate_head(model, features, objective(features, False))}
    model.config.threshold = best.get("threshold")
    return Fit(model.eval(), [], best, stopped_early=False, search=[best])


@torch.inference_mode()
def validate_head(model: SynthmirClassifier, features: Features, goal: Objective) -> dict[str, float]:
    """Compute the loss and the metrics on the validation rows.

    Args:
        model: The classifier.
        features: The data. Only the validation rows are used.
        goal: The loss and the weights of the rows.

    Returns:
        "validation_loss", and the metrics of the task by name.
    """
    rows = features.validation
    logits = torch.cat([model(part).logits for part in rows.embeddings.split(AT_ONCE)])
    weights = goal.weights(rows.labels, rows.weights)
    loss = (goal.losses(logits, rows.labels) * weights).sum() / weights.sum()
    return {"validation_loss": float(loss), **scores(goal.problem, logits, rows.labels)}


HEADS: dict[str, Callable[[SynthmirConfig, Features, TrainingSettings], Fit]] = {
    "logistic": fit_logistic,
    "knn": fit_neighbours,
}
