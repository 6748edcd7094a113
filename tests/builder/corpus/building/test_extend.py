"""A corpus that grows: what is there stays as it is, to the byte, and what comes is a part of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import datasets
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.clip import Clip
from builder.corpus.building import plan
from builder.corpus.building.build import build
from builder.corpus.building.extend import CombinedLabels, combine_fingerprints, identify_source, plan_parts
from builder.corpus.corpus import Corpus
from builder.corpus.hf_builder import MusicGenCorpus
from builder.corpus.shards import read_footer
from builder.corpus.verify import verify
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import DataError
from builder.io import storage
from builder.io.markdown import parse_front_matter
from builder.io.storage_backends import OBJECT_STORAGES
from builder.recipe import Recipe
from builder.registry import GENERATORS
from builder.settings import EmbedderSettings

from ...fakes import Tone

LEVELS = EmbedderSettings(name="levels")
Make = Callable[..., Recipe]


class Buzz(Tone):
    """Another source of clips."""

    name = "buzz"
    license = "cc-by-nc-4.0"


@pytest.fixture(autouse=True)
def buzz(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second generator."""
    monkeypatch.setitem(GENERATORS, "buzz", "tests.builder.corpus.building.test_extend:Buzz")


@pytest.fixture
def wanted(tmp_path: Path) -> Make:
    """A recipe of small clips, by its parts; `genres` are those of its taxonomy."""

    def make(file: str = "r.yaml", genres: str = "[funk, rock]", prompts: str = "per_genre: 6", **more: Any) -> Recipe:
        (tmp_path / f"{file}.taxonomy.yaml").write_text(f"{{name: own, genres: {genres}}}")
        generator = {"name": "tone", "seconds": 1} | more.pop("generator", {})
        text = (
            f"{{name: small, taxonomy: {file}.taxonomy.yaml, prompts: {{{prompts}}}, split: {{validation: 0.2}},"
            f" embedder: {{name: levels}}, generator: {json.dumps(generator)}{more.pop('end', '')}}}"
        )
        (tmp_path / file).write_text(text)
        return Recipe.load(tmp_path / file)

    return make


def contents(corpus: Path, config: str = "data") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (corpus / config).glob("*.parquet")}


def rows(corpus: Path) -> list[dict[str, Any]]:
    columns = ["id", "genre", "mood", "prompt", "prompt_group", "generator", "seed"]
    return [
        {**row, "split": name.split("/")[1].split("-")[0], "part": name}
        for name in Corpus.open(corpus).shards()
        for row in pq.read_table(corpus / name, columns=columns).to_pylist()
    ]


def splits_of_groups(corpus: Path) -> dict[str, set[str]]:
    found = defaultdict(set)
    for row in rows(corpus):
        found[row["prompt_group"]].add(row["split"])
    return found


def test_more_clips_come_as_further_shards_and_what_is_there_stays(wanted, tmp_path):
    out = tmp_path / "corpus"
    build(wanted(), out, clips_per_shard=4)
    before, sums = contents(out), Corpus.open(out).sums()
    record = build(wanted(prompts="per_genre: 11"), out, extend=True, clips_per_shard=4)
    after = contents(out)
    assert {name: after[name] for name in before} == before
    assert {name: digest for name, digest in Corpus.open(out).sums().items() if name in sums and "data/" in name} == {
        name: digest for name, digest in sums.items() if "data/" in name
    }
    new = sorted(set(after) - set(before))
    assert new == [
        *(f"train-p01-0000{i}-of-00002.parquet" for i in range(2)), "validation-p01-00000-of-00001.parquet",
    ]  # fmt: skip
    assert record.rows == record.details["clips"] == len(rows(out)) == 22
    assert len({row["id"] for row in rows(out)}) == 22
    assert verify(out).faults == []
    whole = tmp_path / "whole"  # the same clips as if all had been asked for at once
    build(wanted(prompts="per_genre: 11"), whole)
    one, other = ({(row["id"], row["seed"], row["prompt"]) for row in rows(place)} for place in (out, whole))
    assert one == other


