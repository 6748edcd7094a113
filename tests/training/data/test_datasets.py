"""Training data other than a synthmir corpus, and columns of every kind."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from builder.corpus.shards import write_shard
from builder.errors import DataError, RecipeError
from builder.settings import SplitSettings
from training.data.features import load_features
from training.models.classifier import MULTI, REGRESSION, SINGLE

from ..conftest import DIM, GENRES, INSTRUMENTS, Columns, columns, write

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_instruments_are_many_labels(corpus: Path, tables: dict[str, Columns]) -> None:
    features = load_features(corpus, "melstats", "instruments")
    assert features.problem_type == MULTI and features.names == INSTRUMENTS[:3] and features.left_out == ()
    expected = [[float(j in row) for j in range(3)] for row in tables["train"]["instruments"]]
    assert features.train.labels.tolist() == expected and features.train.labels.dtype == torch.float32
    positive = features.train.labels.sum(0)
    torch.testing.assert_close(features.class_weights(), (240 - positive) / positive)


def test_tempo_is_a_number(corpus: Path, tables: dict[str, Columns]) -> None:
    features = load_features(corpus, "melstats", "tempo_bpm")
    assert features.problem_type == REGRESSION and features.names == ("tempo_bpm",)
    assert features.dropped == {"train": 40, "validation": 10}
    assert features.train.labels.tolist() == [t for t in tables["train"]["tempo_bpm"] if t is not None]


def test_subgenre_names_are_those_in_the_rows(corpus: Path, tables: dict[str, Columns]) -> None:
    features = load_features(corpus, "melstats", "subgenre")
    kept = [name for name in tables["train"]["subgenre"] if name is not None]
    assert features.problem_type == SINGLE and features.names == tuple(sorted(set(kept)))
    assert [features.names[i] for i in features.train.labels] == kept and features.dropped["train"] == 24


def test_vocals_unspecified_is_a_label(tables: dict[str, Columns], make: Make) -> None:
    for table in tables.values():
        table["vocals"] = [i % 3 for i in range(len(table["id"]))]
    features = load_features(make(tables), "melstats", "vocals")
    assert features.names == ("instrumental", "with-vocals", "unspecified")


def test_labels_that_are_too_rare_or_everywhere_are_left_out(
    tables: dict[str, Columns], make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The flute is played once, drums always, the bass now and then; a row without instruments stays."""
    for table in tables.values():
        table["instruments"] = [[1] if i % 2 else [0, 1] for i in range(len(table["id"]))]
    tables["train"]["instruments"][3] = [1, 2]
    tables["validation"]["instruments"][0] = []
    with caplog.at_level(logging.WARNING):
        features = load_features(make(tables), "melstats", "instruments")
    assert features.names == ("bass",) and features.left_out == ("drums", "flute")
    assert "2 of instruments left out" in caplog.text and "drums, flute" in caplog.text
    assert len(features.train) == 240 and features.validation.labels[0].tolist() == [0.0]


def plain(n: int = 90, seed: int = 0) -> dict[str, Any]:
    """A table that is not a corpus: three tracks by each artist, and the style as a string."""
    table = columns("x", n, seed)
    return {
        "embedding": [vector.tolist() for vector in table["embedding"]],
        "style": [GENRES[g].lower() for g in table["genre"]],
        "artist": [f"artist {i // 3}" for i in range(n)],
        "valence": [float(v[0]) for v in table["embedding"]],
        "class": table["genre"],
        "marks": [[1.0, 0.0]] * n,
    }


