"""From prompts to audio, to a corpus, to embeddings, to the Hub: everything that makes a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_exports

if TYPE_CHECKING:
    from .corpus.corpus import Corpus
    from .corpus.hf_builder import MusicGenCorpus
    from .corpus.load import load_corpus
    from .embedders.base import load_embedder
    from .embedders.embed_corpus import embed_corpus
    from .embedders.embed_dataset import embed_dataset
    from .embedders.embedder import Embedder
    from .generators.base import load_generator
    from .generators.generator import Generator
    from .recipe import Recipe

__all__ = [
    "Corpus",
    "Embedder",
    "Generator",
    "MusicGenCorpus",
    "Recipe",
    "embed_corpus",
    "embed_dataset",
    "load_corpus",
    "load_embedder",
    "load_generator",
]
_MODULES = {
    "Corpus": "builder.corpus.corpus",
    "Embedder": "builder.embedders.embedder",
    "Generator": "builder.generators.generator",
    "MusicGenCorpus": "builder.corpus.hf_builder",
    "Recipe": "builder.recipe",
    "embed_corpus": "builder.embedders.embed_corpus",
    "embed_dataset": "builder.embedders.embed_dataset",
    "load_corpus": "builder.corpus.load",
    "load_embedder": "builder.embedders.base",
    "load_generator": "builder.generators.base",
}
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
