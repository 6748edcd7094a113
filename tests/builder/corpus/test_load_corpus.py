"""`load_corpus` with a task: tensors and batches, against the Parquet files read by pyarrow alone."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from datasets import ClassLabel, Features, List, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.utils import file_utils

from builder import load_corpus
from builder.annotations.annotation import Annotation
from builder.corpus.building.build import build
from builder.corpus.torch_data import LabelEncoding, make_label_encoding, pad_clips
from builder.embedders.embed_corpus import embed_corpus
from builder.errors import DataError, HubError, RecipeError

from .. import fakes

fakes.register()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 clips of a second in 4 shards, with embeddings."""
    root = tmp_path_factory.mktemp("load")
    recipe = fakes.small_recipe(root, per_genre=8, batch_size=8)
    build(recipe, root / "corpus", clips_per_shard=12, workers=1)
    embed_corpus(root / "corpus", recipe.embedder)
    return root / "corpus"


def stored(corpus: Path, config: str = "levels", split: str = "train") -> tuple[list[dict[str, Any]], Features]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted((corpus / config).glob(f"{split}-*")))
    return table.to_pylist(), Features.from_arrow_schema(table.schema)


def expected(rows: list[dict[str, Any]], column: str, features: Features) -> tuple[list[str], np.ndarray]:
    """Ids of the rows that have the label, and their labels as numbers, by scikit-learn where it has the word."""
    from sklearn.preprocessing import LabelEncoder, MultiLabelBinarizer

    kept = [row for row in rows if row[column] is not None]
    ids, values = [row["id"] for row in kept], [row[column] for row in kept]
    if column == "tempo_bpm":
        return ids, np.array(values, np.float32)
    if column == "instruments":
        classes = range(len(features[column].feature.names))
        return ids, MultiLabelBinarizer(classes=list(classes)).fit_transform(values).astype(np.float32)
    if isinstance(features[column], ClassLabel):
        return ids, np.array(values)
    return ids, LabelEncoder().fit(sorted(ALL[column])).transform(values)


ALL: dict[str, set[str]] = {}
TASKS = {
    "genre": "genre",
    "subgenre": "subgenre",
    "mood": "mood",
    "instruments": "instruments",
    "tempo": "tempo_bpm",
    "key": "key",
    "vocals": "vocals",
}


def test_a_corpus_of_the_same_name_is_not_read_from_the_cache(corpus: Path, tmp_path: Path) -> None:
    """Other values under the same card: `datasets` takes a local folder's name and card for its identity."""
    X, _ = load_corpus(corpus, "levels", task="genre", split="train")
    other = shutil.copytree(corpus, tmp_path / corpus.name)
    for path in (other / "levels").glob("*.parquet"):
        table = pq.read_table(path)
        column = table.schema.get_field_index("embedding")
        kind = table.schema.field(column)
        values = (np.array(table["embedding"].to_pylist(), np.float32) + 1).tolist()
        pq.write_table(table.set_column(column, kind, pa.array(values, kind.type)), path)
    Y, _ = load_corpus(other, "levels", task="genre", split="train")
    assert np.array_equal(Y, X.numpy() + 1)


def test_load_dataset_sees_that_a_corpus_was_embedded_again(corpus: Path, tmp_path: Path) -> None:
    other = shutil.copytree(corpus, tmp_path / corpus.name)
    old = load_dataset(str(other), "levels", split="train").cache_files
    recipe = fakes.small_recipe(tmp_path, per_genre=8, batch_size=8)
    embed_corpus(other, recipe.embedder.model_copy(update={"weights": "2"}), overwrite=True)
    assert {path.stat().st_size for path in (other / "levels").glob("*")} == {
        path.stat().st_size for path in (corpus / "levels").glob("*")
    }
    assert load_dataset(str(other), "levels", split="train").cache_files != old


