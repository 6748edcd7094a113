from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from builder.api import convert
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus
from builder.corpus.shards import read_footer
from builder.corpus.verify import verify
from builder.errors import DataError, RecipeError

from ....warm import WarmProcess

ROOT = Path(__file__).parents[4]
BUILD = """
import sys
from tests.builder import fakes
fakes.register()
from builder.corpus.building.build import build
from builder.recipe import Recipe
build(Recipe.load(sys.argv[1]), sys.argv[2], clips_per_shard=int(sys.argv[3]), workers=1)
"""


def audio(corpus: Path) -> dict[str, bytes]:
    tables = [pq.read_table(corpus / name, columns=["id", "audio"]) for name in Corpus.open(corpus).shards()]
    return {row["id"]: row["audio"]["bytes"] for table in tables for row in table.to_pylist()}


def data_files(corpus: Path) -> dict[str, bytes]:
    return {name: (corpus / name).read_bytes() for name in Corpus.open(corpus).shards()}


def start(recipe: Path, out: Path, clips_per_shard: int = 4, **environ: str) -> WarmProcess:
    return WarmProcess(BUILD, recipe, out, clips_per_shard, folder=recipe.parent, environ=environ)


def test_a_corpus_folder_holds_what_it_should(with_plots, recipe, tmp_path):
    record = build(recipe(), tmp_path / "corpus", clips_per_shard=10)
    corpus = Corpus.open(tmp_path / "corpus")
    top = sorted(path.name for path in corpus.root.iterdir())
    assert top == ["README.md", "SHA256SUMS", "assets", "data", "recipe.yaml", "records"]
    assert [Path(name).name for name in corpus.shards()] == [
        "train-00000-of-00003.parquet",
        "train-00001-of-00003.parquet",
        "train-00002-of-00003.parquet",
        "validation-00000-of-00001.parquet",
    ]
    assert record.rows == len(audio(corpus.root)) == 30
    assert {read_footer(corpus.root / name)["fingerprint"] for name in corpus.shards()} == {recipe().fingerprint()}
    assert verify(corpus.root).faults == []


