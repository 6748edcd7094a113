"""`hub:`: any data set with audio and a column of labels, in each of the forms that `datasets` reads."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Dataset, Features, List, Value, config
from datasets.table import InMemoryTable

from builder.audio import load_audio
from builder.errors import DataError, HubError, RecipeError
from evaluation.benchmarks import hub
from evaluation.benchmarks.base import load_benchmark

from . import miniatures

LABELS = ("Electronica", "Hip Hop", "Rock")
GENRES = ["hip-hop", "polka", "rock"]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def table(rows: int, genre: Any, audio: bool = True) -> pa.Table:
    """Rows that hold their audio; the fourth has no label, the sixth no audio."""
    features = Features(
        {"id": Value("string"), "sound": Audio(), "genre": genre, "artist": Value("string"), "bpm": Value("float64")}
    )
    tagged = isinstance(genre, List)
    codes: list[Any] = [None if row == 3 else [row % 3, 2] if tagged and row % 2 else row % 3 for row in range(rows)]
    codes = [[code] if tagged and isinstance(code, int) else [] if tagged and code is None else code for code in codes]
    if isinstance(genre, Value):
        codes = [None if code is None else GENRES[code] for code in codes]
    data = {
        "id": [f"row-{row}" for row in range(rows)],
        "sound": [
            None if row == 5 else {"bytes": miniatures.sound("ogg", 48_000), "path": None} for row in range(rows)
        ],
        "genre": codes,
        "artist": [f"artist {row // 2}" for row in range(rows)],
        "bpm": [None if row == 4 else 90.0 + row for row in range(rows)],
    }
    return pa.table(data, schema=features.arrow_schema)


def parquet(root: Path, genre: Any = None, **parts: int) -> Path:
    for part, rows in (parts or {"train": 4, "test": 9}).items():
        (root / "data").mkdir(parents=True, exist_ok=True)
        found = table(rows, ClassLabel(names=GENRES) if genre is None else genre)
        pq.write_table(found, root / f"data/{part}-00000-of-00001.parquet", row_group_size=2)
    return root


def saved(root: Path, genre: Any = None) -> Path:
    data = Dataset(InMemoryTable(table(9, ClassLabel(names=GENRES) if genre is None else genre)))
    data.save_to_disk(root)
    return root


@pytest.mark.parametrize("genre", [ClassLabel(names=GENRES), Value("string")], ids=["names", "strings"])
@pytest.mark.parametrize("make", [parquet, saved], ids=["parquet", "saved"])
def test_rows_that_hold_their_audio(tmp_path: Path, make: Callable[[Path, Any], Path], genre: Any) -> None:
    bench = load_benchmark(f"hub:{make(tmp_path / 'set', genre)}?label=genre", LABELS)
    assert [(track.id, track.label) for track in bench.tracks] == [
        ("row-0", 1), ("row-2", 2), ("row-5", 2), ("row-6", 1), ("row-8", 2),
    ]  # fmt: skip
    assert [track.artist for track in bench.tracks] == [f"artist {row // 2}" for row in (0, 2, 5, 6, 8)]
    audio = [track.data for track in bench.tracks]
    assert audio[2] is None and bench.tracks[2].path is None  # no audio: it is skipped with a reason when it is read
    assert all(len(load_audio(data, 48_000)) == 14_400 for data in audio if data)
    assert bench.left_out == {"polka": 3}
    split = "test" if make is parquet else "train"
    assert "left out 1 track without a label: row-3" in bench.notes and f"split '{split}'" in bench.protocol


def test_labels_are_read_without_the_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = parquet(tmp_path)
    asked = []
    load = hub.Hub._load

    def watched(self: hub.Hub, streaming: bool = True, **options: Any) -> dict[str, Any]:
        asked.append(options.get("columns"))
        return load(self, streaming, **options)

    monkeypatch.setattr(hub.Hub, "_load", watched)
    bench = load_benchmark(f"hub:{root}", LABELS)
    assert asked == [None, ["genre", "id", "artist"]]
    assert len(list(bench.tracks)) == len(bench.tracks) == 5 and asked[2:] == [["sound"]]


def test_tracks_are_fetched_one_by_one(tmp_path: Path) -> None:
    tracks = load_benchmark(f"hub:{parquet(tmp_path)}", LABELS).tracks
    assert tracks[-1] == list(tracks)[-1] and list(tracks[1:3]) == list(tracks)[1:3]
    with pytest.raises(IndexError):
        tracks[5]


def test_many_labels_a_row(tmp_path: Path) -> None:
    root = parquet(tmp_path, List(ClassLabel(names=GENRES)))
    bench = load_benchmark(f"hub:{root}?label=genre", LABELS, "tags")
    assert {track.id: track.label for track in bench.tracks} == {
        "row-0": (1,), "row-1": (2,), "row-2": (2,), "row-4": (), "row-5": (2,), "row-6": (1,), "row-7": (2,),
        "row-8": (2,),
    }  # fmt: skip
    assert bench.covered == (1, 2) and bench.left_out == {"polka": 3}
    one = load_benchmark(f"hub:{root}?label=genre", LABELS)
    assert {track.id: track.label for track in one.tracks} == {
        "row-0": 1, "row-1": 2, "row-2": 2, "row-5": 2, "row-6": 1, "row-7": 2, "row-8": 2,
    }  # fmt: skip


def test_a_tempo_is_a_number(tmp_path: Path) -> None:
    bench = load_benchmark(f"hub:{parquet(tmp_path)}?label=bpm", ["tempo_bpm"], "tempo_bpm")
    assert bench.problem == "regression"
    assert [track.label for track in bench.tracks] == [90.0, 91.0, 92.0, 93.0, 95.0, 96.0, 97.0, 98.0]
    assert bench.dataset().features["label"] == Value("float32")
    with pytest.raises(RecipeError, match="its label is a number, not a genre"):
        load_benchmark(f"hub:{tmp_path}?label=bpm", LABELS)
    with pytest.raises(RecipeError, match="not numbers"):
        load_benchmark(f"hub:{tmp_path}?label=genre", LABELS, "tempo_bpm")


def test_a_folder_of_audio_files_with_their_metadata(tmp_path: Path) -> None:
    bench = load_benchmark(f"hub:{miniatures.audiofolder(tmp_path)}?label=genre", LABELS)
    assert [(track.id, track.label) for track in bench.tracks] == [(f"test/{n}", (2, 1)[n % 2]) for n in range(4)]
    assert all(track.path and load_audio(track.path, 48_000).any() for track in bench.tracks)
    train = load_benchmark(f"hub:{tmp_path}?label=genre&split=train", LABELS)
    assert [track.split for track in train.tracks] == ["train"] * 3


def test_every_part_as_one_data_set(tmp_path: Path) -> None:
    bench = load_benchmark(f"hub:{parquet(tmp_path)}", None)
    data = bench.dataset()
    assert (
        data.column_names == ["id", "audio", "label", "split", "artist"]
        and data["split"] == ["train"] * 3 + ["test"] * 8
    )
    assert data.features["label"].names == GENRES and data["id"][3:6] == ["row-0", "row-1", "row-2"]
    assert data[0]["audio"]["bytes"] == miniatures.sound("ogg", 48_000)


def test_duplicate_ids(tmp_path: Path) -> None:
    parquet(tmp_path)
    bench = load_benchmark(f"hub:{tmp_path}?id=artist&artist=id", LABELS)
    assert [track.id for track in bench.tracks] == [f"artist {row}" for row in (0, 1, 3, 4)]
    assert any(note.startswith("left out 4 tracks whose id is in the lists twice: ") for note in bench.notes)


@pytest.mark.parametrize(
    ("rows", "ids"),
    [("[:3]", ["row-0", "row-2"]), ("[6:]", ["row-6", "row-8"]), ("[2:7]", ["row-2", "row-5", "row-6"])],
)
def test_some_rows_of_a_split(tmp_path: Path, rows: str, ids: list[str]) -> None:
    bench = load_benchmark(f"hub:{parquet(tmp_path)}?split=test{rows}", LABELS)
    assert [track.id for track in bench.tracks] == ids and {track.split for track in bench.tracks} == {"test"}
    both = load_benchmark(f"hub:{tmp_path}?split=all", LABELS).tracks
    assert [(track.split, track.id) for track in both][:3] == [
        ("train", "row-0"),
        ("train", "row-2"),
        ("test", "row-0"),
    ]


def test_a_data_set_that_is_read_whole(tmp_path: Path) -> None:
    spec = f"hub:{miniatures.audiofolder(tmp_path / 'set')}?label=genre"
    whole, stream = (load_benchmark(f"{spec}&stream={how}", LABELS) for how in ("no", "yes"))
    assert list(whole.tracks) == list(stream.tracks) and any(config.HF_DATASETS_CACHE.rglob("*.arrow"))


def test_audio_in_an_archive_is_fetched(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("in/a.ogg", b"sound")
    assert hub._where({"bytes": None, "path": f"zip://in/a.ogg::{tmp_path}/some.zip"}) == (None, b"sound")
    assert hub._where({"bytes": None, "path": f"zip://in/b.ogg::{tmp_path}/some.zip"}) == (None, None)
    assert hub._where({"bytes": b"sound", "path": "a.ogg"}) == (None, b"sound")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ("?label=gener", RecipeError, "no column 'gener'.*did you mean 'genre'"),
        ("?audio=noise", RecipeError, "no column 'noise'.*sound"),
        ("?split=dev", RecipeError, "no part 'dev'"),
        ("?split=test[:1%]", RecipeError, "no part 'test.:1%.'.*train.:100."),
        ("?stream=maybe", RecipeError, "stream is 'maybe'"),
        ("?splits=dev", RecipeError, "no option 'splits'"),
        ("/nowhere", DataError, "does not exist"),
    ],
)
def test_options_that_cannot_be_meant(tmp_path: Path, options: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as raised:
        load_benchmark(f"hub:{parquet(tmp_path)}{options}", LABELS)
    assert re.search(says, str(raised.value), re.DOTALL)


def test_several_splits_of_which_none_is_test(tmp_path: Path) -> None:
    parquet(tmp_path, train=4, validation=6)
    with pytest.raises(RecipeError, match=r"no split 'test'; its splits are train, validation"):
        load_benchmark(f"hub:{tmp_path}", LABELS)
    assert len(load_benchmark(f"hub:{tmp_path}?split=validation", LABELS).tracks) == 3


def test_a_data_set_without_audio(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("genre\nrock\n")
    with pytest.raises(RecipeError, match=r"has no column of audio; its columns are genre"):
        load_benchmark(f"hub:{tmp_path}", LABELS)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be loaded as a data set"):
        load_benchmark(f"hub:{tmp_path}", LABELS)


def test_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def fails(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(HubError, match="cannot be loaded from the Hub: Couldn't reach the Hub") as raised:
        load_benchmark("hub:organisation/name?label=genre", LABELS)
    assert "and more" not in raised.value.message
