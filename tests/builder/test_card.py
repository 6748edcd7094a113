from __future__ import annotations

import re

import pytest
from huggingface_hub import DatasetCard

from builder.corpus.build import build
from builder.corpus.features import COLUMNS
from builder.embedders.mapping import embed_corpus
from builder.recipe import EmbedderSettings


@pytest.fixture
def card(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus", clips_per_shard=10, workers=1)
    embed_corpus(tmp_path / "corpus", EmbedderSettings(name="levels"))
    return DatasetCard.load(tmp_path / "corpus" / "README.md")


def test_the_metadata_is_what_the_hub_reads(card):
    data = card.data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["size_categories"] == ["n<1K"]
    assert "audio-classification" in data["task_categories"]
    assert [config["config_name"] for config in data["configs"]] == ["default", "levels"]
    splits = {
        info["config_name"]: {s["name"]: s["num_examples"] for s in info["splits"]} for info in data["dataset_info"]
    }
    assert splits == {name: {"train": 25, "validation": 5} for name in ("default", "levels")}


def test_the_text_says_what_the_files_say(card, recipe):
    text = card.content
    assert "| train | 25 | 5 | 5 | 5 | 5 | 5 |" in text
    assert "| validation | 5 | 1 | 1 | 1 | 1 | 1 |" in text
    assert recipe().fingerprint() in text
    assert "One sine a clip." in text
    assert "| `levels` | 4 | 30 | Mean square, peak, mean and length. |" in text
    assert "30 / 0" in text


def test_every_column_is_described(card):
    described = re.findall(r"^\| `(\w+)` \| ", card.content, flags=re.M)
    assert set(COLUMNS) - {"embedding"} <= set(described)


def test_nothing_is_left_unfilled(card):
    assert not re.search(r"\{\{|\}\}|\{%|\bNone\b|\bnan\b", card.content)
