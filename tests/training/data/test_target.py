from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.embedders.embedded_dataset import open_dataset
from builder.errors import DataError, RecipeError
from builder.names import normalize_label
from builder.records import RunRecord
from training.data.features import Split, load_features
from training.data.splits import split_target
from training.data.target import Target, load_target, take_shots
from training.models.classifier import MULTI, REGRESSION

from .. import planted
from ..conftest import DIM as CORPUS_DIM
from ..conftest import GENRES
from ..planted import DIM, NAMES

SIZES = {"train": 60, "validation": 30, "real_train": 100, "real_validation": 40, "real_test": 50}


@pytest.fixture(scope="module")
def parts() -> dict[str, planted.Points]:
    return planted.draw(0, SIZES)


@pytest.fixture(scope="module")
def source(parts: dict[str, planted.Points]) -> Any:
    return planted.source(parts["train"], parts["validation"])


def real(parts: dict[str, planted.Points]) -> dict[str, planted.Points]:
    return {name: parts[f"real_{name}"] for name in ("train", "validation", "test")}


def table(rows: int, seed: int = 0, dim: int = DIM, **columns: list[Any]) -> dict[str, Any]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return {"id": [f"t{i}" for i in range(rows)], "embedding": vectors.tolist(), **columns}


def save(folder: Path, columns: dict[str, Any], **kinds: Any) -> Path:
    data = Dataset.from_dict(columns)
    features = data.features.copy()
    features.update({"embedding": List(Value("float32")), **kinds})
    folder.mkdir(parents=True)
    data.cast(features).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def test_parts_of_an_embedded_data_set(tmp_path: Path, parts: Any, source: Any) -> None:
    folder = planted.write(tmp_path / "real", real(parts))
    target = load_target(folder, source)
    for name, found in (("train", target.train), ("validation", target.validation)):
        assert found is not None
        np.testing.assert_array_equal(found.embeddings.numpy(), parts[f"real_{name}"][0])
        np.testing.assert_array_equal(found.labels.numpy(), parts[f"real_{name}"][1])
        assert found.ids[0] == f"{name}/0"
    assert target.record["rows"] == {"train": 100, "validation": 40, "test": 50}
    assert target.record["division"] == "its own splits"
    assert target.record["test_ids"] is None  # the data set has a test split
    assert target.record["labelled"]["train"] == dict.fromkeys(NAMES, 20)
    assert len(target.unlabelled) == 0 and torch.equal(target.embeddings, target.train.embeddings)  # type: ignore


def test_a_corpus_is_a_target(corpus: Path) -> None:
    source = load_features(corpus, "melstats", "genre")
    target = load_target(corpus, source)
    assert target.train is not None and target.validation is not None
    assert (len(target.train), len(target.validation)) == (240, 60)
    assert target.record["rows"]["test"] == 0
    assert torch.equal(target.train.embeddings, source.train.embeddings)
    assert torch.equal(target.train.labels, source.train.labels)
    assert source.dim == CORPUS_DIM and len(GENRES) == len(source.names)


