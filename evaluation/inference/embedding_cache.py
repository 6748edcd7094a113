"""A benchmark embedded once, to be answered by many models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder.io.atomic import write_bytes

from ..benchmarks.base import Benchmark
from ..benchmarks.track import Track
from ..results.predictions import Predictions
from .evaluated_model import EvaluatedModel, Tick, collect_predictions
from .predict import embed_tracks

if TYPE_CHECKING:
    from builder.embedders.base import EmbedderBackend


class EmbeddedBenchmark:
    """The windows' embeddings of every track of a benchmark, kept in a file so that a second run need not listen."""

    def __init__(
        self, benchmark: Benchmark, embedder: EmbedderBackend, folder: Path, tick: Tick = lambda _: None
    ) -> None:
        """Listen, or read what was heard of the same tracks by the same embedder."""
        self.benchmark = benchmark
        ids = "\n".join(f"{track.id} {track.path}" for track in benchmark.tracks)
        key = hashlib.sha256(f"{embedder.name}\n{embedder.revision}\n{ids}".encode("utf-8", "surrogateescape"))
        self._file = folder / f"{key.hexdigest()[:16]}.npz"
        self._vectors, self._starts, self._reasons = _read(self._file, len(benchmark.tracks)) or _listen(
            self._file, benchmark, embedder, tick
        )

    def by(self, candidate: EvaluatedModel) -> Predictions:
        """What a model answers, of the labels that the benchmark was opened for. Raises DataError."""
        threshold = candidate.model.config.threshold
        return collect_predictions(
            self.benchmark, self._answers(candidate), candidate.labels, candidate.problem, threshold=threshold
        )

    def _answers(self, candidate: EvaluatedModel) -> Iterator[tuple[Track, np.ndarray | str]]:
        for number, track in enumerate(self.benchmark.tracks):
            vectors = self._vectors[self._starts[number] : self._starts[number + 1]]
            yield track, candidate.answer(vectors if len(vectors) else str(self._reasons[number]), candidate.labels)


Heard = tuple[np.ndarray, np.ndarray, np.ndarray]  # float32 [windows, dim], int64 [tracks + 1], str [tracks]


def _read(file: Path, tracks: int) -> Heard | None:
    try:
        with np.load(file, allow_pickle=False) as kept:
            vectors, starts, reasons = kept["vectors"], kept["starts"], kept["reasons"]
    except Exception:  # none, or one that a full disk cut: whatever that makes numpy and zipfile raise
        return None
    fits = (vectors.ndim, starts.shape, reasons.shape) == (2, (tracks + 1,), (tracks,))
    kinds = (vectors.dtype, starts.dtype.kind, reasons.dtype.kind) == (np.float32, "i", "U")
    whole = fits and kinds and starts[0] == 0 and starts[-1] == len(vectors) and (np.diff(starts) >= 0).all()
    return (vectors, starts, reasons) if whole else None


def _listen(file: Path, benchmark: Benchmark, embedder: EmbedderBackend, tick: Tick) -> Heard:
    import io

    parts, lengths, reasons = [np.empty((0, embedder.dim), np.float32)], [0], []
    for _, vectors in embed_tracks(embedder, benchmark.tracks):
        tick(1)
        failed = isinstance(vectors, str)
        reasons.append(vectors if failed else "")
        lengths.append(0 if failed else len(vectors))
        if not isinstance(vectors, str):
            parts.append(vectors)
    heard = np.concatenate(parts), np.cumsum(lengths), np.array(reasons, dtype=str)
    buffer = io.BytesIO()
    np.savez(buffer, vectors=heard[0], starts=heard[1], reasons=heard[2])
    write_bytes(file, buffer.getvalue())
    return heard
