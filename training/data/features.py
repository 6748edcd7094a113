"""Embeddings with labels -> tensors, and the weights that make labels equal."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from builder.embedders.augment import COLUMN
from builder.errors import DataError
from builder.io.storage import storage_errors, to_path
from builder.recipe import SplitSettings

from ..models.classifier import MULTI, REGRESSION, SINGLE
from .labels import Column, encode, problem_of
from .tables import MEND, SPLITS, Table, Tables, is_corpus, open_tables

LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
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
    """What a classifier learns from, and what it is judged on."""

    task: str
    embedder: str
    names: tuple[str, ...]  # the labels that the training split holds, in the data's order; of a regression, the task
    train: Split
    validation: Split
    dropped: dict[str, int]  # by split: rows without a label, which are in no tensor
    problem_type: str = SINGLE
    left_out: tuple[str, ...] = ()  # labels of a multi-label task that cannot be learnt: too rare, or everywhere
    division: dict[str, Any] | None = field(default=None)  # how one split was made two, None where the data says it

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.train.embeddings.shape[1]

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


def load_features(
    corpus: Path | str,
    embedder: str,
    task: str,
    *,
    label_column: str | None = None,
    embedding_column: str = "embedding",
    problem: str | None = None,
    split: SplitSettings | None = None,
) -> Features:
    """Read embeddings and the labels of `task` from a corpus folder, or from any data set on disk.

    A corpus has the config `embedder`; of another data set `embedder` is only the config's name where there are
    several. `label_column` is `task` where nothing else is said, and `problem` follows from its type. A data set
    without a validation split is divided as `split` says, by groups of rows where a column names them; its test split
    is not touched. Rows without a label are dropped, counted and logged.

    Raises DataError that names the row or column: nothing there, a file that is missing or damaged, a column that is
    missing, embeddings that are null, not finite, of another length or embedder, labels out of range, an empty split,
    a single label, a label with a single row, a label that only validation holds, a corpus's group on both sides of
    the split;
    RecipeError for a `problem` that the column does not pose.
    """
    column = label_column or task
    path = to_path(corpus)
    with storage_errors(path):
        tables = open_tables(path, embedder, column, embedding_column, split or SplitSettings())
        ours = is_corpus(path)
        _check_groups(tables, ours)
        problem = problem_of(tables.train.kind, column, problem)
        both = {"train": tables.train, "validation": tables.validation}
        names, columns = encode(problem, both, task)
        splits, dropped = {}, {}
        for name in SPLITS:
            splits[name], dropped[name] = _split(both[name], columns[name], task, embedding_column, ours)
    train, validation = (splits[name] for name in SPLITS)
    if (dim := train.embeddings.shape[1]) != (other := validation.embeddings.shape[1]):
        raise DataError(f"{corpus}: {embedder}: embeddings of train have {dim} numbers, of validation {other}")
    features = Features(task, embedder, tuple(names), train, validation, dropped, problem, division=tables.division)
    return _LEARNABLE[problem](features)


def _check_groups(tables: Tables, corpus: bool) -> None:
    """Clips of one description must not be learnt from and judged on; of others' data it is told."""
    if tables.division is not None or tables.group is None:
        return  # divided by group here, or there is none
    train, validation = tables.train.rows, tables.validation.rows
    groups = validation["group"]
    both = pc.is_in(groups, value_set=pc.unique(train["group"]), skip_nulls=True)
    if not corpus and (count := pc.sum(both).as_py()):
        _log.warning("%s: %d row(s) share their %s with train", tables.validation.where, count, tables.group)
    elif (row := pc.index(both, True).as_py()) >= 0:
        raise DataError(
            f"prompt_group {groups[row].as_py()!r} crosses the splits: {pc.sum(both).as_py()} clip(s) of validation, "
            f"{validation['id'][row].as_py()!r} the first, share a description with training",
            "build the corpus again: what is learnt from would be judged on",
        )


