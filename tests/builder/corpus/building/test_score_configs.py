"""The configs `annotations` and `stems`: built, resumed, repaired, extended and verified with the audio."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from builder.annotations.annotation import STEMS, Annotation, annotation_features
from builder.audio import decode_audio, encode_flac
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.errors import BackendError, DataError, RecipeError
from builder.io.markdown import parse_front_matter
from tests.builder import fakes

from .test_build import audio, data_files, start

CONFIGS = ("annotations", "stems")
BOTH = {"annotations": True, "stems": True}


def files(corpus: Path, *configs: str) -> dict[str, bytes]:
    return {name: (corpus / name).read_bytes() for one in configs for name in Corpus.open(corpus).shards(one)}


def rows(corpus: Path, config: str) -> list[dict]:
    return [row for name in Corpus.open(corpus).shards(config) for row in pq.read_table(corpus / name).to_pylist()]


@pytest.fixture
def scored(recipe):
    """A function that makes a recipe whose generator has a score, with both configs."""
    return lambda **options: recipe(generator="scored", **BOTH | options)


def test_both_configs_are_joined_by_id_and_read_by_datasets_alone(scored, tmp_path):
    chosen = scored(per_genre=4)
    record = build(chosen, tmp_path / "corpus", clips_per_shard=6)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.configs() == {"data": "audio", "annotations": "annotations", "stems": "stems"}
    findings = verify(corpus.root)
    assert corpus.embeddings() == [] and findings.faults == []
    assert findings.annotations == 20 and 20 < findings.stems < 40
    names = [name.partition("/")[2] for name in corpus.shards()]
    assert all([name.partition("/")[2] for name in corpus.shards(config)] == names for config in CONFIGS)
    assert {name for config in CONFIGS for name in corpus.shards(config)} <= corpus.sums().keys()
    ids = [row["id"] for row in rows(corpus.root, "data")]
    loaded = datasets.load_dataset(str(corpus.root), "annotations", cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features == annotation_features()
    annotated = [row for split in ("train", "validation") for row in loaded[split]]
    assert [row["id"] for row in annotated] == ids
    made = {row["id"]: row for row in rows(corpus.root, "data")}
    for row in annotated:
        annotation = Annotation.from_row(row)
        assert annotation.melody[0] == made[row["id"]]["seed"] % 1000  # of the clip's own seed
        assert len(annotation.beats) == len(annotation.positions) and annotation.key == "C:major"
    stems = datasets.load_dataset(str(corpus.root), "stems", cache_dir=str(tmp_path / "cache"))
    assert stems["train"].features["stem"].names == list(STEMS)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for row in rows(corpus.root, "stems"):
        parts.setdefault(row["id"], {})[STEMS[row["stem"]]] = decode_audio(row["audio"]["bytes"])[0][:, 0]
    assert list(parts) == ids
    for identity, clip in parts.items():
        assert list(clip) == (["drums", "melody"] if made[identity]["seed"] % 2 else ["melody"])
        mix = decode_audio(made[identity]["audio"]["bytes"])[0][:, 0]
        assert np.abs(sum(clip.values()) - mix).max() < 3 / 32768
    assert record.details["configs"]["annotations"]["rows"] == 20
    assert record.details["configs"]["stems"]["rows"] == sum(map(len, parts.values()))
    metadata = parse_front_matter((corpus.root / "README.md").read_text())
    assert [one["config_name"] for one in metadata["configs"]] == ["default", *CONFIGS]


def test_the_keys_change_neither_the_audio_nor_the_fingerprint(scored, tmp_path):
    build(scored(), tmp_path / "with")
    plain = scored(annotations=False, stems=False)
    build(plain, tmp_path / "without")
    assert plain.fingerprint() == scored().fingerprint()
    assert data_files(tmp_path / "with") == data_files(tmp_path / "without")
    assert not (tmp_path / "without" / "annotations").exists()


def test_shard_size_and_interruption_change_no_row(scored, tmp_path):
    build(scored(batch_size=1), tmp_path / "a", clips_per_shard=3)
    build(scored(batch_size=16), tmp_path / "b", clips_per_shard=17)

    def stop_in_the_middle(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(scored(), tmp_path / "c", clips_per_shard=5, progress=stop_in_the_middle)
    assert not (tmp_path / "c" / "stems").exists()
    build(scored(), tmp_path / "c")
    for config in CONFIGS:
        assert rows(tmp_path / "a", config) == rows(tmp_path / "b", config) == rows(tmp_path / "c", config)
    assert audio(tmp_path / "a") == audio(tmp_path / "c") and verify(tmp_path / "c").faults == []


def test_a_killed_build_ends_in_the_same_bytes(scored, tmp_path):
    chosen, log = scored(per_genre=8), tmp_path / "made"
    build(chosen, tmp_path / "whole", clips_per_shard=4)
    moment = random.Random(3)
    for _ in range(2):
        before = log.read_text().count("\n") if log.exists() else 0
        run = start(tmp_path / "small.yaml", tmp_path / "killed", TONE_SLEEP="0.03", TONE_LOG=str(log))
        while not run.ended() and (log.read_text().count("\n") if log.exists() else 0) == before:
            time.sleep(0.01)
        time.sleep(moment.uniform(0, 0.4))
        run.kill()
    build(chosen, tmp_path / "killed")
    everything = ("data", *CONFIGS)
    assert files(tmp_path / "killed", *everything) == files(tmp_path / "whole", *everything)
    assert verify(tmp_path / "killed").faults == []


def test_a_finished_corpus_gets_a_config_by_the_same_command(scored, tmp_path):
    build(scored(), tmp_path / "whole", clips_per_shard=10)
    build(scored(annotations=False, stems=False), tmp_path / "corpus", clips_per_shard=10)
    before = data_files(tmp_path / "corpus")

    def stop(done: int, total: int) -> None:
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(scored(), tmp_path / "corpus", progress=stop)
    Corpus.open(tmp_path / "corpus")  # is still a finished corpus
    assert not (tmp_path / "corpus" / "stems").exists()
    updates: list[int] = []
    record = build(scored(), tmp_path / "corpus", progress=lambda done, _: updates.append(done))
    assert updates[0] > 0 and updates[-1] == 30  # what was made before is kept
    assert data_files(tmp_path / "corpus") == before
    assert files(tmp_path / "corpus", *CONFIGS) == files(tmp_path / "whole", *CONFIGS)
    assert "mended_shards" not in record.details and record.details["configs"]["annotations"]["rows"] == 30
    assert "annotations: true" in (tmp_path / "corpus" / "recipe.yaml").read_text()
    assert verify(tmp_path / "corpus").faults == []
    assert build(scored(), tmp_path / "corpus").details == record.details  # nothing is left to do


def test_stems_alone_are_made_from_the_finished_audio_and_its_seeds(scored, tmp_path, monkeypatch):
    monkeypatch.setenv("TONE_FAULT", "1")  # some clips are silent first: their seeds in the corpus are others
    build(scored(annotations=False, stems=False), tmp_path / "corpus", clips_per_shard=10)
    assert any(row["attempts"] > 1 for row in rows(tmp_path / "corpus", "data"))
    build(scored(), tmp_path / "corpus")
    build(scored(), tmp_path / "whole", clips_per_shard=10)
    assert files(tmp_path / "corpus", *CONFIGS) == files(tmp_path / "whole", *CONFIGS)


def test_rejected_clips_are_in_no_config(scored, tmp_path, monkeypatch):
    monkeypatch.setenv("TONE_FAULT", "123")
    build(scored(max_rejected=0.9, attempts=1), tmp_path / "corpus")
    ids = [row["id"] for row in rows(tmp_path / "corpus", "data")]
    assert 0 < len(ids) < 30
    assert [row["id"] for row in rows(tmp_path / "corpus", "annotations")] == ids
    assert list(dict.fromkeys(row["id"] for row in rows(tmp_path / "corpus", "stems"))) == ids
    assert verify(tmp_path / "corpus").faults == []


@pytest.mark.parametrize("config", ["data", *CONFIGS])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_lost_or_damaged_shard_is_found_and_made_again(scored, tmp_path, config, damage):
    build(scored(), tmp_path / "corpus", clips_per_shard=10)
    everything = ("data", *CONFIGS)
    before = files(tmp_path / "corpus", *everything)
    shard = tmp_path / "corpus" / Corpus.open(tmp_path / "corpus").shards(config)[1]
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-9])
    assert any(f"{config}/train-00001" in fault for fault in verify(tmp_path / "corpus").faults)
    record = build(scored(annotations=False, stems=False), tmp_path / "corpus")  # what it has is kept by any recipe
    assert record.details["mended_shards"] == 1
    assert files(tmp_path / "corpus", *everything) == before
    assert verify(tmp_path / "corpus").faults == []


def test_a_full_disk_is_an_error_and_loses_nothing(scored, tmp_path):
    chosen = scored(per_genre=10)
    build(chosen, tmp_path / "whole", clips_per_shard=10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*train-00000"):
            build(chosen, tmp_path / "full", clips_per_shard=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "full").rglob("*.parquet*"))
    build(chosen, tmp_path / "full")
    assert files(tmp_path / "full", "data", *CONFIGS) == files(tmp_path / "whole", "data", *CONFIGS)


def test_a_part_of_a_generator_without_a_score_has_no_annotations(scored, recipe, tmp_path):
    build(scored(), tmp_path / "corpus")
    before = files(tmp_path / "corpus", *CONFIGS)
    build(recipe(seed=5), tmp_path / "corpus", extend=True)
    assert files(tmp_path / "corpus", *CONFIGS) == before
    assert len(rows(tmp_path / "corpus", "annotations")) == 30 and len(audio(tmp_path / "corpus")) == 60
    assert verify(tmp_path / "corpus").faults == []
    with pytest.raises(RecipeError, match="no score"):
        build(recipe(seed=7, annotations=True), tmp_path / "corpus", extend=True)


@pytest.mark.parametrize("key", ["both", "neither"])
def test_an_extension_has_the_configs_of_the_corpus(scored, tmp_path, key):
    build(scored(), tmp_path / "corpus", clips_per_shard=10)
    before = files(tmp_path / "corpus", "data", *CONFIGS)
    keys = {} if key == "both" else {"annotations": False, "stems": False}

    def stop(done: int, total: int) -> None:
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(scored(per_genre=10, **keys), tmp_path / "corpus", extend=True, clips_per_shard=10, progress=stop)
    build(scored(per_genre=10, **keys), tmp_path / "corpus", extend=True)
    after = files(tmp_path / "corpus", "data", *CONFIGS)
    assert before.items() <= after.items() and len(rows(tmp_path / "corpus", "annotations")) == 50
    assert verify(tmp_path / "corpus").faults == []


def test_an_extension_with_a_key_annotates_the_older_parts_too(scored, tmp_path):
    build(scored(annotations=False, stems=False), tmp_path / "corpus")
    before = data_files(tmp_path / "corpus")
    record = build(scored(per_genre=8, stems=False), tmp_path / "corpus", extend=True)
    assert before.items() <= data_files(tmp_path / "corpus").items()
    assert [row["id"] for row in rows(tmp_path / "corpus", "annotations")] == list(audio(tmp_path / "corpus"))
    assert record.details["configs"].keys() == {"annotations"}
    assert verify(tmp_path / "corpus").faults == []


def test_stems_of_other_audio_are_refused(scored, tmp_path, monkeypatch):
    build(scored(annotations=False, stems=False), tmp_path / "corpus")
    make = fakes.Scored._make_tone
    monkeypatch.setattr(fakes.Scored, "_make_tone", lambda self, row: 0.9 * make(self, row))
    with pytest.raises(DataError, match="makes other audio of it than the corpus has"):
        build(scored(), tmp_path / "corpus")
    assert verify(tmp_path / "corpus").faults == [".work: unfinished work; run the command that was stopped again"]


@pytest.mark.parametrize(
    ("stems", "fault"),
    [
        ({}, "has no stem"),
        ({"choir": 1.0}, "none of drums, bass"),
        ({"melody": 0.99}, "do not add up"),
        ({"melody": 9.0}, r"not in \[-1, 1\]"),
        ({"melody": float("nan")}, r"not in \[-1, 1\]"),
    ],
)
def test_wrong_stems_are_an_error_of_the_generator(scored, tmp_path, monkeypatch, stems, fault):
    def make_stems(self, row):
        mix = self._make_tone(row)
        return mix, {name: mix * np.float32(gain) for name, gain in stems.items()}

    monkeypatch.setattr(fakes.Scored, "_make_stems", make_stems)
    with pytest.raises(BackendError, match=fault):
        build(scored(), tmp_path / "corpus")


def rewrite(corpus: Path, name: str, change) -> None:
    """Write a shard with other rows, and SHA256SUMS with its hash."""
    path = corpus / name
    rows, footer = pq.read_table(path).to_pylist(), read_footer(path)
    features = datasets.Features.from_arrow_schema(pq.read_schema(path))
    sums = Corpus.open(corpus).sums()
    write_shard(path, [change(rows, features)], features, footer)
    write_sums(corpus, {key: value for key, value in sums.items() if key != name})


def test_verify_finds_rows_that_are_not_those_of_the_audio(scored, tmp_path):
    build(scored(), tmp_path / "corpus", clips_per_shard=10)
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "corpus", whole)

    def find(config: str, change) -> list[str]:
        shutil.rmtree(tmp_path / "corpus")
        shutil.copytree(whole, tmp_path / "corpus")
        rewrite(tmp_path / "corpus", f"{config}/train-00000-of-00003.parquet", change)
        return verify(tmp_path / "corpus").faults

    def longer(rows, features):
        rows[3]["beats"][-1]["time"] = 1.5
        return rows

    def backwards(rows, features):
        rows[0]["notes"][0] |= {"onset": 0.5, "offset": 0.25}
        return rows

    def quieter(rows, features):
        samples, rate = decode_audio(rows[0]["audio"]["bytes"])
        rows[0]["audio"]["bytes"] = encode_flac(samples * 0.9, rate)
        return rows

    def older(rows, features):
        del features["melody"]
        return [{key: value for key, value in row.items() if key != "melody"} for row in rows]

    for config in CONFIGS:
        for change in (lambda rows, _: rows[::-1], lambda rows, _: rows[:-2], lambda rows, _: rows[2:]):
            assert find(config, change) == [
                f"{config}/train-00000-of-00003.parquet: its ids are not those of data/train-00000-of-00003.parquet"
            ]
    assert [fault.partition(": its ")[2] for fault in find("annotations", longer)] == [
        "beats have times that are not possible"
    ]
    assert "its notes have times" in find("annotations", backwards)[0]
    assert "its stems do not add up to it" in find("stems", quieter)[0]
    [fault] = find("annotations", older)
    assert "columns of another version" in fault and f"delete {tmp_path / 'corpus' / 'annotations'}" in fault
    shutil.rmtree(tmp_path / "corpus" / "annotations")  # the fix
    build(scored(), tmp_path / "corpus")
    assert files(tmp_path / "corpus", *CONFIGS) == files(whole, *CONFIGS)
