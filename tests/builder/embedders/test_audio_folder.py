"""Plain folders of audio as people have them: splits, labels, and tables beside the files."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.corpus.shards import read_footer, write_shard
from builder.embedders.audio_folder import AudioFolder, read_folder
from builder.embedders.embed_dataset import embed_dataset
from builder.errors import DataError
from builder.settings import EmbedderSettings

from .test_embed_dataset import wav

LEVELS = EmbedderSettings(name="levels", batch_size=3)
HEAD = "file_name,label\n"
ODD = ["None", "NA", "null", "007", "1e3", "true", "rock"]


def folder(root: Path, *files: str, **tables: str | bytes) -> Path:
    """Empty audio files, and tables: `metadata_csv="..."` is metadata.csv, with `__` for a slash."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, content in tables.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def rows(audio_folder: AudioFolder, column: str = "label") -> dict[str, dict[str, Any]]:
    """By split: the column's value of each file."""
    return {split: dict(zip(data["id"], data[column], strict=True)) for split, data in audio_folder.splits.items()}


# Splits


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["train/rock/a.wav", "test/pop/b.wav", "valid/c.wav"],
            {
                "train": {"train/rock/a.wav": "rock"},
                "test": {"test/pop/b.wav": "pop"},
                "validation": {"valid/c.wav": None},
            },
        ),
        (
            ["Train/a.wav", "my-eval/b.wav", "dev_1/c.wav"],
            {"train": {"Train/a.wav": None}, "test": {"my-eval/b.wav": None}, "validation": {"dev_1/c.wav": None}},
        ),
        (["train/train/a.wav"], {"train": {"train/train/a.wav": "train"}}),
        (["test/rock/a.wav", "test/test/b.wav"], {"test": {"test/rock/a.wav": "rock", "test/test/b.wav": "test"}}),
        (
            ["rock/train/a.wav", "pop/test/b.wav"],
            {"train": {"rock/train/a.wav": "rock"}, "test": {"pop/test/b.wav": "pop"}},
        ),
        (
            ["data/train/a.wav", "data/test/pop/b.wav"],
            {"train": {"data/train/a.wav": None}, "test": {"data/test/pop/b.wav": "pop"}},
        ),
        (
            ["rock/train_1.wav", "rock/test_1.wav"],
            {"train": {"rock/train_1.wav": "rock"}, "test": {"rock/test_1.wav": "rock"}},
        ),
        (["train 1.wav", "train 2.wav"], {"train": {"train 1.wav": None, "train 2.wav": None}}),
        (["train_1.wav", "test.wav", "b.wav"], {"train": {"train_1.wav": None, "test.wav": None, "b.wav": None}}),
    ],
)
def test_folders_and_files_that_name_splits(tmp_path: Path, files: list[str], expected: dict[str, Any]) -> None:
    assert rows(read_folder(folder(tmp_path, *files))) == expected


def test_a_class_called_train_among_others_is_a_label(tmp_path: Path) -> None:
    audio_folder = read_folder(folder(tmp_path, "train/a.wav", "rain/b.wav"))
    assert rows(audio_folder) == {"train": {"rain/b.wav": "rain", "train/a.wav": "train"}}
    assert audio_folder.notes == ["folder train is taken as a label: the folders beside it are not splits"]


@pytest.mark.parametrize("other", ["extra/c.wav", "c.wav"])
def test_splits_beside_other_folders_are_refused(tmp_path: Path, other: str) -> None:
    folder(tmp_path, "train/a.wav", "test/b.wav", other)
    with pytest.raises(DataError, match=r"test, train are splits, and '.*' beside them is not\n  fix: move"):
        read_folder(tmp_path)


def test_rows_and_splits_agree_with_audiofolder(tmp_path: Path) -> None:
    root = tmp_path / "music"
    for number, name in enumerate(("train/a.wav", "train/b.wav", "test/a.wav")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(wav(number))
    train, test = "file_name,genre\nb.wav,pop\na.wav,rock\n", "file_name,genre\na.wav,jazz\n"
    folder(root, train__metadata_csv=train, test__metadata_csv=test)
    theirs = datasets.load_dataset("audiofolder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    expected = {
        split: {
            str(Path(row["audio"]["path"]).relative_to(root)): row["genre"]
            for row in data.cast_column("audio", datasets.Audio(decode=False))
        }
        for split, data in theirs.items()
    }
    assert rows(read_folder(root), "genre") == expected
    record = embed_dataset(root, LEVELS, tmp_path / "out")
    assert "notes" not in record.details
    assert record.details["metadata"] == {"rows": 3, "rows_without_file": 0, "files_without_row": 0}
    own = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: dict(zip(data["id"], data["genre"], strict=True)) for split, data in own.items()} == expected


# Metadata


