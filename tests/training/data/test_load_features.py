from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from builder.errors import DataError
from training.data.features import Features, Split, load_features

from ..conftest import DIM, GENRES, Columns

Make = Callable[..., Path]


def test_tensors_match_those_of_datasets(corpus: Path, tmp_path: Path) -> None:
    features = load_features(corpus, "melstats", "genre")
    reference = datasets.load_dataset(str(corpus), "melstats", cache_dir=str(tmp_path))
    assert features.names == GENRES and features.dim == DIM and features.dropped == {"train": 0, "validation": 0}
    for name, split in (("train", features.train), ("validation", features.validation)):
        rows = reference[name].with_format("numpy")
        assert list(split.ids) == list(rows["id"])
        assert split.embeddings.dtype == torch.float32 and split.labels.dtype == torch.int64
        np.testing.assert_array_equal(split.embeddings.numpy(), np.stack(rows["embedding"]))
        np.testing.assert_array_equal(split.labels.numpy(), rows["genre"])


def test_one_shard_or_many(tables: dict[str, Columns], make: Make, corpus: Path) -> None:
    one = load_features(make(tables, shards=1), "melstats", "genre")
    two = load_features(corpus, "melstats", "genre")
    assert one.train.ids == two.train.ids and torch.equal(one.train.embeddings, two.train.embeddings)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_class_weights_match_sklearn(extra: list[int]) -> None:
    labels = torch.tensor([*range(5), *extra])
    split = Split(("",) * len(labels), torch.zeros(len(labels), 1), labels)
    weights = Features("genre", "melstats", tuple("abcde"), split, split, {}).class_weights()
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels.numpy())
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_rows_without_a_label_are_dropped_and_logged(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        features = load_features(corpus, "melstats", "mood")
    assert features.dropped == {"train": 60, "validation": 15}
    assert len(features.train) == 180 and "train-0" not in features.train.ids and "train-1" in features.train.ids
    assert "dropped 60 of 240 rows that have no mood" in caplog.text
    genre = load_features(corpus, "melstats", "genre")
    row = genre.train.ids.index(features.train.ids[7])
    assert torch.equal(genre.train.embeddings[row], features.train.embeddings[7])


def test_a_declared_label_without_rows_gets_no_output(tables: dict[str, Columns], make: Make) -> None:
    for table in tables.values():
        table["genre"] = [label + 1 for label in table["genre"]]
    features = load_features(make(tables, genres=("Ambient", *GENRES)), "melstats", "genre")
    assert features.names == GENRES
    assert features.train.labels.tolist() == [label - 1 for label in tables["train"]["genre"]]


def spoil(split: str, column: str, row: int, value: Any) -> Callable[[dict[str, Columns]], None]:
    def change(tables: dict[str, Columns]) -> None:
        tables[split][column][row] = value

    return change


def only(split: str, label: int) -> Callable[[dict[str, Columns]], None]:
    def change(tables: dict[str, Columns]) -> None:
        kept = [i for i, genre in enumerate(tables[split]["genre"]) if genre == label]
        for name, values in tables[split].items():
            tables[split][name] = [values[i] for i in kept]

    return change


def without(split: str, label: int) -> Callable[[dict[str, Columns]], None]:
    def change(tables: dict[str, Columns]) -> None:
        tables[split]["genre"] = [(label + 1) % 3 if genre == label else genre for genre in tables[split]["genre"]]

    return change


NAN = np.full(DIM, np.nan, np.float32)
HUGE = np.full(DIM, np.inf, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("train", "embedding", 200, NAN), r"melstats/train: embedding of 'train-200' holds NaN or infinite"),
        (
            spoil("validation", "embedding", 3, HUGE),
            r"melstats/validation: embedding of 'validation-3' holds NaN",
        ),
        (spoil("train", "embedding", 130, NAN[:5] * 0), r"'train-130' has 5 numbers, that of 'train-0' has 12"),
        (spoil("train", "embedding", 130, None), r"'train-130' has 0 numbers, that of 'train-0' has 12"),
        (spoil("train", "embedding", 0, []), r"'train-0' has 0 numbers"),
        (
            spoil("validation", "prompt_group", 5, "train-9"),
            r"prompt_group 'train-9' crosses .* 1 clip.* 'validation-5'",
        ),
        (only("train", 1), r"every row's genre is 'Funk'"),
        (without("train", 2), r"validation: genre 'Orchestral' of 'validation-\d+' is not in train"),
        (lambda tables: tables["train"].pop("genre"), r"has no column 'genre' .*\(there: id, embedding, mood"),
        (lambda tables: tables["train"].pop("prompt_group"), r"has no column 'prompt_group'"),
        (lambda tables: tables.pop("validation"), r"melstats has no validation split"),
    ],
)
def test_bad_tables(
    tables: dict[str, Columns], make: Make, change: Callable[[dict[str, Columns]], None], message: str
) -> None:
    change(tables)
    with pytest.raises(DataError, match=message):
        load_features(make(tables), "melstats", "genre")


def test_no_row_of_a_split_has_a_label(tables: dict[str, Columns], make: Make) -> None:
    tables["validation"]["mood"] = [None] * 60
    with pytest.raises(DataError, match="melstats/validation: no row has a mood"):
        load_features(make(tables), "melstats", "mood")


def test_another_width_in_validation(tables: dict[str, Columns], make: Make) -> None:
    tables["validation"]["embedding"] = [vector[:4] for vector in tables["validation"]["embedding"]]
    with pytest.raises(DataError, match="embeddings of train have 12 numbers, of validation 4"):
        load_features(make(tables), "melstats", "genre")


def test_one_label_only(corpus: Path) -> None:
    with pytest.raises(DataError, match="every row's vocals is 'instrumental'"):
        load_features(corpus, "melstats", "vocals")


def test_no_such_embedder(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"no embeddings of 'passt' \(there: melstats\)") as caught:
        load_features(corpus, "passt", "genre")
    assert caught.value.fix == f"synthmir embed {corpus} --embedder passt"


def test_no_such_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        load_features(tmp_path / "nowhere", "melstats", "genre")


@pytest.mark.parametrize("shard", [0, 1])
def test_a_missing_shard(corpus: Path, tmp_path: Path, shard: int) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    (copy / f"melstats/train-0000{shard}-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"melstats/train: 1 shard\(s\) of \[2\]"):
        load_features(copy, "melstats", "genre")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_shard(corpus: Path, tmp_path: Path, keep: int) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    shard = copy / "melstats/train-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet: not a readable Parquet file"):
        load_features(copy, "melstats", "genre")
