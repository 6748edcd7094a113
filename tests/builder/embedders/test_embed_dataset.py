"""Embeddings of anything: data sets of every make, folders, and what is wrong with them."""

from __future__ import annotations

import io
import json

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from builder.audio import load_audio
from builder.embedders import embed_dataset as dataset_map
from builder.embedders.embed_dataset import embed_dataset
from builder.embedders.windows import embed_clips
from builder.errors import DataError
from builder.settings import EmbedderSettings

from ..fakes import Levels

LEVELS = EmbedderSettings(name="levels", batch_size=3)


def wav(seed: int, seconds: float = 0.5, rate: int = 8_000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(buffer, samples.astype(np.float32), rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


NAN = io.BytesIO()
soundfile.write(NAN, np.full(100, np.nan, np.float32), 8_000, format="WAV", subtype="FLOAT")
EMPTY = io.BytesIO()
soundfile.write(EMPTY, np.zeros(0, np.float32), 8_000, format="WAV")
MP3 = io.BytesIO()
soundfile.write(MP3, np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000, format="MP3")
BROKEN = {
    "nan": NAN.getvalue(),
    "empty": EMPTY.getvalue(),
    "text": b"no audio at all",
    "missing": None,
    "truncated": MP3.getvalue()[:2_000],
}


def table(count: int = 7, broken: dict[str, bytes | None] | None = None, column: str = "audio", ids: bool = True):
    """A data set whose audio feature is the real one, written as `to_parquet` and `save_to_disk` write it."""
    audio = [wav(seed, 0.2 + 0.4 * seed, channels=1 + seed % 2) for seed in range(count)] + list(
        (broken or {}).values()
    )
    names = [f"clip-{i}" for i in range(count)] + list(broken or {})
    kinds = {"id": Value("string")} if ids else {}
    kinds |= {column: {"bytes": Value("binary"), "path": Value("string")}, "genre": ClassLabel(names=["a", "b"])}
    rows = {column: [{"bytes": one, "path": None} for one in audio], "genre": [i % 2 for i in range(len(audio))]}
    made = Dataset.from_dict(rows | ({"id": names} if ids else {}), features=Features(kinds))
    return made.cast_column(column, datasets.Audio(decode=False))


def loaded(out, tmp_path, split="train"):
    return datasets.load_dataset(str(out), split=split, cache_dir=str(tmp_path / "cache"))


def expected(source: bytes) -> np.ndarray:
    return embed_clips(Levels(LEVELS), [load_audio(source, 16_000)])[0]


@pytest.fixture
def source(tmp_path):
    table().to_parquet(str(tmp_path / "source" / "train.parquet"))
    return tmp_path / "source"


def test_parquet_gives_ids_embeddings_and_labels(source, tmp_path):
    record = embed_dataset(source, LEVELS, tmp_path / "out", rows_per_shard=3)
    embedded = loaded(tmp_path / "out", tmp_path)
    assert embedded.features["embedding"] == datasets.List(Value("float32"), length=4)
    assert embedded.features["genre"] == ClassLabel(names=["a", "b"])
    assert embedded.column_names == ["id", "embedding", "genre"]
    assert embedded["id"] == [f"clip-{i}" for i in range(7)] and embedded["genre"] == [i % 2 for i in range(7)]
    for seed, vector in enumerate(embedded["embedding"]):
        np.testing.assert_allclose(vector, expected(wav(seed, 0.2 + 0.4 * seed, channels=1 + seed % 2)), rtol=1e-5)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.parquet")) == [
        f"train-0000{i}-of-00003.parquet" for i in range(3)
    ]
    assert record.rows == 7 and record.details["skipped"] == 0 and record.details["embedder"]["name"] == "levels"
    assert (tmp_path / "out" / "skipped.jsonl").read_text() == ""


def test_save_to_disk_folder_with_splits_and_another_column(tmp_path):
    splits = DatasetDict({"train": table(4, column="sound", ids=False), "test": table(2, column="sound", ids=False)})
    splits.save_to_disk(str(tmp_path / "saved"))
    embed_dataset(tmp_path / "saved", LEVELS, tmp_path / "out", column="sound")
    assert loaded(tmp_path / "out", tmp_path, "test")["id"] == ["test/0", "test/1"]
    assert len(loaded(tmp_path / "out", tmp_path)) == 4


def test_one_parquet_file(source, tmp_path):
    assert embed_dataset(source / "train.parquet", LEVELS, tmp_path / "out").rows == 7


def test_a_plain_folder_with_metadata(tmp_path):
    for i, name in enumerate(("rock/a.wav", "pop/b.wav", "c.wav", ".hidden/d.wav", "rock/notes.txt")):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(i))
    embed_dataset(tmp_path / "music", LEVELS, tmp_path / "out")
    embedded = loaded(tmp_path / "out", tmp_path)
    assert dict(zip(embedded["id"], embedded["label"], strict=True)) == {
        "c.wav": None,
        "pop/b.wav": "pop",
        "rock/a.wav": "rock",
    }
    np.testing.assert_allclose(embedded["embedding"][0], expected(wav(2)), rtol=1e-5)
    (tmp_path / "music" / "metadata.csv").write_text("file_name,year\nrock/a.wav,1999\nc.wav,2001\n")
    embed_dataset(tmp_path / "music", LEVELS, tmp_path / "more")
    embedded = loaded(tmp_path / "more", tmp_path)
    assert embedded["year"] == [2001, None, 1999] and embedded.column_names == ["id", "embedding", "label", "year"]


