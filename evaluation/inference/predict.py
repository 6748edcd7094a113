"""Predict recordings of any length: windows, embeddings, outputs, and one prediction a track.

Every score, `classify` and the pipeline go the same way: windows of the embedder's length that overlap by half
(`HOP`), one embedding a window, the classifier's output for each, and `aggregate_windows` over the windows of a track.
"""

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
from training.models.audio_embedding import (
    AT_ONCE,
    OVERLAP,
    cut_recording,
    embed_stream,
    embed_windows,
    load_trained_embedder,
    read_recording,
)

from ..benchmarks.text import printable
from ..benchmarks.track import Track
from ..results.scores import MULTI, REGRESSION, SINGLE

if TYPE_CHECKING:
    from training.models.classifier import SynthmirClassifier

HOP = OVERLAP  # between the starts of two windows, as a share of a window
BATCH = AT_ONCE
Sound = np.ndarray | Iterator[np.ndarray]  # float32 [samples], mono; or blocks of it, which may raise DataError
Read = Callable[[Track, int], Sound]  # of a track and a rate in Hz; may raise DataError
Value = TypeVar("Value")
UNREADABLE = (DataError, MemoryError, RuntimeError)  # the last two: a length or a rate too large for this machine
Aggregate = Literal["mean", "logits", "max", "median", "vote"]


def load_model_embedder(model: SynthmirClassifier) -> EmbedderBackend:
    """Load the embedder that a model was trained on.

    Raises:
        BackendError: It cannot be loaded here.
        DataError: Its revision, dimension or sampling rate is another.
    """
    return load_trained_embedder(model.config)


def compute_logits(model: SynthmirClassifier, embeddings: np.ndarray) -> np.ndarray:
    """Compute the outputs of a model before they become probabilities.

    Args:
        model: A classifier or a regression.
        embeddings: float32 [n, dim].

    Returns:
        float64 [n, labels]; of a regression [n, 1], in the label's unit.
    """
    import torch

    with torch.inference_mode():
        writable = np.require(embeddings, requirements=["C", "W"])  # arrays from Ray are read-only
        logits = model(torch.from_numpy(writable).to(model.device)).logits
        outputs: np.ndarray = logits.double().cpu().numpy()
    return outputs


def predict_probabilities(model: SynthmirClassifier, embeddings: np.ndarray) -> np.ndarray:
    """Compute the outputs of a model for embeddings, float32 [n, dim].

    Returns:
        Probabilities, float64 [n, labels]: with one label a track each row sums to 1. Of a regression the numbers
        [n, 1], in the label's unit.
    """
    return to_probabilities(compute_logits(model, embeddings), problem_of(model))


def problem_of(model: SynthmirClassifier) -> str:
    """Return the model's `problem_type` in transformers' terms; one label a track where its config has none."""
    return model.config.problem_type or SINGLE


def to_probabilities(logits: np.ndarray, problem: str) -> np.ndarray:
    """Turn logits [n, labels] into probabilities by softmax or sigmoid. The numbers of a regression stay."""
    from scipy.special import expit, softmax

    if problem == SINGLE:
        return np.asarray(softmax(logits, axis=-1))
    return np.asarray(expit(logits)) if problem == MULTI else logits


def check_aggregate(aggregate: str, problem: str) -> None:
    """Check that a way of aggregating windows suits a problem.

    Raises:
        RecipeError: It does not.
    """
    known = {
        SINGLE: ("mean", "logits", "max", "median", "vote"),
        MULTI: ("mean", "logits", "max", "median"),
        REGRESSION: ("mean", "median"),
    }[problem]
    if aggregate not in known:
        raise RecipeError(
            f"aggregate: {aggregate!r} is not defined for a {problem} model", f"use one of: {', '.join(known)}"
        )


