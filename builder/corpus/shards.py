"""Shards: one Parquet file each, written atomically, and a ledger of those that are finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError
from ..io.atomic import write_bytes, write_text
from ..io.safe_files import parse_json, read_json
from ..io.storage import (
    hash_file,
    is_remote,
    new_file,
    open_for_arrow,
    read_all_files,
    stored_sha256,
    write_errors,
)

if TYPE_CHECKING:
    from datasets import Features

ROW_GROUP = 64  # rows: about 30 MB of ten-second FLAC
ROW_GROUP_BYTES = 100_000_000  # the viewer of the Hub reads whole row groups, of up to 300 MB
FOOTER = b"synthmir"  # key of synthmir's metadata in the footer of a shard
WORK = ".work"  # unfinished work, inside the corpus folder
EXPORT_STATE = "export.json"  # in the work folder of an export, which is kept: it identifies the export
SELECT_STATE = "select.json"  # in the work folder of a selection that is not finished: it identifies the selection

Row = dict[str, Any]
Footer = dict[str, Any]


class ShardWriter:
    """Writes rows to a Parquet file as they come. Made by `open_shard`.

    Attributes:
        footer: Metadata for the footer, until the file is closed.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.footer: Footer = {}
        self._writer, self._schema = writer, schema
        self._group: list[Row] = []
        self._bytes = 0

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows. They are written as soon as they fill a row group."""
        for row in rows:
            row_bytes = _estimate_bytes(row)
            if len(self._group) == ROW_GROUP or self._bytes + row_bytes > ROW_GROUP_BYTES:
                self._flush()
            self._group.append(row)
            self._bytes += row_bytes

    def finish(self) -> None:
        """Write the last rows and the footer."""
        self._flush()
        self._writer.add_key_value_metadata({FOOTER: json.dumps(self.footer, sort_keys=True)})

    def _flush(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
            self._group, self._bytes = [], 0


@contextmanager
def open_shard(path: Path, features: Features | pa.Schema) -> Iterator[ShardWriter]:
    """Open a Parquet file to write rows to, which `datasets` reads with these features.

    A row group has 64 rows, or fewer where their values take more than 100 MB. No more than a row group and what
    `write` is given is held in memory. Audio is stored uncompressed, as FLAC has compressed it already.

    Args:
        path: The file. It appears when the block ends well; an error leaves no file.
        features: The columns, or their Arrow schema as `Features.arrow_schema` has it.

    Raises:
        DataError: The file cannot be written, as on a full disk.
    """
    schema = features if isinstance(features, pa.Schema) else features.arrow_schema
    columns = [column for field in schema for column in _list_leaves(field.name, field.type)]
    compression = {name: "none" if name.endswith(".bytes") else "snappy" for name in columns}
    # Values of audio and embeddings do not repeat: a dictionary would make embeddings half as large again.
    repeating = [name for name in columns if not name.endswith(".bytes") and not name.startswith("embedding.")]
    options = {"compression": compression, "use_dictionary": repeating, "write_page_index": True}
    with new_file(path) as part, pq.ParquetWriter(part, schema, **options) as writer:
        shard = ShardWriter(writer, schema)
        yield shard
        shard.finish()


def write_shard(
    path: Path, batches: Iterable[list[Row]], features: Features | pa.Schema, footer: Footer | None = None
) -> None:
    """Write rows, in batches of any size, to a Parquet file: see `open_shard`. `footer` is metadata for the footer."""
    with open_shard(path, features) as shard:
        for rows in batches:
            shard.write(rows)
        shard.footer = footer or {}


def _estimate_bytes(value: Any) -> int:
    """Bytes of the texts and audio of a row, which are most of it."""
    if isinstance(value, dict):
        return sum(map(_estimate_bytes, value.values()))
    return len(value) if isinstance(value, bytes | str) else 8


def _list_leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """The names of a column's leaves in Parquet."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _list_leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _list_leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path


def read_footer(path: Path) -> Footer:
    """Read the footer of a shard. Raises DataError for a file that is not a shard of synthmir."""
    try:
        metadata = pq.read_metadata(open_for_arrow(path)).metadata or {}
        footer = parse_json(metadata[FOOTER])
        if not isinstance(footer, dict):
            raise ValueError("its footer is not a JSON object")
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable shard of a synthmir corpus ({type(error).__name__}: {error})"
        ) from error
    return footer


def count_rows(path: Path) -> int:
    """The number of rows of a shard, read from its footer."""
    return int(pq.read_metadata(open_for_arrow(path)).num_rows)


def digest(path: Path) -> str:
    """SHA-256 of a file: as its store states it, so that nothing is read, or of its content."""
    return stored_sha256(path) or hash_file(path)


def claim_folder(root: Path, file: str, state: dict[str, Any], other: str) -> None:
    """Mark an empty folder of this machine as that of a piece of work, or find it marked as that.

    Args:
        root: The folder.
        file: The mark, in the work folder.
        state: What identifies the work.
        other: What the error says of a folder with the mark of another piece of work.

    Raises:
        DataError: The folder has another mark or none, and holds something.
    """
    marker = root / WORK / file
    try:
        if marker.is_file():
            if read_json(marker) != state:
                raise DataError(f"{root}: {other}", "choose another folder")
            return
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(
                f"{root}: is not empty: it exists and holds something else", "choose a folder that is new or empty"
            )
    except (OSError, ValueError) as error:
        raise DataError(f"{marker}: cannot be read: {error}", "choose another folder") from error
    write_text(marker, json.dumps(state, indent=1))


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished shard.

    Attributes:
        name: Its file, relative to the corpus.
        sha256: Hash of the file.
        seconds: Time that a worker took.
        rows: Number of rows.
        source: What it was made from: a fingerprint.
    """

    name: str
    sha256: str
    seconds: float
    rows: int
    source: str


ENTRY_TYPES = ([str, str, float, int, str], [str, str, int, int, str])  # of its values


class Ledger:
    """A journal of finished shards in a work folder, one JSON line each: they are not made again.

    A shard is written first and added to the ledger afterwards, so that a run that is killed in between makes it
    again. A torn last line is ignored. In a store, where no file can be appended to, each entry is an object.
    """

    def __init__(self, work: Path) -> None:
        self.path = work / ("ledger" if is_remote(work) else "ledger.jsonl")
        self.entries: dict[str, Entry] = {}
        for line in read_all_files(self.path) if is_remote(work) else self._lines():
            try:
                entry = Entry(**parse_json(line))
            except (ValueError, TypeError):
                continue
            if [type(value) for value in astuple(entry)] not in ENTRY_TYPES:
                continue
            self.entries[entry.name] = entry

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []

    def has_intact(self, folder: Path, name: str, source: str) -> bool:
        """Return whether a shard is finished and its file is unchanged.

        Args:
            folder: The folder that the shard should be in.
            name: Its file, relative to the folder.
            source: Fingerprint of what it should be made from.

        Returns:
            True if the ledger has the shard with this source, and the file has the hash that the ledger states.
        """
        entry, path = self.entries.get(name), folder / name
        return entry is not None and entry.source == source and path.is_file() and digest(path) == entry.sha256

    def add(self, entry: Entry) -> None:
        """Add a finished shard."""
        if is_remote(self.path):
            write_bytes(self.path / f"{entry.name}.json", json.dumps(asdict(entry)).encode())
            self.entries[entry.name] = entry
            return
        with write_errors(self.path), self.path.open("ab+") as handle:
            if handle.seek(0, os.SEEK_END):  # end the torn line of a killed run first
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(json.dumps(asdict(entry)).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        self.entries[entry.name] = entry
