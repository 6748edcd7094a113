"""Tags from embeddings of `musicnn` that a corpus holds: its audio is neither read nor embedded again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, DataError
from ..settings import EmbedderSettings

if TYPE_CHECKING:
    from .musicnn import Musicnn

TAGGER = "musicnn"  # the embedder that predicts tags


def load_tagger(embedder: Mapping[str, Any], weights: str | None = None) -> Musicnn:
    """Load the model that embeddings are of, to predict their tags.

    Nothing is downloaded: weights that are not on this machine are an error.

    Args:
        embedder: Name and revision, as the record of the embeddings has them.
        weights: As `embedder.weights` in a recipe.

    Raises:
        BackendError: The weights are not here.
        DataError: The embeddings are of another embedder, or of another revision than the weights.
    """
    from .musicnn import MUSICNN_MODELS, Musicnn
    from .musicnn_weights import MUSICNN_INSTALL, has_weights

    name, revision = str(embedder.get("name")), str(embedder.get("revision"))
    arch = next((arch for arch in MUSICNN_MODELS if arch in revision.split("-")), None)
    if name != TAGGER or arch is None:
        raise DataError(f"embeddings of {name} give no tags", f"synthmir embed CORPUS --embedder {TAGGER}")
    if weights is None and not has_weights(arch):
        raise BackendError(f"the weights of {TAGGER} are not on this machine", MUSICNN_INSTALL)
    tagger = Musicnn(EmbedderSettings(name=TAGGER, arch=arch, weights=weights, device="cpu"))
    if revision.split("-")[:2] != tagger.revision.split("-")[:2]:  # another data type has the same last layer
        raise DataError(
            f"the embeddings are of {name}, revision {revision}; the weights here have revision {tagger.revision}",
            "name the weights that they were made with, or embed the corpus again",
        )
    return tagger
