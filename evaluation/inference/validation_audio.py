"""The audio of a corpus's validation split as a benchmark, where stored embeddings do not suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc

from builder.configs import AUDIO
from builder.embedders.embedded_dataset import LabelColumn, open_dataset
from builder.embedders.stored_split import VERIFY
from builder.errors import DataError
from builder.io.columns import is_list
from builder.names import format_count

from ..benchmarks.track import Track

T = TypeVar("T")


@dataclass
class ValidationClips:
    """Clips of a validation split with a model's labels; fields as in `benchmarks.base.Benchmark`."""

    name: str
    source: str
    licence: str
    tracks: Sequence[Track]
    notes: list[str] = field(default_factory=list)
    covered: tuple[int, ...] = ()


def validation_clips(corpus: Path, labels: Sequence[str], task: str, limit: int, seed: int) -> ValidationClips:
    """Read some clips of the validation split with their audio.

    Args:
        corpus: A corpus folder.
        labels: The model's labels.
        task: The column of labels.
        limit: How many clips to read at most.
        seed: It decides which clips these are.

    Raises:
        DataError: The corpus has no such split or column, or no clip has a label that the model knows.
    """
    dataset = open_dataset(corpus, AUDIO)
    if "validation" not in dataset.splits:
        raise DataError(f"{corpus}: has no validation split with audio", "give a benchmark instead: --on NAME:PATH")
    column = dataset.labels(task, "validation")
    if column.names is not None:
        _check_codes(column, len(column.names))
    truth = [_position(value, column.names is not None, labels) for value in column.by_name()]
    known = np.array([label is not None for label in truth])
    chosen = sample_items(np.flatnonzero(known).tolist(), limit, seed)
    if not chosen:
        raise DataError(f"{corpus}: no validation clip has a {task} that the model knows", "use another corpus")
    audio = dataset.audio([column.ids[row] for row in chosen], ["validation"])
    tracks = [
        Track(column.ids[row], None, truth[row], "validation", data=audio.get(column.ids[row]))  # type: ignore[arg-type]
        for row in chosen
    ]
    notes = []
    if left := int((~known).sum()):
        notes.append(f"left out {format_count(left, 'clip')} without a {task} that the model knows")
    if len(chosen) < known.sum():
        notes.append(f"{len(chosen)} of {int(known.sum())} clips, drawn with seed {seed}")
    return ValidationClips("validation", str(corpus), "", tracks, notes)


def sample_items(items: Sequence[T], limit: int, seed: int) -> list[T]:
    """Draw items at random, without replacement. The same seed draws the same items.

    Args:
        items: The items to draw from.
        limit: The most items to draw.
        seed: Of the random generator.

    Returns:
        At most `limit` items, in their order.
    """
    if len(items) <= limit:
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return [items[index] for index in np.sort(chosen)]


def _check_codes(column: LabelColumn, names: int) -> None:
    """Raise DataError for a code without a name."""
    codes = column.values.flatten() if is_list(column.values.type) else column.values
    for value in pc.unique(codes.drop_null()).to_pylist():
        if not isinstance(value, int) or not -1 <= value < names:  # -1: no label
            raise DataError(f"{column.where}: a label is {value!r:.60}, and there are names for {names}", VERIFY)


def _position(value: Any, named: bool, labels: Sequence[str]) -> int | tuple[int, ...] | float | None:
    """Return a clip's label as an index into the model's labels, or its number; None for an unknown one."""
    if isinstance(value, list):
        return tuple(labels.index(str(name)) for name in value if str(name) in labels)
    if value in labels:
        return labels.index(value)
    return float(value) if not named and isinstance(value, int | float) and value != -1 else None