def _split(table: Table, column: Column, task: str, embedding: str, corpus: bool) -> tuple[Split, int]:
    """One split as tensors, and how many rows without a label were dropped."""
    picked = np.ones(len(table.rows), bool) if table.picked is None else table.picked
    kept = picked & column.kept
    if not kept.any():
        raise DataError(
            f"{table.where}: no row has a {task}" if picked.any() else f"{table.where}: the split is empty",
            "choose another training.task or build a larger corpus",
        )
    ids = table.rows["id"].to_pylist()
    mend = MEND if corpus else "embed it again, or take the row out of the data"
    embeddings = _embeddings(table, ids, kept, mend)
    if dropped := int(picked.sum() - kept.sum()):
        _log.warning("%s: dropped %d of %d rows that have no %s", table.where, dropped, picked.sum(), task)
    chosen = tuple(ids[i] for i in np.flatnonzero(kept))
    rows = Split(chosen, torch.from_numpy(embeddings), torch.from_numpy(column.values[kept]))
    if COLUMN in table.rows.column_names:
        damages = table.rows[COLUMN].to_pylist()
        rows = replace(rows, damages=tuple(damages[i] for i in np.flatnonzero(kept)))
    return rows, dropped


def _embeddings(table: Table, ids: list[str], kept: np.ndarray, mend: str) -> np.ndarray:
    """The embeddings of the rows that are kept, float32 [n, dim], read part by part into their place."""
    matrix = np.empty((0, 0), np.float32)
    start = filled = 0
    for part in table.vectors():
        if not (any(is_kind(part.type) for is_kind in LISTS) or isinstance(part.type, pa.ExtensionType)):
            raise DataError(f"{table.where}: the column of embeddings holds {part.type}, not lists of numbers")
        part = part.storage if isinstance(part, pa.ExtensionArray) else part
        lengths = pc.fill_null(pc.list_value_length(part), 0).to_numpy(zero_copy_only=False)
        if start == 0:
            matrix = np.empty((kept.sum(), lengths[0] if len(lengths) else 0), np.float32)
        dim = matrix.shape[1]
        if (odd := np.flatnonzero((lengths != dim) | (lengths == 0))).size:
            odd_one, length = ids[start + odd[0]], lengths[odd[0]]
            raise DataError(
                f"{table.where}: embedding of {odd_one!r} has {length} numbers, that of {ids[0]!r} has {dim}", mend
            )
        try:
            values = part.flatten().to_numpy(zero_copy_only=False).reshape(len(part), dim)
            chosen = values[kept[start : start + len(part)]]
            rows = matrix[filled : filled + len(chosen)]
            rows[:] = chosen
        except (ValueError, TypeError) as error:
            raise DataError(f"{table.where}: the column of embeddings holds {part.type}, not numbers") from error
        if (bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))).size:
            row = np.flatnonzero(kept[start : start + len(part)])[bad[0]]
            raise DataError(
                f"{table.where}: embedding of {ids[start + row]!r} holds numbers that are not finite", mend
            )
        start, filled = start + len(part), filled + len(chosen)
    return matrix


def _one_of_several(features: Features) -> Features:
    """Renumber the labels so that those which training never sees take no output."""
    names, train, validation, task = features.names, features.train, features.validation, features.task
    kept, counts = torch.unique(train.labels, return_counts=True)
    if len(kept) < 2:
        raise DataError(
            f"train: every row's {task} is {names[int(kept[0])]!r}: there is nothing to tell apart",
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


def _any_number(features: Features) -> Features:
    """Leave out labels that fewer than two training rows have, or all of them, and say so."""
    names, train, validation, task = features.names, features.train, features.validation, features.task
    positive = train.labels.sum(dim=0)
    kept = (positive >= 2) & (positive < len(train))
    if not kept.any():
        raise DataError(
            f"train: no {task} is in some rows and not in others: there is nothing to tell apart",
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


def _a_number(features: Features) -> Features:
    if (values := features.train.labels).min() == values.max():
        raise DataError(
            f"train: every row's {features.task} is {float(values[0]):g}: there is nothing to tell apart",
            "choose another training.task or build a corpus with more of it",
        )
    return features


_LEARNABLE = {SINGLE: _one_of_several, MULTI: _any_number, REGRESSION: _a_number}
