"""Recordings heard by several workers: as `embed_tracks`, part by part, wherever an executor runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, overload

import numpy as np

from builder.embedders.base import EmbedderBackend
from builder.errors import DataError
from builder.executors import Executor
from training.models.audio_embedding import embedder_for

from ..benchmarks.track import Track
from .predict import embed_tracks

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

AT_ONCE = 16  # tracks a part

Heard = list[np.ndarray | str]  # float32 [windows, dim], or why a track cannot be read


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the tracks, in order."""

    number: int
    tracks: tuple[Track, ...]

    @property
    def name(self) -> str:
        """Of its first and last track."""
        return f"tracks {self.tracks[0].id} to {self.tracks[-1].id}"


class Parts(Sequence[Part]):
    """The tracks cut into parts, each when it is asked for: tracks that hold their audio are not all held."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.tracks = tracks

    def __len__(self) -> int:
        return -(-len(self.tracks) // AT_ONCE)

    @overload
    def __getitem__(self, at: int) -> Part: ...
    @overload
    def __getitem__(self, at: slice) -> list[Part]: ...
    def __getitem__(self, at: int | slice) -> Part | list[Part]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        last = min((at + 1) * AT_ONCE, len(self.tracks))
        return Part(at, tuple(self.tracks[number] for number in range(at * AT_ONCE, last)))


class TrackEmbedder:
    """Hears parts: the embedder that a model was trained on is loaded once and used for all of them."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.embedder = embedder_for(config)

    def __call__(self, part: Part, tick: object) -> tuple[int, Heard]:
        """What is heard of each track of a part."""
        return part.number, [heard for _, heard in embed_tracks(self.embedder, part.tracks)]


def embed_tracks_distributed(
    executor: Executor, config: PreTrainedConfig, embedder: EmbedderBackend, tracks: Sequence[Track]
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """As `embed_tracks`, in order, by workers that each load what `config` names. Raises DataError for a track that
    can be read here, by `embedder`, and not where a worker is.
    """
    parts, held, following = Parts(tracks), dict[int, Heard](), 0
    for number, heard in executor.run(partial(TrackEmbedder, config), parts, lambda _: None):
        held[number] = heard
        while following in held:
            for track, found in zip(parts[following].tracks, held.pop(following), strict=True):
                if isinstance(found, str):
                    _refuse_apart(embedder, track, found)
                yield track, found
            following += 1


def _refuse_apart(embedder: EmbedderBackend, track: Track, reason: str) -> None:
    [(_, here)] = embed_tracks(embedder, [track])
    if not isinstance(here, str):
        raise DataError(
            f"{track.path or track.id}: can be read here, and not by a worker: {reason}",
            "let the recordings be on storage that every node shares at the same path",
        )
