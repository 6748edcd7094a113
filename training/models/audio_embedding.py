"""Recordings of any length -> embeddings by the embedder that a classifier was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedConfig

from builder.audio import split_into_windows, stream_audio
from builder.embedders.base import EmbedderBackend, load_embedder
from builder.errors import BackendError, DataError
from builder.settings import EmbedderSettings
from builder.validation import validate

OVERLAP = 0.5  # of a window: all but the first and last half-window is in two windows
AT_ONCE = 16  # windows embedded together
WHOLE = 300  # seconds: longer recordings are embedded while they are read, and never held whole
UNKNOWN = "unknown"  # the embedder's name where the training data does not name it


def load_trained_embedder(
    config: PreTrainedConfig, device: str = "auto", weights: str | None = None
) -> EmbedderBackend:
    """Load the embedder that a classifier was trained on.

    Args:
        config: The classifier's config.
        device: Where to load it: "auto", "cpu", "cuda", ...
        weights: A file of weights, in place of the one that the config names.

    Raises:
        BackendError: It cannot be loaded on this machine.
        DataError: The config names no embedder, or its revision, size or sampling rate is another one here.
    """
    trained: dict[str, Any] = getattr(config, "embedder", None) or {}
    if trained.get("name", UNKNOWN) == UNKNOWN:
        raise DataError(
            "the model was trained on embeddings of an unknown embedder, so it cannot take audio",
            "train again and name the embedder: synthmir train DATA --out MODEL --embedder NAME",
        )
    settings = {
        **(trained.get("settings") or {key: trained.get(key) for key in ("name", "weights")}),
        "device": device,
    }
    if weights is not None:
        settings["weights"] = str(weights)
    try:
        embedder = load_embedder(validate(EmbedderSettings, settings, "config.json: embedder.settings"))
    except BackendError as error:
        if settings.get("weights") is None:
            raise
        raise BackendError(error.message, "name the file of weights: from_pretrained(MODEL, embedder_weights=FILE), "
                           "or pipeline(..., model_kwargs={'embedder_weights': FILE})") from error  # fmt: skip
    for key in ("revision", "dim", "sampling_rate"):
        if trained.get(key) is not None and getattr(embedder, key) != trained[key]:
            raise DataError(
                f"the model was trained on {trained.get('name')} with {key} {trained[key]}; here it has "
                f"{getattr(embedder, key)}",
                "use the weights, or the version of synthmir, that its embeddings were made with",
            )
    return embedder


def embed_recordings(embedder: EmbedderBackend, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Cut recordings, float32 [samples] each, into windows and embed them: float32 [windows, dim] each."""
    return embed_windows(embedder, [cut_recording(clip, embedder) for clip in clips])


def cut_recording(samples: np.ndarray, embedder: EmbedderBackend) -> np.ndarray:
    """Cut float32 [samples] into windows that overlap by half.

    Returns:
        float32 [n, window]; [1, samples] of audio shorter than a window.
    """
    window = round(embedder.window_seconds * embedder.sampling_rate)
    return split_into_windows(samples, window, max(1, round(OVERLAP * window)))


def embed_windows(
    embedder: EmbedderBackend, cuts: Sequence[np.ndarray], batch_size: int = AT_ONCE
) -> list[np.ndarray]:
    """Embed the windows of several recordings; windows of one length share batches.

    Args:
        embedder: What embeds them.
        cuts: float32 [n, samples] for each recording, see `cut_recording`.
        batch_size: Windows in a batch.

    Returns:
        float32 [n, dim] for each recording.
    """
    windows = [window for recording in cuts for window in recording]
    vectors = np.empty((len(windows), embedder.dim), np.float32)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, window in enumerate(windows):
        by_length[len(window)].append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            vectors[batch] = embedder.embed(np.stack([windows[index] for index in batch]))
    return np.split(vectors, np.cumsum([len(recording) for recording in cuts])[:-1])


def read_recording(source: str | Path | bytes, sampling_rate: int) -> np.ndarray | Iterator[np.ndarray]:
    """Read a file, or its bytes, as mono audio.

    Args:
        source: A path, or the bytes of an audio file.
        sampling_rate: The rate to resample to, in Hz.

    Returns:
        float32 [samples], or an iterator over blocks of it where the recording is longer than `WHOLE` seconds.

    Raises:
        DataError: The audio cannot be read. The iterator raises it when it reaches the fault.
    """
    stream = stream_audio(source, sampling_rate)
    blocks: list[np.ndarray] = []
    samples = 0
    for block in stream:
        blocks.append(block)
        if (samples := samples + len(block)) > WHOLE * sampling_rate:
            return chain(blocks, stream)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def embed_stream(embedder: EmbedderBackend, blocks: Iterable[np.ndarray], batch_size: int = AT_ONCE) -> np.ndarray:
    """Embed one recording that is read in blocks, as `embed_recordings` does.

    Args:
        embedder: The embedder.
        blocks: The recording in blocks of float32 [samples], mono, at the embedder's rate.
        batch_size: Windows embedded at once.

    Returns:
        float32 [windows, dim].
    """
    vectors: list[np.ndarray] = []
    batch: list[np.ndarray] = []
    for window in cut_stream(blocks, embedder):
        batch.append(window)
        if len(batch) == batch_size:
            vectors.append(embedder.embed(np.stack(batch)))
            batch = []
    if batch:
        vectors.append(embedder.embed(np.stack(batch)))
    return np.concatenate(vectors)


def cut_stream(blocks: Iterable[np.ndarray], embedder: EmbedderBackend) -> Iterator[np.ndarray]:
    """Yield the windows of `cut_recording`, float32 [window] each, while holding little more than a block."""
    window = round(embedder.window_seconds * embedder.sampling_rate)
    hop = max(1, round(OVERLAP * window))
    held, start = np.zeros(0, np.float32), 0  # of the next window in `held`
    for block in blocks:
        spare = max(0, start - hop)  # the last window may start between the latest one and the next
        held, start = np.concatenate([held[spare:], block]), start - spare
        while start + window < len(held):
            yield held[start : start + window]
            start += hop
    yield held[-window:]
