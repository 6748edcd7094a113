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
import pyarrow.compute as pc
import torch
from datasets import ClassLabel, Features, IterableDataset
from torch.utils.data import DataLoader

from ..audio import decode_clip
from ..errors import DataError
from ..executors import cores
from ..validation import near
from .schema import LABELS, LONGEST

TASKS = {"tempo": "tempo_bpm"} | {name: name for name in LABELS if name not in ("tempo_bpm", "prompt_group")}
SHUFFLED = 256  # clips that a stream is shuffled among: they are held undecoded
READ = 64  # rows at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labels:
    """The labels of one task as numbers. `names` are the classes in their order, empty for a tempo."""

    task: str
    column: str
    kind: Literal["single", "multiple", "number"]
    names: tuple[str, ...] = ()

    def given(self, value: Any) -> bool:
        """Whether a row has the label: a prompt may leave it open. No instruments is a label, too."""
        return value is not None and not (self.kind == "single" and value == -1)  # -1: how `datasets` says "none"

    def tensor(self, values: Sequence[Any]) -> torch.Tensor:
        """int64 [n] classes | float32 [n, classes] marks of 0 and 1 | float32 [n] beats per minute."""
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


def column_of(task: str, features: Features, where: str) -> str:
    """The column that holds a task's labels. Raises DataError that tells the tasks there are."""
    column = TASKS.get(task, "tempo_bpm" if task == "tempo_bpm" else "")
    if column not in features:
        known = [name for name, column in TASKS.items() if column in features]
        raise DataError(
            f"{where}: has no labels for the task {task!r}{near(task, known)}", f"task: {', '.join(known)}"
        )
    return column


def labels_of(task: str, column: str, features: Features, words: Sequence[str]) -> Labels:
    """How a column's values become numbers; `words` are all values of a column of strings."""
    kind = features[column]
    inner = getattr(kind, "feature", kind)
    if column == "tempo_bpm":
        return Labels(task, column, "number")
    names = inner.names if isinstance(inner, ClassLabel) else words
    return Labels(task, column, "single" if inner is kind else "multiple", tuple(names))


@dataclass(frozen=True)
class Tensors:
    """A split in memory: `X, y = tensors`, or by name."""

    X: torch.Tensor  # float32 [n, dim] embeddings; or [n, (2,) samples] audio, zeros behind clips that are shorter
    y: torch.Tensor  # as `Labels.tensor` gives them
    ids: tuple[str, ...]
    labels: Labels
    dropped: int  # rows without the label
    lengths: torch.Tensor | None = None  # int64 [n], samples; None for embeddings

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from (self.X, self.y)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes: `names[y[i]]`, or where `y[i]` is 1."""
        return self.labels.names


class Loader(DataLoader[Any]):
    """A DataLoader whose batches are as `Collate` makes them."""

    labels: Labels
    dropped: int | None  # rows without the label; None for a stream, which is not counted beforehand

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels' numbers."""
        return self.labels.names


@dataclass(frozen=True)
class Collate:
    """Makes batches of rows, in the loader's workers: audio is decoded here."""

    labels: Labels
    sampling_rate: int | None  # Hz; None for embeddings
    num_channels: int = 1

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """{"audio": float32 [batch, (2,) samples], "lengths": int64 [batch]} or {"embedding": float32 [batch, dim]},
        with "label" (see `Labels.tensor`) and "id" (list of str)."""
        batch: dict[str, Any] = {}
        if self.sampling_rate is None:
            batch["embedding"] = torch.from_numpy(np.array([row["embedding"] for row in rows], np.float32))
        else:
            decode = partial(_decode, sampling_rate=self.sampling_rate, num_channels=self.num_channels)
            clips = [decode(row["audio"]["bytes"], row["id"]) for row in rows]
            batch["audio"], batch["lengths"] = padded(clips)
        batch["label"] = self.labels.tensor([row[self.labels.column] for row in rows])
        return {**batch, "id": [row["id"] for row in rows]}