@pytest.mark.parametrize("kind", ["saved", "parquet", "csv-like folder"])
def test_any_data_set_on_disk(kind: str, tmp_path: Path, source: Any) -> None:
    names = [NAMES[i % 5].lower().replace("-", " ") for i in range(40)]  # "hip hop": spelt otherwise
    columns = table(40, genre=names, split=["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    kinds = {name: Value("string") for name in ("id", "genre", "split")}
    data = Dataset.from_dict(columns, features=Features({**kinds, "embedding": List(Value("float32"))}))
    place = tmp_path / "data"
    if kind == "saved":
        data.save_to_disk(place)
    elif kind == "parquet":
        place = tmp_path / "data.parquet"
        data.to_parquet(place)
    else:
        place.mkdir()
        data.to_json(place / "train.jsonl")
    target = load_target(place, source)
    assert target.train is not None and target.validation is not None
    assert target.train.ids == tuple(f"t{i}" for i in range(20))
    assert target.train.labels.tolist() == [i % 5 for i in range(20)]
    assert len(target.validation) == 10
    assert target.record["division"] == "its own column 'split'"


def test_splits_saved_apart_with_other_names(tmp_path: Path, source: Any) -> None:
    data = {
        name: Dataset.from_dict(table(20, i, genre=[NAMES[j % 5] for j in range(20)]))
        for i, name in enumerate(("train", "dev", "test"))
    }
    for i, part in enumerate(data.values()):
        data[list(data)[i]] = part.map(lambda row, i=i: {"id": f"{i}-{row['id']}"})
    DatasetDict(data).save_to_disk(tmp_path / "data")
    target = load_target(tmp_path / "data", source)
    assert target.record["rows"] == {"train": 20, "validation": 20, "test": 20}


def test_without_splits_groups_are_kept_together_and_test_ids_recorded(tmp_path: Path, source: Any) -> None:
    artists = [f"artist {i // 3}" for i in range(120)]
    folder = save(tmp_path / "real", table(120, genre=[NAMES[i % 5] for i in range(120)], artist=artists))
    target, again = load_target(folder, source), load_target(folder, source)
    assert target.train is not None and target.validation is not None
    assert again.record == target.record
    test = target.record["test_ids"]
    of = {f"t{i}": artist for i, artist in enumerate(artists)}
    seen = [{of[id] for id in ids} for ids in (target.train.ids, target.validation.ids, test)]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert len(target.train) + len(target.validation) + len(test) == 120
    assert [len(target.train), len(target.validation), len(test)] == pytest.approx([72, 24, 24], abs=3)
    assert target.record["group_column"] == "artist"
    assert (target.record["groups"], target.record["rows_without_group"]) == (40, 0)


def test_rows_without_a_group_are_groups_of_their_own(
    tmp_path: Path, source: Any, caplog: pytest.LogCaptureFixture
) -> None:
    artists = ["one"] * 6 + [None] * 54
    genres = [NAMES[i % 5] for i in range(60)]
    record = load_target(save(tmp_path / "some", table(60, genre=genres, artist=artists)), source).record
    assert (record["group_column"], record["groups"], record["rows_without_group"]) == ("artist", 55, 54)
    assert "54 rows without artist: each counts as a group of its own" in caplog.text
    none = save(tmp_path / "none", table(60, genre=genres, artist=[None] * 60), artist=Value("string"))
    record = load_target(none, source).record
    assert (record["group_column"], record["groups"], record["rows_without_group"]) == (None, 60, 0)
    assert record["division"].startswith("divided here by hash of id")


@settings(max_examples=20, deadline=None)
@given(groups=st.lists(st.integers(0, 12), min_size=30, max_size=80).filter(lambda found: len(set(found)) > 8))
def test_a_division_has_every_row_once_and_keeps_groups_together(
    groups: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = save(tmp_path_factory.mktemp("any") / "real", table(len(groups), artist=[f"a{g}" for g in groups]))
    try:
        found = split_target(open_dataset(folder, "melstats"))
    except DataError as error:  # a group may be so large that a part stays empty
        assert "too few to divide" in str(error)
        return
    ids = (*found.train_ids, *found.validation_ids, *found.test_ids)
    assert sorted(ids) == sorted(f"t{i}" for i in range(len(groups)))
    of = [{groups[int(id[1:])] for id in part} for part in (found.train_ids, found.validation_ids, found.test_ids)]
    assert sum(len(part) for part in of) == len(set(groups))


def test_train_and_test_alone_give_a_quarter_of_train_to_validation(tmp_path: Path, parts: Any, source: Any) -> None:
    folder = planted.write(tmp_path / "real", {name: parts[f"real_{name}"] for name in ("train", "test")})
    target = load_target(folder, source)
    assert target.record["rows"] == {"train": 75, "validation": 25, "test": 50}


def reachable(root: Any) -> list[Any]:
    """Every object that some path of references leads to, but modules, types and code."""
    seen: dict[int, Any] = {}
    todo = [root]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, type | type(gc) | type(reachable)):
            continue
        seen[id(each)] = each
        todo += gc.get_referents(each)
        if isinstance(each, torch.Tensor):
            todo.append(each.untyped_storage())
    return list(seen.values())


def test_nothing_of_the_test_part_can_be_reached(tmp_path: Path, parts: Any, source: Any) -> None:
    """In one file beside the others; its numbers are marked, so that any copy would be found."""
    marked = {**real(parts)}
    marked["test"] = (np.full_like(marked["test"][0], 12345.0), marked["test"][1])
    points = np.concatenate([marked[name][0] for name in marked])
    labels = np.concatenate([marked[name][1] for name in marked])
    named = [name for name in marked for _ in range(len(marked[name][0]))]
    folder = planted.write(tmp_path / "real", {"train": (points, labels)}, split={"train": named})
    target = load_target(folder, source)
    assert target.record["rows"] == {"train": 100, "validation": 40, "test": 50}
    found = reachable(target)
    tensors = [each for each in found if isinstance(each, torch.Tensor)]
    assert len(tensors) >= 4
    assert not any((each == 12345.0).any() for each in tensors)
    for each in tensors:  # nor in memory that a tensor is only a view of
        assert each.untyped_storage().nbytes() <= each.numel() * each.element_size()
    assert not any(type(each).__module__.startswith(("pyarrow", "datasets")) for each in found)


@pytest.mark.parametrize("where", ["a split", "a column"])
def test_a_poisoned_test_part_changes_nothing(where: str, tmp_path: Path, parts: Any, source: Any) -> None:
    found = []
    for poisoned in (False, True):
        points, labels = parts["real_test"]
        if poisoned:
            points, labels = np.full_like(points, np.nan), np.zeros_like(labels)
        all_parts = {**real(parts), "test": (points, labels)}
        if where == "a split":
            folder = planted.write(tmp_path / str(poisoned), all_parts)
        else:
            named = [name for name in all_parts for _ in range(len(all_parts[name][0]))]
            together = tuple(np.concatenate([part[i] for part in all_parts.values()]) for i in (0, 1))
            folder = planted.write(tmp_path / str(poisoned), {"train": together}, split={"train": named})  # type: ignore
        found.append(load_target(folder, source))
    clean, other = found
    assert clean.train is not None and other.train is not None
    assert clean.train.embeddings.numpy().tobytes() == other.train.embeddings.numpy().tobytes()
    assert clean.train.labels.tolist() == other.train.labels.tolist()
    assert {**clean.record, "source": ""} == {**other.record, "source": ""}


def test_labels_that_one_side_lacks(tmp_path: Path, source: Any, caplog: pytest.LogCaptureFixture) -> None:
    genres = ["blues", "HIP_HOP", "Klezmer", None, "rock"] * 10
    folder = save(tmp_path / "real", table(50, genre=genres, split=["train"] * 30 + ["validation"] * 20))
    target = load_target(folder, source)
    assert target.train is not None
    assert target.train.labels.tolist() == [0, 1, 4] * 6
    assert target.record["labelled"]["train"] == {"Blues": 6, "Hip-Hop": 6, "Jazz": 0, "Pop": 0, "Rock": 6}
    assert target.record["dropped"] == {"train": {"Klezmer": 6}, "validation": {"Klezmer": 4}}
    assert len(target.unlabelled) == target.record["unlabelled"] == 6  # null, not Klezmer
    assert "left out 10 row(s) of genre 'Klezmer'" in caplog.text


def test_columns_of_other_names(tmp_path: Path, source: Any) -> None:
    columns = table(30, genre_top=[NAMES[i % 5] for i in range(30)], other=[[1.0]] * 30)
    columns["vector"] = columns.pop("embedding")
    folder = tmp_path / "real"
    folder.mkdir()
    Dataset.from_dict(columns).to_parquet(folder / "train-00000-of-00001.parquet")
    target = load_target(folder, source, label="genre_top", embedding="vector")
    assert target.train is not None and len(target.train) == 18
    assert target.record["label_column"] == "genre_top"
    with pytest.raises(DataError, match="has no column 'embedding'; columns of numbers: other, vector"):
        load_target(folder, source)


def test_without_labels_there_are_embeddings(tmp_path: Path, source: Any) -> None:
    folder = save(tmp_path / "real", table(30))
    target = load_target(folder, source)
    assert target.train is None and target.validation is None
    assert len(target.embeddings) == target.record["rows"]["train"] == 18


def test_many_labels_a_row(tmp_path: Path, source: Any) -> None:
    many = replace(source, problem_type=MULTI, task="instruments", names=("Piano", "Electric guitar", "Drums"))
    listed = [["piano", "kazoo"], ["electric_guitar", "drums"], [], ["kazoo"], None] * 4
    folder = save(
        tmp_path / "real",
        table(20, instruments=listed, split=["train"] * 10 + ["validation"] * 10),
        instruments=List(Value("string")),
    )
    target = load_target(folder, many)
    assert target.train is not None
    assert target.train.labels.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]] * 2
    assert target.record["dropped"]["train"] == {"kazoo": 4}
    assert len(target.unlabelled) == 2


