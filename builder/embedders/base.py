"""The protocol of embedders, and the registry of those that recipes can name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..registry import EMBEDDERS

if TYPE_CHECKING:
    import numpy as np

    from ..settings import EmbedderSettings


class EmbedderBackend(Protocol):
    """Turns windows of audio into vectors. A vector depends on its window only, not on the rest of the batch.

    Two more attributes are optional. `hop_seconds`: longer audio is cut into windows centred this far apart; without
    it the windows are end to end. `light`: embedding a window takes no longer than decoding it, so that threads may
    each embed what they decode.
    """

    name: str  # also of the embeddings' config and folder: small letters, digits, `.`, `_`, `-`
    revision: str  # of the weights, or of the code where there are no weights
    dim: int
    sampling_rate: int  # Hz, what `embed` expects
    window_seconds: float  # the longest window that `embed` takes
    about: str  # one or two plain sentences for cards

    def __init__(self, settings: EmbedderSettings) -> None: ...

    def embed(self, audio: np.ndarray) -> np.ndarray:
        """Embed windows of one length.

        Args:
            audio: float32 [batch, samples] in [-1, 1], mono at `sampling_rate`, 1 sample to `window_seconds` long.

        Returns:
            float32 [batch, dim].
        """
        ...


def load_embedder(settings: EmbedderSettings) -> EmbedderBackend:
    """Load the embedder that a recipe or a model names ("melstats", "passt", "hf:<id or folder>").

    Raises:
        BackendError: An unknown name, a missing package, or weights that cannot be loaded.
        RecipeError: A setting that this embedder has no use for.
    """
    embedder: EmbedderBackend = EMBEDDERS.load("hf" if settings.name.startswith("hf:") else settings.name)(settings)
    return embedder


def config_name(settings: EmbedderSettings) -> str:
    """An embedder's `name` without loading it: the name of its config and folder in a corpus.

    "hf:facebook/wav2vec2-base" with layer 6 gives "hf-facebook-wav2vec2-base-layer6"; a folder gives its last part.
    """
    if not settings.name.startswith("hf:"):
        return settings.name
    source = settings.name[3:].rstrip("/")
    if source.startswith((".", "/", "~")):
        source = Path(source).name
    slug = re.sub(r"[^a-z0-9._]+", "-", source.lower()).strip("-._")
    layer = "" if settings.layer is None else f"-layer{settings.layer}"
    return f"hf-{slug[:80]}{layer}"
