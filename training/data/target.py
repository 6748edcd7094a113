"""Real music to learn from or to be drawn to: the train and validation parts of a target, in the source's labels."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.corpus.corpus import embed_record
from builder.embedders.embedded_dataset import EMBEDDING, EmbeddedDataset, LabelColumn, Rows, open_dataset
from builder.errors import DataError, RecipeError
from builder.io.safe_files import read_json
from builder.names import format_count, normalize_label

from ..models.classifier import MULTI, REGRESSION, SINGLE
from .features import Features, Split
from .labels import choose_problem, encode_labels
from .splits import split_target

LABEL_COLUMNS = ("label", "labels")  # looked for where there is no column of the task's name
FOREIGN = -2  # the code of a label that the source lacks; that of a missing label is -1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """What training may see of real music. Of its test part there are only the ids, in `record`."""

    train: Split | None  # labelled rows; None where there is none
    unlabelled: torch.Tensor  # float32 [m, dim], rows of its train part without a label
    validation: Split | None  # labelled rows
    record: dict[str, Any]  # source, division, rows and labels of each part, what was dropped, test ids

    @property
    def embeddings(self) -> torch.Tensor:
        """float32 [n + m, dim]: all of its train part, labelled rows first."""
        return self.unlabelled if self.train is None else torch.cat([self.train.embeddings, self.unlabelled])


@dataclass(frozen=True, slots=True)
class TargetLabels:
    """The labels of some rows as the source's classes."""

    values: np.ndarray  # int64 [n] | float32 [n, labels] | float32 [n]
    known: np.ndarray  # bool [n]: the row has a label that the source knows
    foreign: np.ndarray  # bool [n]: all it has is a label that the source lacks
    dropped: Counter[str]  # labels that the source lacks -> rows


def load_target(
    path: Path | str,
    source: Features,
    embedder: dict[str, Any] | None = None,
    *,
    label: str | None = None,
    embedding: str = EMBEDDING,
) -> Target:
    """Read the train and validation parts of a target.

    Labels are matched with the source's by name, whatever their case, spaces, hyphens and underscores. Rows whose
    label the source lacks are dropped and counted.

    Args:
        path: A corpus folder, what `synthmir embed --out` wrote, or a data set on disk.
        source: What the target is used with: its task, classes and embedder.
        embedder: What made the source's embeddings, so that those of another embedder are refused.
        label: The column of labels; by default the one of the task's name, or one called "label" or "labels".
        embedding: The column of embeddings.

    Raises:
        DataError: It names the path, and the row or the column.
    """
    dataset = open_dataset(Path(path).expanduser(), source.embedder)
    if not len(dataset):
        raise DataError(f"{path}: holds no rows with embeddings", "embed real music: synthmir embed SOURCE --out DIR")
    _check_embedder(Path(path), source.embedder, embedder or {})
    vectors, column = dataset.find_embeddings(embedding), find_label_column(dataset, label, source.task)
    splits = split_target(dataset)
    record: dict[str, Any] = {
        "source": Path(path).name,
        "division": splits.how,
        "label_column": column,
        "group_column": splits.group_column,
        "groups": splits.groups,
        "rows_without_group": splits.rows_without_group,
        "shared_groups": splits.shared_groups,  # in more than one part
        "rows": {"train": len(splits.train_ids), "validation": len(splits.validation_ids),
                 "test": len(splits.test_ids)},
        "labelled": {},
        "dropped": {},
        "test_ids": list(splits.test_ids) if splits.made_here else None,
    }  # fmt: skip
    if splits.shared_groups:
        _log.warning("%s: %d %s(s) are in more than one part", path, splits.shared_groups, splits.group_column)
    if splits.rows_without_group:
        alone = format_count(splits.rows_without_group, "row")
        _log.warning("%s: %s without %s: each counts as a group of its own", path, alone, splits.group_column)
    labelled: dict[str, Split | None] = {}
    unlabelled: dict[str, torch.Tensor] = {}
    for part, rows, ids in (
        ("train", splits.train, splits.train_ids),
        ("validation", splits.validation, splits.validation_ids),
    ):
        x = read_target_embeddings(dataset, rows, vectors, source.dim)
        labels = _no_labels(len(ids))
        if column:
            labels = match_labels(dataset.labels(column, rows), source)
            _check_known(f"{path}: {part}", labels, column, source)
        labelled[part] = _select_labelled(x, labels, ids)
        unlabelled[part] = torch.from_numpy(x[~labels.known & ~labels.foreign])
        record["labelled"][part] = count_labels(labelled[part], source)
        record["dropped"][part] = dict(labels.dropped)
    for name, count in (Counter(record["dropped"]["train"]) + Counter(record["dropped"]["validation"])).items():
        _log.warning("%s: left out %d row(s) of %s %r, which the source lacks", path, count, source.task, name)
    record["unlabelled"] = len(unlabelled["train"])
    return Target(labelled["train"], unlabelled["train"], labelled["validation"], record)


