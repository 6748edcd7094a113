"""Read a folder of audio files as `datasets` rows: splits, labels, and the columns of its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ..audio import AUDIO_SUFFIXES
from ..errors import DataError
from ..io.hf_features import features_from_schema
from ..io.tables import SUFFIXES, build_text_column
from ..names import find_split
from .file_table import TABLE_NAMES, FileTable, is_table, list_names, normalize_name, read_file_table

if TYPE_CHECKING:
    from datasets import Dataset

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


def read_folder(root: Path) -> AudioFolder:
    """Read the names of a folder's audio files, and its metadata. No audio is opened.

    Splits come from folders: where all folders of one level name a split ("train", "valid", "test-clean") and every
    file is in one of them, they are splits and not labels. Else they come from file names, if every file name names a
    split and not all the same. The label is the name of the folder that a file is in, in Unicode's form NFC.

    A table that `read_file_table` reads, in the root or in any folder below, adds its columns. Its column `label`
    replaces the label.

    Raises:
        DataError: There is no audio; folders that are splits are beside folders that are not; metadata cannot be read,
            names a file outside of its folder, or has two different rows for one file.
    """
    paths = [path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES or is_table(path)]
    paths = [path for path in paths if path.is_file() and not _is_hidden(path.relative_to(root))]
    files = sorted(path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES)
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
    table = _add_metadata(root, paths, table, folder)
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
                normalize_name(parts[-1]) if parts else None for parts in others
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
    labels = [normalize_name(parts[-1]) if parts else None for parts in folders]
    splits = [find_split(path.stem) for path in paths]
    if all(splits) and len(set(splits)) > 1:
        return [split for split in splits if split], labels
    return ["train"] * len(paths), labels


def _add_metadata(root: Path, paths: Sequence[Path], files: pa.Table, folder: AudioFolder) -> pa.Table:
    """The rows of files with the columns that metadata has for them."""
    table = read_file_table(root, paths, files["id"].to_pylist())
    if table is None:
        if ignored := sorted(path.name for path in root.iterdir() if path.suffix.lower() in TABLES):
            folder.notes.append(
                f"ignored {list_names(ignored)}: a table about the files is called {' or '.join(TABLE_NAMES)}"
            )
        return files
    folder.notes += table.notes
    folder.counts = table.counts
    try:
        extra = _build_columns(table)
        spare = [name for name in extra.column_names if name in RESERVED_COLUMNS]
        extra = extra.drop_columns([*spare, *(["file_name"] if "file_name" in extra.column_names else [])])
        files = files.drop_columns([name for name in ("label",) if name in extra.column_names])
        extra = extra.take(pa.array(table.chosen, pa.int64()))
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{table.path}: its columns cannot be converted: {error!s:.300}", "correct it") from error
    if spare:
        folder.notes.append(f"left out column {', '.join(spare)} of the metadata: an `id` is a file's path")
    return _join_columns(files, extra)


def _join_columns(table: pa.Table, extra: pa.Table) -> pa.Table:
    """A table with the columns of both; the second one keeps its `datasets` features."""
    from datasets import Features, Value

    features = Features(
        {name: Value("string") for name in table.column_names} | features_from_schema(extra.schema, "metadata")
    )
    for name in extra.column_names:
        table = table.append_column(extra.schema.field(name), extra[name])
    return table.cast(features.arrow_schema)


def _build_columns(table: FileTable) -> pa.Table:
    """The metadata as an Arrow table: CSV gets types by `build_text_column`, JSON and Parquet keep theirs.

    Spaces around text are removed, in Parquet as in the others.
    """
    rows = table.rows
    if table.typed:
        joined = pa.concat_tables(table.typed, promote_options="permissive")
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
        if table.path.suffix.lower() != ".jsonl":
            arrays[name] = build_text_column(cells)
        else:
            arrays[name] = pa.array(cells) if any(cell is not None for cell in cells) else pa.array(cells, pa.string())
    return pa.table(arrays)
