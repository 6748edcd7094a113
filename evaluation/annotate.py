"""Predict the beats, chords, key, ... of audio files by a frame model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from builder.annotations.jams import write_jams
from builder.errors import DataError, RecipeError

from .benchmarks.text import printable
from .classify import Classification

SUFFIX = ".jams"


def annotate_files(model_folder: Path, files: Iterable[str | Path]) -> list[Classification]:
    """Predict the annotations of audio files of any rate, number of channels and length.

    Args:
        model_folder: The folder of a frame model.
        files: Audio files.

    Returns:
        A prediction for each file, in order, with its `annotation`. A file that cannot be read has an `error`.

    Raises:
        DataError: The folder holds no frame model.
    """
    from training.frames.loading import load_frame_model

    model = load_frame_model(model_folder)
    predictions = []
    for file in files:
        name = printable(str(file))
        try:
            found = model.annotate_file(Path(file), Path(file).stem)
        except DataError as error:
            predictions.append(Classification(name, error=error.message.removeprefix(f"{file}: ")))
        else:
            predictions.append(Classification(name, annotation=found))
    return predictions


def write_predictions(predictions: Sequence[Classification], out: Path) -> list[Path]:
    """Write the annotations of predictions as JAMS files.

    Args:
        predictions: Predictions of a frame model.
        out: A file that ends in .jams, of one prediction; or a folder, which gets NAME.jams for each.

    Returns:
        The files that were written.

    Raises:
        RecipeError: `out` is one file for several predictions.
        DataError: Two files have the same name, or a file cannot be written.
        BackendError: The package jams is not installed.
    """
    found = [one.annotation for one in predictions if one.annotation is not None]
    if out.suffix == SUFFIX:
        if len(predictions) > 1:
            raise RecipeError(f"--out {out}: is one file, for {len(predictions)} recordings", "name a folder")
        paths = [out] * len(found)
    else:
        paths = [out / f"{one.id}{SUFFIX}" for one in found]
        if twice := [path for path in paths if paths.count(path) > 1]:
            raise DataError(f"{twice[0]}: two of the recordings have this name", "classify them one by one")
        out.mkdir(parents=True, exist_ok=True)
    for annotation, path in zip(found, paths, strict=True):
        write_jams(annotation, path, data_source="synthmir")
    return paths
