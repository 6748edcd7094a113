"""Real music to learn from or to be drawn to: the train and validation parts of a target, in the source's labels."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from builder.corpus.corpus import embed_record
from builder.errors import DataError, RecipeError
from builder.io.safe_files import read_json
from builder.names import normalize_label

from ..models.classifier import MULTI, REGRESSION, SINGLE
from .features import Features, Split
from .labels import encode, problem_of
from .parts import Parts, divide, open_parts
from .tables import Table

EMBEDDING, ANY_LABEL = "embedding", ("label", "labels")  # columns, where nothing else is said
FOREIGN = -2  # a label that the source lacks; -1 stands for none
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """What training may see of real music. Of its test part there is nothing here but ids in `told`."""

    train: Split | None  # labelled rows; None where there is none
    unlabelled: torch.Tensor  # float32 [m, dim], rows of its train part without a label
    validation: Split | None  # labelled rows
    told: dict[str, Any]  # for the record: source, division, rows and labels of each part, what was dropped, test ids

    @property
    def embeddings(self) -> torch.Tensor:
        """float32 [n + m, dim]: all of its train part, labelled rows first."""
        return self.unlabelled if self.train is None else torch.cat([self.train.embeddings, self.unlabelled])


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of some rows, told in the source's."""

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
    """Read the train and validation parts of a corpus folder, of what `synthmir embed --out` wrote, or of a data set.

    Labels stand in the column `label`, or one of the task's name, or one called "label" or "labels"; they are matched
    with the source's by name, whatever its case, spaces, hyphens and underscores. Rows whose label the source lacks
    are dropped and counted.
    `embedder` is what made the source's embeddings, so that those of another are refused.

    Raises DataError that names the path, the row or the column.
    """
    stored = open_parts(path, source.embedder)
    _check_embedder(Path(path), source.embedder, embedder or {})
    vectors, column = embedding_column(stored, embedding), label_column(stored, label, source.task)
    division = divide(stored)
    told: dict[str, Any] = {
        "source": Path(path).name,
        "division": division.how,
        "label_column": column,
        "group_column": division.group_column,
        "shared_groups": division.shared_groups,  # in more than one part
        "rows": {"train": len(division.train_ids), "validation": len(division.validation_ids),
                 "test": len(division.test_ids)},
        "labelled": {},
        "dropped": {},
        "test_ids": list(division.test_ids) if division.made_here else None,
    }  # fmt: skip
    if division.shared_groups:
        _log.warning("%s: %d %s(s) stand in more than one part", path, division.shared_groups, division.group_column)
    labelled: dict[str, Split | None] = {}
    unlabelled: dict[str, torch.Tensor] = {}
    for part, rows, ids in (
        ("train", division.train, division.train_ids),
        ("validation", division.validation, division.validation_ids),
    ):
        where = f"{path}: {part}"
        table = stored.take(rows, [name for name in (vectors, column) if name])
        x = embeddings(where, table[vectors], ids, source.dim)
        labels = _none(len(ids))
        if column:
            labels = read_labels(where, stored.columns.to_dict()[column], table[column], ids, source)
            _check_known(where, labels, column, source)
        labelled[part] = _labelled(x, labels, ids)
        unlabelled[part] = torch.from_numpy(x[~labels.known & ~labels.foreign])
        told["labelled"][part] = count_labels(labelled[part], source)
        told["dropped"][part] = dict(labels.dropped)
    for name, count in (Counter(told["dropped"]["train"]) + Counter(told["dropped"]["validation"])).items():
        _log.warning("%s: left out %d row(s) of %s %r, which the source has not", path, count, source.task, name)
    told["unlabelled"] = len(unlabelled["train"])
    return Target(labelled["train"], unlabelled["train"], labelled["validation"], told)


