"""Recordings of any length -> probabilities: windows, embeddings, softmax, and the mean over a track's windows."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder.audio import load_audio, windows
from builder.embedders.base import Embedder, load_embedder
from builder.errors import DataError
from builder.executors import cores
from builder.recipe import EmbedderSettings
from builder.validation import validate

from .benchmarks.base import Track, printable

if TYPE_CHECKING:
    from training.model import SynthmirClassifier

HOP = 0.5  # of a window: every moment but the first and last half-window is heard twice
BATCH = 16  # windows embedded at once


def embedder_of(model: SynthmirClassifier) -> Embedder:
    """The embedder that the model was trained on. Raises BackendError, or DataError if its revision is another."""
    trained = model.config.embedder
    settings = trained.get("settings") or {"name": trained["name"], "weights": trained.get("weights")}
    embedder = load_embedder(validate(EmbedderSettings, settings, "config.json: embedder.settings"))
    for key in ("revision", "dim"):
        if trained.get(key) is not None and getattr(embedder, key) != trained[key]:
            raise DataError(
                f"the model was trained on {trained['name']} with {key} {trained[key]}; here it has "
                f"{getattr(embedder, key)}",
                "embed the corpus and train anew, or use the version of synthmir that trained the model",
            )
    return embedder


def probabilities(model: SynthmirClassifier, embeddings: np.ndarray) -> np.ndarray:
    """float32 [n, dim] -> float64 [n, classes], each row sums to one."""
    import torch

    with torch.inference_mode():
        logits = model(torch.from_numpy(np.ascontiguousarray(embeddings)).to(model.device)).logits
        out: np.ndarray = logits.double().softmax(dim=-1).cpu().numpy()
    return out


def predict_audio(
    model: SynthmirClassifier, embedder: Embedder, samples: np.ndarray, batch_size: int = BATCH
) -> np.ndarray:
    """One recording, float32 [samples] at `embedder.sampling_rate` -> float64 [classes], which sums to one.

    Windows of `embedder.window_seconds` overlap by half; the track's probability is the mean over its windows.
    Neither its neighbours nor `batch_size` change what comes out.
    """
    return probabilities(model, _embed([_cut(samples, embedder)], embedder, batch_size)[0]).mean(axis=0)


def predict_tracks(
    model: SynthmirClassifier,
    embedder: Embedder,
    tracks: Iterable[Track],
    batch_size: int = BATCH,
    workers: int | None = None,
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """`predict_audio` of many files, in order: each track with float64 [classes], or the reason it cannot be read.

    Threads decode ahead while windows are embedded. Memory holds a few tracks at a time, however many there are.
    """
    group: list[tuple[Track, np.ndarray | str]] = []
    waiting = 0
    for track, samples in _decode_ahead(tracks, embedder.sampling_rate, workers or cores()):
        cut = samples if isinstance(samples, str) else _cut(samples, embedder)
        group.append((track, cut))
        waiting += 0 if isinstance(cut, str) else len(cut)
        if waiting >= batch_size:
            yield from _predict_group(model, embedder, group, batch_size)
            group, waiting = [], 0
    yield from _predict_group(model, embedder, group, batch_size)


def _predict_group(
    model: SynthmirClassifier, embedder: Embedder, group: list[tuple[Track, np.ndarray | str]], batch_size: int
) -> Iterator[tuple[Track, np.ndarray | str]]:
    vectors = iter(_embed([cut for _, cut in group if not isinstance(cut, str)], embedder, batch_size))
    for track, cut in group:
        # One call a track: the same shapes, and so the same bits, whatever shared its batch.
        yield track, cut if isinstance(cut, str) else probabilities(model, next(vectors)).mean(axis=0)


def _cut(samples: np.ndarray, embedder: Embedder) -> np.ndarray:
    """float32 [samples] -> float32 [n, window], or [1, samples] of audio shorter than a window."""
    window = round(embedder.window_seconds * embedder.sampling_rate)
    return windows(samples, window, max(1, round(HOP * window)))


def _embed(cuts: list[np.ndarray], embedder: Embedder, batch_size: int) -> list[np.ndarray]:
    """Windows [n, samples] of each track -> embeddings [n, dim] of each; batches are filled across tracks."""
    pieces = [piece for cut in cuts for piece in cut]
    vectors = np.empty((len(pieces), embedder.dim), np.float32)
    alike: dict[int, list[int]] = defaultdict(list)
    for index, piece in enumerate(pieces):
        alike[len(piece)].append(index)
    for indices in alike.values():
        for start in range(0, len(indices), batch_size):
            some = indices[start : start + batch_size]
            vectors[some] = embedder.embed(np.stack([pieces[index] for index in some]))
    return np.split(vectors, np.cumsum([len(cut) for cut in cuts])[:-1])


def _decode_ahead(
    tracks: Iterable[Track], sampling_rate: int, workers: int
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Each track, in order, with float32 [samples] or the reason it cannot be read; `workers` threads, bounded."""
    pending: deque[tuple[Track, Future[np.ndarray | str]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for track in tracks:
                pending.append((track, pool.submit(_read, track.path, sampling_rate)))
                if len(pending) > workers:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(path: Path, sampling_rate: int) -> np.ndarray | str:
    """float32 [samples], or in words why the file cannot be read."""
    try:
        return load_audio(path, sampling_rate)
    except DataError as error:
        return printable(error.message.removeprefix(f"{path}: "))
    except (MemoryError, RuntimeError) as error:  # a length or a rate beyond what this machine can hold
        return printable(f"cannot be decoded: {error}")
