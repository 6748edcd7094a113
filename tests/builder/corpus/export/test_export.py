"""Exports opened by what they are for: `datasets` itself, and mirdata's rules for an index."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from builder.corpus.building.build import build
from builder.corpus.export import export as exports
from builder.corpus.export.export import Export, export_corpus
from builder.corpus.export.tables import MISSING, format_cells, safe_name
from builder.corpus.shards import write_shard
from builder.embedders.audio_folder import read_folder
from builder.errors import DataError, RecipeError

from ... import fakes

fakes.register()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 clips of a second."""
    root = tmp_path_factory.mktemp("export")
    build(fakes.small_recipe(root, per_genre=8, batch_size=8), root / "corpus", clips_per_shard=12, workers=1)
    return root / "corpus"


def stored(corpus: Path, split: str = "*") -> tuple[dict[str, dict[str, Any]], datasets.Features]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted((corpus / "data").glob(f"{split}-*.parquet")))
    return {row["id"]: row for row in table.to_pylist()}, datasets.Features.from_arrow_schema(table.schema)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def forged(corpus: Path, place: Path, rows: list[dict[str, Any]]) -> Path:
    """A corpus of these rows."""
    (place / "data").mkdir(parents=True)
    (place / "records").mkdir()
    name = "data/train-00000-of-00001.parquet"
    write_shard(place / name, [rows], stored(corpus)[1], {})
    (place / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    (place / "records/build.json").write_text(json.dumps({"fingerprint": "f"}))
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256((place / name).read_bytes()).hexdigest()}  {name}\n")
    return place


def test_mirdatas_index_lists_what_is_there(corpus: Path, tmp_path: Path) -> None:
    """As its validator reads it: every [path, md5] under tracks, and under metadata, relative to the folder."""
    out = tmp_path / "out"
    found = export_corpus(corpus, "mirdata", out)
    assert found == Export(40, 0, (out / "metadata.csv", out / "small_index.json"))
    index = json.loads((out / "small_index.json").read_text())
    assert set(index) == {"version", "tracks", "metadata"} and isinstance(index["version"], str)
    rows, features = stored(corpus)
    assert set(index["tracks"]) == set(rows)
    pairs = [track["audio"] for track in index["tracks"].values()] + list(index["metadata"].values())
    for path, md5 in pairs:
        assert hashlib.md5((out / path).read_bytes()).hexdigest() == md5
    assert {(out / track["audio"][0]).read_bytes() for track in index["tracks"].values()} == {
        row["audio"]["bytes"] for row in rows.values()
    }
    with (out / "metadata.csv").open(newline="") as handle:
        listed = {row["track_id"]: row for row in csv.DictReader(handle)}
    for id, row in rows.items():
        cells = listed[id]
        assert cells["prompt"] == row["prompt"] and cells["genre"] == features["genre"].int2str(row["genre"])
        assert [name for name in cells["instruments"].split(";") if name] == [
            features["instruments"].feature.int2str(code) for code in row["instruments"]
        ]
        assert float(cells["tempo_bpm"] or "nan") == pytest.approx(row["tempo_bpm"] or float("nan"), nan_ok=True)
        assert np.float32(cells["loudness"]) == np.float32(row["loudness"]) and int(cells["seed"]) == row["seed"]


@pytest.mark.parametrize("audio", ["flac", "wav"])
def test_audiofolder_is_opened_by_datasets(corpus: Path, tmp_path: Path, audio: str) -> None:
    out = tmp_path / "out"
    export_corpus(corpus, "audiofolder", out, audio=audio)
    for loaded in (
        datasets.load_dataset("audiofolder", data_dir=str(out), cache_dir=str(tmp_path / "cache")),
        datasets.load_dataset(str(out), cache_dir=str(tmp_path / "other")),
    ):
        assert set(loaded) == {"train", "validation"}
        for split, part in loaded.items():
            rows, features = stored(corpus, split)
            raw = part.cast_column("audio", datasets.Audio(decode=False))
            assert {row["id"] for row in raw} == set(rows)
            for row in raw:
                samples, rate = soundfile.read(row["audio"]["path"], dtype="int16")
                own, _ = soundfile.read(io.BytesIO(rows[row["id"]]["audio"]["bytes"]), dtype="int16")
                assert rate == 32_000 and np.array_equal(samples, own)
                assert row["genre"] == features["genre"].int2str(rows[row["id"]]["genre"])
                assert row["tempo_bpm"] == rows[row["id"]]["tempo_bpm"] and row["key"] == rows[row["id"]]["key"]


