"""The windows of the target's test part, as every benchmark is cut and embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder.errors import BackendError, DataError

from ..results.predictions import Predictions
from .embedding_cache import EmbeddedTracks
from .held_out import find_audio
from .predict import load_model_embedder

if TYPE_CHECKING:
    from training.models.classifier import SynthmirClassifier


@dataclass(frozen=True, slots=True)
class TargetWindows:
    """The test part with the embeddings of its windows.

    Attributes:
        test: The tracks that are scored, without outputs.
        embeddings: float32 [windows, dim] of each track.
        seconds: The length of a window; None where each track has its one stored embedding.
    """

    test: Predictions
    embeddings: Sequence[np.ndarray]
    seconds: float | None


def embed_target_windows(
    target: str, test: Predictions, stored: np.ndarray, model: SynthmirClassifier, folder: Path
) -> TargetWindows:
    """Embed the test part of a target window by window.

    Args:
        target: The folder of the target's embeddings.
        test: Its test part, as `read_test` returns it.
        stored: float32 [n, dim], the stored embeddings, one a track.
        model: A model that was trained on the same embedder.
        folder: Where the embeddings of the windows are kept.

    Returns:
        The tracks with their windows. Where the recordings cannot be found or the embedder cannot be loaded, each
        track has its stored embedding as its one window, and a note says so.
    """
    tracks = find_audio(target, list(test.ids))
    if tracks is None:
        return _use_stored(test, stored, "the recordings were not found")
    try:
        embedder = load_model_embedder(model)
    except (BackendError, DataError) as error:
        return _use_stored(test, stored, error.message)
    embedded = EmbeddedTracks(tracks, embedder, folder)
    windows = [embedded[number] for number in range(len(embedded))]
    readable = [number for number, vectors in enumerate(windows) if not isinstance(vectors, str)]
    if len(readable) < len(windows):
        first = next(number for number, vectors in enumerate(windows) if isinstance(vectors, str))
        raise DataError(
            f"{target}: {len(windows) - len(readable)} of its test recordings can no longer be read; the first, "
            f"{test.ids[first]}: {windows[first]}",
            "put them back, or embed the real music again",
        )
    return TargetWindows(test, [np.asarray(vectors) for vectors in windows], embedder.window_seconds)


def _use_stored(test: Predictions, stored: np.ndarray, why: str) -> TargetWindows:
    note = (
        f"each test track is scored by its stored embedding, as {why}: on tracks longer than a window, "
        "`synthmir evaluate` can give another score"
    )
    return TargetWindows(replace(test, notes=[*test.notes, note]), list(stored[:, None]), None)
