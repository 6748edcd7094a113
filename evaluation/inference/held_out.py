"""The test part of the real music that training learns from. It is read here alone, after the models are trained."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from builder.embedders.embed_dataset import RECORD
from builder.embedders.embedded_dataset import EMBEDDING, filter_rows, is_corpus, open_dataset
from builder.errors import DataError
from builder.io.safe_files import read_record
from builder.names import format_count
from training.data.features import Features
from training.data.splits import split_target
from training.data.target import find_label_column, match_labels, read_target_embeddings
from training.models.classifier import SINGLE

from ..benchmarks.track import Track
from ..results.predictions import Predictions
from .recordings import read_recordings

ARTIST_COLUMNS = ("artist", "artist_id", "album", "album_id")  # the first that is there


def read_test(
    path: Path | str, source: Features, label: str | None = None, embedding: str = EMBEDDING
) -> tuple[Predictions, np.ndarray]:
    """Read the labelled rows of the target's test part.

    Args:
        path: The target: a corpus, what `synthmir embed --out` wrote, or a data set of embeddings.
        source: What the models are trained on, whose labels are used. Rows of other labels are left out and noted.
        label: The column of labels; by default the task's.
        embedding: The column of embeddings.

    Returns:
        The rows as predictions without outputs, and their stored embeddings, float32 [n, dim].

    Raises:
        DataError: There is no test part, or no row in it has one of the labels.
    """
    dataset = open_dataset(Path(path).expanduser(), source.embedder)
    test = set(split_target(dataset).test_ids)
    if not test:
        raise DataError(
            f"{path}: has no test part to evaluate on",
            "give it a split called test, or no splits at all: a fifth is then set aside",
        )
    column = find_label_column(dataset, label, source.task)
    if column is None:
        raise DataError(f"{path}: has no column {source.task!r} or 'label'", "add a column of labels")
    rows = dataset.rows()
    rows = filter_rows(rows, np.array([identity in test for identity in dataset.ids(rows)]))
    ids = dataset.ids(rows)
    labels = match_labels(dataset.labels(column, rows), source)
    if not labels.known.any():
        raise DataError(f"{path}: test: no row has a {source.task} that the corpus knows", "add the labels")
    x = read_target_embeddings(dataset, rows, dataset.find_embeddings(embedding), source.dim)[labels.known]
    group = next((name for name in ARTIST_COLUMNS if name in dataset.columns), None)
    artists = dataset.read([group], rows)[group].to_pylist() if group else []
    kept = np.flatnonzero(labels.known)
    truth = labels.values[kept]
    predictions = Predictions(
        problem=source.problem_type,
        labels=source.names,
        ids=[ids[row] for row in kept],
        truth=truth if source.problem_type == SINGLE else truth > 0.5 if truth.ndim == 2 else truth.astype(float),
        outputs=np.zeros(len(kept)),
        artists=[None if artists[row] is None else str(artists[row]) for row in kept] if artists else (),
        notes=_notes(labels.dropped, int((~labels.known & ~labels.foreign).sum()), source.task),
    )
    return predictions, x


def find_audio(path: Path | str, ids: list[str]) -> list[Track] | None:
    """Find the recordings that rows of a target were embedded from, to embed them window by window.

    `synthmir embed --out` writes the place of the recordings into its record. They are read from there if all of them
    still are.

    Args:
        path: The target.
        ids: The rows.

    Returns:
        A track for each id, in order, without a label; None where the audio cannot be found.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir() or is_corpus(folder):
        return None
    source = read_record(folder / RECORD, "embed it again").get("details", {}).get("source")
    if not isinstance(source, str) or not Path(source).expanduser().exists():
        return None
    try:
        wanted = set(ids)
        tracks = {track.id: track for track in read_recordings(source) if track.id in wanted}
    except DataError:
        return None
    return [tracks[identity] for identity in ids] if len(tracks) == len(ids) else None


def _notes(dropped: Counter[str], without: int, task: str) -> list[str]:
    notes = [
        f"left out {format_count(count, 'test row')} of {task} {name!r}, which the corpus does not have"
        for name, count in sorted(dropped.items())
    ]
    return [*notes, f"left out {format_count(without, 'test row')} without a {task}"] if without else notes