def test_again_nothing_is_written_and_damaged_files_are_repaired(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_corpus(corpus, "mirdata", out)
    before = content(out)
    clips = sorted((out / "audio").rglob("*.flac"))
    stamps = [clip.stat().st_mtime_ns for clip in clips]
    assert export_corpus(corpus, "mirdata", out).kept == 40
    assert [clip.stat().st_mtime_ns for clip in clips] == stamps
    clips[0].write_bytes(clips[0].read_bytes()[:100])
    clips[1].unlink()
    (out / "small_index.json").unlink()
    (clips[2].parent / ".x.flac.77.part").write_bytes(b"half")
    assert export_corpus(corpus, "mirdata", out).kept == 38
    assert content(out) == before


KILLED = """
import sys
from pathlib import Path
from builder.corpus.export import export
put = export._write_file
def slow(path, data):
    put(path, data)
    print(path.name, flush=True)
    import time; time.sleep(0.05)
export._write_file = slow
export.export_corpus(sys.argv[1], "audiofolder", sys.argv[2], audio="wav")
"""


def test_killed_in_the_middle_it_goes_on(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(corpus), str(out)], stdout=subprocess.PIPE, env=environ)
    assert run.stdout is not None
    for _ in range(5):
        run.stdout.readline()
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    half = {p.name: p.read_bytes() for p in out.rglob("*.wav")}
    assert 5 <= len(half) < 40 and not list(out.rglob("metadata.csv"))
    found = export_corpus(corpus, "audiofolder", out, audio="wav")
    assert found.kept == len(half) and len(list(out.rglob("*.wav"))) == 40 and not list(out.rglob("*.part"))
    whole = export_corpus(corpus, "audiofolder", tmp_path / "whole", audio="wav")
    assert whole.kept == 0 and content(out) == content(tmp_path / "whole")


