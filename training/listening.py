"""Recordings of any length -> embeddings by the embedder that a classifier was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedConfig

from builder.audio import windows
from builder.embedders.base import Embedder, load_embedder
from builder.errors import BackendError, DataError
from builder.recipe import EmbedderSettings
from builder.validation import validate

OVERLAP = 0.5  # of a window: every moment but the first and last half-window is heard twice
AT_ONCE = 16  # windows embedded together
UNKNOWN = "unknown"  # the embedder's name, where the training data did not say


def embedder_for(config: PreTrainedConfig, device: str = "auto", weights: str | None = None) -> Embedder:
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


def embed_windows(embedder: Embedder, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """float32 [samples] a clip -> float32 [windows, dim] a clip."""
    return embed_cuts(embedder, [cut(clip, embedder) for clip in clips])


def cut(samples: np.ndarray, embedder: Embedder) -> np.ndarray:
    """float32 [samples] -> float32 [n, window], or [1, samples] of audio shorter than a window."""
    window = round(embedder.window_seconds * embedder.sampling_rate)
    return windows(samples, window, max(1, round(OVERLAP * window)))


def embed_cuts(embedder: Embedder, cuts: Sequence[np.ndarray], batch_size: int = AT_ONCE) -> list[np.ndarray]:
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