def test_a_number_a_row(tmp_path: Path, source: Any) -> None:
    tempo = replace(source, problem_type=REGRESSION, task="tempo_bpm", names=("tempo_bpm",))
    folder = save(
        tmp_path / "real",
        table(20, tempo_bpm=[120, 90, None, 100] * 5, split=["train"] * 12 + ["validation"] * 8),
    )
    target = load_target(folder, tempo)
    assert target.train is not None
    assert target.train.labels.tolist() == [120.0, 90.0, 100.0] * 3 and target.train.labels.dtype == torch.float32
    assert len(target.unlabelled) == 3


def shot_target(counts: list[int], source: Any) -> Target:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    rows = Split(tuple(f"r{i}" for i in range(len(labels))), torch.randn(len(labels), DIM), labels)
    record = {"source": "real", "labelled": {"train": {}, "validation": {}}, "unlabelled": 0}
    return Target(rows, torch.zeros(0, DIM), rows, record)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any),
    shots=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_shots_limit_the_rows_of_each_class(counts: list[int], shots: int, seed: int) -> None:
    whole = shot_target(counts, None)
    few = take_shots(whole, shots, NAMES, seed)
    assert few.train is not None and whole.train is not None
    assert torch.bincount(few.train.labels, minlength=5).tolist() == [min(count, shots) for count in counts]
    assert few.record["labelled"]["train"] == {n: min(c, shots) for n, c in zip(NAMES, counts, strict=True)}
    assert few.record["shots"]["fewer"] == {n: c for n, c in zip(NAMES, counts, strict=True) if 0 < c < shots}
    assert len(few.embeddings) == len(whole.embeddings)  # the other rows stay, without their labels
    position = {id: i for i, id in enumerate(whole.train.ids)}
    chosen = [position[id] for id in few.train.ids]
    assert torch.equal(few.train.embeddings, whole.train.embeddings[chosen])
    assert take_shots(whole, shots, NAMES, seed).train.ids == few.train.ids  # type: ignore