def take_shots(target: Target, shots: int, names: tuple[str, ...], seed: int) -> Target:
    """So many labelled rows a class, drawn by `seed` from the train part; the others are left without their labels.

    A class with fewer gives what it has, which is told and logged. Raises RecipeError where a row has no one class.
    """
    train = target.train
    if train is None:
        return target
    if train.labels.dtype != torch.int64:
        raise RecipeError(
            "training.shots: counts rows a class, and this task has no one class a row", "leave shots out"
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    drawn = [order[train.labels[order] == label][:shots] for label in range(len(names))]
    chosen = torch.cat(drawn).sort().values
    rest = torch.ones(len(train), dtype=torch.bool)
    rest[chosen] = False
    fewer = {name: len(rows) for name, rows in zip(names, drawn, strict=True) if 0 < len(rows) < shots}
    for name, count in fewer.items():
        _log.warning("%s: %d shots of %r were asked for, there are %d", target.told["source"], shots, name, count)
    few = Split(tuple(train.ids[i] for i in chosen.tolist()), train.embeddings[chosen], train.labels[chosen])
    told = {
        **target.told,
        "labelled": {**target.told["labelled"], "train": {n: len(r) for n, r in zip(names, drawn, strict=True)}},
        "shots": {"asked": shots, "fewer": fewer, "ids": list(few.ids)},
        "unlabelled": target.told["unlabelled"] + int(rest.sum()),
    }
    return replace(target, train=few, unlabelled=torch.cat([target.unlabelled, train.embeddings[rest]]), told=told)


def label_column(stored: Parts, named: str | None, task: str) -> str | None:
    """The column of that name, or of the task's, or else "label" or "labels"; None where none is there."""
    return next((name for name in (named, task, *ANY_LABEL) if name in stored.columns), None)


def embedding_column(stored: Parts, named: str = EMBEDDING) -> str:
    """The column of that name, or the one that holds lists of floats. Raises DataError where it is not clear."""
    schema = next(iter(stored.splits.values())).schema
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    many = [field for field in schema if any(kind(field.type) for kind in kinds)]
    lists = [field.name for field in many if pa.types.is_floating(field.type.value_type)]
    if named in lists or len(lists) == 1:
        return named if named in lists else lists[0]
    found = f"columns of numbers: {', '.join(lists)}" if lists else f"its columns are {', '.join(schema.names)}"
    raise DataError(
        f"{stored.source}: has no column {named!r}; {found}", "embed the audio: synthmir embed SOURCE --out DIR"
    )


def embeddings(where: str, column: pa.ChunkedArray, ids: tuple[str, ...], dim: int) -> np.ndarray:
    """float32 [n, dim]. Raises DataError for a row that is null, of another length or not finite."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    if (odd := np.flatnonzero(lengths != dim)).size:
        raise DataError(
            f"{where}: the embedding of {ids[odd[0]]!r} has {lengths[odd[0]]} numbers, the source's have {dim}",
            "embed both with the same embedder: synthmir embed SOURCE --embedder NAME --out DIR",
        )
    flat = pc.list_flatten(column).to_numpy().astype(np.float32, copy=False)
    found = np.array(flat).reshape(len(ids), dim)  # a copy: what Arrow gives may not be written to
    if (bad := np.flatnonzero(~np.isfinite(found).all(axis=1))).size:
        raise DataError(
            f"{where}: the embedding of {ids[bad[0]]!r} holds numbers that are not finite", "embed it again"
        )
    return found


def read_labels(
    where: str, kind: dict[str, Any], column: pa.ChunkedArray, ids: tuple[str, ...], source: Features
) -> Labels:
    """A column of labels, of which `datasets` says `kind`, in the source's. Raises DataError and RecipeError."""
    problem = problem_of(kind, source.task, source.problem_type)
    rows = pa.table({"id": pa.array(ids, pa.string()), "label": column})
    names, columns = encode(problem, {"": Table(where, rows, kind, lambda: iter(()))}, source.task)
    values, kept = columns[""].values, columns[""].kept
    if problem == REGRESSION:
        return Labels(np.where(kept, values, np.float32(0)), kept, np.zeros(len(ids), bool), Counter())
    position = {normalize_label(name): at for at, name in reversed(list(enumerate(source.names)))}
    places = np.array([position.get(normalize_label(name), FOREIGN) for name in names], dtype=np.int64)
    if problem == SINGLE:
        counts = Counter(values[kept & (places[values] == FOREIGN)].tolist())
        codes = np.where(kept, places[values], -1)
        return Labels(codes, codes >= 0, codes == FOREIGN, Counter({names[at]: n for at, n in counts.items()}))
    found = np.zeros((len(ids), len(source.names)), np.float32)
    for at, place in enumerate(places):
        if place >= 0:
            found[:, place] = np.maximum(found[:, place], values[:, at])
    foreign = kept & values.any(axis=1) & ~found.any(axis=1)
    lost = {names[at]: int(values[:, at].sum()) for at in np.flatnonzero(places == FOREIGN) if values[:, at].any()}
    return Labels(found, kept & ~foreign, foreign, Counter(lost))


def _none(rows: int) -> Labels:
    return Labels(np.full(rows, -1), np.zeros(rows, bool), np.zeros(rows, bool), Counter())


def _check_known(where: str, labels: Labels, column: str, source: Features) -> None:
    """Raise DataError where there are labels, and the source knows none of them."""
    if labels.foreign.any() and not labels.known.any():
        raise DataError(
            f"{where}: no label of column {column!r} is the source's (found: {', '.join(sorted(labels.dropped)[:8])}; "
            f"the source's {source.task}: {', '.join(source.names[:8])})",
            "rename the labels of one of them",
        )


def _labelled(vectors: np.ndarray, labels: Labels, ids: tuple[str, ...]) -> Split | None:
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