def aggregate_windows(logits: np.ndarray, problem: str, aggregate: Aggregate = "mean") -> np.ndarray:
    """Aggregate the windows of a track to one prediction.

    Args:
        logits: float64 [windows, labels].
        problem: The model's problem type.
        aggregate: "mean": of the windows' probabilities. "logits": of the logits, before softmax or sigmoid. "max" and
            "median": of each label's probability over the windows. "vote": the share of windows whose most probable
            label it is.

    Returns:
        float64 [labels]; with one label a track it sums to 1.
    """
    if aggregate == "logits":
        return to_probabilities(logits.mean(axis=0), problem)
    outputs = to_probabilities(logits, problem)
    if aggregate == "mean":
        return np.asarray(outputs.mean(axis=0))
    if aggregate == "vote":
        return np.bincount(outputs.argmax(axis=1), minlength=outputs.shape[1]) / len(outputs)
    track = outputs.max(axis=0) if aggregate == "max" else np.median(outputs, axis=0)
    return np.asarray(track / track.sum() if problem == SINGLE else track)


def predict_windows(model: SynthmirClassifier, embeddings: np.ndarray, aggregate: Aggregate = "mean") -> np.ndarray:
    """Predict a track from the embeddings of its windows.

    Args:
        model: A classifier or a regression.
        embeddings: float32 [windows, dim].
        aggregate: How windows become one prediction; see `aggregate_windows`.

    Returns:
        float64 [labels]; of a regression [1].
    """
    return aggregate_windows(compute_logits(model, embeddings), problem_of(model), aggregate)


def predict_audio(
    model: SynthmirClassifier,
    embedder: EmbedderBackend,
    samples: np.ndarray,
    batch_size: int = BATCH,
    aggregate: Aggregate = "mean",
) -> np.ndarray:
    """Predict one recording.

    Args:
        model: A classifier or a regression.
        embedder: The embedder that it was trained on.
        samples: float32 [samples], mono, at `embedder.sampling_rate`.
        batch_size: Windows embedded at once. It does not change the result.
        aggregate: How windows become one prediction; see `aggregate_windows`.

    Returns:
        float64 [labels]; of a regression [1].
    """
    return predict_windows(
        model, embed_windows(embedder, [cut_recording(samples, embedder)], batch_size)[0], aggregate
    )