@pytest.mark.parametrize("streaming", [False, True], ids=["files", "stream"])
@pytest.mark.parametrize("task", list(TASKS))
def test_tensors_are_what_the_files_hold(corpus: Path, task: str, streaming: bool) -> None:
    column = TASKS[task]
    rows, features = stored(corpus)
    both = rows + stored(corpus, split="validation")[0]
    if features[column] == Value("string"):
        ALL[column] = {row[column] for row in both} - {None}
    ids, y = expected(rows, column, features)
    found = load_corpus(corpus, "levels", task=task, split="train", streaming=streaming)
    X, labels = found
    of = {row["id"]: row["embedding"] for row in rows}
    assert found.ids == tuple(ids) and found.dropped == len(rows) - len(ids) and len(found) == len(ids)
    assert X.dtype == torch.float32 and np.array_equal(X, np.array([of[id] for id in ids], np.float32))
    assert np.array_equal(labels, y) and labels.dtype == (torch.float32 if y.dtype == np.float32 else torch.int64)
    if task == "genre":
        assert found.names == ("electronica", "funk", "orchestral", "pop", "rock")
    if features[column] == Value("string"):
        assert found.names == tuple(sorted(ALL[column]))


@pytest.mark.parametrize("streaming", [False, True], ids=["files", "stream"])
def test_a_loader_gives_audio_and_marks(corpus: Path, streaming: bool) -> None:
    rows, features = stored(corpus, "data")
    made = load_corpus(corpus, task="instruments", split="train", batch_size=5, streaming=streaming)
    batches = list(made)
    assert [len(batch["id"]) for batch in batches] == [5] * (len(rows) // 5) + [len(rows) % 5] * bool(len(rows) % 5)
    ids, marks = expected(rows, "instruments", features)
    assert [id for batch in batches for id in batch["id"]] == ids
    assert np.array_equal(torch.cat([batch["label"] for batch in batches]), marks)
    first = soundfile.read(io.BytesIO(rows[0]["audio"]["bytes"]), dtype="float32")[0]
    assert np.array_equal(batches[0]["audio"][0], first) and batches[0]["audio"].dtype == torch.float32
    assert batches[0]["lengths"].tolist() == [32_000] * 5
    assert made.names == tuple(features["instruments"].feature.names)
    assert made.dropped == (None if streaming else 0)


def test_rows_without_the_label_are_left_out_of_batches(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, _ = stored(corpus)
    there = [row["id"] for row in rows if row["tempo_bpm"] is not None]
    assert 0 < len(there) < len(rows)
    made = load_corpus(corpus, "levels", task="tempo", split="train", as_="loader", batch_size=7)
    assert [id for batch in made for id in batch["id"]] == there and made.dropped == len(rows) - len(there)
    assert f"{made.dropped} of {len(rows)} rows have no tempo" in caplog.text
    stream = load_corpus(corpus, "levels", task="tempo", split="train", as_="loader", streaming=True)
    assert [id for batch in stream for id in batch["id"]] == there
    assert next(iter(stream))["embedding"].shape[1] == len(rows[0]["embedding"])


@pytest.mark.parametrize("streaming", [False, True], ids=["files", "stream"])
def test_shuffled_by_a_generator_it_is_the_same_again(corpus: Path, streaming: bool) -> None:
    def order() -> list[str]:
        generator = torch.Generator().manual_seed(5)
        options = {"shuffle": True, "generator": generator, "streaming": streaming, "as_": "loader"}
        made = load_corpus(corpus, "levels", task="genre", split="train", **options)
        return [id for batch in made for id in batch["id"]]

    plain = [row["id"] for row in stored(corpus)[0]]
    assert order() == order() != plain and sorted(order()) == sorted(plain)


@pytest.mark.parametrize("streaming", [False, True], ids=["files", "stream"])
def test_workers_share_the_rows(corpus: Path, streaming: bool) -> None:
    made = load_corpus(
        corpus, task="genre", split="train", streaming=streaming, num_workers=2, multiprocessing_context="fork"
    )
    assert sorted(id for batch in made for id in batch["id"]) == sorted(row["id"] for row in stored(corpus)[0])


def test_workers_may_be_spawned(corpus: Path) -> None:
    made = load_corpus(
        corpus, task="vocals", split="validation", num_workers=1, multiprocessing_context="spawn", batch_size=100
    )
    (batch,) = made
    assert sorted(batch["id"]) == sorted(row["id"] for row in stored(corpus, split="validation")[0])
    assert batch["audio"].shape == (len(batch["id"]), 32_000)


def test_every_split_and_another_rate(corpus: Path) -> None:
    found = load_corpus(corpus, task="genre", as_="tensors", sampling_rate=16_000)
    assert set(found) == {"train", "validation"}
    assert found["validation"].X.shape == (len(found["validation"]), 16_000)
    assert found["train"].lengths.tolist() == [16_000] * len(found["train"])
    row = load_corpus(corpus, split="train", sampling_rate=22_050)[0]["audio"]
    assert row["sampling_rate"] == 22_050 and row["array"].shape == (22_050,)


@pytest.mark.parametrize("streaming", [False, True], ids=["files", "stream"])
def test_a_corpus_in_a_store(corpus: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    bucket = uuid4().hex  # `datasets` caches files without times and ETags by their address alone
    fsspec.filesystem("memory").put(str(corpus), f"/{bucket}/corpus", recursive=True)
    monkeypatch.setattr(file_utils.config, "HF_HUB_OFFLINE", False)
    address = f"memory://{bucket}/corpus"
    here, there = (load_corpus(p, "levels", task="key", split="train", streaming=streaming) for p in (corpus, address))
    assert here.ids == there.ids and here.names == there.names and torch.equal(here.X, there.X)
    (batch,) = load_corpus(address, task="genre", split="validation", streaming=streaming)
    assert batch["audio"].shape[1] == 32_000
    with pytest.raises(DataError, match=r"no config 'passt'\n  fix: it has default, levels"):
        load_corpus(address, "passt")
    with pytest.raises(DataError, match="no such folder"):
        load_corpus(f"memory://{bucket}/none", task="genre")


def test_clips_of_other_lengths_are_padded() -> None:
    audio, lengths = pad_clips([np.ones(3, np.float32), np.ones(5, np.float32), np.ones(1, np.float32)])
    assert lengths.tolist() == [3, 5, 1]
    assert audio.tolist() == [[1, 1, 1, 0, 0], [1] * 5, [1, 0, 0, 0, 0]]


def test_minus_one_is_no_class_and_no_instruments_is_a_label() -> None:
    features = Features({"mood": ClassLabel(names=["calm", "sad"]), "instruments": List(ClassLabel(names=["x", "y"]))})
    mood = make_label_encoding("mood", "mood", features, ())
    assert [mood.has_label(value) for value in (None, -1, 0)] == [False, False, True]
    many = make_label_encoding("instruments", "instruments", features, ())
    assert many.has_label([]) and not many.has_label(None)
    assert many.to_tensor([[], [1], [0, 1]]).tolist() == [[0, 0], [0, 1], [1, 1]]
    assert LabelEncoding("tempo", "tempo_bpm", "number").to_tensor([90, 120]).tolist() == [90.0, 120.0]


@pytest.fixture(scope="module")
def stereo(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A corpus whose first clip is stereo, right at half the level of the left, and whose second is mono."""
    from builder.audio import encode_flac
    from builder.corpus.shards import write_shard

    root = tmp_path_factory.mktemp("stereo")
    rows, features = stored(corpus, "data", "validation")
    left = np.sin(np.arange(32_000) / 20).astype(np.float32) / 2
    rows[0]["audio"]["bytes"] = encode_flac(np.stack([left, left / 2], axis=1), 32_000)
    (root / "data").mkdir()
    write_shard(root / "data/train-00000-of-00001.parquet", [rows[:2]], features, {})
    (root / "SHA256SUMS").write_text("")
    (root / "records").mkdir()
    (root / "records/build.json").write_text(json.dumps({}))
    return root, left


@pytest.mark.parametrize("streaming", [False, True], ids=["files", "stream"])
def test_stereo_is_kept_where_it_is_asked_for(stereo: tuple[Path, np.ndarray], streaming: bool) -> None:
    root, left = stereo
    options: dict[str, Any] = {"split": "train", "streaming": streaming}
    both, mono = list(load_corpus(root, num_channels=2, **options))
    array = np.array(both["audio"]["array"])
    assert array.shape == (2, 32_000) and np.allclose(array, [left, left / 2], atol=1e-4)
    twice = np.array(mono["audio"]["array"])
    assert twice.shape == (2, 32_000) and np.array_equal(twice[0], twice[1])
    mixed = next(iter(load_corpus(root, **options)))
    assert np.allclose(mixed["audio"]["array"], 0.75 * left, atol=1e-4)
    half = next(iter(load_corpus(root, num_channels=2, sampling_rate=16_000, **options)))["audio"]
    assert np.shape(half["array"]) == (2, 16_000) and half["sampling_rate"] == 16_000


def test_stereo_for_torch(stereo: tuple[Path, np.ndarray]) -> None:
    root, left = stereo
    (batch,) = load_corpus(root, task="genre", split="train", num_channels=2)
    assert batch["audio"].shape == (2, 2, 32_000) and batch["lengths"].tolist() == [32_000, 32_000]
    assert np.allclose(batch["audio"][0], [left, left / 2], atol=1e-4)
    found = load_corpus(root, task="genre", split="train", as_="tensors", num_channels=2)
    assert torch.equal(found.X, batch["audio"]) and found.lengths.tolist() == [32_000, 32_000]
    assert load_corpus(root, task="genre", split="train", as_="tensors").X.shape == (2, 32_000)


@pytest.mark.ffmpeg
def test_datasets_alone_has_both_channels_and_their_mean(stereo: tuple[Path, np.ndarray]) -> None:
    """What the card says of a stereo corpus."""
    import datasets

    root, left = stereo
    audio = datasets.load_dataset(str(root), split="train")[0]["audio"]
    assert np.allclose(audio.get_all_samples().data, [left, left / 2], atol=1e-4)
    assert np.allclose(audio["array"], 0.75 * left, atol=1e-4)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "task": (
        {"task": "genres"},
        DataError,
        r"the task 'genres' \(did you mean 'genre'\?\)\n  fix: task: ",
    ),
    "group": ({"task": "prompt_group"}, DataError, "no labels for the task 'prompt_group'"),
    "config": (
        {"config": "passt", "task": "genre"},
        DataError,
        r"'passt'\n  fix: it has default, levels",
    ),
    "split": ({"task": "genre", "split": "test"}, DataError, r"test.*\n  fix: the splits are train, validation"),
    "stream": ({"split": "test", "streaming": True}, DataError, r"test.*\n  fix: the splits are train, validation"),
    "as": ({"task": "genre", "as_": "numpy"}, RecipeError, "as_='numpy': not one of dataset, loader, tensors"),
    "untasked": ({"as_": "tensors"}, RecipeError, "needs a task"),
    "dataset": ({"task": "genre", "as_": "dataset"}, RecipeError, "has the labels of every task"),
    "option": ({"shuffle": True}, RecipeError, "shuffle: is an option of a DataLoader only"),
    "rate": ({"config": "levels", "sampling_rate": 8000}, RecipeError, "sampling_rate=8000: not possible for levels"),
    "channels": ({"num_channels": 6}, RecipeError, "num_channels=6: not possible for default"),
    "vectors": ({"config": "levels", "num_channels": 2}, RecipeError, "not possible for levels"),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_invalid_options_are_refused(corpus: Path, what: str) -> None:
    options, kind, words = BAD[what]
    with pytest.raises(kind, match=words) as error:
        load_corpus(corpus, **options)
    assert error.value.fix  # type: ignore[attr-defined]


def test_a_repository_that_cannot_be_reached() -> None:
    with pytest.raises(HubError, match="org/none: cannot be loaded"):
        load_corpus("org/none", task="genre")


def test_a_clip_that_is_damaged_is_named(corpus: Path, tmp_path: Path) -> None:
    from builder.corpus.shards import write_shard

    rows, features = stored(corpus, "data", "validation")
    rows[1]["audio"]["bytes"] = b"no audio"
    (tmp_path / "data").mkdir()
    write_shard(tmp_path / "data/train-00000-of-00001.parquet", [rows], features, {})
    (tmp_path / "SHA256SUMS").write_text("")
    (tmp_path / "records").mkdir()
    (tmp_path / "records/build.json").write_text(json.dumps({}))
    with pytest.raises(DataError, match=rf"clip {rows[1]['id']}: .*\n  fix: see what is damaged: synthmir verify"):
        load_corpus(tmp_path, task="genre", as_="tensors", split="train")


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """A corpus with annotations and stems."""
    folder = tmp_path_factory.mktemp("scored")
    keys = {"annotations": True, "stems": True}
    build(fakes.small_recipe(folder, per_genre=2, generator="scored", **keys), folder / "corpus")
    return folder / "corpus"


@pytest.mark.parametrize("streaming", [False, True])
def test_annotations_are_arrays(scored, streaming):
    loaded = load_corpus(scored, "annotations", split="train", streaming=streaming)
    row = next(iter(loaded))
    assert row["beats"]["time"].dtype == np.float64 and row["beats"]["position"].dtype == np.int8
    assert row["melody"].dtype == np.float32 and row["notes"]["pitch"].tolist() == [60]
    assert row["chords"]["label"].tolist() == ["C:maj"] and row["midi"].startswith(b"MThd")
    [track] = row["instruments_active"]
    assert track["stem"] == "melody" and track["intervals"]["end"].tolist() == [1.0]
    read = Annotation.from_row(row)
    stored = next(iter(load_dataset("parquet", data_files=str(scored / "annotations/train-*"), split="train")))
    assert read.to_row() == Annotation.from_row(stored).to_row() == stored


def test_stems_are_decoded(scored):
    loaded = load_corpus(scored, "stems", sampling_rate=16_000)
    row = loaded["train"][0]
    assert row["audio"]["array"].shape == (16_000,) and row["audio"]["sampling_rate"] == 16_000
    assert loaded["train"].features["stem"].int2str(row["stem"]) in ("drums", "melody")
    kept = load_corpus(scored, "stems", split="train", decode_audio=False)[0]
    assert kept["audio"]["bytes"].startswith(b"fLaC")


def test_a_config_without_labels_has_no_task(scored):
    with pytest.raises(RecipeError, match="annotations has no such labels"):
        load_corpus(scored, "annotations", task="genre")


def test_a_config_that_is_not_there_says_how_to_add_it(scored, tmp_path):
    with pytest.raises(DataError, match=r"default, annotations, stems; to add another") as error:
        load_corpus(scored, "melstats")
    (scored / "stems").rename(tmp_path / "stems")
    try:
        with pytest.raises(DataError, match="no config 'stems'") as error:
            load_corpus(scored, "stems")
    finally:
        (tmp_path / "stems").rename(scored / "stems")
    assert "`stems: true` in its recipe" in str(error.value)
    with pytest.raises(DataError, match="synthmir annotate CORPUS"):
        load_corpus(scored, "estimates")


def test_a_damaged_shard_is_reported_with_its_config(scored, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise DatasetGenerationError("An error occurred") from OSError("Corrupt snappy compressed data.")

    monkeypatch.setattr("builder.corpus.load.load_dataset", fail)
    with pytest.raises(DataError, match=r"'annotations' cannot be read: Corrupt snappy(.|\n)*synthmir verify"):
        load_corpus(scored, "annotations")


def test_a_row_of_another_config_is_no_annotation(scored):
    row = load_corpus(scored, split="train", decode_audio=False)[0]
    with pytest.raises(DataError, match=f"row {row['id']}: is not of the config annotations"):
        Annotation.from_row(row)
    with pytest.raises(DataError, match="is not of the config annotations"):
        Annotation.from_row({"id": "x"})
