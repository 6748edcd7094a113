"""A corpus on paper, against the same rules at work: shards as they are cut, commits as they are sent."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from builder.corpus.building import capacity as scale
from builder.corpus.building.build import build
from builder.corpus.building.capacity import (
    Capacity,
    CapacityRow,
    bound_file_count,
    estimate_capacity,
    format_capacity,
)
from builder.corpus.building.extend import MAX_PARTS
from builder.corpus.building.plan import choose_shard_size, plan_clips
from builder.corpus.corpus import Corpus
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import BackendError, RecipeError
from builder.hub import upload
from builder.hub.upload import Upload, UploadItem
from builder.recipe import Recipe

MILLIONS = 10_000_000


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SAMPLE", 2_000)


def values(found: Capacity) -> dict[str, float]:
    return {row.what: row.value for row in found.rows}


def test_ten_million_clips_hold_in_the_layout_that_ten_have(recipe, small_sample):
    found = estimate_capacity(recipe().with_options({"generator.seconds": 10}), MILLIONS)
    figures = {row.what: row for row in found.rows}
    layout = [row for row in found.rows if row.unit in ("", "MB") and row.source.startswith(scale.HUB) and row.limit]
    assert len(layout) == 6 and all(row.holds for row in layout)
    assert all(row.source for row in found.rows if row.limit is not None)
    assert figures["files a folder"].value == math.ceil(8_000_000 / 1024) + math.ceil(2_000_000 / 1024) == 9767
    assert figures["all files"].holds is False
    assert any("More than 1 TB" in note for note in found.notes)


def test_more_clips_per_shard_where_a_folder_has_too_many_files(recipe, small_sample):
    found = estimate_capacity(recipe(), 30_000_000)
    assert {row.what for row in found.rows if row.holds is False} >= {"files a folder"}
    (note,) = [note for note in found.notes if note.startswith("Too many files")]
    per = int(note.split("--clips-per-shard ")[1].split()[0])
    figures = {row.what: row for row in estimate_capacity(recipe(), 30_000_000, clips_per_shard=per).rows}
    assert figures["files a folder"].holds and figures[f"... in any {MAX_PARTS} parts"].holds


def test_it_counts_what_a_build_makes(recipe, tmp_path):
    """The same corpus on paper and on disk: shards, and bytes within what headers and chance make of it."""
    chosen = recipe(per_genre=40)
    found = values(estimate_capacity(chosen))
    build(chosen, tmp_path / "corpus")
    embed_corpus(tmp_path / "corpus", chosen.embedder)
    corpus = Corpus.open(tmp_path / "corpus")
    assert found["clips"] == corpus.record()["rows"] == 200
    assert found["files a folder"] == len(corpus.shards()) == 4
    audio = sum((corpus.root / name).stat().st_size for name in corpus.shards())
    assert found["audio"] * 1e9 == pytest.approx(audio, rel=0.1)
    assert found["distinct descriptions, about"] == 200


def test_commits_are_counted_as_they_are_sent(monkeypatch):
    """`Upload` itself groups as many files of these sizes."""
    monkeypatch.setattr(upload, "COMMIT_BYTES", 1_000_000)
    for audio, vectors in ((90_000, 8_000), (10_000, 9_000), (600_000, 700_000), (2_000_000, 1)):
        found = Capacity("r", "f", 1)
        scale._add_upload(found, 130, audio, vectors)
        sent = 0
        for name, size in (("data", audio), ("melstats", vectors)):
            items = {p: UploadItem(p, Path(p), size, "") for p in (f"{name}/{i:03}.parquet" for i in range(130))}
            todo = list(items.values())
            sending = Upload(None, "dataset", "a/b", items, "t")  # type: ignore[arg-type]
            while todo:
                todo = todo[len(sending._next_commit(todo, [])) :]
                sent += 1
        assert values(found)["commits"] == sent


def test_the_pace_is_measured_or_said(recipe, small_sample, monkeypatch):
    figures = values(estimate_capacity(recipe(), 100_000, workers=4, clips_per_hour=500))
    assert figures["computing time, 4 workers"] == 50
    assert figures["music"] == pytest.approx(100_000 / 3600)
    tried = values(estimate_capacity(recipe(), 100_000))
    assert tried["computing time, 8 workers"] == pytest.approx(tried["computing time, 1 worker"] / 8)
    absent = recipe().with_options({"generator.name": "musicgen", "generator.model": "/nowhere"})
    with pytest.raises(BackendError, match="--clips-per-hour"):
        estimate_capacity(absent, 100_000)
    said = {row.what: row for row in estimate_capacity(absent, 100_000, clips_per_hour=100).rows}
    assert said["audio"].value == pytest.approx(100_000 * 64_000 / 1e9)
    assert said["audio"].source.startswith("upper bound")


def test_too_few_descriptions_are_reported(recipe, small_sample, tmp_path):
    (tmp_path / "d.csv").write_text(
        "genre,description\n"
        + "".join(f"{genre},Words {i} of {genre}.\n" for genre in recipe().labels.genre_names for i in range(3))
    )
    filed = recipe().with_options({"prompts.source.kind": "file", "prompts.source.path": "d.csv"})
    assert values(estimate_capacity(filed, 10_000))["distinct descriptions, about"] == 15
    for at in (1_500, 200_000):  # all looked at, and some
        guessed = values(estimate_capacity(recipe(), at))["distinct descriptions, about"]
        assert 0 < guessed <= at


@pytest.mark.parametrize("kinds", [50, 1_000, 40_000])
def test_distinct_descriptions_are_estimated_from_equal_pairs(recipe, kinds, monkeypatch):
    """Of `at` draws from `kinds` that are all as likely, kinds (1 - e^(-at / kinds)) are distinct."""
    clip = plan_clips(recipe())[0]
    drawn = np.random.default_rng(1).integers(kinds, size=5_000)
    clips = [replace(clip, prompt=replace(clip.prompt, description=str(i))) for i in drawn]
    found = Capacity("r", "f", 100_000)
    scale._add_prompts(found, recipe(), clips, 100_000)
    expected = kinds * (1 - math.exp(-100_000 / kinds))
    assert values(found)["distinct descriptions, about"] == pytest.approx(expected, rel=0.15)


@settings(max_examples=60, deadline=None)
@given(
    first=st.integers(1, 300_000), steps=st.lists(st.integers(1, 2_000_000), max_size=40), split=st.floats(0.05, 0.5)
)
def test_no_extension_makes_more_files_than_the_bound(first, steps, split):
    total = files = 0
    for number, clips in enumerate([first, *steps]):
        total += clips
        size = choose_shard_size(total, growth=number > 0)
        held = round(split * clips)
        files += -(-held // size) - (-(clips - held) // size)
    assert files <= bound_file_count(total, 1 + len(steps))


@pytest.mark.parametrize("span", [(1, 900), (100, 16_384), (5_000, 400_000), (300_000, 3_000_000), (1, 2_000_000)])
def test_the_integral_is_scipys(span):
    def density(total: float) -> float:
        return 1 / min(2048, max(64, total / 256))

    whole = quad(density, *span, points=[x for x in (16_384, 524_288) if span[0] < x < span[1]], limit=200)[0]
    assert scale._integrate_growth(*span) == pytest.approx(whole, rel=1e-6)


def test_the_table_says_what_is_over(recipe, small_sample):
    found = estimate_capacity(recipe(), 10 * MILLIONS)
    lines = format_capacity(found)
    (line,) = [line for line in lines if line.startswith("all files")]
    assert "OVER" in line and "storage-limits" in line
    assert json.loads(json.dumps(found.to_dict()))["rows"][0] == {
        "what": "clips", "value": 10 * MILLIONS, "unit": "", "limit": None, "source": "", "holds": None,
    }  # fmt: skip
    assert CapacityRow("a", 2, limit=2).holds and not CapacityRow("a", 3, limit=2).holds


def test_it_is_a_command(tmp_path, small_sample):
    from typer.testing import CliRunner

    from synthmir.cli import app

    done = CliRunner().invoke(
        app, ["plan", "paper", "--at", "10000000", "--clips-per-hour", "900", "--json", str(tmp_path / "plan.json")]
    )
    assert done.exit_code == 0, done.output
    figures: dict[str, Any] = json.loads((tmp_path / "plan.json").read_text())
    assert figures["at"] == MILLIONS and figures["recipe"] == "paper"
    assert "embeddings, passt" in done.output and "holds" in done.output
    with pytest.raises(RecipeError, match="no file and no shipped recipe"):
        CliRunner().invoke(app, ["plan", "nothing"], catch_exceptions=False)


def test_the_recipe_is_not_changed(recipe, small_sample):
    chosen = recipe()
    before = chosen.fingerprint()
    assert estimate_capacity(chosen, 5_000).fingerprint == before == Recipe.fingerprint(chosen)
