"""Embeddings with labels -> tensors, and the weights that make labels equal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.embedders.augment import COLUMN as DAMAGE
from builder.embedders.embedded_dataset import (
    EMBEDDING,
    EmbeddedDataset,
    LabelColumn,
    Rows,
    filter_rows,
    open_dataset,
)
from builder.errors import DataError
from builder.io.storage import storage_errors, to_path
from builder.names import find_group_column
from builder.settings import SplitSettings

from ..models.classifier import MULTI, REGRESSION, SINGLE, compute_statistics
from .labels import EncodedLabels, choose_problem, encode_labels
from .splits import SourceSplits, split_source

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split, in the data's order."""

    ids: tuple[str, ...]
    embeddings: torch.Tensor  # float32 [n, dim]
    labels: torch.Tensor  # int64 [n], positions in `Features.names`; or float32 [n, labels], 0 or 1; or float32 [n]
    weights: torch.Tensor | None = None  # float32 [n], of the rows; None: all the same
    damages: tuple[str, ...] | None = None  # what each row's audio went through, "" for clean; None: all are clean

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Features:
    """The data that a classifier is trained and validated on."""

    task: str
    embedder: str
    names: tuple[str, ...]  # the labels that the training split holds, in the data's order; of a regression, the task
    train: Split
    validation: Split
    dropped: dict[str, int]  # by split: rows without a label, which are in no tensor
    problem_type: str = SINGLE
    left_out: tuple[str, ...] = ()  # labels of a multi-label task that cannot be learnt: too rare, or everywhere
    division: dict[str, Any] | None = field(default=None)  # how one split was made two, None where the data says it
    statistics: tuple[torch.Tensor, torch.Tensor] | None = None  # mean and deviation to standardise by, float32 [dim]

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.train.embeddings.shape[1]

    @property
    def standardisation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation to standardise by, float32 [dim]: `statistics`, else those of the train rows."""
        return compute_statistics(self.train.embeddings) if self.statistics is None else self.statistics

    def class_weights(self) -> torch.Tensor:
        """float32 [labels], from the training labels.

        One label of several: n / (labels * n_label), so that each label weighs the same (scikit-learn's "balanced").
        Any number of them: rows without a label over rows with it, so that its presence weighs as its absence does.
        """
        if self.problem_type == MULTI:
            positive = self.train.labels.sum(dim=0)
            return (len(self.train) - positive) / positive
        counts = torch.bincount(self.train.labels, minlength=len(self.names))
        return len(self.train) / (len(self.names) * counts.float())


@dataclass(frozen=True, slots=True)
class ValidationRows:
    """The validation rows of a data set with the classes of its label column, read without the training rows."""

    rows: Split  # labels are positions in `names`
    names: tuple[str, ...]  # of a regression, the task
    problem_type: str
    dropped: int  # rows without a label


def load_features(
    corpus: Path | str,
    embedder: str,
    task: str,
    *,
    label_column: str | None = None,
    embedding_column: str = EMBEDDING,
    problem: str | None = None,
    split: SplitSettings | None = None,
) -> Features:
    """Read embeddings and the labels of `task` from a corpus folder, or from any data set on disk.

    Rows without a label are dropped, counted and logged. A data set without a validation split is divided by groups
    of rows where a column names them; its test split is not touched.

    Args:
        corpus: See `builder.embedders.embedded_dataset.open_dataset`.
        embedder: The embedder's name: of a corpus, its config; of another data set, the config where it has several.
        task: What is to be learnt.
        label_column: The column of labels, by default `task`.
        embedding_column: The column of embeddings.
        problem: The problem type, by default the one that the column of labels poses.
        split: How a data set without a validation split is divided.

    Raises:
        DataError: There is nothing, a file is missing or damaged, a column is missing, embeddings are null, not finite
            or of another length or embedder, labels are out of range, a split is empty, there is a single label, a
            label has a single row or only validation rows, or a corpus's group is on both sides of the split.
        RecipeError: The column does not pose `problem`.
    """
    column, path = label_column or task, to_path(corpus)
    with storage_errors(path):
        splits = _open_splits(path, embedder, column, embedding_column, split)
        dataset, rows = splits.dataset, {"train": splits.train, "validation": splits.validation}
        if splits.division is None:
            _check_groups(splits, column)
        columns = {name: dataset.labels(column, part) for name, part in rows.items()}
        problem = choose_problem(columns["train"].kind, column, problem)
        names, labels = encode_labels(problem, columns, task)
        read, dropped = {}, {}
        for name, part in rows.items():
            read[name], dropped[name] = _read_split(dataset, part, columns[name], labels[name], task, embedding_column)
    if (dim := read["train"].embeddings.shape[1]) != (other := read["validation"].embeddings.shape[1]):
        raise DataError(
            f"{corpus}: {embedder}: embeddings of train have {dim} numbers, of validation {other}",
            "embed it again with one embedder",
        )
    features = Features(
        task, embedder, tuple(names), read["train"], read["validation"], dropped, problem, division=splits.division
    )
    return _LEARNABLE[problem](features)


def load_validation(
    corpus: Path | str,
    embedder: str,
    task: str,
    *,
    known: Sequence[str] = (),
    label_column: str | None = None,
    embedding_column: str = EMBEDDING,
    problem: str | None = None,
    split: SplitSettings | None = None,
) -> ValidationRows:
    """Read the rows that `load_features` calls validation, and of the training rows nothing.

    Only where one split has to be divided are the labels and groups of all its rows read.

    Args:
        corpus: As `load_features` takes it, and so are the others.
        embedder: See `load_features`.
        task: See `load_features`.
        known: Classes that a column of strings may hold beside those that are in the validation rows.
        label_column: See `load_features`.
        embedding_column: See `load_features`.
        problem: See `load_features`.
        split: See `load_features`.

    Raises:
        DataError: See `load_features`.
        RecipeError: The column does not pose `problem`.
    """
    column, path = label_column or task, to_path(corpus)
    with storage_errors(path):
        splits = _open_splits(path, embedder, column, embedding_column, split)
        labels = splits.dataset.labels(column, splits.validation)
        problem = choose_problem(labels.kind, column, problem)
        names, encoded = encode_labels(problem, {"validation": labels}, task, known)
        rows, dropped = _read_split(
            splits.dataset, splits.validation, labels, encoded["validation"], task, embedding_column
        )
    return ValidationRows(rows, tuple(names), problem, dropped)


def _open_splits(
    path: Path, embedder: str, column: str, embedding_column: str, split: SplitSettings | None
) -> SourceSplits:
    """The train and validation rows of a data set that has this column of labels, and embeddings."""
    dataset = open_dataset(path, embedder)
    dataset.require([column])
    dataset.require_embeddings(embedding_column)
    return split_source(dataset, column, split or SplitSettings())


def _check_groups(splits: SourceSplits, label: str) -> None:
    """Raise DataError where clips of one description are on both sides; of other data sets log it."""
    dataset = splits.dataset
    if (column := find_group_column(dataset.columns, but=label)) is None:
        return
    train, groups = set(dataset.groups(splits.train, but=label)), dataset.groups(splits.validation, but=label)
    shared = [row for row, group in enumerate(groups) if group is not None and group in train]
    if not shared:
        return
    if dataset.corpus is None:
        _log.warning("%s: %d row(s) share their %s with train", dataset.where(splits.validation), len(shared), column)
        return
    identity = dataset.ids(splits.validation)[shared[0]]
    raise DataError(
        f"prompt_group {groups[shared[0]]!r} crosses the splits: {len(shared)} clip(s) of validation, "
        f"{identity!r} the first, share a description with training",
        "build the corpus again: a validation clip must not share its description with a training clip",
    )


def _read_split(
    dataset: EmbeddedDataset, rows: Rows, column: LabelColumn, labels: EncodedLabels, task: str, embedding: str
) -> tuple[Split, int]:
    """One split as tensors, and how many rows without a label were dropped."""
    kept = labels.labelled
    if not kept.any():
        raise DataError(
            f"{column.where}: no row has a {task}" if len(kept) else f"{column.where}: the split is empty",
            "choose another training.task or build a larger corpus",
        )
    if dropped := int((~kept).sum()):
        _log.warning("%s: dropped %d of %d rows that have no %s", column.where, dropped, len(kept), task)
    chosen = filter_rows(rows, kept)
    embeddings = dataset.embeddings(chosen, column=embedding)
    damages = None
    if dataset.corpus is not None and DAMAGE in dataset.columns:
        damages = tuple(dataset.read([DAMAGE], chosen)[DAMAGE].to_pylist())
    ids = tuple(column.ids[row] for row in np.flatnonzero(kept))
    return Split(ids, torch.from_numpy(embeddings), torch.from_numpy(labels.values[kept]), damages=damages), dropped


def _check_classes(features: Features) -> Features:
    """Renumber the labels so that those which training never sees take no output."""
    names, train, validation, task = features.names, features.train, features.validation, features.task
    kept, counts = torch.unique(train.labels, return_counts=True)
    if len(kept) < 2:
        raise DataError(
            f"train: every row's {task} is {names[int(kept[0])]!r}: there is nothing to learn",
            "choose another training.task, or put corpora of several recipes together: datasets.concatenate_datasets",
        )
    if (alone := counts == 1).any():
        label = int(kept[alone][0])
        row = int((train.labels == label).int().argmax())
        others = f", and so have {more} other labels" if (more := int(alone.sum()) - 1) else ""
        raise DataError(
            f"train: {task} {names[label]!r} has a single row, {train.ids[row]!r}{others}: nothing can be learnt "
            "from it",
            "build a larger corpus, or take the row out of the data",
        )
    if (unseen := ~torch.isin(validation.labels, kept)).any():
        row = int(unseen.int().argmax())
        raise DataError(
            f"validation: {task} {names[int(validation.labels[row])]!r} of {validation.ids[row]!r} is not in train",
            "build a larger corpus, or choose another split.seed",
        )
    parts = [replace(split, labels=torch.searchsorted(kept, split.labels)) for split in (train, validation)]
    return replace(features, names=tuple(names[i] for i in kept.tolist()), train=parts[0], validation=parts[1])


def _check_tags(features: Features) -> Features:
    """Leave out labels that fewer than two training rows have, or all of them, and say so."""
    names, train, validation, task = features.names, features.train, features.validation, features.task
    positive = train.labels.sum(dim=0)
    kept = (positive >= 2) & (positive < len(train))
    if not kept.any():
        raise DataError(
            f"train: no {task} is in some rows and not in others: there is nothing to learn",
            "choose another training.task or build a larger corpus",
        )
    used = tuple(name for name, keep in zip(names, kept.tolist(), strict=True) if keep)
    there = positive + validation.labels.sum(dim=0) > 0  # a declared label that nothing has is no loss
    out = tuple(name for name, lost in zip(names, (there & ~kept).tolist(), strict=True) if lost)
    if out:
        _log.warning("train: %d of %s left out, in fewer than 2 rows or in all: %s", len(out), task, ", ".join(out))
    parts = [replace(split, labels=split.labels[:, kept].contiguous()) for split in (train, validation)]
    if not parts[1].labels.any():
        raise DataError(f"validation: no row has any of the {len(used)} {task} that training knows")
    return replace(features, names=used, train=parts[0], validation=parts[1], left_out=out)


def _check_numbers(features: Features) -> Features:
    if (values := features.train.labels).min() == values.max():
        raise DataError(
            f"train: every row's {features.task} is {float(values[0]):g}: there is nothing to learn",
            "choose another training.task or build a corpus with more of it",
        )
    return features


_LEARNABLE = {SINGLE: _check_classes, MULTI: _check_tags, REGRESSION: _check_numbers}