def test_groups_keep_their_split_and_the_whole_its_share(wanted, tmp_path):
    (tmp_path / "d.csv").write_text(
        "genre,description\n" + "".join(f"{g},Words {i} of {g}\n" for g in ("funk", "rock") for i in range(7))
    )
    source = "source: {kind: file, path: d.csv}, per_genre: "
    out = tmp_path / "corpus"
    build(wanted(prompts=source + "10"), out)
    held = {row["id"]: row["split"] for row in rows(out)}
    build(wanted(prompts=source + "40"), out, extend=True)
    assert all(len(splits) == 1 for splits in splits_of_groups(out).values())
    assert {row["id"]: row["split"] for row in rows(out)}.items() >= held.items()
    build(wanted("b.yaml", prompts="per_genre: 30"), out, extend=True)  # other descriptions: new groups
    count = Counter((row["genre"], row["split"]) for row in rows(out))
    assert count[0, "validation"] == count[1, "validation"] == round(0.2 * 70)
    assert verify(out).faults == []


def test_a_genre_is_added_and_no_label_changes_its_number(wanted, tmp_path):
    out = tmp_path / "corpus"
    build(wanted(), out)
    old = datasets.load_dataset(str(out))["train"].features
    build(wanted(genres="[electronica, rock, funk]"), out, extend=True)
    for streaming in (False, True):
        loaded = datasets.load_dataset(str(out), streaming=streaming)
        features = loaded["train"].features
        assert features["genre"].names == ["funk", "rock", "electronica"]
        for column in ("mood", "instruments"):
            before, after = (getattr(f[column], "feature", f[column]).names for f in (old, features))
            assert after[: len(before)] == before and len(after) > len(before) and len(set(after)) == len(after)
        undecoded = loaded.cast_column("audio", datasets.Audio(decode=False))  # a stream decodes what is removed later
        labels = [row for split in undecoded.values() for row in split.remove_columns("audio")]
        assert len(labels) == 18
        assert all(row["id"].startswith(features["genre"].int2str(row["genre"])) for row in labels)
        moods = [features["mood"].int2str(row["mood"]) for row in labels if row["mood"] is not None]
        texts = [row["prompt"].lower() for row in labels if row["mood"] is not None]
        assert all(mood in text for mood, text in zip(moods, texts, strict=True))
    assert verify(out).faults == []


def test_another_generator_is_a_second_source_with_ids_of_its_own(wanted, tmp_path):
    out = tmp_path / "corpus"
    build(wanted(), out)
    record = build(wanted("b.yaml", generator={"name": "buzz"}), out, extend=True)
    labels = rows(out)
    assert len({row["id"] for row in labels}) == 24
    assert Counter(row["generator"] for row in labels) == {"tone": 12, "buzz": 12}
    by_prompt = defaultdict(set)
    for row in labels:
        by_prompt[row["prompt"], row["seed"]].add((row["generator"], row["split"]))
    assert all(len(both) == 2 and len({split for _, split in both}) == 1 for both in by_prompt.values())
    assert record.details["generator"]["license"] == "cc-by-nc-4.0"
    assert [part["generator"]["name"] for part in Corpus.open(out).parts()] == ["tone", "buzz"]
    assert "cc-by-nc-4.0" in (out / "README.md").read_text().split("---")[1]
    build(wanted("c.yaml", prompts="per_genre: 8", generator={"name": "buzz"}), out, extend=True)
    assert Counter(row["generator"] for row in rows(out)) == {"tone": 12, "buzz": 16}
    assert verify(out).faults == []


def test_the_record_lists_the_parts_and_their_recipes_are_kept(wanted, tmp_path):
    out = tmp_path / "corpus"
    first, second = wanted("a.yaml"), wanted("b.yaml", prompts="per_genre: 8", genres="[funk, rock, pop]")
    build(first, out)
    build(second, out, extend=True)
    corpus = Corpus.open(out)
    prints = [first.fingerprint(), second.fingerprint()]
    assert [part["fingerprint"] for part in corpus.parts()] == prints
    assert [part["clips"] for part in corpus.parts()] == [12, 12]
    assert corpus.fingerprint == combine_fingerprints(prints) not in prints
    assert Recipe.load(out / "recipe.yaml").fingerprint() == prints[1]
    assert Recipe.load(out / "recipes" / prints[0] / "recipe.yaml").fingerprint() == prints[0]
    footers = {name: read_footer(out / name)["fingerprint"] for name in corpus.shards()}
    assert all(made_by == prints["-p01-" in name] for name, made_by in footers.items())
    assert not (out / ".work").exists()


