"""A corpus carries what its recipe needs, so that it can be made again anywhere."""

from __future__ import annotations

import json

import pytest

from builder.corpus.building.build import build
from builder.io.safe_files import find_shipped
from builder.recipe import Recipe


@pytest.fixture
def recipe(tmp_path):
    own = (find_shipped("builder/taxonomies/paper.yaml").read_text()).replace("name: paper", "name: mine")
    (tmp_path / "mine.yaml").write_text(own)
    genres = ("electronica", "funk", "orchestral", "pop", "rock")
    lines = [json.dumps({"genre": genre, "description": f"Tune {n}."}) for genre in genres for n in range(2)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    (tmp_path / "paper").mkdir()  # a folder called like a shipped taxonomy must not be taken for it
    (tmp_path / "r.yaml").write_text(
        "{name: mine, taxonomy: mine.yaml, prompts: {total: 10, source: {kind: file, path: texts.jsonl}},"
        " generator: {name: tone, seconds: 1}, split: {validation: 0.3}}"
    )
    return Recipe.load(tmp_path / "r.yaml")


def test_a_corpus_is_made_again_from_its_own_recipe(recipe, tmp_path):
    build(recipe, tmp_path / "a")
    carried = Recipe.load(tmp_path / "a" / "recipe.yaml")
    assert carried.fingerprint() == recipe.fingerprint()
    assert carried.taxonomy == "taxonomy.yaml" and carried.prompts.source.path == "descriptions.jsonl"
    build(carried, tmp_path / "b")
    first, second = ((tmp_path / name / "data").glob("*.parquet") for name in "ab")
    assert [p.read_bytes() for p in sorted(first)] == [p.read_bytes() for p in sorted(second)] != []


def test_a_shipped_taxonomy_stays_a_name(recipe, tmp_path):
    plain = recipe.with_options({"taxonomy": "paper", "prompts.source": {"kind": "grammar"}})
    assert list(plain.portable()) == ["recipe.yaml"]


def test_other_descriptions_are_another_corpus(recipe, tmp_path):
    before = recipe.fingerprint()
    (tmp_path / "texts.jsonl").write_text('{"genre": "Pop", "description": "Another."}')
    assert recipe.fingerprint() != before
