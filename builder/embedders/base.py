"""What an embedder is, and which ones there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..registry import Registry

if TYPE_CHECKING:
    from ..recipe import EmbedderSettings

EMBEDDERS = Registry("embedder", melstats="builder.embedders.melstats:MelStats")


class Embedder(Protocol):
    """Turns windows of audio into vectors. A vector depends on its window alone, never on its batch."""

    name: str
    revision: str  # of the weights, or of the code where there are no weights
    dim: int
    sampling_rate: int  # Hz, what `embed` expects
    window_seconds: float  # the longest window that `embed` takes at once
    about: str  # one or two plain sentences for cards

    def __init__(self, settings: EmbedderSettings) -> None: ...

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """float32 [batch, samples] in [-1, 1], from one sample to `window_seconds` -> float32 [batch, dim]."""
        ...


def load_embedder(settings: EmbedderSettings) -> Embedder:
    """The embedder that the recipe or the model names. Raises BackendError."""
    embedder: Embedder = EMBEDDERS.load(settings.name)(settings)
    return embedder
