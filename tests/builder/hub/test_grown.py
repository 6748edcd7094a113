"""A corpus that has grown since it was published: what is new is sent, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.embedders.embed_corpus import embed_corpus
from builder.hub.publish import Target
from builder.recipe import Recipe
from builder.settings import EmbedderSettings

from .loopback_hub import LoopbackHub


def test_only_new_shards_are_sent(hub: LoopbackHub, send: Callable[..., list[Target]], run: Path) -> None:
    send(run, what="corpus")
    corpus = run / "corpus"
    old = {name: digest for name, digest in Corpus.open(corpus).sums().items() if name.endswith(".parquet")}
    more = Recipe.load(corpus / "recipe.yaml").with_options({"prompts.per_genre": 8})
    build(more, corpus, extend=True, workers=1)
    embed_corpus(corpus, EmbedderSettings())
    hub.whole.clear()
    (target,) = send(run, what="corpus")
    sums = Corpus.open(corpus).sums()
    new = {name: digest for name, digest in sums.items() if name.endswith(".parquet") and name not in old}
    assert len(new) == 4 and all("-p01-" in name for name in new)
    assert {name: sums[name] for name in old} == old
    assert set(hub.whole) & set(sums.values()) == set(new.values()) and not set(hub.whole) & set(old.values())
    there = hub.repos["dataset", target.repo].files
    assert {name for name in there if name.endswith(".parquet")} == {*old, *new}
