"""Embed the tracks of a benchmark with several workers, in batches, wherever an executor runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, overload

import numpy as np

from builder.embedders.base import EmbedderBackend
from builder.errors import DataError
from builder.executors import Executor
from training.models.audio_embedding import load_trained_embedder

from ..benchmarks.track import Track
from .predict import embed_tracks

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BATCH_TRACKS = 16

Embedded = list[np.ndarray | str]  # float32 [windows, dim] of each track, or the reason why it cannot be read


@dataclass(frozen=True, slots=True)
class TrackBatch:
    """Some of the tracks, in order."""

    number: int
    tracks: tuple[Track, ...]

    @property
    def name(self) -> str:
        """The first and the last track, for messages."""
        return f"tracks {self.tracks[0].id} to {self.tracks[-1].id}"


class TrackBatches(Sequence[TrackBatch]):
    """Tracks in batches. A batch is made when it is asked for, as tracks may hold their audio."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.tracks = tracks

    def __len__(self) -> int:
        return -(-len(self.tracks) // BATCH_TRACKS)

    @overload
    def __getitem__(self, at: int) -> TrackBatch: ...
    @overload
    def __getitem__(self, at: slice) -> list[TrackBatch]: ...
    def __getitem__(self, at: int | slice) -> TrackBatch | list[TrackBatch]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        last = min((at + 1) * BATCH_TRACKS, len(self.tracks))
        return TrackBatch(at, tuple(self.tracks[number] for number in range(at * BATCH_TRACKS, last)))


class TrackEmbedder:
    """A worker that embeds batches of tracks. It loads the embedder that a model was trained on once."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.embedder = load_trained_embedder(config)

    def __call__(self, batch: TrackBatch, tick: object) -> tuple[int, Embedded]:
        """Embed a batch; return its number and what became of each track."""
        return batch.number, [vectors for _, vectors in embed_tracks(self.embedder, batch.tracks)]


def embed_tracks_distributed(
    executor: Executor, config: PreTrainedConfig, embedder: EmbedderBackend, tracks: Sequence[Track]
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Embed tracks with the workers of an executor, in order, as `embed_tracks` does.

    Args:
        executor: Runs the workers.
        config: The model's config, which names the embedder that each worker loads.
        embedder: The same embedder, loaded here.
        tracks: What to embed.

    Raises:
        DataError: A track can be read here and not by a worker.
    """
    batches, finished, following = TrackBatches(tracks), dict[int, Embedded](), 0
    for number, embedded in executor.run(partial(TrackEmbedder, config), batches, lambda _: None):
        finished[number] = embedded
        while following in finished:
            for track, vectors in zip(batches[following].tracks, finished.pop(following), strict=True):
                if isinstance(vectors, str):
                    _check_unreadable_here(embedder, track, vectors)
                yield track, vectors
            following += 1


def _check_unreadable_here(embedder: EmbedderBackend, track: Track, reason: str) -> None:
    """Raise DataError where a track that a worker cannot read can be read here."""
    [(_, vectors)] = embed_tracks(embedder, [track])
    if not isinstance(vectors, str):
        raise DataError(
            f"{track.path or track.id}: can be read here, and not by a worker: {reason}",
            "let the recordings be on storage that every node shares at the same path",
        )
