"""A model's predictions for each track of a benchmark, and the file of them: predictions-<benchmark>.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from builder.io.atomic import write_text

from .scores import MULTI, SINGLE, Skip


@dataclass(frozen=True, slots=True)
class Predictions:
    """True labels and model outputs for the tracks that could be read.

    Attributes:
        problem: "single_label_classification", "multi_label_classification" or "regression".
        labels: Names of the labels, in the order of the columns of `outputs`.
        ids: The tracks.
        truth: int64 [n], indices into `labels`; with many labels a track bool [n, labels]; of a regression
            float64 [n].
        outputs: Probabilities, float64 [n, labels]; of a regression float64 [n], in the label's unit.
        threshold: With many labels a track, the probability from which a label is predicted; None for no threshold.
        artists: [n], None for a track of unknown artist; empty where no artist is known.
        skips: The tracks that could not be read.
        notes: Sentences about what was left out and why.
    """

    problem: str
    labels: Sequence[str]
    ids: Sequence[str]
    truth: np.ndarray
    outputs: np.ndarray
    threshold: float | None = None
    artists: Sequence[str | None] = ()
    skips: Sequence[Skip] = ()
    notes: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label, int64 [n]; the predicted labels, bool [n, labels]; or the numbers, float64 [n]."""
        if self.problem == SINGLE:
            return np.asarray(self.outputs.argmax(axis=1))
        if self.problem == MULTI:
            return np.asarray(self.outputs >= (np.inf if self.threshold is None else self.threshold))
        return self.outputs

    def groups(self) -> Sequence[str | None] | None:
        """Return the artists, if there are two or more; None: every track is a unit of its own."""
        known = {artist for artist in self.artists if artist is not None}
        return self.artists if known and len(known) + sum(a is None for a in self.artists) > 1 else None

    def take(self, rows: Sequence[int]) -> Predictions:
        """Return the predictions for some of the tracks, in the order of `rows`."""
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            truth=self.truth[rows],
            outputs=self.outputs[rows],
            artists=[self.artists[row] for row in rows] if self.artists else (),
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one JSON object for each track: id, true and predicted labels, probabilities, artist."""
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
                probabilities = zip(self.labels, output, strict=True)
                row["probabilities"] = {name: round(float(value), 6) for name, value in probabilities}
            yield row if artist is None else row | {"artist": artist}

    def _names(self, held: np.ndarray) -> list[str]:
        return [self.labels[index] for index in np.flatnonzero(held).tolist()]

    def write(self, path: Path) -> None:
        """Write the rows as JSON lines, atomically."""
        write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows()))