def test_shard_size_batch_size_and_interruption_change_no_clip(recipe, tmp_path):
    build(recipe(batch_size=1), tmp_path / "a", clips_per_shard=3)
    build(recipe(batch_size=16), tmp_path / "b", clips_per_shard=17)

    def stop_in_the_middle(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(recipe(), tmp_path / "c", clips_per_shard=5, progress=stop_in_the_middle)
    with pytest.raises(DataError, match="not finished"):
        Corpus.open(tmp_path / "c")
    assert not (tmp_path / "c" / "data").exists()
    build(recipe(), tmp_path / "c")
    assert audio(tmp_path / "a") == audio(tmp_path / "b") == audio(tmp_path / "c")


def test_killed_at_random_moments_it_ends_in_the_same_corpus(recipe, tmp_path):
    """`KILLS=10 pytest -k killed` kills ten times; the suite does it four times to be quick."""
    chosen, log = recipe(per_genre=16), tmp_path / "made"
    build(chosen, tmp_path / "whole", clips_per_shard=4)
    moment = random.Random(7)
    for kill in range(int(os.environ.get("KILLS", "4"))):
        # The shards' loop is what is slow: kill in it, from its first clip on.
        before = log.read_text().count("\n") if log.exists() else 0
        run = start(tmp_path / "small.yaml", tmp_path / "killed", TONE_SLEEP="0.03", TONE_LOG=str(log))
        while not run.ended() and (log.read_text().count("\n") if log.exists() else 0) == before:
            time.sleep(0.01)
        time.sleep(moment.uniform(0, 0.4))
        run.kill()
        assert not (tmp_path / "killed" / "SHA256SUMS").exists() or run.wait() == 0, f"kill {kill}"
    run = start(tmp_path / "small.yaml", tmp_path / "killed", TONE_LOG=str(log))
    assert run.wait() == 0 and run.err.read_text() == ""
    assert data_files(tmp_path / "killed") == data_files(tmp_path / "whole")
    assert verify(tmp_path / "killed").faults == []
    made = log.read_text().split()
    most_twice = 4 * int(os.environ.get("KILLS", "4"))  # the shard in work, of four clips, at each kill
    assert len(made) - len(set(made)) <= most_twice


def test_a_full_disk_is_an_error_and_loses_nothing(recipe, tmp_path, monkeypatch):
    chosen = recipe(per_genre=10)
    build(chosen, tmp_path / "whole", clips_per_shard=10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # a file-size limit fails a write as a full disk does
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*train-00000") as error:
            build(chosen, tmp_path / "full", clips_per_shard=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "run the same command again" in str(error.value)
    assert not list((tmp_path / "full").rglob("*.parquet*"))
    build(chosen, tmp_path / "full")
    assert data_files(tmp_path / "full") == data_files(tmp_path / "whole")


@pytest.mark.parametrize("key", ["annotations", "stems"])
def test_a_generator_without_a_score_is_refused(recipe, tmp_path, key):
    with pytest.raises(RecipeError, match=rf"{key}: generator 'tone' has no score"):
        build(recipe().with_values({key: True}), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_a_recipe_changed_under_an_unfinished_corpus_is_refused(recipe, tmp_path):
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(recipe(seed=1), tmp_path / "corpus", progress=stop)
    before = sorted(tmp_path.joinpath("corpus").rglob("*"))
    with pytest.raises(DataError, match=r"another recipe.*fingerprint differ"):
        build(recipe(seed=2), tmp_path / "corpus")
    assert sorted(tmp_path.joinpath("corpus").rglob("*")) == before
    build(recipe(seed=1), tmp_path / "corpus")
    with pytest.raises(DataError, match="another recipe"):
        build(recipe(seed=2), tmp_path / "corpus")


def test_another_revision_of_the_generator_is_refused(recipe, tmp_path, monkeypatch):
    from ...fakes import Tone

    def stop(done: int, total: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(recipe(), tmp_path / "corpus", progress=stop, clips_per_shard=4, workers=1)
    monkeypatch.setattr(Tone, "revision", "2")
    with pytest.raises(DataError, match="begun with revision 1 of 'tone', this is 2"):
        build(recipe(), tmp_path / "corpus", workers=1)


def test_a_finished_corpus_is_left_as_it_is(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.joinpath("corpus").rglob("*") if path.is_file()}
    assert build(recipe(), tmp_path / "corpus").rows == 30
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not (tmp_path / "corpus" / ".work").exists()


@pytest.mark.parametrize("damage", ["deleted", "truncated", "flipped", "foreign"])
def test_only_a_damaged_shard_is_made_again(recipe, tmp_path, damage):
    build(recipe(), tmp_path / "corpus", clips_per_shard=10)
    whole = data_files(tmp_path / "corpus")
    shard = tmp_path / "corpus" / "data" / "train-00001-of-00003.parquet"
    content = shard.read_bytes()
    match damage:
        case "deleted":
            shard.unlink()
        case "truncated":
            shard.write_bytes(content[: len(content) // 2])
        case "flipped":
            shard.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        case "foreign":
            build(recipe(seed=9), tmp_path / "other", clips_per_shard=10)
            shard.write_bytes((tmp_path / "other" / "data" / shard.name).read_bytes())
    faults = verify(tmp_path / "corpus").faults
    assert faults and all(shard.name in fault or "lacks shard 1" in fault for fault in faults)
    kept = (tmp_path / "corpus" / "data" / "train-00000-of-00003.parquet").stat().st_mtime_ns
    build(recipe(), tmp_path / "corpus")
    assert data_files(tmp_path / "corpus") == whole
    assert (tmp_path / "corpus" / "data" / "train-00000-of-00003.parquet").stat().st_mtime_ns == kept
    assert verify(tmp_path / "corpus").faults == []


def test_rejected_clips_are_listed_counted_and_limited(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TONE_FAULT", "12345")
    log = tmp_path / "made"
    monkeypatch.setenv("TONE_LOG", str(log))
    with pytest.raises(DataError, match=r"of 30 clips were rejected, more than quality.max_rejected \(1.0%\)"):
        build(recipe(attempts=1), tmp_path / "corpus", workers=1)
    made = log.read_text()
    record = build(recipe(attempts=1, max_rejected=0.9), tmp_path / "corpus", workers=1)
    assert log.read_text() == made  # nothing was made again
    rejected = [json.loads(line) for line in (tmp_path / "corpus" / "rejected.jsonl").read_text().splitlines()]
    assert record.details["rejected"] == len(rejected) > 0
    assert record.rows == len(audio(tmp_path / "corpus")) == 30 - len(rejected)
    assert {fault.split(":")[0] for row in rejected for fault in row["faults"]} == {"loudness", "silence"}
    assert verify(tmp_path / "corpus").faults == []


def test_a_shard_without_accepted_clips_is_an_error(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TONE_FAULT", "12345")
    with pytest.raises(DataError, match=r"every clip of data/train-\d+-of-00025.parquet was rejected; first: "):
        build(recipe(attempts=1, max_rejected=1.0), tmp_path / "corpus", clips_per_shard=1)


def test_a_folder_that_holds_something_else_is_left_alone(recipe, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    with pytest.raises(DataError, match="not empty"):
        build(recipe(), tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    with pytest.raises(DataError, match="is a file"):
        build(recipe(), tmp_path / "thesis" / "chapter.tex")


def test_a_folder_of_convert_is_left_alone(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus")
    convert(tmp_path / "corpus", "audiofolder", tmp_path / "files")
    card = (tmp_path / "files" / "README.md").read_bytes()
    with pytest.raises(DataError, match="`synthmir convert` wrote"):
        build(recipe(), tmp_path / "files")
    assert (tmp_path / "files" / "README.md").read_bytes() == card
    convert(tmp_path / "corpus", "audiofolder", tmp_path / "files")  # it still resumes


def test_a_folder_that_cannot_be_written_is_an_error(recipe):
    with pytest.raises(DataError, match="cannot write in /proc/corpus"):
        build(recipe(), "/proc/corpus")


def test_two_builds_into_one_folder_are_one_too_many(recipe, tmp_path):
    def second(done: int, total: int) -> None:
        if done == 0:
            with pytest.raises(DataError, match="another run is at work"):
                build(recipe(), tmp_path / "corpus")

    build(recipe(), tmp_path / "corpus", progress=second)
    assert verify(tmp_path / "corpus").faults == []


def test_two_workers_make_the_same_corpus(tmp_path):
    from builder.recipe import Recipe

    (tmp_path / "r.yaml").write_text(
        "{name: two, prompts: {per_genre: 4}, generator: {seconds: 1}, split: {validation: 0.3}}"
    )
    recipe = Recipe.load(tmp_path / "r.yaml")
    build(recipe, tmp_path / "one", workers=1, clips_per_shard=4)
    build(recipe, tmp_path / "two", workers=2, clips_per_shard=4)
    assert data_files(tmp_path / "one") == data_files(tmp_path / "two")


def test_a_lost_card_and_a_damaged_picture_are_written_again(with_plots, recipe, tmp_path):
    build(recipe(), tmp_path / "corpus")
    sums = Corpus.open(tmp_path / "corpus").sums()
    (tmp_path / "corpus" / "README.md").unlink()
    (tmp_path / "corpus" / "assets" / "clips.svg").write_text("torn")
    assert len(verify(tmp_path / "corpus").faults) == 2
    build(recipe(), tmp_path / "corpus")
    assert verify(tmp_path / "corpus").faults == []
    assert Corpus.open(tmp_path / "corpus").sums() == sums