def padded(clips: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips [(2,) samples] -> float32 [n, (2,) samples of the longest], zeros behind the others; int64 [n] lengths."""
    lengths = torch.tensor([clip.shape[-1] for clip in clips], dtype=torch.int64)
    audio = torch.zeros(len(clips), *(clips[0].shape[:-1] if clips else ()), int(lengths.max()) if clips else 0)
    for row, clip in zip(audio, clips, strict=True):
        row[..., : clip.shape[-1]] = torch.from_numpy(np.ascontiguousarray(clip))
    return audio, lengths


def loader(
    part: Any,
    labels: Labels,
    sampling_rate: int | None,
    batch_size: int,
    options: dict[str, Any],
    num_channels: int = 1,
) -> Loader:
    """Batches of a split; `options` are DataLoader's own. Nothing but the columns that a batch has is read."""
    part = part.select_columns(["id", "embedding" if sampling_rate is None else "audio", labels.column])
    dropped: int | None = None
    if isinstance(part, IterableDataset):
        part = part.filter(labels.given, input_columns=[labels.column])
        if options.pop("shuffle", False):
            generator = options.get("generator")
            seed = None if generator is None else generator.initial_seed()
            # One shard at a time: rows are mixed within it, and of several `datasets` sleeps 5 s at an epoch's end.
            part = part.shuffle(seed=seed, buffer_size=SHUFFLED, max_buffer_input_shards=1)
    else:
        given = np.array([labels.given(value) for value in part.with_format("arrow")[labels.column].to_pylist()], bool)
        dropped = _tell(labels, int((~given).sum()), len(part))
        part = part.select(np.flatnonzero(given)) if dropped else part
    options = {"collate_fn": Collate(labels, sampling_rate, num_channels)} | options
    made: Loader = Loader(part, batch_size=batch_size, **options)
    made.labels, made.dropped = labels, dropped
    return made


def tensors(part: Any, labels: Labels, sampling_rate: int | None, num_channels: int = 1) -> Tensors:
    """A split whole. Audio takes 4 bytes a sample and channel: ten seconds at 32 kHz are 1.3 MB."""
    wanted = "embedding" if sampling_rate is None else "audio"
    part = part.select_columns(["id", wanted, labels.column])
    ids: list[str] = []
    values: list[Any] = []
    found: list[np.ndarray] = []
    rows = 0
    with ThreadPoolExecutor(cores()) as pool:
        for table in part.with_format("arrow").iter(READ):
            rows += len(table)
            told = table[labels.column].to_pylist()
            kept = table.filter(pa.array([labels.given(value) for value in told]))
            ids += (some := kept["id"].to_pylist())
            values += [value for value in told if labels.given(value)]
            column = kept[wanted].combine_chunks()
            if sampling_rate is None:
                found.append(_matrix(column, some))
            else:
                heard = partial(_decode, sampling_rate=sampling_rate, num_channels=num_channels)
                found += pool.map(heard, column.field("bytes").to_pylist(), some)
    dropped = _tell(labels, rows - len(ids), rows)
    y = labels.tensor(values)
    if sampling_rate is None:
        stacked = np.concatenate(found) if found else np.empty((0, 0), np.float32)
        return Tensors(torch.from_numpy(stacked), y, tuple(ids), labels, dropped)
    audio, lengths = padded(found)
    return Tensors(audio, y, tuple(ids), labels, dropped, lengths)


def _matrix(column: Any, ids: list[str]) -> np.ndarray:
    """Lists of one length -> float32 [n, dim]."""
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    if (odd := np.flatnonzero(sizes != sizes.max(initial=0))).size:
        raise DataError(
            f"embedding of {ids[odd[0]]!r} has {sizes[odd[0]]} numbers, others {sizes.max()}", "embed again"
        )
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.asarray(values.reshape(len(ids), -1) if ids else np.empty((0, 0), np.float32))


def _decode(data: bytes | None, id: str, sampling_rate: int, num_channels: int) -> np.ndarray:
    try:
        return decode_clip(data or b"", LONGEST, sampling_rate, num_channels)[0]
    except DataError as error:
        raise DataError(f"clip {id}: {error.message}", "see what is damaged: synthmir verify CORPUS") from error


def _tell(labels: Labels, dropped: int, rows: int) -> int:
    if dropped:
        _log.warning("%d of %d rows have no %s and are left out", dropped, rows, labels.task)
    return dropped