def test_a_corpus_that_grows_is_the_old_one_until_it_is_the_new(wanted, tmp_path, monkeypatch):
    """Stopped while clips are made, and while shards are put in their place: it loads as before, then resumes."""
    out, more = tmp_path / "corpus", wanted("b.yaml", prompts="per_genre: 12", genres="[funk, rock, pop]")
    build(wanted("a.yaml"), out, clips_per_shard=4)
    old = contents(out)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    def loaded() -> int:
        return sum(len(split) for split in datasets.load_dataset(str(out)).values())

    with pytest.raises(KeyboardInterrupt):
        build(more, out, extend=True, clips_per_shard=4, workers=1, progress=stop)
    assert contents(out) == old and loaded() == 12
    assert verify(out).faults == [] and Corpus.open(out).shards()
    with pytest.raises(DataError, match=r"(?s)another recipe.*--extend"):
        build(more, out)
    with pytest.raises(DataError, match=r"is being extended by.*another recipe"):
        build(wanted("c.yaml", prompts="per_genre: 9"), out, extend=True)
    moves = 0
    move = growth_move()

    def stop_third(source: Path, target: Path) -> None:
        nonlocal moves
        moves += 1
        if moves == 3:
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("builder.corpus.building.job.move_folder", stop_third)
        build(more, out, extend=True)
    assert len(contents(out)) == len(old) + 2 and loaded() == 12
    with pytest.raises(DataError, match="not finished"):
        Corpus.open(out)
    with pytest.raises(DataError, match="being extended"):
        build(wanted("a.yaml"), out)
    record = build(more, out, extend=True)
    assert record.rows == loaded() == 36 and {name: contents(out)[name] for name in old} == old
    assert verify(out).faults == [] and not (out / ".work").exists()
    straight = tmp_path / "straight"
    build(wanted("a.yaml"), straight, clips_per_shard=4)
    build(more, straight, extend=True, clips_per_shard=4)
    assert contents(straight) == contents(out)


def growth_move() -> Callable[[Path, Path], None]:
    from builder.corpus.building import job

    return job.move_folder


@pytest.mark.parametrize("moment", ["archive_recipe", "pin_shards", "write_recipe", "write_card", "write_sums"])
def test_stopped_at_each_step_of_joining_it_goes_on(wanted, tmp_path, monkeypatch, moment):
    out, more = tmp_path / "corpus", wanted("b.yaml", prompts="per_genre: 8")
    build(wanted("a.yaml"), out)
    place = "job" if moment in ("archive_recipe", "pin_shards") else "build"

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"builder.corpus.building.{place}.{moment}", stop)
        build(more, out, extend=True)
    assert sum(len(split) for split in datasets.load_dataset(str(out)).values()) in (12, 16)
    assert build(more, out, extend=True).rows == 16
    assert verify(out).faults == []
    assert [part["clips"] for part in Corpus.open(out).parts()] == [12, 4]
    assert sum(len(split) for split in datasets.load_dataset(str(out)).values()) == 16


@pytest.mark.parametrize("gone", [".work/growth", ".work/state.json", ".work/growth/ledger.jsonl"])
def test_a_work_folder_that_went_but_in_part_is_no_matter(wanted, tmp_path, monkeypatch, gone):
    """Killed in the last step: nothing is made again, and the corpus can grow further."""
    out, more = tmp_path / "corpus", wanted("b.yaml", prompts="per_genre: 8")
    build(wanted("a.yaml"), out)

    def stop(work: Path) -> None:
        (shutil.rmtree if (out / gone).is_dir() else os.unlink)(out / gone)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("builder.corpus.building.job.delete_folder", stop)
        build(more, out, extend=True)
    before = contents(out)
    monkeypatch.setenv("TONE_LOG", str(tmp_path / "made"))
    build(more, out, extend=True)
    assert not (tmp_path / "made").exists() and contents(out) == before
    assert verify(out).faults == [] and not (out / ".work").exists()
    assert build(wanted("c.yaml", prompts="per_genre: 10"), out, extend=True).rows == 20