def read_target_embeddings(dataset: EmbeddedDataset, rows: Rows, column: str, dim: int) -> np.ndarray:
    """Read the embeddings of a target.

    Args:
        dataset: The target.
        rows: Row numbers by split.
        column: The column of embeddings.
        dim: The length of the source's embeddings.

    Returns:
        float32 [rows, dim], all finite.

    Raises:
        DataError: The embeddings have another length than the source's, or cannot be read.
    """
    fix = "embed source and target with the same embedder: synthmir embed SOURCE --embedder NAME --out DIR"
    return dataset.embeddings(rows, column=column, dim=dim, fix=fix)


def take_shots(target: Target, shots: int, names: tuple[str, ...], seed: int) -> Target:
    """Keep some labelled rows of each class, drawn from the train part; the other rows lose their labels.

    A class with fewer rows keeps all of them, which is recorded and logged.

    Args:
        target: The target. One without labelled train rows is returned unchanged.
        shots: The number of rows of each class.
        names: The classes, in the order of the labels.
        seed: Of the random draw.

    Returns:
        The target with the drawn rows as its train part, and with the others among its unlabelled rows.

    Raises:
        RecipeError: The task does not give each row exactly one class.
    """
    train = target.train
    if train is None:
        return target
    if train.labels.dtype != torch.int64:
        raise RecipeError(
            "training.shots: counts the rows of each class, and in this task a row has no single class",
            "leave shots out",
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    drawn = [order[train.labels[order] == label][:shots] for label in range(len(names))]
    chosen = torch.cat(drawn).sort().values
    rest = torch.ones(len(train), dtype=torch.bool)
    rest[chosen] = False
    fewer = {name: len(rows) for name, rows in zip(names, drawn, strict=True) if 0 < len(rows) < shots}
    for name, count in fewer.items():
        _log.warning("%s: %d shots of %r were asked for, there are %d", target.record["source"], shots, name, count)
    few = Split(tuple(train.ids[i] for i in chosen.tolist()), train.embeddings[chosen], train.labels[chosen])
    record = {
        **target.record,
        "labelled": {**target.record["labelled"], "train": {n: len(r) for n, r in zip(names, drawn, strict=True)}},
        "shots": {"asked": shots, "fewer": fewer, "ids": list(few.ids)},
        "unlabelled": target.record["unlabelled"] + int(rest.sum()),
    }
    return replace(target, train=few, unlabelled=torch.cat([target.unlabelled, train.embeddings[rest]]), record=record)


def find_label_column(dataset: EmbeddedDataset, named: str | None, task: str) -> str | None:
    """Find the column of labels.

    Args:
        dataset: The data set.
        named: The column that the settings name, which is tried first.
        task: The task, whose name is tried next; then "label" and "labels".

    Returns:
        The first of these columns that the data set has, or None.
    """
    return next((name for name in (named, task, *LABEL_COLUMNS) if name in dataset.columns), None)


def match_labels(column: LabelColumn, source: Features) -> TargetLabels:
    """Encode a column of labels as the source's classes. Raises DataError and RecipeError."""
    problem = choose_problem(column.kind, source.task, source.problem_type)
    names, encoded = encode_labels(problem, {"": column}, source.task)
    values, labelled = encoded[""].values, encoded[""].labelled
    if problem == REGRESSION:
        nothing = np.zeros(len(column), bool)
        return TargetLabels(np.where(labelled, values, np.float32(0)), labelled, nothing, Counter())
    position = {normalize_label(name): at for at, name in reversed(list(enumerate(source.names)))}
    places = np.array([*(position.get(normalize_label(name), FOREIGN) for name in names), FOREIGN])  # and none
    if problem == SINGLE:
        counts = Counter(values[labelled & (places[values] == FOREIGN)].tolist())
        codes = np.where(labelled, places[values], -1)
        return TargetLabels(codes, codes >= 0, codes == FOREIGN, Counter({names[at]: n for at, n in counts.items()}))
    marks = np.zeros((len(column), len(source.names)), np.float32)
    for at, place in enumerate(places[:-1]):
        if place >= 0:
            marks[:, place] = np.maximum(marks[:, place], values[:, at])
    foreign = labelled & values.any(axis=1) & ~marks.any(axis=1)
    lost = {
        names[at]: int(values[:, at].sum()) for at in np.flatnonzero(places[:-1] == FOREIGN) if values[:, at].any()
    }
    return TargetLabels(marks, labelled & ~foreign, foreign, Counter(lost))


def _no_labels(rows: int) -> TargetLabels:
    return TargetLabels(np.full(rows, -1), np.zeros(rows, bool), np.zeros(rows, bool), Counter())


def _check_known(where: str, labels: TargetLabels, column: str, source: Features) -> None:
    """Raise DataError where there are labels, and the source knows none of them."""
    if labels.foreign.any() and not labels.known.any():
        raise DataError(
            f"{where}: no label of column {column!r} is the source's (found: {', '.join(sorted(labels.dropped)[:8])}; "
            f"the source's {source.task}: {', '.join(source.names[:8])})",
            "rename the labels of one of them",
        )


def _select_labelled(vectors: np.ndarray, labels: TargetLabels, ids: tuple[str, ...]) -> Split | None:
    """The rows with a label that the source knows."""
    if not labels.known.any():
        return None
    kept = tuple(id for id, known in zip(ids, labels.known, strict=True) if known)
    return Split(kept, torch.from_numpy(vectors[labels.known]), torch.from_numpy(labels.values[labels.known]))


def count_labels(split: Split | None, source: Features) -> dict[str, int]:
    """Rows of each label, of a regression the rows in all."""
    if source.problem_type == REGRESSION:
        return {source.task: 0 if split is None else len(split)}
    if split is None:
        return dict.fromkeys(source.names, 0)
    many = source.problem_type == MULTI
    counts = split.labels.sum(0) if many else torch.bincount(split.labels, minlength=len(source.names))
    return dict(zip(source.names, (int(count) for count in counts), strict=True))


def _check_embedder(path: Path, name: str, made: dict[str, Any]) -> None:
    """Raise DataError where the target's own record says that another embedder, or revision, made it."""
    for file in (path / embed_record(name), path / "records/embed.json"):
        if not file.is_file():
            continue
        try:
            found = read_json(file).get("details", {}).get("embedder", {})
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{file}: not a run record: {error}", "embed it again") from error
        for key, expected in (("name", made.get("name") or name), ("revision", made.get("revision"))):
            if expected and found.get(key) and str(found[key]) != str(expected):
                raise DataError(
                    f"{path}: its embeddings are of {found.get('name')} of revision {found.get('revision')}, "
                    f"the source's of {made.get('name') or name} of revision {made.get('revision')}",
                    f"embed both with the same: synthmir embed SOURCE --embedder {name} --out DIR",
                )
        return