def test_other_seeds_draw_other_shots() -> None:
    whole = shot_target([30] * 5, None)
    assert len({take_shots(whole, 3, NAMES, seed).train.ids for seed in range(8)}) == 8  # type: ignore


def test_shots_need_one_class_a_row() -> None:
    whole = shot_target([4] * 5, None)
    many = replace(whole, train=replace(whole.train, labels=torch.zeros(20, 5)))  # type: ignore
    with pytest.raises(RecipeError, match=r"training\.shots"):
        take_shots(many, 2, NAMES, 0)


def test_spellings() -> None:
    assert len({normalize_label(name) for name in ("Hip-Hop", "hip_hop", "HipHop", "hip hop")}) == 1
    assert normalize_label("R&B") != normalize_label("RB")


BAD = {
    "nothing there": "there is no such folder",
    "another width": r"embedding of 't3' has 7 numbers, 16 were expected",
    "not a number": r"embedding of 't3' holds NaN or infinite numbers",
    "missing": r"embedding of 't3' has 0 numbers",
    "no embeddings": r"has no column 'embedding'; its columns are id, genre",
    "integers without names": r"no label of column 'genre' is the source's \(found: 0, 1, 2",
    "out of range": "genre of 't2' is 9, but the column names 5 labels",
    "no label in common": "no label of column 'genre' is the source's",
    "an unknown part": "'fold1' is not the name of a train, validation or test part",
    "an empty part name": "column 'split' of row 4 is empty",
    "no train": "has no train part",
    "twice": "'t1' is in train and in test",
    "too few": "too few to divide",
    "another embedder": "are of passt of revision 3",
    "several embedders": "holds embeddings of",
    "text": "column 'genre'",
}