@pytest.mark.parametrize("by", ["newest", "oldest", "extend"])
def test_lost_shards_of_every_part_are_made_again(wanted, tmp_path, by):
    out, first, second = tmp_path / "corpus", wanted("a.yaml"), wanted("b.yaml", generator={"name": "buzz"})
    build(first, out, clips_per_shard=5)
    build(second, out, extend=True, clips_per_shard=5)
    whole = contents(out)
    for name in ("train-00001-of-00002.parquet", "train-p01-00000-of-00002.parquet"):
        (out / "data" / name).unlink()
    faults = verify(out).faults
    assert any("lacks shard 1 of 2" in fault for fault in faults)
    assert any("part 1, lacks shard 0 of 2" in fault for fault in faults)
    recipe = first if by == "oldest" else Recipe.load(out / "recipe.yaml")
    record = build(recipe, out, extend=by == "extend")
    assert contents(out) == whole and record.rows == 24 and record.details["mended_shards"] == 2
    assert Recipe.load(out / "recipe.yaml").fingerprint() == second.fingerprint()
    assert verify(out).faults == []


def test_an_old_shard_that_is_lost_is_made_again_as_it_grows(wanted, tmp_path):
    out = tmp_path / "corpus"
    build(wanted("a.yaml"), out, clips_per_shard=5)
    lost = out / "data" / "train-00001-of-00002.parquet"
    content = lost.read_bytes()
    lost.unlink()
    build(wanted("b.yaml", prompts="per_genre: 8"), out, extend=True)
    assert lost.read_bytes() == content and verify(out).faults == []


def test_only_what_is_new_is_embedded(wanted, tmp_path):
    out = tmp_path / "corpus"
    build(wanted("a.yaml"), out)
    embed_corpus(out, LEVELS)
    old = contents(out, "levels")
    build(wanted("b.yaml", genres="[funk, rock, pop]"), out, extend=True)
    assert any("--embedder levels" in fault and "was extended by (part 1)" in fault for fault in verify(out).faults)
    done: list[int] = []
    embed_corpus(out, LEVELS, progress=lambda at, total: done.append(at))
    assert done[0] == 12 and done[-1] == 18
    after = contents(out, "levels")
    assert {name: after[name] for name in old} == old and len(after) == 2 * len(old)
    assert verify(out).faults == []
    audio, vectors = (datasets.load_dataset(str(out), name) for name in ("default", "levels"))
    for split in audio:
        assert audio[split]["id"] == vectors[split]["id"] and audio[split]["genre"] == vectors[split]["genre"]
    assert vectors["train"].features["genre"].names == ["funk", "rock", "pop"]


@pytest.mark.parametrize("step", ["cp_file", "rm_file"])
def test_new_embeddings_join_at_once_in_a_store_too(wanted, monkeypatch, step):
    out = f"memory://{uuid4().hex}"
    monkeypatch.setattr(OBJECT_STORAGES["memory"], "heartbeat_seconds", 0.1)
    build(wanted(), out, workers=1)
    embed_corpus(out, LEVELS)
    build(wanted("b.yaml", genres="[funk, rock, pop]"), out, extend=True, clips_per_shard=2, workers=1)
    old, original, calls = Corpus.open(out).shards("levels"), getattr(MemoryFileSystem, step), []

    def stop(self: MemoryFileSystem, *arguments: str, **options: Any) -> None:
        calls.append(arguments)
        assert Corpus.open(out).shards("levels") == old or len(calls) > 1  # none before all are made
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(self, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MemoryFileSystem, step, stop)
        embed_corpus(out, LEVELS)
    card = parse_front_matter((storage.to_path(out) / "README.md").read_text())
    named = {files["split"]: files["path"] for files in card["configs"][1]["data_files"]}
    assert named == {split: [f"levels/{split}-0*"] for split in ("train", "validation")}
    embed_corpus(out, LEVELS)
    assert verify(out).faults == [] and verify(out).embeddings == {"levels": 18}


