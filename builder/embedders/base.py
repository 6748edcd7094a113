"""What an embedder is, and which ones there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..registry import EMBEDDERS

if TYPE_CHECKING:
    import numpy as np

    from ..recipe import EmbedderSettings


class EmbedderBackend(Protocol):
    """Turns windows of audio into vectors. A vector depends on its window alone, never on its batch.

    Two attributes more are optional. `hop_seconds`: how far apart the windows of longer audio are centred; without it
    they stand end to end. `light`: a window takes no longer than decoding it does, so that several threads may each
    embed what they decode.
    """

    name: str  # also of the embeddings' config and folder: small letters, digits, `.`, `_`, `-`
    revision: str  # of the weights, or of the code where there are no weights
    dim: int
    sampling_rate: int  # Hz, what `embed` expects
    window_seconds: float  # the longest window that `embed` takes at once
    about: str  # one or two plain sentences for cards

    def __init__(self, settings: EmbedderSettings) -> None: ...

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """float32 [batch, samples] in [-1, 1], from one sample to `window_seconds` -> float32 [batch, dim]."""
        ...


def load_embedder(settings: EmbedderSettings) -> EmbedderBackend:
    """The embedder that the recipe or the model names; `hf:<id or folder>` is `hf` with that. Raises BackendError."""
    embedder: EmbedderBackend = EMBEDDERS.load("hf" if settings.name.startswith("hf:") else settings.name)(settings)
    return embedder


def config_name(settings: EmbedderSettings) -> str:
    """The embedder's `name`, without loading it: what a corpus calls its config and folder.

    "hf:facebook/wav2vec2-base" with layer 6 -> "hf-facebook-wav2vec2-base-layer6"; of a folder's path the last part.
    """
    if not settings.name.startswith("hf:"):
        return settings.name
    source = settings.name[3:].rstrip("/")
    if source.startswith((".", "/", "~")):
        source = Path(source).name
    slug = re.sub(r"[^a-z0-9._]+", "-", source.lower()).strip("-._")
    layer = "" if settings.layer is None else f"-layer{settings.layer}"
    return f"hf-{slug[:80]}{layer}"
