"""Training on the clips that estimates agree with, or on all with weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from builder.embedders.embedded_dataset import is_corpus
from builder.errors import RecipeError
from builder.estimators.select_clips import choose_clips
from builder.settings import TrainingSettings

from ..models.classifier import SINGLE
from .features import Features
from .subset import take_rows


def select_rows(features: Features, path: Path, settings: TrainingSettings) -> Features:
    """Keep the training rows that `settings.where` chooses, and weigh them as `settings.weight` says.

    Validation rows are not changed, so that models with and without it are validated alike.

    Args:
        features: Of the corpus.
        path: The corpus, which `synthmir annotate` has measured.
        settings: The training settings.

    Raises:
        RecipeError: The expression is not valid, chooses nothing or less than two clips of a label; the data are not
            a corpus; or `knn` is to have weights.
        DataError: The corpus has no estimates, or not of all its clips.
    """
    if settings.where is None and settings.weight is None:
        return features
    if not is_corpus(path):
        raise RecipeError(
            f"training.where, training.weight: {path} is not a corpus, and has no estimates", "remove it"
        )
    if settings.weight is not None and settings.head == "knn":
        raise RecipeError("training.weight: knn has no weights of rows", "remove it, or choose another training.head")
    choice = choose_clips(path, settings.where)
    rows = [place for place, identity in enumerate(features.train.ids) if identity in choice.kept]
    train = take_rows(features.train, torch.tensor(rows, dtype=torch.long))
    if features.problem_type == SINGLE:
        before = torch.bincount(features.train.labels, minlength=len(features.names)).tolist()
        after = torch.bincount(train.labels, minlength=len(features.names)).tolist()
        if min(after) < 2:
            counts = ", ".join(
                f"{n} of {count} {name}" for name, n, count in zip(features.names, after, before, strict=True) if n < 2
            )
            raise RecipeError(f"training.where: {settings.where!r} keeps too few clips: {counts}", "ask for less")
    elif len(train) < 2:
        raise RecipeError(
            f"training.where: {settings.where!r} keeps {len(train)} of {len(features.train):,} clips", "ask for less"
        )
    if settings.weight is not None:
        weights = torch.tensor([choice.weights[identity] for identity in train.ids])
        train = replace(train, weights=weights / weights.mean())
    return replace(features, train=train)
