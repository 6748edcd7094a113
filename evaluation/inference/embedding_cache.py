"""Window embeddings of tracks, computed once and kept in a file, for predictions by many models."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder.io.atomic import write_bytes
from training.models.calibration import RecordingStatistics

from ..benchmarks.base import Benchmark
from ..benchmarks.track import Track
from ..results.predictions import Predictions
from .evaluated_model import OWN, EvaluatedModel, Tick, collect_predictions
from .predict import embed_tracks

if TYPE_CHECKING:
    from builder.embedders.base import EmbedderBackend


class EmbeddedTracks:
    """The window embeddings of some tracks by one embedder.

    Args:
        tracks: The tracks. Their order is that of the embeddings.
        embedder: What embeds them.
        folder: Where the file of embeddings is kept. One that is there is read, and no track is decoded.
        tick: Called with 1 after each track.
    """

    def __init__(
        self, tracks: Sequence[Track], embedder: EmbedderBackend, folder: Path, tick: Tick = lambda _: None
    ) -> None:
        key = "\n".join([embedder.name, str(embedder.revision), *map(_describe, tracks)])
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        file = folder / f"{digest[:16]}.npz"
        self._vectors, self._starts, self._reasons = _read(file, len(tracks)) or _embed(file, tracks, embedder, tick)

    def __len__(self) -> int:
        return len(self._reasons)

    def __getitem__(self, number: int) -> np.ndarray | str:
        """Return float32 [windows, dim] of a track by its number, or the reason why it cannot be read."""
        vectors = self._vectors[self._starts[number] : self._starts[number + 1]]
        return vectors if len(vectors) else str(self._reasons[number])


class EmbeddedBenchmark:
    """A benchmark whose tracks are embedded once, for predictions by many models of the same labels.

    Args:
        benchmark: A benchmark that was opened for the models' labels.
        embedder: The embedder that the models were trained on.
        folder: Where the file of embeddings is kept.
        tick: Called with 1 after each track.
    """

    def __init__(
        self, benchmark: Benchmark, embedder: EmbedderBackend, folder: Path, tick: Tick = lambda _: None
    ) -> None:
        self.benchmark = benchmark
        self.embedded = EmbeddedTracks(benchmark.tracks, embedder, folder, tick)

    def predict(self, model: EvaluatedModel) -> Predictions:
        """Predict the benchmark's tracks, by their own statistics where the model's settings say so.

        Raises:
            DataError: No track can be read, or there are too few to calibrate on.
        """
        if model.settings.calibrate == OWN:
            dim = self.readable[0].shape[1] if self.readable else 0
            model = model.calibrated(RecordingStatistics.of(self.readable, dim), self.benchmark.name)
        threshold = model.model.config.threshold
        return collect_predictions(
            self.benchmark, self._outputs(model), model.labels, model.problem, threshold=threshold
        )

    @cached_property
    def readable(self) -> list[np.ndarray]:
        """The embeddings of each track that can be read, float32 [windows, dim], in order."""
        embedded = (self.embedded[number] for number in range(len(self.embedded)))
        return [vectors for vectors in embedded if not isinstance(vectors, str)]

    def _outputs(self, model: EvaluatedModel) -> Iterator[tuple[Track, np.ndarray | str]]:
        for number, track in enumerate(self.benchmark.tracks):
            yield track, model.predict_windows(self.embedded[number], model.labels)


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # float32 [windows, dim], int64 [tracks + 1], str [tracks]


def _describe(track: Track) -> str:
    """Describe a track so that a changed file is embedded again."""
    try:
        state = track.path.stat() if track.path is not None else None
    except OSError:
        state = None
    return f"{track.id} {track.path}" + (f" {state.st_size} {state.st_mtime_ns}" if state else "")


def _read(file: Path, tracks: int) -> Arrays | None:
    """Read a file of embeddings; None where there is none, or it is damaged or of other tracks."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            vectors, starts, reasons = arrays["vectors"], arrays["starts"], arrays["reasons"]
    except Exception:  # whatever a missing or truncated file makes numpy and zipfile raise
        return None
    shapes = (vectors.ndim, starts.shape, reasons.shape) == (2, (tracks + 1,), (tracks,))
    kinds = (vectors.dtype, starts.dtype.kind, reasons.dtype.kind) == (np.float32, "i", "U")
    valid = shapes and kinds and starts[0] == 0 and starts[-1] == len(vectors) and (np.diff(starts) >= 0).all()
    return (vectors, starts, reasons) if valid else None


def _embed(file: Path, tracks: Iterable[Track], embedder: EmbedderBackend, tick: Tick) -> Arrays:
    parts, lengths, reasons = [np.empty((0, embedder.dim), np.float32)], [0], []
    for _, vectors in embed_tracks(embedder, tracks):
        tick(1)
        failed = isinstance(vectors, str)
        reasons.append(vectors if failed else "")
        lengths.append(0 if failed else len(vectors))
        if not isinstance(vectors, str):
            parts.append(vectors)
    arrays = np.concatenate(parts), np.cumsum(lengths), np.array(reasons, dtype=str)
    buffer = io.BytesIO()
    np.savez(buffer, vectors=arrays[0], starts=arrays[1], reasons=arrays[2])
    write_bytes(file, buffer.getvalue())
    return arrays
