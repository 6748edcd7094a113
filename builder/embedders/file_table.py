"""Read the table beside audio files, such as metadata.csv or SOURCE.tsv, and match its rows with the files."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError
from ..io.markdown import one_line
from ..io.parquet_guard import check_parquet, parquet_errors
from ..io.tables import read_rows

TABLE_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet", "SOURCE.tsv")
FILE_COLUMN, FILE_ALIAS = "file_name", "file"
COLUMNS = (FILE_COLUMN, "artist", "album")  # found in any case
_NAMES = frozenset(name.casefold() for name in TABLE_NAMES)


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of a table."""

    where: str  # the table and the line
    file: str  # the audio file's path from the root
    cells: dict[str, Any]


@dataclass
class FileTable:
    """The rows of one or more tables, matched with audio files.

    Attributes:
        path: The first table.
        rows: The rows of all tables.
        chosen: For each file the index of its row, None without one.
        typed: The content of tables in Parquet.
        notes: Sentences about files and rows that do not match.
        counts: "rows", "rows_without_file" and "files_without_row".
    """

    path: Path
    rows: list[FileRow]
    chosen: list[int | None] = field(default_factory=list)
    typed: list[pa.Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def has_column(self, name: str) -> bool:
        """Return whether some row has a column of this name."""
        return any(name in row.cells for row in self.rows)

    def find_row(self, file: int) -> FileRow | None:
        """Return the row of a file, by the file's number."""
        number = self.chosen[file]
        return None if number is None else self.rows[number]


def is_table(path: Path) -> bool:
    """Return whether a file has the name of a table about audio files, in any case."""
    return path.name.casefold() in _NAMES


def read_file_table(root: Path, paths: Iterable[Path], names: Sequence[str]) -> FileTable | None:
    """Read the tables among some files, and match their rows with audio files.

    A table is called as in TABLE_NAMES and has a column `file_name` or `file`, relative to its own folder. Names are
    compared in Unicode's form NFC. The names of COLUMNS may be in any case, except in Parquet.

    Args:
        root: The folder that all paths are in.
        paths: The files in it, of which the tables are read.
        names: The paths of the audio files from the root, with forward slashes.

    Returns:
        The matched rows; None where no path is a table.

    Raises:
        DataError: A table cannot be read, names a file outside of its folder, or has two different rows for one file;
            or there are tables of different names.
    """
    tables = sorted(path for path in paths if is_table(path))
    if not tables:
        return None
    if len({path.name.casefold() for path in tables}) > 1:
        shown = list_names([path.relative_to(root).as_posix() for path in tables])
        raise DataError(f"{root}: holds tables of several kinds: {shown}", "keep one kind")
    table = FileTable(tables[0], [])
    for path in tables:
        base = path.parent.relative_to(root)
        start = len(table.rows)
        for number, cells in _read_table(path, table.typed):
            where = f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"
            table.rows.append(FileRow(where, _resolve_name(cells.pop(FILE_COLUMN, None), base, where), cells))
        if len(table.rows) == start:
            raise DataError(f"{path}: holds no rows", "write one for each file, or remove it")
    _match_rows(table, names)
    return table


def normalize_name(name: str) -> str:
    """Return a name in Unicode's form NFC and without spaces around it, as file systems and tables differ in both."""
    return unicodedata.normalize("NFC", name).strip()


def list_names(names: Sequence[str]) -> str:
    """Return the first five names, and how many more there are."""
    shown = ", ".join(one_line(name, 100) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"


def _read_table(path: Path, typed: list[pa.Table]) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yield the number and the cells of each row. A Parquet file is also added to `typed`."""
    if path.suffix.lower() != ".parquet":
        return read_rows(path, (FILE_COLUMN,), rename=_rename_columns)
    check_parquet(path)
    with parquet_errors(path):
        content = pq.read_table(path)
        content.validate(full=True)
        typed.append(content)
        return enumerate(content.to_pylist(), 1)


def _rename_columns(columns: Sequence[str]) -> list[str]:
    """The columns with the names of COLUMNS in lower case, and with `file` as `file_name` where there is no other."""
    renamed = list(columns)
    for wanted, spelling in (*((name, name) for name in COLUMNS), (FILE_COLUMN, FILE_ALIAS)):
        if wanted not in renamed:
            renamed = [wanted if name.casefold() == spelling else name for name in renamed]
    return renamed


def _resolve_name(name: object, base: Path, where: str) -> str:
    """The path from the root for a `file_name` of a table in `base`. Raises DataError if it leaves `base`."""
    if not isinstance(name, str):
        raise DataError(
            f"{where}: has no file_name", "write the path of an audio file, relative to the table's folder"
        )
    path = posixpath.normpath(name.replace("\\", "/"))
    if path.startswith(("/", "../")) or path == ".." or "://" in name or PureWindowsPath(name).drive:
        raise DataError(
            f"{where}: file_name {name!r:.200} is not within the table's folder",
            "write paths relative to the folder that the table is in",
        )
    return (base / path).as_posix()


def _match_rows(table: FileTable, names: Sequence[str]) -> None:
    """Choose the row of each file. Raises DataError where two rows of a file differ."""
    rows, title = table.rows, table.path.name
    exact = {name: number for number, name in enumerate(names)}
    loose: dict[str, int] = {}
    for number, name in enumerate(names):
        loose.setdefault(normalize_name(name.replace("\\", "/")), number)
    chosen: list[int | None] = [None] * len(names)
    missing, again = [], 0
    for number, row in enumerate(rows):
        file = exact.get(row.file, loose.get(normalize_name(row.file)))
        if file is None:
            missing.append(row.file)
            continue
        before = chosen[file]
        if before is None:
            chosen[file] = number
            continue
        again += 1
        first = rows[before].cells
        if differing := [name for name in {**first, **row.cells} if first.get(name) != row.cells.get(name)]:
            column = differing[0]
            raise DataError(
                f"{row.where}: {row.file!r:.200} has {column} {row.cells.get(column)!r:.100}, and "
                f"{first.get(column)!r:.100} in {rows[before].where}",
                "keep one row for each file",
            )
    bare = [name for name, row in zip(names, chosen, strict=True) if row is None]
    table.chosen = chosen
    table.counts = {"rows": len(rows), "rows_without_file": len(missing), "files_without_row": len(bare)}
    if missing:
        table.notes.append(
            f"{len(missing):,} of {len(rows):,} row(s) of {title} name no file here: {list_names(missing)}"
        )
    if bare:
        table.notes.append(f"{len(bare):,} of {len(names):,} file(s) have no row in {title}: {list_names(bare)}")
    if again:
        table.notes.append(f"{again:,} row(s) of {title} repeat another")
