"""Training on fewer clips, or on fewer clips of some labels, for learning curves and tests of imbalance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from builder.embedders.augment import CLEAN
from builder.errors import RecipeError
from builder.settings import TrainingSettings

from ..models.classifier import SINGLE
from .features import Features, Split


def draw_subset(features: Features, settings: TrainingSettings) -> Features:
    """Draw training rows: `settings.clips` at most, with an imbalance of `settings.imbalance` between labels.

    Rows are drawn with `settings.seed`, and each class of a single-label task keeps its share. With an imbalance of f
    the labels' counts fall geometrically from the largest to an f-th of it (Cui et al. 2019, "Class-Balanced Loss"),
    in an order drawn with the seed. Validation rows are not changed.

    Raises:
        RecipeError: More rows are asked for than there are, or a label would have none.
    """
    train = features.train
    if settings.clips is None and settings.imbalance == 1.0:
        return features
    if train.damages is None:
        return replace(features, train=take_rows(train, _draw_rows(features, settings)))
    clean = torch.tensor([row for row, damage in enumerate(train.damages) if damage == CLEAN])
    drawn = clean[_draw_rows(replace(features, train=take_rows(train, clean)), settings)]
    clips = {train.ids[row] for row in drawn.tolist()}  # their damaged copies come along
    rows = torch.tensor([row for row, clip in enumerate(train.ids) if clip in clips])
    return replace(features, train=take_rows(train, rows))


def _draw_rows(features: Features, settings: TrainingSettings) -> torch.Tensor:
    """The rows to train on, in the data's order."""
    train, clips = features.train, settings.clips
    if clips is not None and clips > len(train):
        raise RecipeError(
            f"training.clips: {clips:,}, but there are {len(train):,} training rows", f"ask for {len(train)} at most"
        )
    draw = torch.Generator().manual_seed(settings.seed)
    if features.problem_type != SINGLE:
        if settings.imbalance != 1.0:
            raise RecipeError("training.imbalance: needs a task with one label a clip", "remove it")
        chosen = torch.randperm(len(train), generator=draw)[:clips]
    else:
        wanted = _count_rows(features, settings, draw)
        rows = [torch.nonzero(train.labels == label).flatten() for label in range(len(wanted))]
        kept = [some[torch.randperm(len(some), generator=draw)[:n]] for some, n in zip(rows, wanted, strict=True)]
        chosen = torch.cat(kept)
    return chosen.sort().values


def _count_rows(features: Features, settings: TrainingSettings, draw: torch.Generator) -> list[int]:
    """How many rows of each label to train on."""
    there = torch.bincount(features.train.labels, minlength=len(features.names))
    steps = max(1, len(there) - 1)
    share = torch.empty(len(there), dtype=torch.float64)
    share[torch.randperm(len(there), generator=draw)] = torch.tensor(
        [settings.imbalance ** (-place / steps) for place in range(len(there))], dtype=torch.float64
    )
    if settings.imbalance == 1.0:
        share = there.double()  # as they are in the corpus
    scale = float((there / share).min())  # as many as the rarest allows
    if settings.clips is not None:
        scale = min(scale, settings.clips / float(share.sum()))
    counts = (share * scale + 1e-6).floor().long()
    if settings.clips is not None:
        spare = ((share * scale) - counts).argsort(descending=True)
        for label in spare[: max(0, round(float(share.sum() * scale)) - int(counts.sum()))]:
            counts[label] += 1
    if int(counts.min()) < 1:
        name = features.names[int(counts.argmin())]
        raise RecipeError(
            f"training.clips, training.imbalance: leave no row of {name!r}", "ask for more clips or less imbalance"
        )
    return [int(count) for count in counts]


def take_rows(split: Split, rows: torch.Tensor) -> Split:
    """The rows of a split with these numbers, int64 [n]."""
    ids: Sequence[str] = [split.ids[row] for row in rows.tolist()]
    weights = None if split.weights is None else split.weights[rows]
    damages = None if split.damages is None else tuple(split.damages[row] for row in rows.tolist())
    return Split(tuple(ids), split.embeddings[rows], split.labels[rows], weights, damages)
