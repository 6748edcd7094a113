"""The test part of real music that training learns from: read here, and only here, once the models are made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from builder.errors import DataError
from training.data.features import Features
from training.data.parts import divide, open_parts
from training.data.target import EMBEDDING, embedding_column, embeddings, label_column, read_labels
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
    stored = open_parts(path, source.embedder)
    wanted = set(divide(stored).test_ids)
    if not wanted:
        raise DataError(
            f"{path}: has no test part to judge on",
            "give it a split called test, or no splits at all: a fifth is then set aside",
        )
    column = label_column(stored, label, source.task)
    if column is None:
        raise DataError(f"{path}: has no column {source.task!r} and none called 'label' to judge by", "add the labels")
    columns = stored.columns
    rows: dict[str, np.ndarray] = {}
    ids: list[str] = []
    for split, data in stored.splits.items():
        names = data.to_table(columns=["id"])["id"].to_pylist() if "id" in columns else None
        names = [f"{split}/{row}" for row in range(data.count_rows())] if names is None else list(map(str, names))
        rows[split] = np.array([row for row, name in enumerate(names) if name in wanted], dtype=np.int64)
        ids += [name for name in names if name in wanted]
    vectors = embedding_column(stored, embedding)
    table = stored.take(rows, [vectors, column, *([GROUP] if GROUP in columns else [])])
    where = f"{path}: test"
    labels = read_labels(where, columns.to_dict()[column], table[column], tuple(ids), source)
    if not labels.known.any():
        raise DataError(f"{where}: no row has a {source.task} that the corpus knows", "add the labels")
    x = embeddings(where, table[vectors], tuple(ids), source.dim)[labels.known]
    artists = table[GROUP].to_pylist() if GROUP in columns else []
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
