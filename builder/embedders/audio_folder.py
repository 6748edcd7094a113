"""Read a folder of audio files as `datasets` rows: splits, labels, and the columns of its metadata."""

from __future__ import annotations

import hashlib
import json
import posixpath
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..audio import AUDIO_SUFFIXES
from ..errors import DataError
from ..io.hf_features import features_from_schema
from ..io.markdown import one_line
from ..io.parquet_guard import check_parquet, parquet_errors
from ..io.tables import SUFFIXES, build_text_column, read_rows
from ..names import find_split

if TYPE_CHECKING:
    from datasets import Dataset

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
TABLES = (*SUFFIXES, ".xlsx", ".xls")  # suffixes of tables that people put beside audio
RESERVED_COLUMNS = ("id", "audio")  # not taken from metadata


@dataclass
class AudioFolder:
    """A folder of audio files: by split, rows of `id`, `label`, `audio` (a path) and the metadata's columns.

    Attributes:
        splits: The rows of each split.
        notes: Sentences about files and rows that do not match.
        counts: With metadata: "rows", "rows_without_file" and "files_without_row".
        digest: A hash of everything except the audio.
    """

    splits: dict[str, Dataset] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of metadata."""

    where: str  # the table and the line
    name: str  # the audio file's path from the root
    cells: dict[str, Any]


def read_folder(root: Path) -> AudioFolder:
    """Read the names of a folder's audio files, and its metadata. No audio is opened.

    Splits come from folders: where all folders of one level name a split ("train", "valid", "test-clean") and every
    file is in one of them, they are splits and not labels. Else they come from file names, if every file name names a
    split and not all the same. The label is the name of the folder that a file is in, in Unicode's form NFC.

    A table called as in METADATA, in the root or in any folder below, adds its columns. Its column `label` replaces
    the label, and its `file_name` is relative to the folder of the table.

    Raises:
        DataError: There is no audio; folders that are splits are beside folders that are not; metadata cannot be read,
            names a file outside of its folder, or has two different rows for one file.
    """
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    files = [path for path in files if not _is_hidden(path.relative_to(root))]
    if not files:
        raise DataError(f"{root}: holds no audio files", f"of these kinds: {', '.join(sorted(AUDIO_SUFFIXES))}")
    names = [path.relative_to(root).as_posix() for path in files]
    folder = AudioFolder()
    splits, labels = _find_splits(root, [PurePosixPath(name) for name in names], folder)
    columns = {"id": names, "label": labels, "audio": [str(path) for path in files]}
    try:
        table = pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{root}: a file name is not UTF-8: {error!s:.200}", "name the files in UTF-8") from error
    table = _add_metadata(root, table, folder)
    labels = table.drop_columns(["audio"]).to_pydict()
    folder.digest = hashlib.sha256(json.dumps(labels, default=str).encode()).hexdigest()
    for split in dict.fromkeys(splits):
        folder.splits[split] = _make_dataset(table.filter(pa.array([one == split for one in splits])))
    return folder


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _make_dataset(table: pa.Table) -> Dataset:
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(table))


def _find_splits(
    root: Path, paths: Sequence[PurePosixPath], folder: AudioFolder
) -> tuple[list[str], list[str | None]]:
    """The split and the label of each file, by the folders that it is in."""
    folders = [path.parts[:-1] for path in paths]
    for depth in range(min(map(len, folders))):
        splits = [find_split(parts[depth]) for parts in folders]
        if all(splits):
            above = {parts[:depth] for parts in folders}
            if len(above) == 1:  # they hold everything, and are no label
                folders = [parts[depth:] for parts in folders]
                depth = 0
            others = [parts[:depth] + parts[depth + 1 :] for parts in folders]
            return [split for split in splits if split], [
                _normalize_name(parts[-1]) if parts else None for parts in others
            ]
    tops = {parts[0] if parts else str(path) for parts, path in zip(folders, paths, strict=True)}
    named = {top: split for top in sorted(tops) if (split := find_split(top)) and (root / top).is_dir()}
    other = next((top for top in sorted(tops) if top not in named), None)
    if len(set(named.values())) > 1 and other:
        raise DataError(
            f"{root}: its folders {', '.join(named)} are splits, and {other!r:.100} beside them is not",
            f"move {other!r:.100} into one of them, or out of {root}",
        )
    if named:
        folder.notes.append(f"folder {', '.join(named)} is taken as a label: the folders beside it are not splits")
    labels = [_normalize_name(parts[-1]) if parts else None for parts in folders]
    splits = [find_split(path.stem) for path in paths]
    if all(splits) and len(set(splits)) > 1:
        return [split for split in splits if split], labels
    return ["train"] * len(paths), labels


def _add_metadata(root: Path, table: pa.Table, folder: AudioFolder) -> pa.Table:
    """The rows of files with the columns that metadata has for them."""
    tables = sorted(path for path in root.rglob("metadata.*") if path.name in METADATA and path.is_file())
    tables = [path for path in tables if not _is_hidden(path.relative_to(root))]
    if not tables:
        if ignored := sorted(path.name for path in root.iterdir() if path.suffix.lower() in TABLES):
            folder.notes.append(
                f"ignored {_list_names(ignored)}: a table about the files is called {' or '.join(METADATA)}"
            )
        return table
    if len({path.suffix for path in tables}) > 1:
        shown = _list_names([path.relative_to(root).as_posix() for path in tables])
        raise DataError(f"{root}: holds metadata of several kinds: {shown}", "keep one kind")
    rows: list[_Row] = []
    typed: list[pa.Table] = []
    for path in tables:
        base = path.parent.relative_to(root)
        start = len(rows)
        for number, cells in _read_table(path, typed):
            where = f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"
            rows.append(_Row(where, _resolve_name(cells.pop("file_name", None), base, where), cells))
        if len(rows) == start:
            raise DataError(f"{path}: holds no rows", "write one for each file, or remove it")
    chosen = _match_rows(table["id"].to_pylist(), rows, _list_names([path.name for path in tables][:1]), folder)
    try:
        extra = _build_columns(rows, typed, tables[0])
        spare = [name for name in extra.column_names if name in RESERVED_COLUMNS]
        extra = extra.drop_columns([*spare, *(["file_name"] if "file_name" in extra.column_names else [])])
        table = table.drop_columns([name for name in ("label",) if name in extra.column_names])
        extra = extra.take(pa.array(chosen, pa.int64()))
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{tables[0]}: its columns cannot be converted: {error!s:.300}", "correct it") from error
    if spare:
        folder.notes.append(f"left out column {', '.join(spare)} of the metadata: an `id` is a file's path")
    return _join_columns(table, extra)


def _join_columns(table: pa.Table, extra: pa.Table) -> pa.Table:
    """A table with the columns of both; the second one keeps its `datasets` features."""
    from datasets import Features, Value

    features = Features(
        {name: Value("string") for name in table.column_names} | features_from_schema(extra.schema, "metadata")
    )
    for name in extra.column_names:
        table = table.append_column(extra.schema.field(name), extra[name])
    return table.cast(features.arrow_schema)


def _read_table(path: Path, typed: list[pa.Table]) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yield the number and the cells of each row. A Parquet file is also added to `typed`."""
    if path.suffix != ".parquet":
        return read_rows(path, ("file_name",))
    check_parquet(path)
    with parquet_errors(path):
        content = pq.read_table(path)
        content.validate(full=True)
        typed.append(content)
        return enumerate(content.to_pylist(), 1)


