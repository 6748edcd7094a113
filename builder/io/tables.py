"""The one reader of tables that people write: CSV, TSV and JSONL, with line numbers. Text stays text."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import DataError, SynthmirError
from ..validation import suggest
from .safe_files import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".jsonl")
MAX_LINE = 1 << 17  # characters of a line, and of a cell
SAMPLE = 1 << 16  # bytes in which an encoding shows
_WHOLE = re.compile(r"-?[1-9][0-9]{0,17}|0")
_DECIMAL = re.compile(r"-?(?:[1-9][0-9]{0,14}|0)(?:\.[0-9]{1,15})?")
_HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, which no file can hold

Row = tuple[int, dict[str, Any]]


def read_rows(
    path: Path,
    required: Sequence[str] = (),
    *,
    error: type[SynthmirError] = DataError,
    check_header: Callable[[list[str]], None] = lambda columns: None,
    growing: bool = False,
    rename: Callable[[list[str]], list[str]] = lambda columns: columns,
) -> Iterator[Row]:
    """The rows of a CSV, TSV or JSONL file, each with the number of its first line.

    CSV may be separated by commas, semicolons or tabs (the header shows it) and start with a byte order mark. Every
    cell is text without the spaces around it, None where it is empty; of a JSONL file only texts are changed so.
    Columns without a name, such as a saved index, are left out.

    Args:
        path: its suffix says what it is.
        required: columns that a header must have. An object, as a row with an empty cell, may lack them.
        error: the kind of error to raise.
        check_header: raises for CSV columns that the caller does not know.
        growing: leave out a last line of JSONL whose end is missing: its writer was interrupted.
        rename: gives the columns' names from those of the header, of JSONL from those of each object.

    Raises:
        SynthmirError: of the kind `error`, with the line: not UTF-8, a quote that is not closed, a column that is
            missing or repeated, more cells than columns, a line that is no JSON object.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise error(f"{path}: a table ends in {', '.join(SUFFIXES)}", "rename it to what it is")
    with _open_text(path, error) as handle:
        lines = _read_lines(path, handle, error)
        if path.suffix.lower() == ".jsonl":
            yield from _read_objects(path, lines, error, growing, rename)
        else:
            yield from _read_cells(path, lines, required, error, check_header, rename)


def build_text_column(cells: Sequence[str | None]) -> pa.Array:
    """A column of CSV as Arrow holds it: numbers where nothing is lost by it, else text.

    A column is whole numbers if every cell that is not empty is written as one ("120", not "007" or "1e3"), and
    decimal numbers if every one is their shortest form ("0.5") or all have as many decimals ("0.50", "1.25").
    """
    import pyarrow as pa

    texts = [cell for cell in cells if cell is not None]
    if not texts:
        return pa.nulls(len(cells), pa.string())
    if all(map(_WHOLE.fullmatch, texts)):
        return pa.array([None if cell is None else int(cell) for cell in cells], pa.int64())
    if all(map(_DECIMAL.fullmatch, texts)) and _is_exact(set(texts)):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array(cells, pa.string())


def _is_exact(texts: set[str]) -> bool:
    """Whether decimal numbers give their own texts back, each another."""
    decimals = {len(text.partition(".")[2]) for text in texts}
    if len(decimals) == 1:
        return all(f"{float(text):.{min(decimals)}f}" == text for text in texts)
    exact = all(repr(float(text)) in (text, f"{text}.0") for text in texts)
    return exact and len(set(map(float, texts))) == len(texts)


@contextmanager
def _open_text(path: Path, error: type[SynthmirError]) -> Iterator[TextIO]:
    try:
        with path.open("rb") as file:
            start = file.read(SAMPLE)
        if (other := _find_encoding(start)) is not None:
            raise error(f"{path}: is {other}, not UTF-8", f"save it as UTF-8: iconv -f {other} -t UTF-8")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            yield handle
    except UnicodeDecodeError as fault:
        raise error(
            f"{path}{_find_bad_line(path)}: not UTF-8 text: perhaps Latin-1 or Windows-1252",
            "save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8",
        ) from fault
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror or fault}", "put the table there") from fault