def test_unreadable_clips_are_left_out_listed_and_counted(tmp_path):
    table(5, BROKEN).to_parquet(str(tmp_path / "source" / "train.parquet"))
    record = embed_dataset(tmp_path / "source", LEVELS, tmp_path / "out", rows_per_shard=4)
    assert record.rows == 5 and record.details["skipped"] == 5
    assert loaded(tmp_path / "out", tmp_path)["id"] == [f"clip-{i}" for i in range(5)]
    faults = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    reasons = {fault["id"]: fault["reason"].split(": ")[-1] for fault in faults}
    assert "NaN or infinite" in reasons.pop("nan")
    assert reasons == {
        "empty": "holds no samples",
        "text": "Format not recognised.",
        "missing": "there is no audio in this row",
        "truncated": f"it has 1,980 of the {len(MP3.getvalue()):,} bytes of audio that its header states",
    }


def test_shard_and_split_without_a_readable_clip(tmp_path):
    broken = {name: content for name, content in BROKEN.items() if content is not None}
    splits = DatasetDict({"train": table(2, broken), "test": table(0, broken)})
    splits.save_to_disk(str(tmp_path / "saved"))
    for turn in range(2):
        record = embed_dataset(tmp_path / "saved", LEVELS, tmp_path / "out", rows_per_shard=2)
        assert record.details["skipped"] == 8, turn
    assert loaded(tmp_path / "out", tmp_path)["id"] == ["clip-0", "clip-1"]