def _build_columns(rows: Sequence[_Row], typed: Sequence[pa.Table], path: Path) -> pa.Table:
    """The metadata as an Arrow table: CSV gets types by `build_text_column`, JSON and Parquet keep theirs.

    Spaces around text are removed, in Parquet as in the others.
    """
    if typed:
        joined = pa.concat_tables(typed, promote_options="permissive")
        for number, column in enumerate(joined.itercolumns()):
            if pa.types.is_string(column.type):
                trimmed = pc.utf8_trim_whitespace(column)
                trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
                joined = joined.set_column(number, joined.schema.field(number), trimmed)
        return joined
    names = dict.fromkeys(name for row in rows for name in row.cells)
    arrays = {}
    for name in names:
        cells = [row.cells.get(name) for row in rows]
        if path.suffix != ".jsonl":
            arrays[name] = build_text_column(cells)
        else:
            arrays[name] = pa.array(cells) if any(cell is not None for cell in cells) else pa.array(cells, pa.string())
    return pa.table(arrays)


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


def _normalize_name(name: str) -> str:
    """A name in Unicode's form NFC and without spaces around it, as file systems and tables differ in both."""
    return unicodedata.normalize("NFC", name).strip()


def _match_rows(names: Sequence[str], rows: Sequence[_Row], table: str, folder: AudioFolder) -> list[int | None]:
    """The index of each file's row, None without one. Raises DataError where two rows of a file differ."""
    exact = {name: number for number, name in enumerate(names)}
    loose: dict[str, int] = {}
    for number, name in enumerate(names):
        loose.setdefault(_normalize_name(name.replace("\\", "/")), number)
    chosen: list[int | None] = [None] * len(names)
    missing, again = [], 0
    for number, row in enumerate(rows):
        file = exact.get(row.name, loose.get(_normalize_name(row.name)))
        if file is None:
            missing.append(row.name)
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
                f"{row.where}: {row.name!r:.200} has {column} {row.cells.get(column)!r:.100}, and "
                f"{first.get(column)!r:.100} in {rows[before].where}",
                "keep one row for each file",
            )
    bare = [name for name, row in zip(names, chosen, strict=True) if row is None]
    folder.counts = {"rows": len(rows), "rows_without_file": len(missing), "files_without_row": len(bare)}
    if missing:
        folder.notes.append(
            f"{len(missing):,} of {len(rows):,} row(s) of {table} name no file here: {_list_names(missing)}"
        )
    if bare:
        folder.notes.append(f"{len(bare):,} of {len(names):,} file(s) have no row in {table}: {_list_names(bare)}")
    if again:
        folder.notes.append(f"{again:,} row(s) of {table} repeat another")
    return chosen


def _list_names(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(one_line(name, 100) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"
