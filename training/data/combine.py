"""The training rows of a strategy: from the target, or from source and target together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch

from builder.errors import DataError

from ..models.calibration import blend_statistics
from ..models.classifier import MULTI, SINGLE, compute_statistics
from ..optim.objectives import objective
from .features import Features, Split
from .target import Target

_log = logging.getLogger(__name__)


def require_labels(target: Target, source: Features, strategy: str) -> tuple[Split, Split]:
    """Return the labelled train and validation rows of a target.

    Args:
        target: The target.
        source: The features of the source, which name the task.
        strategy: The strategy that needs labels, for the error message.

    Returns:
        The train rows and the validation rows.

    Raises:
        DataError: There are none to train on, or none to validate on.
    """
    for part, split in (("train", target.train), ("validation", target.validation)):
        if split is None:
            column, name = target.record.get("label_column"), target.record.get("source")
            raise DataError(
                f"{name}: its {part} part has no row with a {source.task}, which {strategy} needs"
                + ("" if column else f" (there is no column {source.task!r} and none called 'label')"),
                "give real music with labels, or use the strategy adapt with coral, mmd or dann",
            )
    assert target.train is not None and target.validation is not None
    return target.train, target.validation


def align_source(source: Features, rows: torch.Tensor) -> Features:
    """Move and scale the source so that each dimension has the target's mean and standard deviation.

    Each domain is then standardised by its own statistics, without labels (Li et al. 2016, arXiv 1603.04779). The
    target's statistics are those of `rows`, blended with the source's as in a calibration; see `blend_statistics`.

    Args:
        source: The features of the source.
        rows: float32 [n, dim], the target's train part, labelled or not.

    Returns:
        The source's features with other embeddings, and with the target's statistics to standardise by.
    """
    mean, std = compute_statistics(source.train.embeddings)
    variance, average = torch.var_mean(rows.double(), dim=0, correction=0)
    target_mean, target_std = blend_statistics(mean, std, average, variance, len(rows))
    parts = {
        name: replace(split, embeddings=(split.embeddings - mean) / std * target_std + target_mean)
        for name, split in (("train", source.train), ("validation", source.validation))
    }
    return replace(source, **parts, statistics=(target_mean, target_std))  # type: ignore[arg-type]


def require_several_labels(source: Features, train: Split) -> None:
    """Raise DataError if all labelled rows of the target have the same label."""
    if source.problem_type != MULTI and len(labels := train.labels.unique()) < 2:
        value = repr(source.names[int(labels[0])]) if source.problem_type == SINGLE else f"{float(labels[0]):g}"
        raise DataError(
            f"target: every labelled row's {source.task} is {value}: there is nothing to learn",
            "give real music with more labels",
        )


def select_target(source: Features, train: Split, validation: Split) -> tuple[Features, dict[str, Any]]:
    """Make features of the target's rows. Labels that no train row has get no output.

    Args:
        source: The features of the source, which name the labels.
        train: The target's labelled train rows.
        validation: The target's labelled validation rows.

    Returns:
        The features, and for the training record the labels without rows and the number of validation rows left out.

    Raises:
        DataError: There is nothing to learn, or no validation row has a label that a train row has.
    """
    require_several_labels(source, train)
    names = source.names
    left_out = 0
    if source.problem_type == SINGLE:
        kept = train.labels.unique()
        known = torch.isin(validation.labels, kept)
        if left_out := int((~known).sum()):
            _log.warning("target: %d validation row(s) of labels that no train row has are left out", left_out)
            ids = tuple(id for id, keep in zip(validation.ids, known.tolist(), strict=True) if keep)
            validation = Split(ids, validation.embeddings[known], validation.labels[known])
        if not len(validation):
            raise DataError(
                "target: no validation row has a label that a train row has", "divide the target in another way"
            )
        names = tuple(names[i] for i in kept.tolist())
        parts = [replace(split, labels=torch.searchsorted(kept, split.labels)) for split in (train, validation)]
        train, validation = parts
    elif source.problem_type == MULTI:
        positive = train.labels.sum(dim=0)
        use = (positive > 0) & (positive < len(train))
        if not use.any():
            raise DataError(
                f"target: no {source.task} is in some train rows and not in others", "give more real music"
            )
        names = tuple(name for name, keep in zip(names, use.tolist(), strict=True) if keep)
        train, validation = (replace(split, labels=split.labels[:, use]) for split in (train, validation))
    if missing := [name for name in source.names if name not in names]:
        _log.warning("target: no row to learn %s %s from: the model will not know it", source.task, ", ".join(missing))
    features = replace(source, names=names, train=train, validation=validation, dropped={})
    return features, {"labels_without_rows": missing, "validation_left_out": left_out}


def join_target(source: Features, train: Split, validation: Split, mix: float | None, class_weights: bool) -> Features:
    """Join the train rows of source and target, validated on the target.

    Args:
        source: The features of the source.
        train: The target's labelled train rows.
        validation: The target's labelled validation rows.
        mix: The target's share of the loss, between 0 and 1; None gives all rows the same weight.
        class_weights: Whether rare labels weigh as much as frequent ones, which a `mix` takes into account.

    Returns:
        The features of the joined rows, the source's first, with row weights if there is a `mix`.
    """
    labels = torch.cat([source.train.labels, train.labels])
    joined = Split(source.train.ids + train.ids, torch.cat([source.train.embeddings, train.embeddings]), labels)
    features = replace(source, train=joined, validation=validation)
    if mix is None:
        return features
    n = len(source.train)
    each = objective(features, class_weights).weights(labels)
    weights = torch.empty(len(labels))
    weights[:n] = (1 - mix) * len(labels) / each[:n].sum()
    weights[n:] = mix * len(labels) / each[n:].sum()
    return replace(features, train=replace(joined, weights=weights))


@dataclass(frozen=True, slots=True)
class _TargetFeatures(Features):
    """Rows of a target with the source's labels, some of which may have no row."""

    def class_weights(self) -> torch.Tensor:
        """As of `Features`; a label without a row has the mean weight."""
        weights = Features.class_weights(self)
        return torch.where(weights.isfinite(), weights, 1.0)


def replace_rows(source: Features, train: Split, validation: Split) -> Features:
    """Make features of the target's rows for a classifier that has all of the source's labels.

    Args:
        source: The features of the source.
        train: The target's labelled train rows.
        validation: The target's labelled validation rows.

    Returns:
        The source's features with these rows.
    """
    fields = {name: getattr(source, name) for name in Features.__dataclass_fields__}
    return _TargetFeatures(**{**fields, "train": train, "validation": validation, "dropped": {}})
