"""A corpus as tensors, or as batches of a torch DataLoader: audio or embeddings, with the labels of one task."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from datasets import ClassLabel, Dataset, Features, IterableDataset
from torch.utils.data import DataLoader

from ..audio import decode_clip
from ..errors import DataError
from ..executors import count_cores
from ..io.columns import read_matrix
from ..validation import suggest
from .schema import LABELS, LONGEST

TASKS = {"tempo": "tempo_bpm"} | {name: name for name in LABELS if name not in ("tempo_bpm", "prompt_group")}
SHUFFLE_BUFFER = 256  # clips that a stream is shuffled among, held undecoded
READ_ROWS = 64  # at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelEncoding:
    """How the labels of one task become numbers.

    Attributes:
        task: Name of the task.
        column: The column that holds its labels.
        kind: "single" (one class), "multiple" (any number of classes) or "number" (a tempo).
        names: The classes in the order of their numbers; empty for a tempo.
    """

    task: str
    column: str
    kind: Literal["single", "multiple", "number"]
    names: tuple[str, ...] = ()

    def has_label(self, value: Any) -> bool:
        """Whether a value is a label. A prompt may leave it open; an empty list of instruments is a label."""
        return value is not None and not (self.kind == "single" and value == -1)  # `datasets` writes -1 for None

    def to_tensor(self, values: Sequence[Any]) -> torch.Tensor:
        """Convert labels.

        Args:
            values: n labels as the column stores them.

        Returns:
            int64 [n] classes, float32 [n, classes] of 0 and 1, or float32 [n] beats per minute.
        """
        if self.kind == "number":
            return torch.tensor(values, dtype=torch.float32)
        if self.kind == "multiple":
            marks = torch.zeros(len(values), len(self.names))
            for row, classes in enumerate(values):
                marks[row, torch.as_tensor(classes, dtype=torch.int64)] = 1.0
            return marks
        if values and isinstance(values[0], str):
            values = [self.names.index(value) for value in values]
        return torch.tensor(values, dtype=torch.int64)


def find_label_column(task: str, features: Features, where: str) -> str:
    """Find the column that holds the labels of a task.

    Args:
        task: "genre", "subgenre", "mood", "instruments", "tempo", "key" or "vocals".
        features: Columns of the data set.
        where: The data set, for the error message.

    Returns:
        Name of the column: "tempo_bpm" for "tempo", else the task's name.

    Raises:
        DataError: The data set has no labels for the task. The message lists the tasks that it has.
    """
    column = TASKS.get(task, "tempo_bpm" if task == "tempo_bpm" else "")
    if column not in features:
        known = [name for name, column in TASKS.items() if column in features]
        raise DataError(
            f"{where}: has no labels for the task {task!r}{suggest(task, known)}", f"task: {', '.join(known)}"
        )
    return column


def make_label_encoding(task: str, column: str, features: Features, values: Sequence[str]) -> LabelEncoding:
    """Make the encoding of a column of labels.

    Args:
        task: Name of the task.
        column: Name of the column, see `find_label_column`.
        features: Columns of the data set.
        values: All values of a column of strings, which become its classes in this order; else unused.

    Returns:
        An encoding as a number for a tempo, as several classes for a list, else as one class.
    """
    kind = features[column]
    inner = getattr(kind, "feature", kind)
    if column == "tempo_bpm":
        return LabelEncoding(task, column, "number")
    names = inner.names if isinstance(inner, ClassLabel) else values
    return LabelEncoding(task, column, "single" if inner is kind else "multiple", tuple(names))


@dataclass(frozen=True)
class Tensors:
    """A split in memory: `X, y = tensors`, or by name.

    Attributes:
        X: float32 [n, dim] embeddings; or [n, samples] or [n, 2, samples] audio, zeros after shorter clips.
        y: Labels, see `LabelEncoding.to_tensor`.
        ids: Ids of the rows.
        labels: How labels became numbers.
        dropped: Rows without the label, which are left out.
        lengths: int64 [n] samples of each clip; None for embeddings.
    """

    X: torch.Tensor
    y: torch.Tensor
    ids: tuple[str, ...]
    labels: LabelEncoding
    dropped: int
    lengths: torch.Tensor | None = None

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from (self.X, self.y)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes: `names[y[i]]`, or those where `y[i]` is 1."""
        return self.labels.names


class Loader(DataLoader[Any]):
    """A DataLoader with batches as `Collate` makes them.

    Attributes:
        labels: How labels became numbers.
        dropped: Rows without the label, which are left out; None for a stream, where they are not counted.
    """

    labels: LabelEncoding
    dropped: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers."""
        return self.labels.names


@dataclass(frozen=True)
class Collate:
    """Makes batches of rows in the loader's workers, and decodes audio there.

    Attributes:
        labels: How labels become numbers.
        sampling_rate: Hz of the audio; None for embeddings.
        num_channels: 1 or 2.
    """

    labels: LabelEncoding
    sampling_rate: int | None
    num_channels: int = 1

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch.

        Returns:
            {"audio": float32 [batch, samples] or [batch, 2, samples], "lengths": int64 [batch]} or {"embedding":
            float32 [batch, dim]}, with "label" (see `LabelEncoding.to_tensor`) and "id" (list of str).
        """
        batch: dict[str, Any] = {}
        if self.sampling_rate is None:
            batch["embedding"] = torch.from_numpy(np.array([row["embedding"] for row in rows], np.float32))
        else:
            decode = partial(_decode, sampling_rate=self.sampling_rate, num_channels=self.num_channels)
            clips = [decode(row["audio"]["bytes"], row["id"]) for row in rows]
            batch["audio"], batch["lengths"] = pad_clips(clips)
        batch["label"] = self.labels.to_tensor([row[self.labels.column] for row in rows])
        return {**batch, "id": [row["id"] for row in rows]}


