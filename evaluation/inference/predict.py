"""Recordings of any length -> what a model says of them: windows, embeddings, outputs, and one answer a track."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from builder.embedders.base import EmbedderBackend
from builder.errors import DataError, RecipeError, make_printable
from builder.executors import count_cores
from training.models.audio_embedding import AT_ONCE, OVERLAP, cut, embed_blocks, embed_cuts, embedder_for, sound_of

from ..benchmarks.text import printable
from ..benchmarks.track import Track
from ..results.scores import MULTI, REGRESSION, SINGLE

if TYPE_CHECKING:
    from training.models.classifier import SynthmirClassifier

HOP = OVERLAP  # of a window
BATCH = AT_ONCE
Sound = np.ndarray | Iterator[np.ndarray]  # float32 [samples], mono; or blocks of it, which may raise DataError
Read = Callable[[Track, int], Sound]  # track, Hz -> its sound; raises DataError
Made = TypeVar("Made")
READING = (DataError, MemoryError, RuntimeError)  # the latter: a length or a rate beyond what this machine can hold
Aggregate = Literal["mean", "logits", "max", "median", "vote"]


def load_model_embedder(model: SynthmirClassifier) -> EmbedderBackend:
    """The embedder that the model was trained on. Raises BackendError, or DataError if its revision is another."""
    return embedder_for(model.config)


def logits(model: SynthmirClassifier, embeddings: np.ndarray) -> np.ndarray:
    """float32 [n, dim] -> float64 [n, labels]; of a regression [n, 1], in the label's own unit."""
    import torch

    with torch.inference_mode():
        own = np.require(embeddings, requirements=["C", "W"])  # what comes from Ray cannot be written
        found = model(torch.from_numpy(own).to(model.device)).logits
        out: np.ndarray = found.double().cpu().numpy()
    return out


def probabilities(model: SynthmirClassifier, embeddings: np.ndarray) -> np.ndarray:
    """float32 [n, dim] -> float64 [n, labels]: each row sums to one, or with many labels a track each is in 0 .. 1.

    A regression has none: its numbers come out as they are, [n, 1].
    """
    return to_probabilities(logits(model, embeddings), problem_of(model))


def problem_of(model: SynthmirClassifier) -> str:
    """What the model's labels are, in transformers' words; one label a track where nothing is said."""
    return model.config.problem_type or SINGLE


def to_probabilities(values: np.ndarray, problem: str) -> np.ndarray:
    """Logits [n, labels] -> probabilities; a regression's numbers stay."""
    from scipy.special import expit, softmax

    if problem == SINGLE:
        return np.asarray(softmax(values, axis=-1))
    return np.asarray(expit(values)) if problem == MULTI else values


def check_aggregate(how: str, problem: str) -> None:
    """Raises RecipeError for a way that means nothing for the problem."""
    known = {
        SINGLE: ("mean", "logits", "max", "median", "vote"),
        MULTI: ("mean", "logits", "max", "median"),
        REGRESSION: ("mean", "median"),
    }[problem]
    if how not in known:
        raise RecipeError(f"aggregate: {how!r} means nothing for a {problem} model", f"use one of: {', '.join(known)}")


def pool(values: np.ndarray, problem: str, how: Aggregate = "mean") -> np.ndarray:
    """A track's windows, logits [n, labels] -> its one answer, float64 [labels].

    "mean": of the windows' probabilities. "logits": of the logits, before they become probabilities. "max", "median":
    of each label over the windows. "vote": the share of the windows that name the label. Where a track has one label,
    the answer sums to one.
    """
    if how == "logits":
        return to_probabilities(values.mean(axis=0), problem)
    found = to_probabilities(values, problem)
    if how == "mean":
        return np.asarray(found.mean(axis=0))
    if how == "vote":
        return np.bincount(found.argmax(axis=1), minlength=found.shape[1]) / len(found)
    answer = found.max(axis=0) if how == "max" else np.median(found, axis=0)
    return np.asarray(answer / answer.sum() if problem == SINGLE else answer)


def predict_audio(
    model: SynthmirClassifier,
    embedder: EmbedderBackend,
    samples: np.ndarray,
    batch_size: int = BATCH,
    aggregate: Aggregate = "mean",
) -> np.ndarray:
    """One recording, float32 [samples] at `embedder.sampling_rate` -> float64 [labels]; of a regression [1].

    Windows of `embedder.window_seconds` overlap by half; `pool` makes one answer of them. Neither its neighbours nor
    `batch_size` change what comes out.
    """
    return answer(model, embed_cuts(embedder, [cut(samples, embedder)], batch_size)[0], aggregate)