def test_a_classifier_is_trained_and_evaluated_on_a_grown_corpus(wanted, tmp_path):
    from builder.settings import EvaluationSettings
    from evaluation.evaluate import evaluate_model
    from training.trainer import train

    melstats = EmbedderSettings(name="melstats")
    out = tmp_path / "corpus"
    build(wanted("a.yaml"), out)
    embed_corpus(out, melstats)
    grown = wanted("b.yaml", genres="[funk, rock, pop]", prompts="per_genre: 10")
    build(grown, out, extend=True)
    quick = grown.training.model_copy(update={"epochs": 2})
    with pytest.raises(DataError, match="has grown since melstats embedded it"):
        train(out, tmp_path / "model", quick, melstats)
    embed_corpus(out, melstats)
    train(out, tmp_path / "model", quick, melstats)
    labels = json.loads((tmp_path / "model" / "config.json").read_text())["id2label"]
    assert list(labels.values()) == ["funk", "rock", "pop"]
    scores = evaluate_model(
        tmp_path / "model", ["validation"], tmp_path / "report", out, EvaluationSettings(bootstrap=100)
    )
    assert scores["benchmarks"][0]["n"] == 6  # a fifth of thirty


def test_a_datasets_builder_gives_all_parts(wanted, tmp_path):
    out = tmp_path / "corpus"
    build(wanted("a.yaml"), out)
    build(wanted("b.yaml", genres="[pop, funk]"), out, extend=True)
    made = MusicGenCorpus(str(tmp_path / "cache"), recipe=str(tmp_path / "b.yaml"), folder=str(out))
    made.download_and_prepare()
    data = made.as_dataset()
    assert data["train"].features["genre"].names == ["funk", "rock", "pop"]
    assert sum(len(split) for split in data.values()) == 18


def test_readers_of_single_files_know_the_new_labels_too(wanted, tmp_path):
    from builder.embedders.embedded_dataset import open_dataset
    from evaluation.fidelity.embedded_sets import open_corpus_set
    from evaluation.inference.validation_audio import validation_clips
    from evaluation.reporting.example_clips import choose_examples

    out = tmp_path / "corpus"
    build(wanted("a.yaml"), out)
    build(wanted("b.yaml", genres="[pop, rock, funk]"), out, extend=True)
    embed_corpus(out, LEVELS)
    clips = validation_clips(out, ["pop", "funk", "rock"], "genre", 100, 0)
    assert {(track.id.split("-")[0], ["pop", "funk", "rock"][track.label]) for track in clips.tracks} == {
        (genre, genre) for genre in ("pop", "funk", "rock")
    }
    assert {example.genre for example in choose_examples(out, {})} == {"pop", "funk", "rock"}
    stored = open_dataset(out, "levels")
    assert set(stored.splits) == {"train", "validation"}
    assert stored.describe("genre")["names"] == ["funk", "rock", "pop"]
    assert set(open_corpus_set(out, None)[0].genres) == {"funk", "rock", "pop"}


