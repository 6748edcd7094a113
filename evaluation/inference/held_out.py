"""The test part of real music that training learns from: read here, and only here, once the models are made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from builder.embedders.embedded_dataset import EMBEDDING, filter_rows, open_dataset
from builder.errors import DataError
from training.data.features import Features
from training.data.splits import split_target
from training.data.target import find_label_column, match_labels, read_target_embeddings
from training.models.classifier import SINGLE

from ..results.predictions import Predictions

GROUP = "artist"


def read_test(
    path: Path | str, source: Features, label: str | None = None, embedding: str = EMBEDDING
) -> tuple[Predictions, np.ndarray]:
    """The labelled rows of the target's test part, nothing said of them yet, and their embeddings float32 [n, dim].

    Labels are the source's; rows of others are left out and counted in the notes. Raises DataError where there is no
    test part, and no label in it.
    """
    dataset = open_dataset(Path(path).expanduser(), source.embedder)
    test = set(split_target(dataset).test_ids)
    if not test:
        raise DataError(
            f"{path}: has no test part to judge on",
            "give it a split called test, or no splits at all: a fifth is then set aside",
        )
    column = find_label_column(dataset, label, source.task)
    if column is None:
        raise DataError(f"{path}: has no column {source.task!r} and none called 'label' to judge by", "add the labels")
    rows = dataset.rows()
    rows = filter_rows(rows, np.array([identity in test for identity in dataset.ids(rows)]))
    ids = dataset.ids(rows)
    labels = match_labels(dataset.labels(column, rows), source)
    if not labels.known.any():
        raise DataError(f"{path}: test: no row has a {source.task} that the corpus knows", "add the labels")
    x = read_target_embeddings(dataset, rows, dataset.find_embeddings(embedding), source.dim)[labels.known]
    artists = dataset.read([GROUP], rows)[GROUP].to_pylist() if GROUP in dataset.columns else []
    kept = np.flatnonzero(labels.known)
    truth = labels.values[kept]
    judged = Predictions(
        problem=source.problem_type,
        labels=source.names,
        ids=[ids[row] for row in kept],
        truth=truth if source.problem_type == SINGLE else truth > 0.5 if truth.ndim == 2 else truth.astype(float),
        outputs=np.zeros(len(kept)),
        artists=[None if artists[row] is None else str(artists[row]) for row in kept] if artists else (),
        notes=_notes(labels.dropped, int((~labels.known & ~labels.foreign).sum()), source.task),
    )
    return judged, x


def _notes(dropped: Counter[str], without: int, task: str) -> list[str]:
    notes = [
        f"left out {count} test row(s) of {task} {name!r}, which the corpus has not"
        for name, count in sorted(dropped.items())
    ]
    return [*notes, f"left out {without} test row(s) without a {task}"] if without else notes
