"""A corpus whose genres YAML and CSV read as other things, from the recipe to the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import yaml
from huggingface_hub import DatasetCard

from builder.corpus.building.build import build
from builder.corpus.verify import verify
from builder.hub.console import format_targets
from builder.hub.publish import Target
from builder.io.safe_files import read_yaml
from builder.recipe import Recipe
from builder.taxonomy import SHIPPED

from .loopback_hub import LoopbackHub

GENRES = ["no", "1990", "null", "yes", "1e3", "007", "true", "test"]


def test_genres_that_are_words_of_yaml_arrive_as_they_are(
    hub: LoopbackHub, send: Callable[..., list[Target]], tmp_path: Path
) -> None:
    rock = read_yaml(SHIPPED / "genres/rock.yaml")
    genres = [rock | {"name": name, "tag": f"Rock {number}"} for number, name in enumerate(GENRES)]
    (tmp_path / "t.yaml").write_text(json.dumps({"name": "odd", "genres": genres}))
    recipe = {"name": "odd", "taxonomy": "t.yaml", "prompts": {"per_genre": 4}, "split": {"validation": 0.3}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | {"generator": {"name": "tone", "seconds": 1}}))
    corpus = tmp_path / "corpus"
    build(Recipe.load(tmp_path / "r.yaml"), corpus, workers=1)
    assert not verify(corpus).faults
    found = datasets.load_dataset(str(corpus), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.features["genre"].names == GENRES
    text = "\n".join(format_targets(send(corpus, "org/odd", what="corpus", dry_run=True), dry_run=True))
    assert "a new repository" in text and not hub.repos
    send(corpus, "org/odd", what="corpus")
    for card in (
        DatasetCard.load(corpus / "README.md"),
        DatasetCard(hub.content("dataset", "org/odd", "README.md").decode()),
    ):
        (info,) = [card.data.dataset_info] if isinstance(card.data.dataset_info, dict) else card.data.dataset_info
        genre = next(column for column in info["features"] if column["name"] == "genre")
        assert list(genre["dtype"]["class_label"]["names"].values()) == GENRES