def test_what_cannot_be_added_is_refused(wanted, tmp_path, monkeypatch):
    out, first = tmp_path / "corpus", wanted("a.yaml")
    with pytest.raises(DataError, match="there is no such folder"):
        build(first, out, extend=True)
    assert not out.exists()
    build(first, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"(?s)another recipe.*--extend"):
        build(wanted("b.yaml", prompts="per_genre: 8"), out)
    with pytest.raises(DataError, match="has every clip that small asks for"):
        build(wanted("b.yaml", prompts="per_genre: 3"), out, extend=True)
    renamed = tmp_path / "n.yaml"
    renamed.write_text((tmp_path / "a.yaml").read_text().replace("name: small", "name: other"))
    with pytest.raises(DataError, match="is called 'small', the recipe to extend it by 'other'"):
        build(Recipe.load(renamed), out, extend=True)
    assert build(first, out, extend=True).rows == 12  # nothing to do
    monkeypatch.setattr(Tone, "revision", "2")
    with pytest.raises(DataError, match="begun with revision 1 of 'tone', this is 2"):
        build(wanted("b.yaml", prompts="per_genre: 8"), out, extend=True, workers=1)
    monkeypatch.undo()
    monkeypatch.setattr("builder.corpus.building.resume.MAX_PARTS", 1)
    with pytest.raises(DataError, match="was extended 0 times"):
        build(wanted("b.yaml", prompts="per_genre: 8"), out, extend=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_version_that_plans_other_clips_is_refused(wanted, tmp_path, monkeypatch):
    out = tmp_path / "corpus"
    build(wanted("a.yaml"), out)
    hash_to_int = plan.hash_to_int
    monkeypatch.setattr(plan, "hash_to_int", lambda *parts: hash_to_int(*parts, "new"))
    with pytest.raises(DataError, match="holds other clips than this version of synthmir plans"):
        build(wanted("b.yaml", prompts="per_genre: 8"), out, extend=True)


def test_a_repair_keeps_an_extension_under_way(wanted, tmp_path):
    out, first, more = tmp_path / "corpus", wanted("a.yaml"), wanted("b.yaml", prompts="per_genre: 9")
    build(first, out, clips_per_shard=5)

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(more, out, extend=True, clips_per_shard=2, workers=1, progress=stop)
    (out / "data" / "train-00000-of-00002.parquet").unlink()
    build(first, out)
    assert verify(out).faults == []
    counted: list[int] = []
    build(more, out, extend=True, progress=lambda done, total: counted.append(done))
    assert counted[0] >= 2  # what was made before the repair is still there
    assert verify(out).faults == [] and len(rows(out)) == 18


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    shares=st.lists(st.sampled_from([0.1, 0.25, 0.5]), min_size=4, max_size=4),
    seeds=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    words=st.integers(2, 9),
)
def test_parts_never_share_an_id_nor_a_group_two_splits(counts, shares, seeds, words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    lines = "".join(
        f"{genre},Common {i}\n{genre},Only {genre} {i}\n" for genre in ("funk", "rock") for i in range(words)
    )
    (folder / "d.csv").write_text(f"genre,description\n{lines}")
    (folder / "t.yaml").write_text("{name: own, genres: [funk, rock]}")
    recipes = []
    for count, share, seed in zip(counts, shares, seeds, strict=False):
        text = f"per_genre: {count}, seed: {seed}, source: {{kind: file, path: d.csv}}"
        (folder / "r.yaml").write_text(
            f"{{name: s, taxonomy: t.yaml, prompts: {{{text}}}, split: {{validation: {share}}}}}"
        )
        recipes.append(Recipe.load(folder / "r.yaml"))
    parts = plan_parts(recipes, [7] * len(recipes))
    clips = [clip for part in parts for shard in part.shards for clip in shard.clips]
    assert len({clip.id for clip in clips}) == len(clips)
    split: dict[str, str] = {}
    assert all(split.setdefault(clip.prompt_group, clip.split) == clip.split for clip in clips)
    wanted = {(identify_source(recipe), genre): 0 for recipe in recipes for genre in ("funk", "rock")}
    for recipe in recipes:
        for genre in ("funk", "rock"):
            wanted[identify_source(recipe), genre] = max(
                wanted[identify_source(recipe), genre], recipe.prompts.per_genre or 0
            )
    assert len(clips) == sum(wanted.values())
    assert all(isinstance(clip, Clip) for clip in clips)


def test_labels_are_only_appended(wanted):
    taxonomies = [
        wanted(f"{i}.yaml", genres=genres).labels for i, genres in enumerate(["[rock]", "[funk, pop, rock]"])
    ]
    labels, first = CombinedLabels.over(taxonomies), CombinedLabels.over(taxonomies[:1])
    assert labels.genre_names == ["rock", "funk", "pop"]
    assert labels.mood_names[: len(first.mood_names)] == first.mood_names == taxonomies[0].mood_names
    assert set(labels.instrument_names) == set(taxonomies[0].instrument_names) | set(taxonomies[1].instrument_names)
