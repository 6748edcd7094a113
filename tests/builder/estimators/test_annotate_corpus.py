from __future__ import annotations

import json

import datasets
import pyarrow.parquet as pq
import pytest

import synthmir
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.estimates import read_entries
from builder.corpus.shard_map import ShardMapperFactory, ShardTask
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.errors import DataError
from builder.estimators import silence
from builder.estimators.annotate_corpus import annotate_corpus, read_label_names
from builder.estimators.base import EstimatorSettings, load_estimator
from builder.estimators.copies import Copies
from builder.estimators.estimates_config import EstimatesConfig
from builder.estimators.silence import Silence


@pytest.fixture
def corpus(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus", clips_per_shard=10, workers=1)
    return Corpus.open(tmp_path / "corpus")


def read(corpus: Corpus) -> list[dict]:
    return [row for name in corpus.shards("estimates") for row in pq.read_table(corpus.root / name).to_pylist()]


def test_each_clip_has_its_estimates(corpus, tmp_path):
    record = annotate_corpus(corpus.root, ["silence", "spectral_centroid"])
    assert record.rows == 30 and record.command == "annotate"
    rows, clips = (
        read(corpus),
        [row for name in corpus.shards() for row in pq.read_table(corpus.root / name, columns=["id"]).to_pylist()],
    )
    assert [row["id"] for row in rows] == [clip["id"] for clip in clips]
    assert len({row["spectral_centroid"] for row in rows}) == 30 and {row["silence"] for row in rows} == {0.0}
    findings = verify(corpus.root)
    assert findings.faults == [] and findings.estimates == 30
    loaded = datasets.load_dataset(str(corpus.root), "estimates", cache_dir=str(tmp_path / "cache"))
    assert set(loaded["train"].column_names) == {"id", "silence", "spectral_centroid"}
    assert "## Estimates" in (corpus.root / "README.md").read_text()


def test_other_estimators_are_added_and_kept(corpus, monkeypatch):
    annotate_corpus(corpus.root, ["silence"])
    before = read(corpus)
    monkeypatch.setattr(Silence, "estimate", lambda self, sounds: pytest.fail("measured a second time"))
    updates = []
    synthmir.annotate(corpus.root, "key,onset_rate", progress=lambda *update: updates.append(update))
    assert updates[-1] == ("annotate", 30, 30)
    rows = read(corpus)
    assert [row["silence"] for row in rows] == [row["silence"] for row in before]
    assert sorted(read_entries(corpus)) == ["key", "onset_rate", "silence"]
    assert list(rows[0]) == ["id", *sorted(rows[0].keys() - {"id"})]
    assert verify(corpus.root).faults == []


def test_stopped_run_resumes_and_audio_is_not_touched(corpus):
    audio = {name: (corpus.root / name).stat().st_mtime_ns for name in corpus.shards()}

    def stop(done, total):
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate_corpus(corpus.root, ["silence"], progress=stop)
    assert corpus.shards("estimates") == []
    counts = []
    annotate_corpus(corpus.root, ["silence"], progress=lambda done, total: counts.append(done))
    assert counts[0] == 10 and counts[-1] == 30
    assert {name: (corpus.root / name).stat().st_mtime_ns for name in corpus.shards()} == audio
    assert verify(corpus.root).faults == []


def test_a_stopped_run_of_more_estimators_leaves_nothing_behind(corpus):
    annotate_corpus(corpus.root, ["silence"])

    def stop(done, total):
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate_corpus(corpus.root, ["key"], progress=stop)
    annotate_corpus(corpus.root, ["silence"])
    assert set(read(corpus)[0]) == {"id", "silence"} and verify(corpus.root).faults == []


def test_another_process_loads_the_same_estimators(corpus, tmp_path, monkeypatch):
    annotate_corpus(corpus.root, ["silence", "key"])
    labels, entries = read_label_names(corpus), read_entries(corpus)
    settings = {name: EstimatorSettings(name, labels=labels) for name in entries}
    loaded = {name: load_estimator(one) for name, one in settings.items()}
    config = EstimatesConfig(corpus.root / "elsewhere", settings, entries, loaded)
    name = corpus.shards()[0]
    call, arguments = ShardMapperFactory(config, tmp_path).__reduce__()
    target = name.replace("data/", "estimates/")
    entry = call(*arguments)()(ShardTask(corpus.root / name, corpus.sums()[name], target), lambda count: None)
    assert entry.sha256 == corpus.sums()[target] and entry.rows == 10
    monkeypatch.setattr(Silence, "revision", "2")
    with pytest.raises(DataError, match=r"'silence' has version 2 on .*, and 1 where this run started"):
        call(*arguments)()


def test_another_version_is_refused_without_overwrite(corpus, monkeypatch):
    annotate_corpus(corpus.root, ["silence", "key"])
    monkeypatch.setattr(Silence, "revision", "2")
    annotate_corpus(corpus.root, ["key"])  # nothing of it is needed
    with pytest.raises(DataError, match=r"estimates of 'silence' are of revision 1, this is 2.*\n.*--with silence"):
        annotate_corpus(corpus.root, ["silence"])
    monkeypatch.setattr(silence, "THRESHOLD", 0.0)
    annotate_corpus(corpus.root, ["silence"], overwrite=True)
    assert {row["silence"] for row in read(corpus)} == {1.0}
    assert read_entries(corpus)["silence"].version == "2" and "key" in read(corpus)[0]
    assert verify(corpus.root).faults == []


def test_grown_corpus_is_completed_by_the_same_command(recipe, corpus):
    annotate_corpus(corpus.root, ["silence", "onset_rate"])
    build(recipe(per_genre=8), corpus.root, clips_per_shard=10, workers=1, extend=True)
    (fault,) = [fault for fault in verify(corpus.root).faults if "estimates" in fault]
    assert "lacks the clips of" in fault and f"synthmir annotate {corpus.root}" in fault
    assert f"no estimates yet: synthmir annotate {corpus.root}" in "\n".join(synthmir_lines(corpus))
    annotate_corpus(corpus.root, [])
    assert len(read(corpus)) == 40 and verify(corpus.root).faults == []


def synthmir_lines(corpus: Corpus) -> list[str]:
    from builder.api import describe_corpus

    return describe_corpus(corpus)


def test_changed_audio_is_estimated_again(corpus):
    annotate_corpus(corpus.root, ["silence"])
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    rows = pq.read_table(shard).to_pylist()
    for row in rows:
        row["prompt"] += " Louder."
    write_shard(shard, [rows], datasets.Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    write_sums(corpus.root, {})
    assert any(
        "train-00001-of-00003.parquet: was made from other audio" in fault for fault in verify(corpus.root).faults
    )
    annotate_corpus(corpus.root, ["silence"])
    assert verify(corpus.root).faults == []


def test_clip_that_cannot_be_read_is_named(corpus):
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    rows = pq.read_table(shard).to_pylist()
    rows[3]["audio"]["bytes"] = b"no audio"
    write_shard(shard, [rows], datasets.Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    write_sums(corpus.root, {})
    with pytest.raises(DataError, match=f"clip {rows[3]['id']}: audio bytes: cannot be read"):
        annotate_corpus(corpus.root, ["silence"])
    assert corpus.shards("estimates") == []


def test_damaged_record_and_missing_corpus_are_refused(corpus, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        annotate_corpus(tmp_path / "nothing", ["silence"])
    annotate_corpus(corpus.root, ["silence"])
    record = corpus.root / "records" / "annotate.json"
    content = json.loads(record.read_text())
    content["details"]["estimators"] = [{"name": "silence", "colour": "red"}]
    record.write_text(json.dumps(content))
    with pytest.raises(DataError, match="not a record of estimates"):
        annotate_corpus(corpus.root, ["silence"])


def test_copies_of_the_first_revision_are_kept(corpus, tmp_path, monkeypatch):
    (tmp_path / "music").mkdir()
    clip = pq.read_table(corpus.root / corpus.shards()[0], columns=["audio"])["audio"][0].as_py()
    (tmp_path / "music" / "known.flac").write_bytes(clip["bytes"])
    types = {"nearest": "string", "landmarks": "int32", "start": "float32", "copy": "bool"}
    old = {name: datasets.Value(kind) for name, kind in types.items()}
    estimate = {"nearest": "known.flac", "landmarks": 20, "start": 0.5, "copy": True}
    with monkeypatch.context() as patch:
        patch.setattr(Copies, "columns", lambda self: {"copies": old})
        patch.setattr(Copies, "estimate", lambda self, sounds: [{"copies": estimate} for _ in sounds])
        patch.setattr("builder.estimators.copies.VERSION", "1")
        annotate_corpus(corpus.root, [f"copies:{tmp_path / 'music'}"])
    assert read_entries(corpus)["copies"].version.startswith("1-")
    annotate_corpus(corpus.root, ["silence"])  # the recordings are not needed for it
    assert all(row["copies"] == estimate and row["silence"] == 0.0 for row in read(corpus))
    assert verify(corpus.root).faults == []
    with pytest.raises(DataError, match=r"estimates of 'copies' are of revision 1-\w+, this is 2-\w+"):
        annotate_corpus(corpus.root, ["copies"])
    annotate_corpus(corpus.root, ["copies"], overwrite=True)
    assert set(read(corpus)[0]["copies"]) == {*old, "speed", "pitch"} and verify(corpus.root).faults == []


def test_an_unfinished_corpus_is_refused(corpus):
    (corpus.root / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match="not a synthmir corpus"):
        annotate_corpus(corpus.root, ["silence"])