def _find_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32, by a byte order mark or by the zeros in what is mostly ASCII."""
    for mark, name in ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
                       (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):  # fmt: skip
        if start.startswith(mark):
            return name
    if len(start) >= 8:
        for offset, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
            if start[offset::2].count(0) > len(start) // 4 and not start[1 - offset :: 2].count(0):
                return name
    return None


def _find_bad_line(path: Path) -> str:
    """`, line N` of the first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f", line {number}"
    return ""


def _read_lines(path: Path, handle: TextIO, error: type[SynthmirError]) -> Iterator[str]:
    """The lines of a file; one that is too long would fill memory."""
    number = 0
    while line := handle.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise error(f"{path}, line {number}: longer than {MAX_LINE:,} characters", "write each row on one line")
        yield line


def _read_objects(
    path: Path,
    lines: Iterator[str],
    error: type[SynthmirError],
    growing: bool,
    rename: Callable[[list[str]], list[str]],
) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or (growing and not line.endswith("\n")):
            continue
        try:
            row = parse_json(line)
        except ValueError as fault:
            raise error(f"{path}, line {number}: not valid JSON: {fault}", "one JSON object a line") from fault
        if not isinstance(row, dict):
            raise error(
                f"{path}, line {number}: expected a JSON object, found {type(row).__name__}", "one JSON object a line"
            )
        if "\\u" in line and _HALF.search(json.dumps(row, ensure_ascii=False)):
            raise error(f"{path}, line {number}: holds half of a surrogate pair (\\ud800 to \\udfff)", "correct it")
        names = rename(list(row))
        if len(set(names)) < len(names):
            raise error(f"{path}, line {number}: has a key twice: {', '.join(row)}", "keep one of them")
        values = ((value.strip() or None) if isinstance(value, str) else value for value in row.values())
        yield number, dict(zip(names, values, strict=True))


def _read_cells(
    path: Path,
    lines: Iterator[str],
    required: Sequence[str],
    error: type[SynthmirError],
    check_header: Callable[[list[str]], None],
    rename: Callable[[list[str]], list[str]],
) -> Iterator[Row]:
    first = next(lines, "")
    if not first.strip():
        raise error(f"{path}: has no header", f"write one: {','.join(required) or 'the names of its columns'}")
    separator = "\t" if path.suffix.lower() == ".tsv" else _find_separator(first, required, rename)
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True)
    start = 1
    try:
        columns = rename([name.strip() for name in next(reader)])
        if fault := next(_check_columns(columns, required), None):
            raise error(f"{path}, line 1: {fault}", "correct the header")
        check_header([name for name in columns if name])
        while True:
            start = reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(columns):
                raise error(
                    f"{path}, line {start}: more cells than columns ({len(cells)}, and {len(columns)} columns)",
                    f'quote a text that holds {separator!r}: "..."',
                )
            texts = (cell.strip() or None for cell in (*cells, *[""] * (len(columns) - len(cells))))
            yield start, {name: text for name, text in zip(columns, texts, strict=True) if name}
    except csv.Error as fault:
        reason = "a quote is opened and not closed" if "unexpected end" in str(fault) else str(fault)
        raise error(
            f"{path}, line {start}: not valid CSV: {reason}", 'quote a text as "...", and write a quote in it as ""'
        ) from fault


def _find_separator(header: str, required: Sequence[str], rename: Callable[[list[str]], list[str]]) -> str:
    """What separates the header's columns: what gives those that are required, else the most."""
    columns = {
        mark: rename([name.strip() for name in next(csv.reader([header], delimiter=mark), [])]) for mark in ",;\t"
    }
    fitting = [mark for mark, names in columns.items() if required and set(required) <= set(names)]
    return fitting[0] if fitting else max(columns, key=lambda mark: len(columns[mark]))


def _check_columns(columns: Sequence[str], required: Sequence[str]) -> Iterator[str]:
    """What is wrong with a header."""
    for name in required:
        if name not in columns:
            yield f"column {name!r} is missing{suggest(name, columns)}; its columns are {', '.join(columns)}"
    yield from (f"column {name!r} is there twice" for name, count in Counter(columns).items() if name and count > 1)
    yield from (f"the name of column {name!r:.60} holds NUL" for name in columns if "\0" in name)