def test_data_set_without_a_readable_clip_is_an_error(tmp_path):
    table(0, BROKEN).to_parquet(str(tmp_path / "source" / "train.parquet"))
    with pytest.raises(DataError, match="none of its 5 clips can be read"):
        embed_dataset(tmp_path / "source", LEVELS, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_stopped_run_resumes_after_any_shard(source, tmp_path, monkeypatch, stop):
    made, original = [], dataset_map._embed_shard

    def until(target, *rest):
        if len(made) == stop:
            raise KeyboardInterrupt
        original(target, *rest)
        made.append(target.name)

    def counting(target, *rest):
        made.append(target.name)
        original(target, *rest)

    out = tmp_path / "out"
    monkeypatch.setattr(dataset_map, "_embed_shard", until)
    with pytest.raises(KeyboardInterrupt):
        embed_dataset(source, LEVELS, out, rows_per_shard=3)
    assert not list(out.glob("*.parquet"))
    monkeypatch.setattr(dataset_map, "_embed_shard", counting)
    seen = []
    embed_dataset(source, LEVELS, out, rows_per_shard=3, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (3 * stop, 7) and seen[-1] == (7, 7)
    embed_dataset(source, LEVELS, out, rows_per_shard=3)
    assert sorted(made) == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    assert loaded(out, tmp_path)["id"] == [f"clip-{i}" for i in range(7)]


def test_run_stopped_within_a_shard_leaves_no_file(source, tmp_path, monkeypatch):
    def torn(self, audio):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Levels, "embed", torn)
        embed_dataset(source, LEVELS, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert embed_dataset(source, LEVELS, tmp_path / "out").rows == 7


def test_changed_audio_is_refused(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for i in range(3):
        (music / f"{i}.wav").write_bytes(wav(i))
    embed_dataset(music, LEVELS, tmp_path / "out")
    (music / "1.wav").write_bytes(wav(9, 0.6))
    with pytest.raises(DataError, match=r"the audio that it was made from has changed.*\n.*--overwrite"):
        embed_dataset(music, LEVELS, tmp_path / "out")
    embed_dataset(music, LEVELS, tmp_path / "out", overwrite=True)
    np.testing.assert_allclose(loaded(tmp_path / "out", tmp_path)["embedding"][1], expected(wav(9, 0.6)), rtol=1e-5)


def test_added_and_reordered_rows_are_refused(source, tmp_path):
    embed_dataset(source, LEVELS, tmp_path / "out", rows_per_shard=3)
    for changed in (table(9), table(7).select([1, 0, 2, 3, 4, 5, 6])):
        changed.to_parquet(str(source / "train.parquet"))
        with pytest.raises(DataError, match="has changed since"):
            embed_dataset(source, LEVELS, tmp_path / "out", rows_per_shard=3)


def test_other_embedder_is_refused_for_finished_and_stopped_runs(source, tmp_path, monkeypatch):
    out, other = tmp_path / "out", LEVELS.model_copy(update={"weights": "2"})
    original = dataset_map._embed_shard

    def first(target, *rest):
        if target.name.startswith("train-00001"):
            raise KeyboardInterrupt
        original(target, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dataset_map, "_embed_shard", first)
        embed_dataset(source, LEVELS, out, rows_per_shard=3)
    with pytest.raises(DataError, match="holds embeddings of levels of revision 1, this is levels of revision 2"):
        embed_dataset(source, other, out, rows_per_shard=3)
    embed_dataset(source, LEVELS, out, rows_per_shard=3)
    with pytest.raises(DataError, match="this is levels of revision 2"):
        embed_dataset(source, other, out, rows_per_shard=3)
    assert embed_dataset(source, other, out, rows_per_shard=3, overwrite=True).rows == 7
    assert {json.loads(pq.read_metadata(p).metadata[b"synthmir"])["revision"] for p in out.glob("*.parquet")} == {"2"}


def test_foreign_files_are_kept(source, tmp_path):
    out = tmp_path / "out"
    table(1).to_parquet(str(out / "theirs.parquet"))
    before = (out / "theirs.parquet").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"theirs\.parquet: not a readable shard"):
            embed_dataset(source, LEVELS, out, overwrite=overwrite)
    assert (out / "theirs.parquet").read_bytes() == before
    with pytest.raises(DataError, match="is the data set to embed"):
        embed_dataset(source, LEVELS, source)


def test_columns_without_audio_are_refused(source, tmp_path):
    with pytest.raises(DataError, match=r"no column 'sound'; its columns are audio, genre, id\n.*--column audio"):
        embed_dataset(source, LEVELS, tmp_path / "out", column="sound")
    with pytest.raises(DataError, match=r"'genre' holds ClassLabel.*, not audio"):
        embed_dataset(source, LEVELS, tmp_path / "out", column="genre")
    table().add_column("embedding", [0] * 7).to_parquet(str(tmp_path / "had" / "train.parquet"))
    with pytest.raises(DataError, match="has a column 'embedding' already"):
        embed_dataset(tmp_path / "had", LEVELS, tmp_path / "out")


def test_other_paths_than_data_sets_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no audio files"):
        embed_dataset(tmp_path / "empty", LEVELS, tmp_path / "out")
    with pytest.raises(DataError, match="there is no such folder"):
        embed_dataset(tmp_path / "none", LEVELS, tmp_path / "out")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="not a folder and not a Parquet file"):
        embed_dataset(tmp_path / "a.txt", LEVELS, tmp_path / "out")
    with pytest.raises(DataError, match="cannot be loaded as a data set"):
        embed_dataset("nobody/nothing", LEVELS, tmp_path / "out")
    torn = tmp_path / "empty" / "train.parquet"
    torn.write_bytes(b"PAR1 and no more")
    for source in (torn, torn.parent):
        with pytest.raises(DataError, match="not a readable Parquet file"):
            embed_dataset(source, LEVELS, tmp_path / "out")
