"""One Parquet shard: whole or not at all, and the ledger that says which ones are done and intact."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError
from ..io.atomic import write_bytes, write_file
from ..io.safe_files import parse_json
from ..io.storage import hash_file as hash_file
from ..io.storage import (
    is_remote,
    open_for_arrow,
    read_all_files,
    stored_sha256,
    write_errors,
)

if TYPE_CHECKING:
    from datasets import Features

ROW_GROUP = 64  # rows: ~30 MB of ten-second FLAC, what the Hub's viewer likes to read at once
ROW_GROUP_BYTES = 100_000_000  # and no more of long clips: the Hub's viewer reads a row group whole, up to 300 MB
FOOTER = b"synthmir"  # key of our metadata in a shard's footer
WORK = ".work"  # unfinished work, inside the corpus folder


def write_shard(
    path: Path, batches: Iterable[list[dict[str, Any]]], features: Features, footer: dict[str, Any]
) -> None:
    """Write rows to a Parquet file that `datasets` reads with these features. `footer` may be filled while rows come.

    Batches may be of any size: the file does not depend on it. A row group has 64 rows, or fewer where their values
    take more than 100 MB. No more is held than a row group and a batch, so memory does not grow with the shard; audio
    bytes, which FLAC has compressed already, are stored as they are. Raises
    DataError (a full disk, say) and leaves no file.
    """
    schema = features.arrow_schema
    leaves = _leaves(schema)
    compression = {name: "none" if name.endswith(".bytes") else "snappy" for name in leaves}
    # No value of these comes twice: a dictionary would make embeddings half as large again.
    repeating = [name for name in leaves if not name.endswith(".bytes") and not name.startswith("embedding.")]

    def fill(part: Path) -> None:
        options = {"compression": compression, "use_dictionary": repeating, "write_page_index": True}
        with pq.ParquetWriter(part, schema, **options) as writer:
            for rows in _row_groups(batches):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            writer.add_key_value_metadata({FOOTER: json.dumps(footer, sort_keys=True)})

    write_file(path, fill)


def _row_groups(batches: Iterable[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each row group."""
    held: list[dict[str, Any]] = []
    size = 0
    for row in chain.from_iterable(batches):
        more = _size_of(row)
        if held and (len(held) == ROW_GROUP or size + more > ROW_GROUP_BYTES):
            yield held
            held, size = [], 0
        held.append(row)
        size += more
    if held:
        yield held


def _size_of(value: Any) -> int:
    """Bytes of a row's texts and audio, which are what makes it large."""
    if isinstance(value, dict):
        return sum(map(_size_of, value.values()))
    return len(value) if isinstance(value, bytes | str) else 8


def _leaves(schema: pa.Schema) -> list[str]:
    return [leaf for field in schema for leaf in _leaf_names(field.name, field.type)]


def _leaf_names(path: str, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaf_names(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaf_names(f"{path}.list.element", kind.value_type)
    else:
        yield path


def read_footer(path: Path) -> dict[str, Any]:
    """What `write_shard` left in the footer. Raises DataError for a file that is no shard of ours."""
    try:
        metadata = pq.read_metadata(open_for_arrow(path)).metadata or {}
        footer = parse_json(metadata[FOOTER])
        if not isinstance(footer, dict):
            raise ValueError("its footer is no JSON object")
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable shard of a synthmir corpus ({type(error).__name__}: {error})"
        ) from error
    return footer


def digest(path: Path) -> str:
    """SHA-256 of a file as the store that holds it has it written, so that nothing is read; else of what is read."""
    return stored_sha256(path) or hash_file(path)


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished shard: its file and hash, the worker-seconds it took, its rows, and what it was made from."""

    name: str
    sha256: str
    seconds: float
    rows: int
    source: str


ENTRY = ([str, str, float, int, str], [str, str, int, int, str])  # kinds of its values


class Ledger:
    """A journal of finished shards in a work folder, one JSON line each: what is in it need not be made again.

    A shard is put in its place first and entered after, so that a run killed in between makes that one again.
    A torn last line is ignored. In a store, where nothing can be appended to, each entry is an object of its own.
    """

    def __init__(self, work: Path) -> None:
        self.path = work / ("ledger" if is_remote(work) else "ledger.jsonl")
        self.entries: dict[str, Entry] = {}
        for line in read_all_files(self.path) if is_remote(work) else self._lines():
            try:
                entry = Entry(**parse_json(line))
            except (ValueError, TypeError):
                continue
            if [type(value) for value in astuple(entry)] not in ENTRY:
                continue
            self.entries[entry.name] = entry

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []

    def intact(self, place: Path, name: str, source: str) -> bool:
        """Whether the shard is in `place`, made from `source`, and byte for byte what was entered."""
        entry, path = self.entries.get(name), place / name
        return entry is not None and entry.source == source and path.is_file() and digest(path) == entry.sha256

    def enter(self, entry: Entry) -> None:
        """Add a finished shard."""
        if is_remote(self.path):
            write_bytes(self.path / f"{entry.name}.json", json.dumps(asdict(entry)).encode())
            self.entries[entry.name] = entry
            return
        with write_errors(self.path), self.path.open("ab+") as handle:
            handle.seek(0, os.SEEK_END)
            if handle.tell():  # a torn line of a killed run must not swallow this one
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(json.dumps(asdict(entry)).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        self.entries[entry.name] = entry