def test_a_full_disk_is_an_error(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        if path.name.endswith(".part"):
            written.append(path)
            if len(written) > 7:
                write(path, data[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DataError, match=r"cannot write .*No space left on device\n  fix: make room"):
            export_corpus(corpus, "mirdata", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.part"))
    assert export_corpus(corpus, "mirdata", tmp_path / "out").clips == 40


def test_folders_that_are_not_ours_are_left_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/song.txt").write_text("la")
    (tmp_path / "file").write_text("la")
    before = content(tmp_path)
    for name in ("mine", "file"):
        with pytest.raises(DataError, match="exists and holds something else"):
            export_corpus(corpus, "mirdata", tmp_path / name)
    with pytest.raises(DataError, match="exists and holds"):
        export_corpus(corpus, "mirdata", corpus)
    assert content(tmp_path) == before
    export_corpus(corpus, "mirdata", tmp_path / "out")
    for options in ({"audio": "wav"}, {"splits": ["train"]}):
        with pytest.raises(DataError, match="holds another export"):
            export_corpus(corpus, "mirdata", tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="holds another export"):
        export_corpus(corpus, "audiofolder", tmp_path / "out")


def test_ids_cannot_climb_out(corpus: Path, tmp_path: Path) -> None:
    row = next(iter(stored(corpus)[0].values()))
    ids = [
        "../../up",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..",
        ".hidden",
        "nul\0l",
        "CON",
        "x" * 400,
        "ä ö",
        "a_b",
        "a.",
        "",
    ]
    source = forged(corpus, tmp_path / "corpus", [row | {"id": id} for id in ids])
    before = content(tmp_path)
    export_corpus(source, "mirdata", tmp_path / "in/out")
    made = list((tmp_path / "in").rglob("*.flac"))
    assert len(made) == len(ids) and {p.parent for p in made} == {made[0].parent}
    assert all(path in before or path.startswith("in/out/") for path in content(tmp_path))
    index = json.loads((tmp_path / "in/out/corpus_index.json").read_text())
    assert set(index["tracks"]) == set(ids)


@given(st.lists(st.text(), unique=True, max_size=8))
def test_names_are_safe_and_no_two_alike(texts: list[str]) -> None:
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(name).name == name and name.isascii() and len(name) <= 128 and not name.startswith(".")


def test_many_clips_of_a_genre_are_divided(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PER_FOLDER", 3)
    export_corpus(corpus, "audiofolder", tmp_path / "out", splits=["train"])
    folders = [p for p in (tmp_path / "out").rglob("*") if p.is_dir()]
    assert max(len(list(p.glob("*.flac"))) for p in folders) == 3
    loaded = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train"} and len(loaded["train"]) == len(stored(corpus, "train")[0])


def test_a_label_that_one_split_lacks_reads_alike(corpus: Path, tmp_path: Path) -> None:
    rows, features = stored(corpus)
    some = list(rows.values())[:6]
    for number, row in enumerate(some):
        row |= {"subgenre": "techno" if number < 2 else None, "tempo_bpm": 90 if number < 2 else None, "key": None}
    source = forged(corpus, tmp_path / "corpus", some[:3])
    other = "data/validation-00000-of-00001.parquet"
    write_shard(source / other, [some[3:]], features, {})
    with (source / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256((source / other).read_bytes()).hexdigest()}  {other}\n")
    export_corpus(source, "audiofolder", tmp_path / "out")
    loaded = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    raw = {split: part.remove_columns("audio")[:] for split, part in loaded.items()}
    assert raw["train"]["subgenre"] == ["techno", "techno", "none"] and raw["validation"]["subgenre"] == ["none"] * 3
    assert raw["train"]["tempo_bpm"] == [90, 90, None] and raw["validation"]["tempo_bpm"] == [None] * 3


def test_ids_and_genres_that_name_splits_change_no_split(corpus: Path, tmp_path: Path) -> None:
    """`datasets` finds splits in folder names at any depth: a genre "test" took rows into a split of its own."""
    rows, features = stored(corpus)
    names = ["test", "validation", "train", "dev", "my eval-2", "trainer"]
    features["genre"] = datasets.ClassLabel(names=names)
    words = ["train-1", "test", "validation.2", "a-train-b", "eval", "x"]
    source = forged(corpus, tmp_path / "corpus", list(rows.values())[:1])
    expected: dict[str, dict[str, str]] = {}
    with (source / "SHA256SUMS").open("w") as sums:
        for split in ("train", "validation"):
            some = [
                row | {"id": f"{split}-{word}", "genre": n}
                for n, (row, word) in enumerate(zip(rows.values(), words, strict=False))
            ]
            name = f"data/{split}-00000-of-00001.parquet"
            write_shard(source / name, [some], features, {})
            sums.write(f"{hashlib.sha256((source / name).read_bytes()).hexdigest()}  {name}\n")
            expected[split] = {row["id"]: names[row["genre"]] for row in some}
    out = tmp_path / "out"
    export_corpus(source, "audiofolder", out)
    for loaded in (
        datasets.load_dataset("audiofolder", data_dir=str(out), cache_dir=str(tmp_path / "cache")),
        datasets.load_dataset(str(out), cache_dir=str(tmp_path / "other")),
    ):
        found = {split: dict(zip(part["id"], part["genre"], strict=True)) for split, part in loaded.items()}
        assert found == expected
    own = read_folder(out)
    assert not own.counts["rows_without_file"] and not own.counts["files_without_row"]
    assert {split: sorted(part["genre"]) for split, part in own.splits.items()} == dict.fromkeys(
        expected, sorted(names)
    )


@pytest.mark.parametrize("names", [["null", "nan", "rock"], ["1990", "007"], ["true", "False"], ["no", "R&B: soul"]])
def test_labels_that_csv_does_not_keep_are_kept(corpus: Path, tmp_path: Path, names: list[str]) -> None:
    rows, features = stored(corpus)
    features["genre"] = datasets.ClassLabel(names=names)
    some = [row | {"genre": n % len(names)} for n, row in enumerate(list(rows.values())[:6])]
    source = forged(corpus, tmp_path / "corpus", some)
    shard = source / "data/train-00000-of-00001.parquet"
    write_shard(shard, [some], features, {})
    (source / "SHA256SUMS").write_text(f"{hashlib.sha256(shard.read_bytes()).hexdigest()}  data/{shard.name}\n")
    out, kind = tmp_path / "out", "csv" if "no" in names else "parquet"
    found = export_corpus(source, "audiofolder", out)
    assert (
        found.tables == (out / f"train/metadata.{kind}",) and f"`metadata.{kind}`" in (out / "README.md").read_text()
    )
    theirs = datasets.load_dataset("audiofolder", data_dir=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    for data in (theirs.remove_columns("audio"), read_folder(out).splits["train"]):
        assert sorted(zip(data["prompt"], data["genre"], strict=True)) == sorted(
            (row["prompt"], names[row["genre"]]) for row in some
        )
        tempi = {row["prompt"]: row["tempo_bpm"] for row in some}
        assert dict(zip(data["prompt"], data["tempo_bpm"], strict=True)) == tempi
    export_corpus(source, "audiofolder", out)
    assert [path.name for path in (out / "train").glob("metadata.*")] == [f"metadata.{kind}"]


def test_what_pandas_takes_for_missing_is_known() -> None:
    import pandas as pd
    from pandas._libs.parsers import STR_NA_VALUES

    values = sorted({*STR_NA_VALUES, "none", "Null", "nAn", "N.A.", "-", "NA ", "nope"} - {""})
    read = pd.read_csv(io.StringIO("text\n" + "\n".join(values) + "\n"))
    assert [bool(MISSING.fullmatch(word)) for word in values] == read["text"].isna().tolist()


def test_a_name_with_the_separator_is_refused() -> None:
    features = datasets.Features({"x": datasets.List(datasets.Value("string"))})
    with pytest.raises(DataError, match="'a;b' contains ';'"):
        format_cells(pa.table({"x": [["a;b", "c"]]}), features, "x")


def test_invalid_exports_are_refused(corpus: Path, tmp_path: Path) -> None:
    for arguments, options, kind, said in (
        (("csv", tmp_path / "out"), {}, RecipeError, "layout 'csv': not known\n  fix: one of mirdata, audiofolder"),
        (("mirdata", tmp_path / "out"), {"audio": "mp3"}, RecipeError, "audio format 'mp3'"),
        (
            ("mirdata", tmp_path / "out"),
            {"splits": ["test"]},
            DataError,
            "no split 'test'\n  fix: it has train, ",
        ),
        (("mirdata", "s3://bucket/out"), {}, RecipeError, "a folder of this machine"),
    ):
        with pytest.raises(kind, match=said):
            export_corpus(corpus, *arguments, **options)  # type: ignore[arg-type]
    row = next(iter(stored(corpus)[0].values()))
    twice = forged(corpus, tmp_path / "twice", [row, row])
    with pytest.raises(DataError, match="occurs twice"):
        export_corpus(twice, "mirdata", tmp_path / "out")
    spoilt = forged(corpus, tmp_path / "spoilt", [row])
    (spoilt / "SHA256SUMS").write_text(f"{'0' * 64}  data/train-00000-of-00001.parquet\n")
    with pytest.raises(DataError, match=r"damaged or changed.*\n  fix: see how to make it again: synthmir verify"):
        export_corpus(spoilt, "mirdata", tmp_path / "spoilt-out")
    silent = forged(corpus, tmp_path / "silent", [row | {"audio": {"bytes": b"no", "path": "x.flac"}}])
    with pytest.raises(DataError, match=f"clip {row['id']}: cannot be read as audio"):
        export_corpus(silent, "mirdata", tmp_path / "silent-out", audio="wav")
    with pytest.raises(DataError, match="not a synthmir corpus"):
        export_corpus(tmp_path, "mirdata", tmp_path / "out")


def test_progress_ends_at_all(corpus: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    export_corpus(corpus, "mirdata", tmp_path / "out", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (40, 40) and calls == sorted(calls)