def predict_tracks(
    model: SynthmirClassifier,
    embedder: EmbedderBackend,
    tracks: Iterable[Track],
    batch_size: int = BATCH,
    workers: int | None = None,
    aggregate: Aggregate = "mean",
    read: Read | None = None,
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """`predict_audio` of many tracks, in order: each with float64 [labels], or the reason it cannot be read."""
    for track, vectors in embed_tracks(embedder, tracks, batch_size, workers, read):
        # One call a track: the same shapes, and so the same bits, whatever shared its batch.
        yield track, vectors if isinstance(vectors, str) else answer(model, vectors, aggregate)


def embed_tracks(
    embedder: EmbedderBackend,
    tracks: Iterable[Track],
    batch_size: int = BATCH,
    workers: int | None = None,
    read: Read | None = None,
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Each track, in order, with float32 [windows, dim], or the reason it cannot be read.

    Tracks are files, or hold their encoded audio. Threads decode ahead while windows are embedded. Memory holds a few
    tracks at a time, however many there are, and of each some minutes, however long it is. `read` is how a track
    becomes sound, `load` unless given. An embedder that says it is `light` is run by the threads that decode.
    """
    if getattr(embedder, "light", False):
        yield from _embed_ahead(embedder, tracks, batch_size, workers or 2 * count_cores(), read or load)
        return
    group: list[tuple[Track, np.ndarray | str]] = []
    waiting = 0
    for track, sound in _decode_ahead(tracks, embedder.sampling_rate, workers or count_cores(), read or load):
        if not isinstance(sound, str | np.ndarray):
            yield from _embed_group(embedder, group, batch_size)
            group, waiting = [], 0
            yield track, _embed_long(track, embedder, sound, batch_size)
            continue
        found = sound if isinstance(sound, str) else cut(sound, embedder)
        group.append((track, found))
        waiting += 0 if isinstance(found, str) else len(found)
        if waiting >= batch_size:
            yield from _embed_group(embedder, group, batch_size)
            group, waiting = [], 0
    yield from _embed_group(embedder, group, batch_size)


def _embed_ahead(
    embedder: EmbedderBackend, tracks: Iterable[Track], batch_size: int, workers: int, read: Read
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """As `embed_tracks`, each track whole by one thread: threads of torch's own would wait for each other."""
    import torch

    def embed(track: Track, sampling_rate: int) -> np.ndarray:
        sound = read(track, sampling_rate)
        if not isinstance(sound, np.ndarray):
            return embed_blocks(embedder, sound, batch_size)
        return embed_cuts(embedder, [cut(sound, embedder)], batch_size)[0]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _decode_ahead(tracks, embedder.sampling_rate, workers, embed)
    finally:
        torch.set_num_threads(threads)


def _embed_group(
    embedder: EmbedderBackend, group: list[tuple[Track, np.ndarray | str]], batch_size: int
) -> Iterator[tuple[Track, np.ndarray | str]]:
    cuts = [found for _, found in group if not isinstance(found, str)]
    vectors = iter(embed_cuts(embedder, cuts, batch_size))
    for track, found in group:
        yield track, found if isinstance(found, str) else next(vectors)


def _embed_long(
    track: Track, embedder: EmbedderBackend, blocks: Iterator[np.ndarray], batch_size: int
) -> np.ndarray | str:
    """float32 [windows, dim] of a track that is read as it is embedded, or why it cannot be read to its end."""

    def read() -> Iterator[np.ndarray]:
        try:
            yield from blocks
        except READING as error:
            raise DataError(_reason(track, error)) from error

    try:
        return embed_blocks(embedder, read(), batch_size)
    except DataError as error:
        return error.message


def answer(model: SynthmirClassifier, embeddings: np.ndarray, aggregate: Aggregate = "mean") -> np.ndarray:
    """A track's windows, float32 [windows, dim] -> its one answer, float64 [labels]."""
    return pool(logits(model, embeddings), problem_of(model), aggregate)


def _decode_ahead(
    tracks: Iterable[Track], sampling_rate: int, workers: int, read: Callable[[Track, int], Made]
) -> Iterator[tuple[Track, Made | str]]:
    """Each track, in order, with what `read` makes of it or why it cannot be read; `workers` threads, bounded."""
    pending: deque[tuple[Track, Future[Made | str]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        try:
            for track in tracks:
                pending.append((track, threads.submit(_read, track, sampling_rate, read)))
                if len(pending) > workers:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def load(track: Track, sampling_rate: int) -> Sound:
    """A track's sound, float32 [samples] at `sampling_rate`, mono; of a long one, blocks of it. Raises DataError."""
    return sound_of(source_of(track), sampling_rate)


def source_of(track: Track) -> Path | bytes:
    """Its file, or its encoded audio. Raises DataError where it has neither, or 0 bytes of it."""
    source = track.path if track.data is None else track.data
    if source is None:
        raise DataError("holds no audio")
    if source == b"" or (isinstance(source, Path) and source.is_file() and source.stat().st_size == 0):
        raise DataError("is empty: 0 bytes")
    return source


def _read(track: Track, sampling_rate: int, read: Callable[[Track, int], Made]) -> Made | str:
    """What `read` makes of a track, or in words why it cannot be read."""
    try:
        return read(track, sampling_rate)
    except READING as error:
        return _reason(track, error)


def _reason(track: Track, error: Exception) -> str:
    if not isinstance(error, DataError):
        return printable(f"cannot be decoded: {error}")
    name = "audio bytes" if track.path is None or track.data is not None else str(track.path)
    return printable(error.message.removeprefix(f"{make_printable(name)}: "))
