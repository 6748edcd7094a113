"""A corpus's embeddings -> tensors, labels and class weights."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from builder.corpus.folder import SHARD_FILE, Corpus
from builder.errors import DataError

SPLITS = ("train", "validation")
MEND = "see what is damaged: synthmir verify CORPUS"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split, in the corpus's order."""

    ids: tuple[str, ...]
    embeddings: torch.Tensor  # float32 [n, dim]
    labels: torch.Tensor  # int64 [n], positions in `Features.names`

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Features:
    """What a classifier learns from, and what it is judged on."""

    task: str
    embedder: str
    names: tuple[str, ...]  # the labels that the training split holds, in the corpus's order
    train: Split
    validation: Split
    dropped: dict[str, int]  # by split: rows without a label, which are in no tensor

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.train.embeddings.shape[1]

    def class_weights(self) -> torch.Tensor:
        """float32 [labels]: n / (labels * n_label), so that each label weighs the same (scikit-learn's "balanced")."""
        counts = torch.bincount(self.train.labels, minlength=len(self.names))
        return len(self.train) / (len(self.names) * counts.float())


def load_features(corpus: Path | str, embedder: str, task: str) -> Features:
    """Read the `embedder` config of a corpus folder with the label column `task` (genre, mood, vocals).

    The Parquet files are read directly: what `datasets` says of the columns stands in their schema, and nothing is
    copied to a cache. Rows without a label are dropped, counted and logged.

    Raises DataError that names the row or column: no such config, a shard that is missing or damaged, a column that is
    missing, embeddings that are null, not finite or of another length, an empty split, a single label, a label that
    only validation holds, a prompt group on both sides of the split.
    """
    shards = _shards(Path(corpus), embedder)
    labels = {split: pa.concat_tables([_labels(file, task) for file in shards[split]]) for split in SPLITS}
    declared = _label_names(shards["train"][0], task)
    _check_groups(labels["train"], labels["validation"])
    splits, dropped = {}, {}
    for split in SPLITS:
        where = f"{corpus}: {embedder}/{split}"
        splits[split], dropped[split] = _split(where, shards[split], labels[split], task, len(declared))
    train, validation = (splits[split] for split in SPLITS)
    if (dim := train.embeddings.shape[1]) != (other := validation.embeddings.shape[1]):
        raise DataError(f"{corpus}: {embedder}: embeddings of train have {dim} numbers, of validation {other}")
    names = _compact(declared, train, validation, task)
    return Features(task, embedder, names, train, validation, dropped)


def _shards(corpus: Path, embedder: str) -> dict[str, list[Path]]:
    """The Parquet files of each split, in order. Raises DataError if there is none or the set is incomplete."""
    if not corpus.is_dir():
        raise DataError(f"{corpus}: there is no such folder", "build a corpus: synthmir build RECIPE --out DIR")
    mend = f"synthmir embed {corpus} --embedder {embedder}"
    there = Corpus(corpus).embedders()
    if embedder not in there:
        raise DataError(f"{corpus}: holds no embeddings of {embedder!r} (there: {', '.join(there) or 'none'})", mend)
    shards: dict[str, list[Path]] = {split: [] for split in SPLITS}
    totals: dict[str, set[int]] = {split: set() for split in SPLITS}
    for name in Corpus(corpus).shards(embedder):
        match = SHARD_FILE.match(name.rpartition("/")[2])
        if match and match["split"] in SPLITS:
            shards[match["split"]].append(corpus / name)
            totals[match["split"]].add(int(match["total"]))
    for split, files in shards.items():
        if not files:
            raise DataError(f"{corpus}: {embedder} has no {split} split", mend)
        if totals[split] != {len(files)}:
            raise DataError(f"{corpus}: {embedder}/{split}: {len(files)} shards of {sorted(totals[split])}", mend)
    return shards


