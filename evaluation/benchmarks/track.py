"""The rows of a benchmark: recordings with the benchmark's own labels, and tracks with a model's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
Label = int | tuple[int, ...] | float  # an index into the model's labels; several; or a number such as a tempo in bpm


@dataclass(frozen=True, slots=True)
class Track:
    """One recording with its true label, as a model is evaluated on it."""

    id: str  # stable: the benchmark's own, or the path within its root with forward slashes
    path: Path | None
    label: Label
    split: str | None = None
    artist: str | None = None
    data: bytes | None = None  # encoded audio, where there is no file


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording as the benchmark's own lists describe it."""

    id: str
    path: Path | None  # None: the lists name it, but the file is missing
    labels: tuple[str, ...]  # the benchmark's names; empty: unlabelled
    split: str | None = None
    artist: str | None = None
    fault: str = ""  # a known fault of the file
    value: float | None = None  # where the label is a number
    row: int | None = None  # the row number in a data set that holds its audio


def label_indices(label: Label) -> tuple[int, ...]:
    """Return the indices of a track's labels, one or several."""
    return label if isinstance(label, tuple) else (int(label),)
