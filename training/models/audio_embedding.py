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

OVERLAP = 0.5  # of a window: every moment but the first and last half-window is heard twice
AT_ONCE = 16  # windows embedded together
WHOLE = 300  # seconds: what lasts longer is embedded as it is read, and never held
UNKNOWN = "unknown"  # the embedder's name, where the training data did not say


def embedder_for(config: PreTrainedConfig, device: str = "auto", weights: str | None = None) -> EmbedderBackend:
    """The embedder that a classifier was trained on; `weights` stands for the file that its config names.

    Raises BackendError if it cannot be loaded here, DataError if its revision, size or rate is another.
    """
    trained: dict[str, Any] = getattr(config, "embedder", None) or {}
    if trained.get("name", UNKNOWN) == UNKNOWN:
        raise DataError(
            "the model was trained on embeddings that nobody named, so it cannot hear audio",
            "train again, and say what made them: synthmir train DATA --out MODEL --embedder NAME",
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
        raise BackendError(error.message, "say where the weights are: from_pretrained(MODEL, embedder_weights=FILE), "
                           "or pipeline(..., model_kwargs={'embedder_weights': FILE})") from error  # fmt: skip
    for key in ("revision", "dim", "sampling_rate"):
        if trained.get(key) is not None and getattr(embedder, key) != trained[key]:
            raise DataError(
                f"the model was trained on {trained.get('name')} with {key} {trained[key]}; here it has "
                f"{getattr(embedder, key)}",
                "use the weights, or the version of synthmir, that its embeddings were made with",
            )
    return embedder


def embed_windows(embedder: EmbedderBackend, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """float32 [samples] a clip -> float32 [windows, dim] a clip."""
    return embed_cuts(embedder, [cut(clip, embedder) for clip in clips])


def cut(samples: np.ndarray, embedder: EmbedderBackend) -> np.ndarray:
    """float32 [samples] -> float32 [n, window], or [1, samples] of audio shorter than a window."""
    window = round(embedder.window_seconds * embedder.sampling_rate)
    return split_into_windows(samples, window, max(1, round(OVERLAP * window)))


def embed_cuts(embedder: EmbedderBackend, cuts: Sequence[np.ndarray], batch_size: int = AT_ONCE) -> list[np.ndarray]:
    """Windows [n, samples] of each recording -> embeddings [n, dim] of each; those of one length share batches."""
    pieces = [piece for windows_of in cuts for piece in windows_of]
    vectors = np.empty((len(pieces), embedder.dim), np.float32)
    alike: dict[int, list[int]] = defaultdict(list)
    for index, piece in enumerate(pieces):
        alike[len(piece)].append(index)
    for indices in alike.values():
        for start in range(0, len(indices), batch_size):
            some = indices[start : start + batch_size]
            vectors[some] = embedder.embed(np.stack([pieces[index] for index in some]))
    return np.split(vectors, np.cumsum([len(windows_of) for windows_of in cuts])[:-1])


def sound_of(source: str | Path | bytes, sampling_rate: int) -> np.ndarray | Iterator[np.ndarray]:
    """A file or its bytes -> float32 [samples] at `sampling_rate`, mono; of more than WHOLE seconds, blocks of it.

    Raises DataError; from the blocks, once the fault is reached.
    """
    read = stream_audio(source, sampling_rate)
    parts: list[np.ndarray] = []
    done = 0
    for part in read:
        parts.append(part)
        if (done := done + len(part)) > WHOLE * sampling_rate:
            return chain(parts, read)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def embed_blocks(embedder: EmbedderBackend, blocks: Iterable[np.ndarray], batch_size: int = AT_ONCE) -> np.ndarray:
    """One recording, float32 [samples] a block -> float32 [windows, dim], as `embed_cuts` has it of the whole."""
    found: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    for piece in cut_blocks(blocks, embedder):
        waiting.append(piece)
        if len(waiting) == batch_size:
            found.append(embedder.embed(np.stack(waiting)))
            waiting = []
    if waiting:
        found.append(embedder.embed(np.stack(waiting)))
    return np.concatenate(found)


def cut_blocks(blocks: Iterable[np.ndarray], embedder: EmbedderBackend) -> Iterator[np.ndarray]:
    """The windows of `cut`, float32 [window] each; little more than a block is held."""
    window = round(embedder.window_seconds * embedder.sampling_rate)
    hop = max(1, round(OVERLAP * window))
    held, start = np.zeros(0, np.float32), 0  # where the next window starts in what is held
    for block in blocks:
        spare = max(0, start - hop)  # the last window may start behind the latest one, and before the next
        held, start = np.concatenate([held[spare:], block]), start - spare
        while start + window < len(held):
            yield held[start : start + window]
            start += hop
    yield held[-window:]
