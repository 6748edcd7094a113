from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Features

from builder.audio import load_audio
from builder.corpus.building.build import build
from builder.corpus.corpus import Corpus, write_sums
from builder.corpus.shards import read_footer, write_shard
from builder.corpus.verify import verify
from builder.embedders import shard_embedder as shard
from builder.embedders.embed_corpus import embed_corpus
from builder.embedders.windows import embed_clips
from builder.errors import DataError
from builder.settings import EmbedderSettings

from ..fakes import Levels

LEVELS = EmbedderSettings(name="levels", batch_size=3)


@pytest.fixture
def corpus(recipe, tmp_path):
    build(recipe(), tmp_path / "corpus", clips_per_shard=10, workers=1)
    return Corpus.open(tmp_path / "corpus")


def test_each_clip_has_its_embedding(corpus):
    assert embed_corpus(corpus.root, LEVELS).rows == 30
    for name in corpus.shards():
        clips = pq.read_table(corpus.root / name).to_pylist()
        rows = pq.read_table(corpus.root / name.replace("data/", "levels/")).to_pylist()
        assert [row["id"] for row in rows] == [clip["id"] for clip in clips]
        for row, clip in zip(rows, clips, strict=True):
            samples = load_audio(clip["audio"]["bytes"], 16_000)
            assert row["embedding"][0] == pytest.approx(float((samples**2).mean()), rel=1e-5)
            assert row["genre"] == clip["genre"] and row["prompt_group"] == clip["prompt_group"]
    assert verify(corpus.root).faults == []
    assert verify(corpus.root).embeddings == {"levels": 30}


def test_load_dataset_gives_fixed_width_float_lists(corpus, tmp_path):
    import datasets

    embed_corpus(corpus.root, LEVELS)
    loaded = datasets.load_dataset(str(corpus.root), "levels", cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features["embedding"] == datasets.List(datasets.Value("float32"), length=4)
    assert len(loaded["train"]) + len(loaded["validation"]) == 30


def test_stopped_run_resumes_without_repeating_shards(corpus, monkeypatch):
    made = []

    def counting(source, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(source.name)
        original(source, *rest)

    original = shard._embed_shard
    monkeypatch.setattr(shard, "_embed_shard", counting)
    with pytest.raises(KeyboardInterrupt):
        embed_corpus(corpus.root, LEVELS)
    assert corpus.embedders() == []
    monkeypatch.setattr(
        shard, "_embed_shard", lambda source, *rest: (made.append(source.name), original(source, *rest))
    )
    embed_corpus(corpus.root, LEVELS)
    assert sorted(made) == sorted(name.split("/")[1] for name in corpus.shards())
    embed_corpus(corpus.root, LEVELS)
    assert len(made) == len(corpus.shards())
    assert verify(corpus.root).faults == []


def test_another_revision_is_refused_without_overwrite(corpus):
    embed_corpus(corpus.root, LEVELS)
    other = EmbedderSettings(name="levels", weights="2")
    with pytest.raises(DataError, match=r"'levels' embeddings are of revision 1, this is 2.*\n.*--overwrite"):
        embed_corpus(corpus.root, other)
    embed_corpus(corpus.root, other, overwrite=True)
    assert corpus.record("records/embed-levels.json")["details"]["embedder"]["revision"] == "2"
    assert verify(corpus.root).faults == []


def test_stopped_run_of_another_revision_is_refused(corpus, monkeypatch):
    def stop(done, total):
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_corpus(corpus.root, LEVELS, progress=stop)
    other = EmbedderSettings(name="levels", weights="2")
    with pytest.raises(DataError, match="of revision 1, this is 2"):
        embed_corpus(corpus.root, other)
    embed_corpus(corpus.root, other, overwrite=True)
    assert verify(corpus.root).faults == []
    revisions = {read_footer(corpus.root / name)["revision"] for name in corpus.shards("levels")}
    assert revisions == {"2"}


def test_audio_that_differs_from_its_checksum_is_refused(corpus):
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    rows = pq.read_table(shard).to_pylist()
    write_shard(shard, [rows[::-1]], Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    with pytest.raises(DataError, match=r"train-00001-of-00003.parquet: the audio is not what SHA256SUMS says"):
        embed_corpus(corpus.root, LEVELS)
    assert corpus.embedders() == []


def test_error_names_the_clip_that_cannot_be_read(corpus):
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    rows = pq.read_table(shard).to_pylist()
    rows[3]["audio"]["bytes"] = b"no audio"
    write_shard(shard, [rows], Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    write_sums(corpus.root, {})
    with pytest.raises(DataError, match=f"clip {rows[3]['id']}: audio bytes: cannot be read"):
        embed_corpus(corpus.root, LEVELS)


def test_changed_audio_is_embedded_again(recipe, corpus):
    embed_corpus(corpus.root, LEVELS)
    shard = corpus.root / "data" / "train-00001-of-00003.parquet"
    rows = pq.read_table(shard).to_pylist()
    for row in rows:
        row["prompt"] += " Louder."
    write_shard(shard, [rows], Features.from_arrow_schema(pq.read_schema(shard)), read_footer(shard))
    write_sums(corpus.root, {})
    faults = verify(corpus.root).faults
    assert len(faults) == 1 and "train-00001-of-00003.parquet: was made from other audio" in faults[0]
    untouched = (corpus.root / "levels" / "train-00000-of-00003.parquet").stat().st_mtime_ns
    embed_corpus(corpus.root, LEVELS)
    assert verify(corpus.root).faults == []
    assert (corpus.root / "levels" / "train-00000-of-00003.parquet").stat().st_mtime_ns == untouched


def test_long_clips_are_averaged_over_windows_and_short_ones_are_not_padded():
    embedder = Levels(LEVELS)
    noise = np.random.default_rng(0)
    long, short = (
        noise.standard_normal(40_000).astype(np.float32) / 9,
        noise.standard_normal(800).astype(np.float32) / 9,
    )
    vectors = embed_clips(embedder, [long, short, long])
    parts = [long[:16_000], long[16_000:32_000], long[-16_000:]]
    expected = np.mean([embedder.embed(part[None])[0] for part in parts], axis=0)
    np.testing.assert_allclose(vectors[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert vectors[1][3] == pytest.approx(800 / 16_000)


def test_other_folders_than_corpora_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        embed_corpus(tmp_path / "none", LEVELS)
    with pytest.raises(DataError, match="not a synthmir corpus"):
        embed_corpus(tmp_path, LEVELS)
