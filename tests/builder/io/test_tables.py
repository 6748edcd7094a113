"""The one reader of tables: text stays text, and what is wrong is reported with its line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from datasets.data_files import SPLIT_KEYWORDS as THEIRS

from builder.errors import DataError
from builder.io.tables import build_text_column, read_rows
from builder.names import SPLIT_KEYWORDS, find_split, hide_split

ODD = ["None", "NA", "null", "nan", "007", "1e3", "true", "1990s", "R&B: soul", "a,b", 'say "x"', "~", "🎸", "-"]


def put(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_text_stays_text(tmp_path: Path, name: str) -> None:
    import csv
    import io
    import json

    text = io.StringIO()
    if name == "t.jsonl":
        text.write("".join(json.dumps({"label": label}) + "\n" for label in ODD))
    else:
        csv.writer(text, delimiter="\t" if name == "t.tsv" else ",").writerows(
            [["label"], *([label] for label in ODD)]
        )
    assert [row["label"] for _, row in read_rows(put(tmp_path, text.getvalue(), name))] == ODD


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a,b\n rock , 1\n,\n\npop,\n", "t.csv"),
        ("\ufeff a ; b \r\n rock ; 1\r\npop\r\n", "t.csv"),
        ("a\tb\nrock\t1\npop\t\n", "t.csv"),
        ("a\tb\nrock\t1\npop\t \n", "t.tsv"),
        (',a,b\n0,rock,1\n1,"pop",\n', "t.csv"),  # with the index that pandas writes
        ('{"a": " rock ", "b": "1"}\n\n{"a": "pop", "b": " "}\n', "t.jsonl"),
    ],
)
def test_marks_spaces_and_empty_cells(tmp_path: Path, text: str, name: str) -> None:
    rows = [row for _, row in read_rows(put(tmp_path, text, name), ("a", "b"))]
    assert rows == [{"a": "rock", "b": "1"}, {"a": "pop", "b": None}]


def test_a_comma_in_a_header_of_semicolons_does_not_divide_it(tmp_path: Path) -> None:
    path = put(tmp_path, "file_name;a, b, or c\nx.wav;1\n")
    assert list(read_rows(path, ("file_name",))) == [(2, {"file_name": "x.wav", "a, b, or c": "1"})]


def test_rows_are_numbered_by_their_first_line(tmp_path: Path) -> None:
    assert [number for number, _ in read_rows(put(tmp_path, 'a,b\n"x\ny",1\nz,2\n'))] == [2, 4]


@pytest.mark.parametrize(
    ("content", "message", "fix"),
    [
        (b"", "has no header", "write one: a"),
        (b"b,c\n1,2\n", "line 1: column 'a' is missing; its columns are b, c", "header"),
        (b"a,b,a\n1,2,3\n", "line 1: column 'a' is there twice", "header"),
        (b"a,b\n1,2\n1,2,3\n", r"line 3: more cells than columns \(3, and 2 columns\)", "quote"),
        (b'a,b\n1,2\n"1,2\n3,4\n', "line 3: not valid CSV: a quote is opened", "write a quote"),
        (b'a,b\n"1" x,2\n', "line 2: not valid CSV: ',' expected after '\"'", "quote"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is UTF-16LE, not UTF-8", "iconv -f UTF-16LE"),
        ("a,b\n1,2\n".encode("utf-32"), "is UTF-32, not UTF-8", "iconv -f UTF-32"),
        ("a,b\n1,2\ncaf\u00e9,2\n".encode("latin-1"), "line 3: not UTF-8 text", "iconv -f WINDOWS-1252"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_the_fix(
    tmp_path: Path, content: bytes, message: str, fix: str
) -> None:
    with pytest.raises(DataError, match=rf"t\.csv.*{message}") as error:
        list(read_rows(put(tmp_path, content), ("a",)))
    assert error.value.fix and fix in error.value.fix


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["120", None, "90", "0", "-3"], pa.array([120, None, 90, 0, -3])),
        (["0.5", "120", "1.25", None], pa.array([0.5, 120.0, 1.25, None])),
        (["0.50", "1.25", "-14.00"], pa.array([0.5, 1.25, -14.0])),  # all of two decimals
        (["007", "12"], pa.array(["007", "12"])),
        (["1e3", "12"], pa.array(["1e3", "12"])),
        (["0.5", "0.50"], pa.array(["0.5", "0.50"])),
        (["1", "1.0"], pa.array(["1", "1.0"])),
        (["+1", "2"], pa.array(["+1", "2"])),
        (["1", "NA"], pa.array(["1", "NA"])),
        (["nan", "1.5"], pa.array(["nan", "1.5"])),
        (["true", "false"], pa.array(["true", "false"])),
        (["\u0663", "1"], pa.array(["\u0663", "1"])),  # an Arabic digit
        (["9" * 60], pa.array(["9" * 60])),
        (["0.1234567890123456789"], pa.array(["0.1234567890123456789"])),
        ([None, None], pa.nulls(2, pa.string())),
    ],
)
def test_a_column_is_a_number_only_where_nothing_is_lost(cells: list[str | None], column: pa.Array) -> None:
    assert build_text_column(cells).equals(column)


def test_splits_are_named_as_datasets_names_them() -> None:
    assert {str(split): tuple(words) for split, words in THEIRS.items()} == SPLIT_KEYWORDS
    named = {"train": "train", "Val": "validation", "dev": "validation", "test-clean": "test", "my_test_2": "test"}
    named |= {"train1": "train", "evaluation": "test", "x.training": "train"}
    for name, split in named.items():
        assert find_split(name) == split
        assert name != name.lower() or find_split(hide_split(name)) is None
    for name in ("trainer", "testament", "rock", "", "contest", "train-test", "validate"):
        assert find_split(name) is None
    assert hide_split("rock") == "rock" and hide_split("test") == "xtestx"
