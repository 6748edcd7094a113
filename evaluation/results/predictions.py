"""What a model said of each track, and the file that keeps it: predictions-<benchmark>.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from builder.io.atomic import write_text

from .scores import MULTI, SINGLE, Skip


@dataclass(frozen=True, slots=True)
class Predictions:
    """The tracks of one benchmark that could be read.

    `truth` and `outputs` by problem: int64 [n] positions in `labels` and float64 [n, labels] probabilities; bool
    [n, labels] and float64 [n, labels]; or float64 [n] and float64 [n].
    """

    problem: str
    labels: Sequence[str]
    ids: Sequence[str]
    truth: np.ndarray
    outputs: np.ndarray
    threshold: float | None = None  # multi-label: the probability from which a label is named
    artists: Sequence[str | None] = ()
    skips: Sequence[Skip] = ()
    notes: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> np.ndarray:
        """int64 [n] of the likeliest label, the first of equals; bool [n, labels] of those named; float64 [n]."""
        if self.problem == SINGLE:
            return np.asarray(self.outputs.argmax(axis=1))
        if self.problem == MULTI:
            return np.asarray(self.outputs >= (np.inf if self.threshold is None else self.threshold))
        return self.outputs

    def groups(self) -> Sequence[str | None] | None:
        """Artists, if any is known and there are two at least; None: each track stands alone."""
        known = {artist for artist in self.artists if artist is not None}
        return self.artists if known and len(known) + sum(a is None for a in self.artists) > 1 else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """One JSON object a track."""
        artists = self.artists or [None] * len(self.ids)
        columns = zip(self.ids, self.truth, self.predicted, self.outputs, artists, strict=True)
        for identity, truth, predicted, output, artist in columns:
            row: dict[str, Any] = {"id": identity}
            if self.problem == SINGLE:
                row |= {"label": self.labels[truth], "predicted": self.labels[predicted]}
            elif self.problem == MULTI:
                row |= {"labels": self._names(truth), "predicted": self._names(predicted)}
            else:
                row |= {"label": float(truth), "predicted": round(float(predicted), 3)}
            if output.ndim:
                told = zip(self.labels, output, strict=True)
                row["probabilities"] = {name: round(float(value), 6) for name, value in told}
            yield row if artist is None else row | {"artist": artist}

    def _names(self, held: np.ndarray) -> list[str]:
        return [self.labels[index] for index in np.flatnonzero(held).tolist()]

    def write(self, path: Path) -> None:
        """Write the rows, whole or not at all."""
        write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows()))
