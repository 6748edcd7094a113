"""The validation split's own audio as a benchmark, for what its stored embeddings cannot tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from builder.errors import DataError

from .benchmarks.base import Track

T = TypeVar("T")


@dataclass
class Clips:
    """Clips of a corpus, told in the labels of the model that is judged (see `benchmarks.base.Benchmark`)."""

    name: str
    source: str
    licence: str
    tracks: Sequence[Track]
    notes: list[str] = field(default_factory=list)
    covered: tuple[int, ...] = ()


def validation_clips(corpus: Path, labels: Sequence[str], task: str, limit: int, seed: int) -> Clips:
    """`limit` clips at most of the validation split, drawn with `seed`. Only their audio is read.

    Raises DataError where the corpus has no such split or column, or a label that the model does not know.
    """
    import pyarrow.dataset as pads

    files = sorted(str(path) for path in (corpus / "data").glob("validation-*.parquet"))
    if not files:
        raise DataError(f"{corpus}: has no validation split with audio", "give a benchmark instead: --on NAME:PATH")
    data = pads.dataset(files, format="parquet")
    if task not in data.schema.names:
        raise DataError(f"{corpus}: has no column {task!r}", f"there: {', '.join(data.schema.names)}")
    names = _names(data.schema.metadata, task)
    table = data.to_table(columns=["id", task])
    told = [_label(value, names, labels) for value in table[task].to_pylist()]
    known = np.array([label is not None for label in told])
    chosen = sample(np.flatnonzero(known).tolist(), limit, seed)
    if not chosen:
        raise DataError(f"{corpus}: no validation clip has a {task} that the model knows")
    rows = data.take(chosen, columns=["id", "audio"]).to_pylist()
    tracks = [
        Track(row["id"], None, told[index], "validation", data=row["audio"]["bytes"])  # type: ignore[arg-type]
        for index, row in zip(chosen, rows, strict=True)
    ]
    notes = []
    if left := int((~known).sum()):
        notes.append(f"left out {left} clip(s) without a {task} that the model knows")
    if len(chosen) < known.sum():
        notes.append(f"{len(chosen)} of {int(known.sum())} clips, drawn with seed {seed}")
    return Clips("validation", str(corpus), "", tracks, notes)


def sample(items: Sequence[T], limit: int, seed: int) -> list[T]:
    """`limit` items at most, in their order: the same ones for the same seed."""
    if len(items) <= limit:
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return [items[index] for index in np.sort(chosen)]


def _names(metadata: dict[bytes, bytes] | None, task: str) -> list[str] | None:
    """The label names of a column, None where its values stand for themselves."""
    try:
        feature: Any = json.loads((metadata or {})[b"huggingface"])["info"]["features"][task]
    except (KeyError, ValueError, TypeError):
        return None
    feature = feature.get("feature", feature)
    return feature.get("names")


def _label(value: Any, names: list[str] | None, labels: Sequence[str]) -> int | tuple[int, ...] | float | None:
    """A value of the column in the model's labels; None for one it does not know."""
    if value is None or value == -1:
        return None
    if isinstance(value, list):
        words = [names[item] if names else str(item) for item in value]
        return tuple(labels.index(word) for word in words if word in labels)
    word = names[value] if names else value
    if word in labels:
        return labels.index(word)
    return float(value) if names is None and isinstance(value, int | float) else None
