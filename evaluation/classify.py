"""Predict the labels of audio files, by a classifier or by the music tagger musicnn."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builder.annotations.annotation import Annotation
from builder.embedders.tagger import TAGGER
from builder.errors import DataError, make_printable
from training.metrics import TEMPO_TASKS

from .benchmarks.text import printable
from .benchmarks.track import Track
from .inference.calibrate import calibrate_model
from .inference.predict import Aggregate, check_aggregate, load_model_embedder, predict_tracks, problem_of
from .results.scores import REGRESSION

LISTED = 20  # unreadable files that an error names
SHOWN = 8  # beats or chords of a recording that are printed


@dataclass(frozen=True, slots=True)
class Classification:
    """The prediction for one file: labels with probabilities, the most probable first; a number; or an error.

    Of a frame model it is an annotation.
    """

    file: str
    labels: tuple[tuple[str, float], ...] = ()
    value: float | None = None  # of a model that predicts a number
    unit: str = ""
    error: str | None = None
    annotation: Annotation | None = None


def classify(
    model_folder: Path,
    files: Iterable[str | Path],
    top_k: int = 3,
    workers: int | None = None,
    aggregate: Aggregate = "mean",
    calibrate: str | None = None,
) -> list[Classification]:
    """Predict the labels of audio files of any rate, number of channels and length.

    Args:
        model_folder: A model folder.
        files: Audio files.
        top_k: How many labels to return for each file.
        workers: Threads that decode.
        aggregate: How the windows of a file become one prediction; see `aggregate_windows`.
        calibrate: Recordings to calibrate the model on first; see `calibrate_model`.

    Returns:
        A prediction for each file, in order. A file that cannot be read has an `error`.

    Raises:
        DataError: No file can be read, the folder holds no model, or there are too few recordings to calibrate on.
        RecipeError: `aggregate` is not defined for the model.

    Example:
        >>> classify(Path("model"), ["song.mp3"])[0].labels
        (('Rock', 0.81), ('Pop', 0.12), ('Funk', 0.04))
    """
    from training.models.classifier import load_model

    model = load_model(Path(model_folder))
    problem, labels = problem_of(model), list(model.config.labels)
    check_aggregate(aggregate, problem)
    if calibrate is not None:
        model = calibrate_model(model, calibrate, workers)
    unit = "bpm" if model.config.task in TEMPO_TASKS else ""
    tracks = [Track(printable(str(file)), Path(file), -1) for file in files]
    predictions = []
    for track, result in predict_tracks(
        model, load_model_embedder(model), tracks, workers=workers, aggregate=aggregate
    ):
        if isinstance(result, str):
            predictions.append(Classification(track.id, error=result))
        elif problem == REGRESSION:
            predictions.append(Classification(track.id, value=float(result[0]), unit=unit))
        else:
            predictions.append(Classification(track.id, rank_labels(labels, result, top_k)))
    if predictions and all(one.error for one in predictions):
        check_readable(predictions)
    return predictions


def tag_files(
    files: Iterable[str | Path], arch: str | None = None, weights: str | None = None, top_k: int = 5
) -> list[Classification]:
    """Predict the tags of audio files of any rate, number of channels and length by `musicnn`.

    Args:
        files: Audio files.
        arch: The model, by default "MSD_musicnn"; see `builder.embedders.musicnn.Musicnn`.
        weights: The package's wheel or folder. Default: the installed package, else its wheel.
        top_k: How many tags to return for each file.

    Returns:
        A prediction for each file, in order. A file has any number of tags: their probabilities do not sum to 1. A
        file that cannot be read has an `error`.

    Raises:
        DataError: No file can be read.
        BackendError: The weights cannot be loaded.
    """
    from builder.embedders.embedder import ERROR_COLUMN, TAGS_COLUMN, Embedder

    paths = [Path(file) for file in files]
    with Embedder(TAGGER, arch=arch, weights=weights, tags=True, errors="report", column="audio") as embedder:
        columns, names = embedder({"audio": paths}), embedder.tag_names
    predictions = []
    for path, probabilities, error in zip(paths, columns[TAGS_COLUMN], columns[ERROR_COLUMN], strict=True):
        name = printable(str(path))
        if error:
            reason = printable(error.removeprefix(f"{make_printable(str(path))}: "))
            predictions.append(Classification(name, error=reason))
        else:
            predictions.append(Classification(name, rank_labels(names, probabilities, top_k)))
    if predictions and all(one.error for one in predictions):
        check_readable(predictions)
    return predictions


def rank_labels(names: Sequence[str], probabilities: np.ndarray, count: int) -> tuple[tuple[str, float], ...]:
    """Return the `count` most probable labels with their probabilities, the most probable first.

    Args:
        names: The labels.
        probabilities: float [labels].
        count: How many to return.
    """
    order = np.argsort(-probabilities, kind="stable")[:count]
    return tuple((names[index], float(probabilities[index])) for index in order)


def check_readable(predictions: Sequence[Classification]) -> None:
    """Raise DataError that lists the files that could not be read, with their reasons, if there are any."""
    failed = [one for one in predictions if one.error]
    if not failed:
        return
    lines = "\n".join(f"  - {one.file}: {one.error}" for one in failed[:LISTED])
    more = f"\n  ... and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
    count = f"{len(failed)} of {len(predictions)} file{'' if len(predictions) == 1 else 's'}"
    folder = next((one.file for one in failed if Path(one.file).is_dir()), None)
    fix = "check that they are complete audio files" if folder is None else f"name the files of a folder: {folder}/*"
    raise DataError(f"{count} cannot be read\n{lines}{more}", fix)


def print_predictions(predictions: Sequence[Classification], jsonl: bool = False) -> None:
    """Write predictions to standard output: a line for each file, or with `jsonl` a JSON object.

    A file that could not be read has a JSON object with its `error`, and no line without `jsonl`.
    """
    width = max((len(one.file) for one in predictions), default=0)
    for one in predictions:
        if one.error and not jsonl:
            continue
        if jsonl:
            row = {"file": one.file, "labels": dict(one.labels), "value": one.value, "error": one.error}
            if one.annotation is not None:
                row["annotation"] = {key: value for key, value in one.annotation.to_row().items() if key != "midi"}
            line = json.dumps(row, ensure_ascii=False)
        elif one.annotation is not None:
            line = "\n".join([one.file, *(f"  {line}" for line in format_annotation(one.annotation))])
        else:
            line = f"{one.file:{width}}  {_format(one)}"
        sys.stdout.write(f"{line}\n")


def _format(one: Classification) -> str:
    if one.value is not None:
        return f"{one.value:.1f} {one.unit.upper()}".rstrip()
    return "  ".join(f"{label} {share:.1%}" for label, share in one.labels)


def format_annotation(annotation: Annotation) -> list[str]:
    """Format an annotation for a terminal, in lines: the first few of what there are many of."""
    lines = []
    if annotation.key is not None:
        lines.append(f"key             {annotation.key}")
    if annotation.time_signature is not None:
        lines.append(f"time signature  {annotation.time_signature}")
    if (beats := annotation.beats) is not None:
        tempo = f", {annotation.tempo_bpm:.1f} BPM" if annotation.tempo_bpm else ""
        positions = annotation.positions if annotation.positions is not None else [0] * len(beats)
        times = [f"{time:.2f}{'*' if place == 1 else ''}" for time, place in zip(beats, positions, strict=True)]
        lines.append(f"beats           {len(beats):,}{tempo}: {_first(times)}")
    if (chords := annotation.chords) is not None:
        each = [f"{start:.2f} {label}" for start, label in zip(chords.start, chords.label, strict=True)]
        lines.append(f"chords          {len(chords):,}: {_first(each, ', ')}")
    if annotation.melody is not None:
        voiced = float((annotation.melody > 0).mean()) if len(annotation.melody) else 0.0
        lines.append(f"melody          in {voiced:.0%} of the time")
    if annotation.notes is not None:
        lines.append(f"notes           {len(annotation.notes):,}")
    if annotation.tracks:
        lines.append(f"instruments     {', '.join(track.instrument for track in annotation.tracks)}")
    return lines


def _first(items: Sequence[str], separator: str = " ") -> str:
    return separator.join(items[:SHOWN]) + (f"{separator}..." if len(items) > SHOWN else "")