@pytest.mark.parametrize("name", ["./a.wav", "s\\a.wav", "s/../a.wav", ".\\s\\a.wav", " a.wav ", "s//a.wav"])
def test_spellings_of_paths(tmp_path: Path, name: str) -> None:
    file = "s/a.wav" if "s" in name and ".." not in name else "a.wav"
    audio_folder = read_folder(folder(tmp_path, file, metadata_csv=f"file_name,label\n{name},rock\n"))
    assert rows(audio_folder) == {"train": {file: "rock"}} and not audio_folder.notes


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_composed_and_decomposed_names_match(tmp_path: Path, disk: Any, table: Any) -> None:
    there, named = (unicodedata.normalize(form, "Múm/Ágætis.wav") for form in (disk, table))
    assert rows(read_folder(folder(tmp_path, there))) == {"train": {there: "Múm"}}  # composed, as tables have it
    audio_folder = read_folder(folder(tmp_path, metadata_csv=f"file_name,label\n{named},rock\n"))
    assert rows(audio_folder) == {"train": {there: "rock"}} and not audio_folder.notes


def test_rows_and_files_that_do_not_match_are_counted_and_reported(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from synthmir.cli import app

    root = tmp_path / "music"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.wav").write_bytes(wav(number))
    folder(root, metadata_csv="file_name,label\n0.wav,rock\nO.wav,pop\nc*d*.wav,pop\n0.wav,rock\n")
    done = CliRunner().invoke(app, ["embed", str(root), "--out", str(tmp_path / "out"), "--embedder", "levels"])
    assert done.exit_code == 0, done.output
    notes = [
        "2 of 4 row(s) of metadata.csv name no file here: O.wav, c*d*.wav",
        "2 of 3 file(s) have no row in metadata.csv: 1.wav, 2.wav",
        "1 row(s) of metadata.csv repeat another",
    ]
    details = json.loads((tmp_path / "out/records/embed.json").read_text())["details"]
    assert details["notes"] == notes
    assert details["metadata"] == {"rows": 4, "rows_without_file": 2, "files_without_row": 2}
    printed, card = done.output, (tmp_path / "out/README.md").read_text()
    for note in notes:
        assert f"  {note}\n" in printed and f"- {note}\n".replace("*", "\\*") in card
    assert datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "c"))["label"] == [
        "rock",
        None,
        None,
    ]


def test_changed_labels_are_refused(tmp_path: Path) -> None:
    root, out = tmp_path / "music", tmp_path / "out"
    root.mkdir()
    (root / "a.wav").write_bytes(wav(0))
    folder(root, metadata_csv=f"{HEAD}a.wav,rock\n")
    embed_dataset(root, LEVELS, out)
    embed_dataset(root, LEVELS, out)
    folder(root, metadata_csv=f"{HEAD}a.wav,pop\n")
    with pytest.raises(DataError, match=r"its labels or metadata have changed since\n  fix: .*--overwrite"):
        embed_dataset(root, LEVELS, out)
    embed_dataset(root, LEVELS, out, overwrite=True)
    assert pq.read_table(next(out.glob("*.parquet")))["label"].to_pylist() == ["pop"]
    # A shard of version 0.1 says nothing of its labels, and is taken as it is.
    shard = next(out.glob("*.parquet"))
    footer = read_footer(shard)
    del footer["labels"]
    table = pq.read_table(shard)
    write_shard(shard, [table.to_pylist()], datasets.Features.from_arrow_schema(table.schema), footer)
    assert embed_dataset(root, LEVELS, out).rows == 1


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_labels_stay_as_they_are_written(tmp_path: Path, kind: str) -> None:
    names = [f"{number}.wav" for number in range(len(ODD))]
    folder(tmp_path, *names)
    labels = [f" {label} " if label == "rock" else label for label in ODD]
    path = tmp_path / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"file_name": names, "label": labels}), path)
    elif kind == "jsonl":
        path.write_text(
            "".join(json.dumps({"file_name": n, "label": o}) + "\n" for n, o in zip(names, labels, strict=True))
        )
    else:
        mark = "," if kind == "csv" else "\t"
        path.write_text(
            "\n".join(mark.join(row) for row in [("file_name", "label"), *zip(names, labels, strict=True)])
        )
    assert rows(read_folder(tmp_path))["train"] == dict(zip(names, ODD, strict=True))


def test_numbers_of_all_splits_have_one_type(tmp_path: Path) -> None:
    folder(tmp_path, "train/a.wav", "test/b.wav")
    train, test = "file_name,bpm,key\na.wav,120,7\n", "file_name,key\nb.wav,08\n"
    folder(tmp_path, train__metadata_csv=train, test__metadata_csv=test)
    audio_folder = read_folder(tmp_path)
    assert audio_folder.splits["train"].features == audio_folder.splits["test"].features
    assert rows(audio_folder, "bpm") == {"train": {"train/a.wav": 120}, "test": {"test/b.wav": None}}
    assert rows(audio_folder, "key") == {"train": {"train/a.wav": "7"}, "test": {"test/b.wav": "08"}}