def _labels(file: Path, task: str) -> pa.Table:
    """Everything that training needs but the embeddings."""
    columns = ["id", task, "prompt_group"]
    try:
        present = pq.read_schema(file).names
        if missing := [name for name in (*columns, "embedding") if name not in present]:
            raise DataError(f"{file}: has no column {missing[0]!r} (there: {', '.join(present)})")
        return pq.read_table(file, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file: {error}", MEND) from error


def _label_names(file: Path, task: str) -> list[str]:
    """The names of the ClassLabel column `task`, from the schema that `datasets` writes."""
    try:
        feature = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"][task]
        return [str(name) for name in feature["names"]]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file}: column {task!r} is no ClassLabel: its label names are unknown") from error


def _check_groups(train: pa.Table, validation: pa.Table) -> None:
    """Clips of one description must not be learnt from and judged on."""
    groups = validation["prompt_group"]
    both = pc.is_in(groups, value_set=pc.unique(train["prompt_group"]), skip_nulls=True)
    if (row := pc.index(both, True).as_py()) >= 0:
        raise DataError(
            f"prompt_group {groups[row].as_py()!r} crosses the splits: {pc.sum(both).as_py()} clip(s) of validation, "
            f"{validation['id'][row].as_py()!r} the first, share a description with training",
            "build the corpus again: what is learnt from would be judged on",
        )


def _split(where: str, files: list[Path], table: pa.Table, task: str, labels: int) -> tuple[Split, int]:
    """One split as tensors, and how many rows without a label were dropped."""
    ids = table["id"].to_pylist()
    codes = pc.fill_null(table[task], -1).to_numpy().astype(np.int64)  # -1 is how `datasets` writes "no label"
    if (foreign := np.flatnonzero(codes >= labels)).size:
        row = foreign[0]
        raise DataError(f"{where}: {task} of {ids[row]!r} is {codes[row]}, but the column names {labels} labels")
    kept = codes >= 0
    if not kept.any():
        raise DataError(f"{where}: no row has a {task}", "choose another training.task or build a larger corpus")
    embeddings = _embeddings(where, files, ids)
    if dropped := int((~kept).sum()):
        _log.warning("%s: dropped %d of %d rows that have no %s", where, dropped, len(ids), task)
        ids, codes, embeddings = list(compress(ids, kept)), codes[kept], embeddings[kept]
    return Split(tuple(ids), torch.from_numpy(embeddings), torch.from_numpy(codes)), dropped


def _embeddings(where: str, files: list[Path], ids: list[str]) -> np.ndarray:
    """The column `embedding` as float32 [n, dim], read shard by shard into its place."""
    matrix = np.empty((0, 0), np.float32)
    start = 0
    for file in files:
        column = pq.read_table(file, columns=["embedding"])["embedding"].combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        if start == 0:
            matrix = np.empty((len(ids), lengths[0] if len(lengths) else 0), np.float32)
        dim = matrix.shape[1]
        if (odd := np.flatnonzero((lengths != dim) | (lengths == 0))).size:
            row = start + odd[0]
            raise DataError(
                f"{where}: embedding of {ids[row]!r} has {lengths[odd[0]]} numbers, that of {ids[0]!r} has {dim}", MEND
            )
        rows = matrix[start : start + len(column)]
        rows[:] = column.flatten().to_numpy(zero_copy_only=False).reshape(rows.shape)
        if (bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))).size:
            raise DataError(f"{where}: embedding of {ids[start + bad[0]]!r} holds numbers that are not finite", MEND)
        start += len(column)
    return matrix


def _compact(declared: list[str], train: Split, validation: Split, task: str) -> tuple[str, ...]:
    """Renumber the labels, in place, so that those which training never sees take no output. Returns their names."""
    kept = torch.unique(train.labels)
    if len(kept) < 2:
        raise DataError(
            f"train: every row's {task} is {declared[int(kept[0])]!r}: there is nothing to tell apart",
            "choose another training.task or build a corpus with more labels",
        )
    if (unseen := ~torch.isin(validation.labels, kept)).any():
        row = int(unseen.int().argmax())
        raise DataError(
            f"validation: {task} {declared[int(validation.labels[row])]!r} of {validation.ids[row]!r} is not in train",
            "build a larger corpus, or choose another split.seed",
        )
    for split in (train, validation):
        split.labels.copy_(torch.searchsorted(kept, split.labels))
    return tuple(declared[label] for label in kept.tolist())