def test_one_split_is_divided_by_artist(tmp_path: Path) -> None:
    path = tmp_path / "music.parquet"
    Dataset.from_dict(plain()).to_parquet(path)
    features = load_features(path, "unknown", "style")
    assert features.division == {"by": "artist", "validation": 0.1, "seed": 0}
    assert features.names == tuple(name.lower() for name in GENRES)
    rows = {name: [int(i.removeprefix("train/")) for i in split.ids]
            for name, split in (("train", features.train), ("validation", features.validation))}  # fmt: skip
    assert sorted(rows["train"] + rows["validation"]) == list(range(90)) and 6 <= len(rows["validation"]) <= 18
    assert not {i // 3 for i in rows["train"]} & {i // 3 for i in rows["validation"]}
    data = plain()
    for name, split in (("train", features.train), ("validation", features.validation)):
        np.testing.assert_allclose(split.embeddings, np.array([data["embedding"][i] for i in rows[name]]), rtol=1e-6)
        assert [features.names[i] for i in split.labels] == [data["style"][i] for i in rows[name]]
    again = load_features(path, "unknown", "style")
    other = load_features(path, "unknown", "style", split=SplitSettings(validation=0.3, seed=4))
    assert again.validation.ids == features.validation.ids
    assert 20 <= len(other.validation) <= 36 and other.validation.ids != features.validation.ids


def test_a_test_split_is_not_touched(tmp_path: Path) -> None:
    """Nonsense in the test split changes nothing."""
    poison = plain(30)
    poison["embedding"] = [[float("nan")] * 3] * 30
    poison["style"] = ["poison"] * 30
    for name, splits in (("two", ("train", "test")), ("three", ("train", "validation", "test"))):
        made = {split: Dataset.from_dict(poison if split == "test" else plain(seed=len(split))) for split in splits}
        if "validation" in made:
            made["validation"] = made["validation"].map(lambda row: {"artist": "other " + row["artist"]})
        DatasetDict(made).save_to_disk(tmp_path / name)
        features = load_features(tmp_path / name, "unknown", "style")
        assert (features.division is None) == (name == "three")
        assert len(features.train) + len(features.validation) == (180 if name == "three" else 90)
        assert "poison" not in features.names


def test_output_of_embed_is_training_data(tmp_path: Path) -> None:
    kinds = Features({"id": Value("string"), "embedding": List(Value("float32"), length=DIM),
                      "label": ClassLabel(names=list(GENRES)), "artist": Value("string")})  # fmt: skip
    table = columns("a", 60, 0)
    rows = [{"id": i, "embedding": e, "label": g, "artist": i}
            for i, e, g in zip(table["id"], table["embedding"], table["genre"], strict=True)]  # fmt: skip
    out = tmp_path / "embedded"
    out.mkdir()
    for part in range(2):
        footer = {"embedder": "melstats", "revision": "1"}
        write_shard(out / f"train-0000{part}-of-00002.parquet", [rows[30 * part : 30 * part + 30]], kinds, footer)
    features = load_features(out, "melstats", "genre", label_column="label")
    assert features.task == "genre" and features.names == GENRES
    assert features.division is not None and features.division["by"] == "artist"
    write_shard(out / "train-00001-of-00002.parquet", [rows[30:]], kinds, {"embedder": "passt", "revision": "3"})
    with pytest.raises(DataError, match=r"00001-of-00002.parquet: holds embeddings of passt .* those of melstats"):
        load_features(out, "melstats", "genre", label_column="label")


def test_a_corpus_of_two_embedders(tables: dict[str, Columns], make: Make) -> None:
    corpus = make(tables)
    for index, revision in enumerate(("1", "2")):
        file = corpus / f"melstats/train-0000{index}-of-00002.parquet"
        table = pq.read_table(file)
        footer = json.dumps({"embedder": "melstats", "revision": revision}).encode()
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"synthmir": footer}), file)
    with pytest.raises(DataError, match=r"train-00001.*holds embeddings of melstats of revision 2, but train-00000"):
        load_features(corpus, "melstats", "genre")


def test_numbers_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "music.parquet"
    Dataset.from_dict(plain()).to_parquet(path)
    assert load_features(path, "x", "valence").problem_type == REGRESSION
    assert load_features(path, "x", "class", problem=SINGLE).names == ("0", "1", "2")
    assert load_features(path, "x", "class", problem=REGRESSION).problem_type == REGRESSION
    with pytest.raises(RecipeError, match="'class' holds integers: quantities, or classes"):
        load_features(path, "x", "class")
    with pytest.raises(RecipeError, match="regression cannot be learnt from column 'style', which holds string"):
        load_features(path, "x", "style", problem=REGRESSION)
    with pytest.raises(DataError, match="column 'marks' holds lists of float64: no labels"):
        load_features(path, "x", "marks")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": ["loud"] * 90}, r"column of embeddings holds .*string, not lists of numbers"),
        ({"embedding": [["a"] * 4] * 90}, r"column of embeddings holds list<.*string>, not numbers"),
        ({"style": ["rock"] * 90}, "every row's style is 'rock'"),
        ({"style": [None] * 90}, "no row has a style|no labels"),
        ({"style": ["rock", "pop"] * 44 + ["jazz", "pop"]}, r"style 'jazz' has a single row, 'train/88'"),
    ],
)
def test_bad_columns(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "music.parquet"
    Dataset.from_dict({**plain(), **change}).to_parquet(path)
    with pytest.raises(DataError, match=message):
        load_features(path, "x", "style")


def test_a_misspelt_column_name(tmp_path: Path) -> None:
    path = tmp_path / "music.parquet"
    Dataset.from_dict(plain()).to_parquet(path)
    with pytest.raises(DataError, match=r"has no column 'stile' \(did you mean 'style'\?\)"):
        load_features(path, "x", "stile")
    with pytest.raises(DataError, match=r"has no column 'vector'"):
        load_features(path, "x", "style", embedding_column="vector")


@pytest.mark.parametrize("kind", ["csv", "empty", "broken", "one row"])
def test_files_that_are_not_data_sets_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("music.csv" if kind == "csv" else "music.parquet")
    if kind == "empty":
        path.mkdir()
    elif kind == "one row":
        Dataset.from_dict({name: values[:1] for name, values in plain().items()}).to_parquet(path)
    else:
        path.write_text("PAR1")
    expected = {
        "csv": "not a folder and not a Parquet",
        "empty": "folder is empty",
        "broken": "not a readable Parquet file",
        "one row": "cannot be divided",
    }
    with pytest.raises(DataError, match=expected[kind]):
        load_features(path, "x", "style")


def recoded(corpus: Path, values: list[Any], kind: pa.DataType, column: str = "genre") -> Path:
    """The corpus with other codes in its first shard, though the schema still says what they mean."""
    file = corpus / "melstats/train-00000-of-00002.parquet"
    table = pq.read_table(file)
    full = pa.array((values * len(table))[: len(table)], kind)
    index = table.column_names.index(column)
    changed = table.set_column(index, pa.field(column, kind), full)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), file)
    other = corpus / "melstats/train-00001-of-00002.parquet"
    table = pq.read_table(other)
    full = pa.array((values * len(table))[: len(table)], kind)
    changed = table.set_column(index, pa.field(column, kind), full)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), other)
    return corpus


