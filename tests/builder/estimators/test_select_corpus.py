"""A corpus of chosen clips: every config, lists of what was left out, and a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

import synthmir
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.corpus.verify import verify
from builder.errors import DataError, RecipeError
from builder.estimators import build_selected
from builder.estimators import select_corpus as module
from builder.estimators.annotate_corpus import annotate_corpus
from builder.estimators.select_corpus import select_corpus
from builder.recipe import Recipe


@pytest.fixture
def corpus(recipe, tmp_path) -> Corpus:
    build(recipe(), tmp_path / "corpus", clips_per_shard=10, workers=1)
    annotate_corpus(tmp_path / "corpus", ["spectral_centroid"])
    return Corpus.open(tmp_path / "corpus")


def read(corpus: Corpus, config: str = "data") -> list[dict]:
    return [row for name in corpus.shards(config) for row in pq.read_table(corpus.root / name).to_pylist()]


def test_every_config_has_the_chosen_clips_and_the_others_are_listed(corpus: Corpus, tmp_path: Path):
    synthmir.embed(corpus.root, "melstats", progress=False)
    middle = sorted(row["spectral_centroid"] for row in read(corpus, "estimates"))[10]
    out = tmp_path / "chosen"
    selection = synthmir.select(corpus.root, out, where=f"spectral_centroid > {middle}", keep=0.75, progress=False)
    assert verify(out).faults == []
    before, after = {row["id"]: row for row in read(corpus)}, read(selection.corpus)
    assert 0 < len(after) == sum(selection.kept.values()) < 20 and all(row == before[row["id"]] for row in after)
    ids = [row["id"] for row in after]
    for config in ("estimates", "melstats"):
        rows = {row["id"]: row for row in read(corpus, config)}
        assert read(selection.corpus, config) == [rows[one] for one in ids]
    assert all(row["spectral_centroid"] > middle for row in read(selection.corpus, "estimates"))
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rejected} == set(before) - set(ids)
    assert {row["faults"][0] for row in rejected} == set(module.REASONS.values())
    record = selection.corpus.record()
    assert record["rows"] == len(ids) and record["details"]["rejected"] == len(rejected)
    assert record["details"]["select"]["of"] == 30 and record["fingerprint"] != corpus.fingerprint
    assert selection.corpus.record("records/annotate.json")["rows"] == len(ids)
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert sum(len(split) for split in loaded.values()) == len(ids)
    assert "select" in (out / "README.md").read_text()


def test_a_stopped_selection_resumes_and_a_finished_one_stays(corpus: Corpus, recipe, tmp_path: Path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    select_corpus(corpus.root, whole, keep=0.5)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select_corpus(corpus.root, out, keep=0.5, progress=stop)
    with pytest.raises(DataError, match="not a synthmir corpus"):
        Corpus.open(out)
    with pytest.raises(DataError, match="another selection was begun here"):
        select_corpus(corpus.root, out, keep=0.7)
    with pytest.raises(DataError, match="holds a selection that is not finished"):
        build(recipe(), out, workers=1)
    written = []
    kept = module._filter_shard
    monkeypatch.setattr(module, "_filter_shard", lambda *args: (written.append(args[0].name), kept(*args)))
    select_corpus(corpus.root, out, keep=0.5)
    assert len(written) == len(corpus.shards()) + len(corpus.shards("estimates")) - 2
    select_corpus(corpus.root, out, keep=0.5)
    assert len(written) == len(corpus.shards()) + len(corpus.shards("estimates")) - 2
    assert verify(out).faults == []
    same, other = Corpus.open(whole).sums(), Corpus.open(out).sums()
    assert {name: same[name] for name in same if name.endswith(".parquet")} == {
        name: other[name] for name in other if name.endswith(".parquet")
    }


def test_what_cannot_be_selected(corpus: Corpus, recipe, tmp_path: Path):
    def select(folder: str, **options) -> None:
        select_corpus(corpus.root, tmp_path / folder, **options)

    with pytest.raises(RecipeError, match="neither where nor keep"):
        select("new")
    with pytest.raises(RecipeError, match="no column 'spectral_centroyd'"):
        select("new", where="spectral_centroyd > 3")
    with pytest.raises(RecipeError, match="is true of none"):
        select("new", where="spectral_centroid < 0")
    with pytest.raises(RecipeError, match="is true of no clip of "):
        select("new", where=f"genre == '{read(corpus)[0]['id'].rsplit('-', 2)[0]}'")
    with pytest.raises(RecipeError, match="keep: 2 is not a share"):
        select("new", keep=2)
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError, match="is the corpus itself"):
        select("corpus", keep=0.5)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(DataError, match="is not empty"):
        select("thesis", keep=0.5)
    for name, content in (("state.json", "{}"), ("select.json", "{")):  # of a build that was stopped; torn
        work = tmp_path / name / ".work"
        work.mkdir(parents=True)
        (work / name).write_text(content)
        with pytest.raises(DataError, match=r"is not empty|cannot be read"):
            select(name, keep=0.5)
        assert (work / name).read_text() == content
    with pytest.raises(DataError, match="only be written to a folder of this machine"):
        select_corpus(corpus.root, "memory://selection", keep=0.5)
    select("half", keep=0.5)
    with pytest.raises(DataError, match="is another corpus"):
        select("half", keep=0.6)
    with pytest.raises(DataError, match="holds selected clips of another corpus"):
        build(recipe(), tmp_path / "half", workers=1)
    shard = corpus.root / corpus.shards()[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1  # in the audio
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged or changed, its hash is not the one"):
        select("other", keep=0.5)


def with_select(recipe, **select) -> Recipe:
    values = {"estimates": ["spectral_centroid"], "select": {"oversample": 1.5} | select}
    return recipe().with_values(values)


def test_a_build_makes_more_and_keeps_as_many_as_asked(recipe, tmp_path: Path, monkeypatch):
    chosen, out = with_select(recipe), tmp_path / "out"
    plain = recipe()
    assert chosen.fingerprint() != plain.fingerprint() == plain.with_values({"estimates": ["silence"]}).fingerprint()
    monkeypatch.setattr(build_selected, "select_corpus", lambda *args: pytest.fail("stopped here"))
    with pytest.raises(pytest.fail.Exception, match="stopped here"):
        synthmir.build(chosen, out, workers=1, progress=False)
    monkeypatch.undo()
    assert not out.exists()
    corpus = synthmir.build(chosen, out, workers=1, progress=False)  # continues with the clips that are there
    record = corpus.record()["details"]
    asked = plain.prompts.per_genre
    assert set(record["select"]["kept"].values()) == {asked} and record["rejected"] == record["select"]["of"] - len(
        read(corpus)
    )
    assert record["select"]["of"] == -(-asked * 3 // 2) * len(record["select"]["kept"])
    assert verify(out).faults == [] and not list(tmp_path.glob(".out.candidates"))
    assert Recipe.load(out / "recipe.yaml", kept=True).select == chosen.select
    sums = corpus.sums()
    assert synthmir.build(chosen, out, workers=1, progress=False).sums() == sums
    with pytest.raises(DataError, match="cannot be extended"):
        synthmir.build(chosen, out, extend=True, progress=False)
    with pytest.raises(DataError, match="is another corpus"):
        synthmir.build(with_select(recipe, oversample=1.75), out, workers=1, progress=False)


def test_what_a_recipe_cannot_select(recipe, tmp_path: Path):
    with pytest.raises(RecipeError, match="select: needs estimates to choose by"):
        recipe().with_values({"select": {"where": "tempo > 3"}})
    with pytest.raises(RecipeError, match=r"select\.oversample"):
        with_select(recipe, oversample=1.0)
    for where, message in (("tempo >", "where"), ("spectral_centre > 3", "did you mean 'spectral_centroid'")):
        with pytest.raises(RecipeError, match=message):
            synthmir.build(with_select(recipe, where=where), tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
    first, second, *_ = recipe().labels.genre_names
    with pytest.raises(RecipeError, match=f"true of too few clips: 0 of .* {second}"):
        synthmir.build(with_select(recipe, where=f"genre == '{first}'"), tmp_path / "out", workers=1, progress=False)
    with pytest.raises(RecipeError, match="clips are selected when all are made"):
        build(with_select(recipe), tmp_path / "other")
