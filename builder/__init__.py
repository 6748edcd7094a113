"""Prompts -> audio -> dataset -> embeddings: everything that makes a corpus."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Recipe": "builder.recipe",
    "load_corpus": "builder.corpus.load",
    "MusicGenCorpus": "builder.corpus.hf_builder",
    "load_embedder": "builder.embedders.base",
    "load_generator": "builder.generators.base",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import a part when it is asked for, so that `import builder` stays light."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