def write_bad_target(what: str, folder: Path) -> Path:
    columns = table(30, genre=[NAMES[i % 5] for i in range(30)], split=["train"] * 15 + ["val"] * 10 + ["test"] * 5)
    kinds: dict[str, Any] = {}
    match what:
        case "nothing there":
            return folder / "nowhere"
        case "another width":
            columns["embedding"][3] = [0.0] * 7
        case "not a number":
            columns["embedding"][3] = [float("nan")] * DIM
        case "missing":
            columns["embedding"][3] = None
        case "no embeddings":
            folder.mkdir()
            Dataset.from_dict({"id": ["a"], "genre": ["Pop"]}).to_parquet(folder / "train-00000-of-00001.parquet")
            return folder
        case "integers without names":
            columns["genre"] = [i % 5 for i in range(30)]
        case "out of range":
            data = Dataset.from_dict({**columns, "genre": [i % 5 for i in range(30)]})
            data = data.cast_column("genre", ClassLabel(names=list(NAMES)))
            import pyarrow as pa
            import pyarrow.parquet as pq

            folder.mkdir()
            file = folder / "train-00000-of-00001.parquet"
            data.to_parquet(file)
            stored = pq.read_table(file)
            at = stored.schema.get_field_index("genre")
            codes = pa.array([9 if i == 2 else i % 5 for i in range(30)], pa.int64())
            pq.write_table(stored.set_column(at, stored.schema.field(at), codes), file)
            return folder
        case "no label in common":
            columns["genre"] = ["Klezmer"] * 30
        case "an unknown part":
            columns["split"] = ["fold1"] * 30
        case "an empty part name":
            columns["split"][4] = None
        case "no train":
            columns["split"] = ["val"] * 15 + ["test"] * 15
        case "twice":
            columns["id"][28] = "t1"
        case "too few":
            del columns["split"]
            columns["artist"] = ["the one"] * 30
        case "text":
            columns["genre"] = [[0.5]] * 30
    save(folder, columns, **kinds)
    if what == "another embedder":
        RunRecord("embed", details={"embedder": {"name": "passt", "revision": "3"}}).write(
            folder / "records/embed.json"
        )
    if what == "several embedders":
        import pyarrow.parquet as pq

        from builder.corpus.shards import FOOTER

        file = folder / "train-00000-of-00001.parquet"
        stored = pq.read_table(file)
        for i, name in enumerate(("melstats", "passt")):
            metadata = {
                **(stored.schema.metadata or {}),
                FOOTER: json.dumps({"embedder": name, "revision": "1"}).encode(),
            }
            pq.write_table(stored.replace_schema_metadata(metadata), folder / f"train-0000{i}-of-00002.parquet")
        file.unlink()
    return folder


@pytest.mark.parametrize("what", BAD)
def test_a_target_that_cannot_be_used(what: str, tmp_path: Path, source: Any) -> None:
    folder = write_bad_target(what, tmp_path / "real")
    with pytest.raises((DataError, RecipeError), match=BAD[what]):
        load_target(folder, source, {"name": "melstats", "revision": "1"})


def test_the_same_embedder_of_another_revision(tmp_path: Path, parts: Any, source: Any) -> None:
    folder = planted.write(tmp_path / "real", real(parts))
    RunRecord("embed", details={"embedder": {"name": "melstats", "revision": "2"}}).write(
        folder / "records/embed.json"
    )
    load_target(folder, source, {"name": "melstats", "revision": "2"})
    with pytest.raises(DataError, match="melstats of revision 2, the source's of melstats of revision 1"):
        load_target(folder, source, {"name": "melstats", "revision": "1"})