def test_labels_as_strings(tables: dict[str, Columns], make: Make) -> None:
    corpus = recoded(make(tables), ["Rock"], pa.string())
    with pytest.raises(
        DataError, match=r"genre is declared as ClassLabel and holds string \(genre of 'train-0' is 'Roc"
    ):
        load_features(corpus, "melstats", "genre")


@pytest.mark.parametrize("code", [3, -2])
def test_labels_out_of_range(tables: dict[str, Columns], make: Make, code: int) -> None:
    corpus = recoded(make(tables), [0, 1, code], pa.int64())
    with pytest.raises(DataError, match=rf"genre of 'train-2' is {code}, but the column names 3 labels"):
        load_features(corpus, "melstats", "genre")


def test_an_instrument_out_of_range(tables: dict[str, Columns], make: Make) -> None:
    corpus = recoded(make(tables), [[0], [1, 2], [0, 9]], pa.list_(pa.int64()), "instruments")
    with pytest.raises(DataError, match=r"instruments of 'train-2' is 9, but the column names 4 labels"):
        load_features(corpus, "melstats", "instruments")


def test_one_tempo_only(tables: dict[str, Columns], tmp_path: Path) -> None:
    for table in tables.values():
        table["tempo_bpm"] = [120] * len(table["id"])
    with pytest.raises(DataError, match="every row's tempo_bpm is 120"):
        load_features(write(tmp_path / "corpus", tables), "melstats", "tempo_bpm")


def test_an_empty_split(tables: dict[str, Columns], make: Make) -> None:
    corpus = make(tables, shards=1)
    file = corpus / "melstats/validation-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    with pytest.raises(DataError, match="melstats/validation: the split is empty"):
        load_features(corpus, "melstats", "genre")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_split_that_datasets_saved(tmp_path: Path, split: str) -> None:
    """`datasets` cannot read an empty split: an error names it if it is needed, otherwise it is ignored."""
    whole = Dataset.from_dict(plain())
    parts = {name: whole.select([]) if name == split else whole for name in ("train", "validation", "test")}
    DatasetDict(parts).save_to_disk(tmp_path / "music")
    if split == "test":
        assert len(load_features(tmp_path / "music", "x", "style").train) == len(whole)
        return
    with pytest.raises(DataError, match=rf"music: {split}: the split is empty"):
        load_features(tmp_path / "music", "x", "style")


@pytest.mark.parametrize("column", ["artist", "id"])
def test_a_group_in_both_splits_of_another_data_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    """A shared group is logged; ids may start again in each split."""
    table = {name: values for name, values in plain().items() if name != "artist"}
    table[column] = [f"number {i}" for i in range(len(table["style"]))]
    few = {name: values[:12] for name, values in table.items()}
    DatasetDict({"train": Dataset.from_dict(table), "validation": Dataset.from_dict(few)}).save_to_disk(tmp_path / "d")
    assert len(load_features(tmp_path / "d", "x", "style").validation) == 12
    logged = ["12 row(s) share their artist with train" in record.getMessage() for record in caplog.records]
    assert logged == ([True] if column == "artist" else [])


def test_audio_without_embeddings(tmp_path: Path) -> None:
    table = {name: values for name, values in plain().items() if name != "embedding"}
    Dataset.from_dict({**table, "audio": table["style"]}).to_parquet(tmp_path / "music.parquet")
    with pytest.raises(DataError, match=r"(?s)has audio, and no column 'embedding'.*synthmir embed DATA --out DIR"):
        load_features(tmp_path / "music.parquet", "x", "style")
