"""Corpora of 0.1, whose recipes name no version of the generator and whose rows have no details, and of version 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.verify import verify
from builder.errors import DataError, RecipeError
from builder.recipe import Recipe
from builder.settings import read_version

TEXT = """
name: small
taxonomy: own.yaml
prompts: {per_genre: 2}
generator: {name: arranger, seconds: 1}
split: {validation: 0.5}
"""


def small_recipe(folder: Path, **values: Any) -> Recipe:
    (folder / "own.yaml").write_text("{name: own, genres: [funk, rock]}")
    (folder / "small.yaml").write_text(TEXT)
    return Recipe.load(folder / "small.yaml").with_values({key.replace("__", "."): v for key, v in values.items()})


def read_rows(corpus: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for path in corpus.glob("data/*.parquet") for row in pq.read_table(path).to_pylist()}


def build_as_0_1(recipe: Recipe, out: Path) -> None:
    """Build a corpus as 0.1 did: in version 1, which the recipe could not name, and without details."""
    build(recipe.with_values({"generator.revision": "1"}), out, workers=1)
    written = out / "recipe.yaml"
    written.write_text(written.read_text().replace("revision: '1'", "revision: null"))
    write_sums(out, {})


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builder.corpus.card.plots.draw_plots", lambda *_: [])
        patch.setattr("builder.corpus.building.job.DETAILS", ())
        build_as_0_1(small_recipe(folder), folder / "corpus")
    return folder / "corpus"


def test_corpus_of_0_1_is_verified_repaired_and_extended(old: Path, tmp_path: Path) -> None:
    corpus = shutil.copytree(old, tmp_path / "corpus")
    assert "soundfont" not in next(iter(read_rows(corpus).values())) and verify(corpus).faults == []
    before = {path.name: path.read_bytes() for path in corpus.glob("data/*")}
    next(corpus.glob("data/train-*")).unlink()
    build(small_recipe(tmp_path), corpus, workers=1)
    assert {path.name: path.read_bytes() for path in corpus.glob("data/*")} == before
    build(small_recipe(tmp_path, prompts__per_genre=3), corpus, workers=1, extend=True)
    rows = read_rows(corpus)
    assert verify(corpus).faults == [] and len(rows) == 6
    assert {row["generator_revision"] for row in rows.values()} == {read_rows(old).popitem()[1]["generator_revision"]}


def test_recipe_of_a_corpus_of_0_1_makes_the_same_clips(old: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(old / "recipe.yaml")
    assert recipe.generator.revision == "1" and recipe.fingerprint() == Corpus.open(old).fingerprint
    build(recipe, tmp_path / "again", workers=1)
    rows = read_rows(tmp_path / "again")
    assert {key: row["audio"] for key, row in rows.items()} == {k: row["audio"] for k, row in read_rows(old).items()}
    assert {row["soundfont"] for row in rows.values()} == {"TimGM6mb"}
    assert all("loudness" in json.loads(row["production"]) for row in rows.values())


def test_build_that_0_1_began_is_resumed_in_its_version(old: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    first = small_recipe(tmp_path).with_values({"generator.revision": "1"})
    with pytest.raises(KeyboardInterrupt):
        build(first, tmp_path / "corpus", workers=1, progress=stop)
    build(small_recipe(tmp_path), tmp_path / "corpus", workers=1)
    assert Corpus.open(tmp_path / "corpus").fingerprint == Corpus.open(old).fingerprint


def test_new_corpus_is_of_the_newest_version(old: Path, tmp_path: Path) -> None:
    build(small_recipe(tmp_path), tmp_path / "corpus", workers=1)
    rows = read_rows(tmp_path / "corpus")
    assert {row["generator_revision"][:2] for row in rows.values()} == {"2-"}
    assert Recipe.load(tmp_path / "corpus" / "recipe.yaml").generator.revision == "2"
    assert Recipe.load(tmp_path / "corpus" / "recipe.yaml").fingerprint() == small_recipe(tmp_path).fingerprint()
    assert {row["soundfont"] for row in rows.values()} == {"TimGM6mb"}
    assert "`TimGM6mb` (4 clips)" in (tmp_path / "corpus" / "README.md").read_text()
    with pytest.raises(DataError, match="corpus of another recipe"):
        build(small_recipe(tmp_path, generator__revision="1"), tmp_path / "corpus", workers=1)


def test_stereo_corpus(tmp_path: Path) -> None:
    build(small_recipe(tmp_path, generator__stereo=True), tmp_path / "corpus", workers=1)
    assert verify(tmp_path / "corpus").faults == []
    with pytest.raises(RecipeError, match="version 1 of the arranger is mono"):
        build(small_recipe(tmp_path, generator__stereo=True, generator__revision="1"), tmp_path / "one", workers=1)


def test_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the arranger has the versions 1 and 2, not '3'"):
        build(small_recipe(tmp_path, generator__revision=3), tmp_path / "corpus", workers=1)


def test_version_is_read_from_a_revision() -> None:
    assert [read_version("arranger", text) for text in ("645dbca73ec3", "2-645dbca73ec3")] == ["1", "2"]
    assert read_version("musicgen", "2-645dbca73ec3") is None