def test_jsonl_and_parquet_keep_their_types(tmp_path: Path) -> None:
    folder(tmp_path, "a.wav", "b.wav")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "b.wav", "tags": ["x"], "code": "120", "live": true}\n{"file_name": "a.wav", "code": "7"}\n'
    )
    [data] = read_folder(tmp_path).splits.values()
    assert data.remove_columns("audio")[:] == {
        "id": ["a.wav", "b.wav"],
        "label": [None, None],
        "tags": [None, ["x"]],
        "code": ["7", "120"],
        "live": [None, True],
    }
    (tmp_path / "metadata.jsonl").unlink()
    label = datasets.Features(
        {"file_name": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "1990"])}
    )
    datasets.Dataset.from_dict({"file_name": ["a.wav", "b.wav"], "label": [1, 0]}, features=label).to_parquet(
        str(tmp_path / "metadata.parquet")
    )
    [data] = read_folder(tmp_path).splits.values()
    assert data.features["label"].names == ["no", "1990"] and data["label"] == [1, 0]


def test_file_names_of_digits_are_matched(tmp_path: Path) -> None:
    audio_folder = read_folder(folder(tmp_path, "007.wav", metadata_csv="file_name,label\n007.wav,1990\n"))
    assert rows(audio_folder) == {"train": {"007.wav": 1990}}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"metadata_csv": f"{HEAD}a.wav,rock\n./a.wav,pop\n"},
            r"line 3: 'a.wav' has label 'pop', and 'rock' in .*line 2",
        ),
        (
            {"metadata_csv": f"{HEAD}s/b.wav,x\n", "s__metadata_csv": f"{HEAD}b.wav,y\n"},
            r"s/metadata.csv, line 2: 's/b.w",
        ),
        ({"metadata_csv": HEAD}, r"metadata.csv: holds no rows\n  fix: write one for each file"),
        ({"metadata_csv": ""}, "metadata.csv: has no header"),
        ({"metadata_csv": "filename,label\na.wav,x\n"}, r"'file_name' is missing \(did you mean 'filename'\?\)"),
        ({"metadata_csv": f"{HEAD}/etc/passwd,rock\n"}, "line 2: file_name '/etc/passwd' is not within"),
        ({"metadata_csv": f"{HEAD}../a.wav,rock\n"}, "line 2: file_name '../a.wav' is not within"),
        ({"s__metadata_csv": f"{HEAD}..\\a.wav,rock\n"}, "line 2: file_name .* is not within"),
        ({"metadata_csv": f"{HEAD}C:\\a.wav,rock\n"}, "line 2: file_name .* is not within"),
        ({"metadata_csv": f"{HEAD}file:///a.wav,rock\n"}, "line 2: file_name .* is not within"),
        ({"metadata_csv": f"{HEAD},rock\n"}, "line 2: has no file_name"),
        ({"metadata_csv": f'{HEAD}a.wav,"rock\ns/b.wav,pop\n'}, "line 2: not valid CSV: a quote is opened"),
        ({"metadata_csv": f"{HEAD}a.wav,r\xf6ck\n".encode("latin-1")}, "line 2: not UTF-8 text"),
        ({"metadata_csv": f"{HEAD}a.wav,rock\n".encode("utf-16")}, r"is UTF-16, not UTF-8\n  fix: save it as UTF-8"),
        ({"metadata_jsonl": '{"file_name": "a.wav"}\n{"label": "x"}\n'}, "line 2: has no file_name"),
        ({"metadata_jsonl": '{"file_name": "a.wav"}\n{"file_name\n'}, "line 2: not valid JSON"),
        (
            {"metadata_jsonl": '{"file_name": "a.wav"}\n', "metadata_csv": HEAD},
            r"metadata.jsonl\n  fix: keep one kind",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, tables: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_folder(folder(tmp_path, "a.wav", "s/b.wav", **tables))


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_semicolons_tabs_and_a_byte_order_mark(tmp_path: Path, mark: str) -> None:
    text = f"\ufefffile_name{mark}label\r\na.wav{mark}rock\r\n"
    assert rows(read_folder(folder(tmp_path, "a.wav", metadata_csv=text))) == {"train": {"a.wav": "rock"}}


def test_a_table_of_another_name_is_mentioned(tmp_path: Path) -> None:
    audio_folder = read_folder(folder(tmp_path, "a.wav", labels_csv="file,label\na.wav,rock\n"))
    assert audio_folder.notes[0].startswith("ignored labels.csv: a table about the files is called metadata.csv or")