def predict_tracks(
    model: SynthmirClassifier,
    embedder: EmbedderBackend,
    tracks: Iterable[Track],
    batch_size: int = BATCH,
    workers: int | None = None,
    aggregate: Aggregate = "mean",
    read: Read | None = None,
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Predict many tracks as `predict_audio` does, in order.

    Args:
        model: A classifier or a regression.
        embedder: The embedder that it was trained on.
        tracks: Files, or tracks that hold their encoded audio.
        batch_size: Windows embedded at once.
        workers: Threads that decode; see `embed_tracks`.
        aggregate: How windows become one prediction; see `aggregate_windows`.
        read: How a track is decoded; `read_track` by default.

    Yields:
        Each track with float64 [labels], or with the reason why it cannot be read.
    """
    for track, vectors in embed_tracks(embedder, tracks, batch_size, workers, read):
        # One call a track: equal shapes give equal bits, whatever tracks shared a batch.
        yield track, vectors if isinstance(vectors, str) else predict_windows(model, vectors, aggregate)


def embed_tracks(
    embedder: EmbedderBackend,
    tracks: Iterable[Track],
    batch_size: int = BATCH,
    workers: int | None = None,
    read: Read | None = None,
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Embed the windows of many tracks, in order.

    Threads decode ahead while windows are embedded. Memory holds a few tracks at a time, and a few minutes of each.

    Args:
        embedder: What embeds. One that is `light` runs in the threads that decode.
        tracks: Files, or tracks that hold their encoded audio.
        batch_size: Windows embedded at once.
        workers: Threads; by default one for each core.
        read: How a track is decoded; `read_track` by default.

    Yields:
        Each track with float32 [windows, dim], or with the reason why it cannot be read.
    """
    if getattr(embedder, "light", False):
        yield from _embed_in_threads(embedder, tracks, batch_size, workers or 2 * count_cores(), read or read_track)
        return
    group: list[tuple[Track, np.ndarray | str]] = []
    waiting = 0
    for track, sound in _decode_ahead(tracks, embedder.sampling_rate, workers or count_cores(), read or read_track):
        if not isinstance(sound, str | np.ndarray):
            yield from _embed_group(embedder, group, batch_size)
            group, waiting = [], 0
            yield track, _embed_long(track, embedder, sound, batch_size)
            continue
        windows = sound if isinstance(sound, str) else cut_recording(sound, embedder)
        group.append((track, windows))
        waiting += 0 if isinstance(windows, str) else len(windows)
        if waiting >= batch_size:
            yield from _embed_group(embedder, group, batch_size)
            group, waiting = [], 0
    yield from _embed_group(embedder, group, batch_size)


def _embed_in_threads(
    embedder: EmbedderBackend, tracks: Iterable[Track], batch_size: int, workers: int, read: Read
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Embed each track in one thread. Torch's own threads would wait for one another, so each track gets one."""
    from builder.cpu_kernels import one_torch_thread

    def embed(track: Track, sampling_rate: int) -> np.ndarray:
        sound = read(track, sampling_rate)
        if not isinstance(sound, np.ndarray):
            return embed_stream(embedder, sound, batch_size)
        return embed_windows(embedder, [cut_recording(sound, embedder)], batch_size)[0]

    with one_torch_thread():
        yield from _decode_ahead(tracks, embedder.sampling_rate, workers, embed)


def _embed_group(
    embedder: EmbedderBackend, group: list[tuple[Track, np.ndarray | str]], batch_size: int
) -> Iterator[tuple[Track, np.ndarray | str]]:
    cuts = [windows for _, windows in group if not isinstance(windows, str)]
    vectors = iter(embed_windows(embedder, cuts, batch_size))
    for track, windows in group:
        yield track, windows if isinstance(windows, str) else next(vectors)


def _embed_long(
    track: Track, embedder: EmbedderBackend, blocks: Iterator[np.ndarray], batch_size: int
) -> np.ndarray | str:
    """Embed a track while it is read, float32 [windows, dim]; or return why it cannot be read to its end."""

    def checked() -> Iterator[np.ndarray]:
        try:
            yield from blocks
        except UNREADABLE as error:
            raise DataError(_reason(track, error)) from error

    try:
        return embed_stream(embedder, checked(), batch_size)
    except DataError as error:
        return error.message


def _decode_ahead(
    tracks: Iterable[Track], sampling_rate: int, workers: int, read: Callable[[Track, int], Value]
) -> Iterator[tuple[Track, Value | str]]:
    """Read tracks in threads, in order, a bounded number ahead; a track that cannot be read gives the reason."""
    pending: deque[tuple[Track, Future[Value | str]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        try:
            for track in tracks:
                pending.append((track, threads.submit(_read_or_reason, track, sampling_rate, read)))
                if len(pending) > workers:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def read_track(track: Track, sampling_rate: int) -> Sound:
    """Decode a track to mono at `sampling_rate` Hz.

    Returns:
        float32 [samples]; of a long track an iterator of blocks.

    Raises:
        DataError: It cannot be read.
    """
    return read_recording(audio_source(track), sampling_rate)


def audio_source(track: Track) -> Path | bytes:
    """Return a track's file, or its encoded audio.

    Raises:
        DataError: It has neither, or 0 bytes of it.
    """
    source = track.path if track.data is None else track.data
    if source is None:
        raise DataError("holds no audio")
    if source == b"" or (isinstance(source, Path) and source.is_file() and source.stat().st_size == 0):
        raise DataError("is empty: 0 bytes")
    return source


def _read_or_reason(track: Track, sampling_rate: int, read: Callable[[Track, int], Value]) -> Value | str:
    try:
        return read(track, sampling_rate)
    except UNREADABLE as error:
        return _reason(track, error)


def _reason(track: Track, error: Exception) -> str:
    if not isinstance(error, DataError):
        return printable(f"cannot be decoded: {error}")
    name = "audio bytes" if track.path is None or track.data is not None else str(track.path)
    return printable(error.message.removeprefix(f"{make_printable(name)}: "))
