"""Calibrate a model on recordings without labels."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import DataError
from training.models.calibration import RecordingStatistics, calibrate_classifier, check_not_calibrated

from ..benchmarks.text import printable
from .evaluated_model import read_training_record
from .predict import embed_tracks, load_model_embedder
from .recordings import read_recordings

if TYPE_CHECKING:
    from training.models.classifier import SynthmirClassifier

_log = logging.getLogger(__name__)


def calibrate_model(
    model: SynthmirClassifier,
    source: str,
    workers: int | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> SynthmirClassifier:
    """Calibrate a model on recordings: it then standardises their windows by their own statistics.

    Recordings that cannot be read are left out and logged.

    Args:
        model: A model that is not calibrated yet.
        source: The recordings, see `read_recordings`.
        workers: Threads that decode.
        tick: Called with 1 after each recording.

    Returns:
        A copy of the model.

    Raises:
        DataError: There are too few recordings, or the model is calibrated already.
        BackendError: The model's embedder cannot be loaded here.
    """
    check_not_calibrated(model)
    embedder = load_model_embedder(model)
    statistics = RecordingStatistics(embedder.dim)
    for track, vectors in embed_tracks(embedder, read_recordings(source), workers=workers):
        tick(1)
        if isinstance(vectors, str):
            _log.warning("calibration: left out %s: %s", printable(track.id), vectors)
        else:
            statistics.add(vectors)
    place = Path(source).expanduser()
    name = place.resolve().name if place.name in ("", "..") else place.name
    return calibrate_classifier(model, statistics, printable(name))


def calibrate_folder(
    model_folder: Path,
    source: str,
    out: Path,
    workers: int | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> SynthmirClassifier:
    """Calibrate the model of a folder, and write the calibrated model into another folder.

    Args:
        model_folder: A model folder.
        source: The recordings, see `read_recordings`.
        out: The folder to write: config, weights, training record and card. A model that it holds is replaced.
        workers: Threads that decode.
        tick: Called with 1 after each recording.

    Returns:
        The calibrated model.

    Raises:
        DataError: The model or the recordings cannot be read, or `out` cannot be written or is the model's folder.
        BackendError: The model's embedder cannot be loaded here.
    """
    from training.card.card import write_card
    from training.models.classifier import load_model
    from training.models.folder import new_model_folder, save_model
    from training.trainer import RECORD

    model_folder, out = Path(model_folder), Path(out)
    if out.resolve() == model_folder.resolve():
        raise DataError(f"{out}: is the model itself, which stays as it is", "name another folder: --out DIR")
    model, record = load_model(model_folder), read_training_record(model_folder)
    check_not_calibrated(model)
    with new_model_folder(out) as folder:
        calibrated = calibrate_model(model, source, workers, tick)
        record.details["calibration"] = calibrated.config.calibration
        if isinstance(corpus := record.details.get("corpus"), str) and "://" not in corpus:
            record.details["corpus"] = os.path.relpath(model_folder.resolve() / corpus, out.resolve())
        save_model(calibrated, folder)
        record.write(folder / RECORD)
        write_card(folder)
    return calibrated
