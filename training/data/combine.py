"""The rows of a source and a target as one training reads them: labelled, together, alone, in the source's labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch

from builder.errors import DataError
from builder.settings import TrainingSettings

from ..models.classifier import MULTI, SINGLE
from ..optim.objectives import objective
from .features import Features, Split
from .target import Target

_log = logging.getLogger(__name__)


def learnt(target: Target, source: Features, strategy: str) -> tuple[Split, Split]:
    """The target's labelled rows. Raises DataError where there are none to learn from or to stop by."""
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


def two_labels(source: Features, train: Split) -> None:
    """Raise DataError where every labelled row of the target says the same."""
    if source.problem_type != MULTI and len(labels := train.labels.unique()) < 2:
        value = repr(source.names[int(labels[0])]) if source.problem_type == SINGLE else f"{float(labels[0]):g}"
        raise DataError(
            f"target: every labelled row's {source.task} is {value}: nothing to tell apart",
            "give real music with more labels",
        )


def alone(source: Features, train: Split, validation: Split) -> tuple[Features, dict[str, Any]]:
    """The target by itself: labels that none of its train rows has take no output, and are told."""
    two_labels(source, train)
    names = source.names
    lost = 0
    if source.problem_type == SINGLE:
        kept = train.labels.unique()
        there = torch.isin(validation.labels, kept)
        if lost := int((~there).sum()):
            _log.warning("target: %d validation row(s) of labels that no train row has are left out", lost)
            ids = tuple(id for id, keep in zip(validation.ids, there.tolist(), strict=True) if keep)
            validation = Split(ids, validation.embeddings[there], validation.labels[there])
        if not len(validation):
            raise DataError("target: no validation row has a label that a train row has", "divide it otherwise")
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
        _log.warning("target: nothing to learn of %s %s: the model will not know it", source.task, ", ".join(missing))
    features = replace(source, names=names, train=train, validation=validation, dropped={})
    return features, {"labels_without_rows": missing, "validation_left_out": lost}


def both(source: Features, train: Split, validation: Split, settings: TrainingSettings) -> Features:
    """Source and labelled target as one, stopped on the target; `mix` of the loss is the target's."""
    labels = torch.cat([source.train.labels, train.labels])
    together = Split(source.train.ids + train.ids, torch.cat([source.train.embeddings, train.embeddings]), labels)
    features = replace(source, train=together, validation=validation)
    if settings.mix is None:
        return features
    n = len(source.train)
    each = objective(features, settings.class_weights).weights(labels)
    weights = torch.empty(len(labels))
    weights[:n] = (1 - settings.mix) * len(labels) / each[:n].sum()
    weights[n:] = settings.mix * len(labels) / each[n:].sum()
    return replace(features, train=replace(together, weights=weights))


@dataclass(frozen=True, slots=True)
class _Real(Features):
    """Real rows told in the source's labels, some of which none of them may have."""

    def class_weights(self) -> torch.Tensor:
        """As ever; a label without a row weighs as much as one does on average."""
        weights = Features.class_weights(self)
        return torch.where(weights.isfinite(), weights, 1.0)


def retold(source: Features, train: Split, validation: Split) -> Features:
    """The target's rows for a classifier that knows all of the source's labels."""
    fields = {name: getattr(source, name) for name in Features.__dataclass_fields__}
    return _Real(**{**fields, "train": train, "validation": validation, "dropped": {}})