def pad_clips(clips: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack clips of different lengths.

    Args:
        clips: n arrays float32 [samples] or [2, samples].

    Returns:
        float32 [n, samples] or [n, 2, samples], as long as the longest clip, with zeros after the others; and int64
        [n] lengths.
    """
    lengths = torch.tensor([clip.shape[-1] for clip in clips], dtype=torch.int64)
    audio = torch.zeros(len(clips), *(clips[0].shape[:-1] if clips else ()), int(lengths.max()) if clips else 0)
    for row, clip in zip(audio, clips, strict=True):
        row[..., : clip.shape[-1]] = torch.from_numpy(np.ascontiguousarray(clip))
    return audio, lengths


def make_loader(
    rows: Dataset | IterableDataset,
    labels: LabelEncoding,
    sampling_rate: int | None,
    batch_size: int,
    options: dict[str, Any],
    num_channels: int = 1,
) -> Loader:
    """Make a DataLoader over a split; only the columns that a batch holds are read.

    Args:
        rows: The split.
        labels: How labels become numbers.
        sampling_rate: Hz of the audio; None for embeddings.
        batch_size: Rows in a batch.
        options: Options of DataLoader.
        num_channels: 1 or 2.

    Returns:
        The loader; see `Collate` for its batches.
    """
    rows = rows.select_columns(["id", "embedding" if sampling_rate is None else "audio", labels.column])
    dropped: int | None = None
    if isinstance(rows, IterableDataset):
        rows = rows.filter(labels.has_label, input_columns=[labels.column])
        if options.pop("shuffle", False):
            generator = options.get("generator")
            seed = None if generator is None else generator.initial_seed()
            # One shard at a time, rows mixed within it: with several `datasets` sleeps 5 s at the end of an epoch.
            rows = rows.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER, max_buffer_input_shards=1)
    else:
        values = rows.with_format("arrow")[labels.column].to_pylist()
        labelled = np.array([labels.has_label(value) for value in values], bool)
        dropped = int((~labelled).sum())
        _warn_dropped(labels, dropped, len(rows))
        rows = rows.select(np.flatnonzero(labelled)) if dropped else rows
    options = {"collate_fn": Collate(labels, sampling_rate, num_channels)} | options
    loader: Loader = Loader(rows, batch_size=batch_size, **options)
    loader.labels, loader.dropped = labels, dropped
    return loader


def load_tensors(
    rows: Dataset | IterableDataset, labels: LabelEncoding, sampling_rate: int | None, num_channels: int = 1
) -> Tensors:
    """Load a split into memory. Audio takes 4 bytes per sample and channel: 1.3 MB for ten seconds at 32 kHz.

    Args:
        rows: The split.
        labels: How labels become numbers.
        sampling_rate: Hz of the audio; None for embeddings.
        num_channels: 1 or 2.
    """
    source = "embedding" if sampling_rate is None else "audio"
    rows = rows.select_columns(["id", source, labels.column])
    ids: list[str] = []
    values: list[Any] = []
    arrays: list[np.ndarray] = []
    embeddings: list[pa.Array] = []
    total = 0
    with ThreadPoolExecutor(count_cores()) as pool:
        for table in rows.with_format("arrow").iter(READ_ROWS):
            total += len(table)
            mask = [labels.has_label(value) for value in table[labels.column].to_pylist()]
            table = table.filter(pa.array(mask, pa.bool_()))
            new_ids = table["id"].to_pylist()
            ids += new_ids
            values += table[labels.column].to_pylist()
            column = table[source].combine_chunks()
            if sampling_rate is None:
                embeddings.append(column)
            else:
                decode = partial(_decode, sampling_rate=sampling_rate, num_channels=num_channels)
                arrays += pool.map(decode, column.field("bytes").to_pylist(), new_ids)
    dropped = total - len(ids)
    _warn_dropped(labels, dropped, total)
    y = labels.to_tensor(values)
    if sampling_rate is None:
        X = read_matrix(embeddings, len(ids), source, ids.__getitem__, fix="make it again: synthmir embed CORPUS")
        return Tensors(torch.from_numpy(X), y, tuple(ids), labels, dropped)
    audio, lengths = pad_clips(arrays)
    return Tensors(audio, y, tuple(ids), labels, dropped, lengths)


def _decode(data: bytes | None, id: str, sampling_rate: int, num_channels: int) -> np.ndarray:
    try:
        return decode_clip(data or b"", LONGEST, sampling_rate, num_channels)[0]
    except DataError as error:
        raise DataError(f"clip {id}: {error.message}", "see what is damaged: synthmir verify CORPUS") from error


def _warn_dropped(labels: LabelEncoding, dropped: int, rows: int) -> None:
    if dropped:
        _log.warning("%d of %d rows have no %s and are left out", dropped, rows, labels.task)
