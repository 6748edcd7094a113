"""The labels of all clips in one table, as words; and one clip's sound, found again when it is asked for."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.corpus.corpus import SHARD_FILE
from builder.errors import DataError
from builder.io.parquet_guard import check_footer, read_label_names

from .corpus_source import PART, Place

if TYPE_CHECKING:
    import pandas as pd

WORDS = ("id", "prompt", "genre", "subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals")
LEVELS = ("duration", "loudness", "peak")
COLUMNS = (*WORDS, *LEVELS, "attempts", "seed", "generator")
SPLITS = ("train", "validation", "test")  # in this order; what else there is comes after
WHOLE = {"tempo_bpm": pa.int32(), "attempts": pa.int16(), "seed": pa.int64()}
CACHE_BYTES = 64 << 20  # of sound that was read lately
READERS = 8  # shards whose footers and labels are fetched at once


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file of the corpus, its footer kept."""

    name: str
    split: str
    footer: pq.FileMetaData


def shards_of(place: Place, config: str = "data") -> list[tuple[str, str]]:
    """(file, split) of a config's shards, train first. DataError where some of a split's shards are missing.

    A corpus that has grown has shards of several parts, each with its own numbers.
    """
    found: dict[str, list[str]] = {}
    totals: dict[tuple[str, str], list[int]] = {}
    for name in place.files():
        folder, _, file = name.rpartition("/")
        if folder == config and (match := SHARD_FILE.match(file)):
            found.setdefault(match["split"], []).append(name)
            totals.setdefault((match["split"], match["part"] or ""), []).append(int(match["total"]))
    for (split, _), told in totals.items():
        if set(told) != {len(told)}:
            raise DataError(
                f"{place.name}: {config}: {len(told)} shard(s) of {split}, of {sorted(set(told))}",
                "see what is missing: synthmir verify CORPUS",
            )
    order = sorted(found, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))
    return [(name, split) for split in order for name in found[split]]


def read_labels(place: Place) -> tuple[pd.DataFrame, dict[str, list[str]], list[Shard]]:
    """All clips' labels in the order of the shards, the names of the label columns, and the shards.

    Raises DataError where there are no shards with `id` and `audio`, or one cannot be read.
    """
    names = shards_of(place)
    if not names:
        raise DataError(
            f"{place.name}: not a corpus (it has no data/train-...parquet)", "give what `synthmir build` made"
        )
    with ThreadPoolExecutor(min(READERS, len(names)) if place.kind == "hub" else 1) as pool:
        parts = list(pool.map(lambda named: _read(place, *named), names))
    words = max((found for _, _, found in parts), key=lambda found: sum(map(len, found.values())))  # the newest part's
    import pandas as pd

    kinds = {pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}  # nulls and all
    try:
        rows = pa.concat_tables([part for part, _, _ in parts], promote_options="default")
    except pa.ArrowException as error:
        raise DataError(
            f"{place.name}: its shards differ in their columns: {error}", "synthmir verify CORPUS"
        ) from error
    table = rows.to_pandas(types_mapper=kinds.get)
    table["instruments"] = [tuple(one) if one is not None else () for one in table["instruments"]]
    return table, words, [shard for _, shard, _ in parts]


def _read(place: Place, name: str, split: str) -> tuple[pa.Table, Shard, dict[str, list[str]]]:
    place.look_over(name, (*COLUMNS, "audio"))
    try:
        with place.open(name) as handle:
            file = pq.ParquetFile(handle, metadata=_footer(handle, f"{place.name}/{name}"), pre_buffer=True)
            there = file.schema_arrow.names
            if not {"id", "audio"} <= set(there):
                raise DataError(f"{place.name}/{name}: has no columns id and audio", "give a corpus of synthmir")
            words = read_label_names(file.schema_arrow.metadata)
            table = file.read(columns=[column for column in COLUMNS if column in there])
        table.validate(full=True)
        columns: dict[str, Any] = {"id": table["id"], "split": pa.array([split] * len(table), pa.string())}
        for column in COLUMNS[1:]:
            columns[column] = _in_words(table[column], words.get(column)) if column in there else pa.nulls(len(table))
            if column in WHOLE:
                columns[column] = columns[column].cast(WHOLE[column], safe=False)
            elif column in LEVELS:
                columns[column] = columns[column].cast(pa.float32())
        return pa.table(columns), Shard(name, split, file.metadata), words
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{place.name}/{name}: cannot be read: {reason}", "synthmir verify CORPUS") from error


def _footer(handle: Any, name: str) -> pq.FileMetaData:
    """A file's footer and not a byte before it; Arrow itself takes the last 64 KB, some of which are sound."""
    end = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, end - 8))
    length = int.from_bytes(handle.read(4), "little")
    handle.seek(max(0, end - 8 - length))
    tail = handle.read()
    check_footer(tail[:-8], name)
    return pq.read_metadata(pa.BufferReader(tail))


def _in_words(column: pa.ChunkedArray, names: list[str] | None) -> pa.Array:
    """A label column as its words; null where a clip has none."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of a shard without rows
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if names is None:
        return array
    if pa.types.is_list(array.type):
        return pa.ListArray.from_arrays(array.offsets, _in_words(pa.chunked_array([array.values]), names))
    known = pc.if_else(pc.and_(pc.greater_equal(array, 0), pc.less(array, len(names))), array, None)
    return pa.array(names, pa.string()).take(known)


class Sound:
    """The clips' FLAC bytes. One is read at a time, up to its place in its row group, and the latest are kept."""

    def __init__(self, place: Place, shards: Sequence[Shard]) -> None:
        self._place, self._shards = place, shards
        self._groups: list[tuple[int, int]] = []  # shard and row group
        self._starts: list[int] = []  # the first clip of each
        count = 0
        for number, shard in enumerate(shards):
            for group in range(shard.footer.num_row_groups):
                self._groups.append((number, group))
                self._starts.append(count)
                count += shard.footer.row_group(group).num_rows
        self._kept: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self._lock = Lock()

    def __getitem__(self, row: int) -> tuple[bytes, str]:
        """A clip's bytes and suffix, by its place among all clips. Raises DataError."""
        with self._lock:
            if row in self._kept:
                self._kept.move_to_end(row)
                return self._kept[row]
        found = (b"", "")
        for number, found in self._walk(self._group(row), row):  # those on the way are kept too; others need not wait
            with self._lock:
                self._keep(number, found)
        return found

    def each(self, rows: Iterable[int]) -> Iterator[tuple[int, tuple[bytes, str]]]:
        """The clips of ascending `rows`: every row group is read once, and nothing is kept."""
        for group, members in groupby(rows, self._group):
            wanted = list(members)
            yield from (one for one in self._walk(group, wanted[-1]) if one[0] in set(wanted))

    def _group(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _walk(self, at: int, last: int) -> Iterator[tuple[int, tuple[bytes, str]]]:
        """The clips from the start of a row group to the one called for."""
        (number, group), row = self._groups[at], self._starts[at]
        shard = self._shards[number]
        where = f"{self._place.name}/{shard.name}"
        try:
            with self._place.open(shard.name) as handle:
                # Buffered, and not ahead of what is asked: of a row group only what stands before the clip is read.
                file = pq.ParquetFile(
                    handle, metadata=shard.footer, buffer_size=PART if self._place.kind == "hub" else 1 << 20
                )
                for batch in file.iter_batches(1, row_groups=[group], columns=["audio"], use_threads=False):
                    yield row, _sound(batch.column(0)[0].as_py(), f"{where}: clip {row}")
                    if row == last:
                        return
                    row += 1
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{where}: cannot be read: {reason}", "synthmir verify CORPUS") from error
        raise DataError(f"{where}: ends before clip {last}", "synthmir verify CORPUS")

    def _keep(self, row: int, found: tuple[bytes, str]) -> None:
        self._kept[row] = found
        self._kept.move_to_end(row)
        while len(self._kept) > 1 and sum(len(data) for data, _ in self._kept.values()) > CACHE_BYTES:
            self._kept.popitem(last=False)


def _sound(audio: Any, where: str) -> tuple[bytes, str]:
    """The stored bytes. The path beside them is a name and no more: no file is opened by it."""
    if not isinstance(audio, dict) or not audio.get("bytes"):
        raise DataError(f"{where}: holds no sound", "give a corpus whose audio is in its Parquet files")
    suffix = PurePosixPath(str(audio.get("path") or "")).suffix.lower()
    return audio["bytes"], suffix if suffix in (".flac", ".wav", ".mp3", ".ogg") else ".flac"


def read_embeddings(place: Place, config: str, ids: Sequence[str]) -> np.ndarray | None:
    """float32 [clips, dim] in the order of `ids`; None where a clip has none. Raises DataError."""
    row = {identity: number for number, identity in enumerate(ids)}
    found: np.ndarray | None = None
    seen = np.zeros(len(row), bool)
    for name, _ in shards_of(place, config):
        place.look_over(name, ("id", "embedding"))
        try:
            with place.open(name) as handle:
                table = pq.read_table(handle, columns=["id", "embedding"], pre_buffer=True)
        except (pa.ArrowException, OSError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{place.name}/{name}: cannot be read: {reason}", "synthmir verify CORPUS") from error
        if not len(table):
            continue
        values = pc.list_flatten(table["embedding"]).to_numpy().reshape(len(table), -1)
        if found is None:
            found = np.zeros((len(row), values.shape[1]), np.float32)
        if values.shape[1] != found.shape[1]:
            raise DataError(f"{place.name}/{name}: embeddings of another length", "synthmir verify CORPUS")
        at = np.array([row.get(str(one), -1) for one in table["id"].to_pylist()])
        found[at[at >= 0]] = values[at >= 0]
        seen[at[at >= 0]] = True
    return found if seen.all() and len(row) else None


def evenly(genres: Sequence[str], limit: int | None) -> np.ndarray:
    """Rows of `limit` clips at most, as many of each genre as can be, spread over each; int64, in order."""
    if limit is None or limit >= len(genres):
        return np.arange(len(genres))
    places: dict[str, np.ndarray] = {
        name: np.flatnonzero([genre == name for genre in genres]) for name in sorted(set(genres))
    }
    share = dict.fromkeys(places, 0)
    left = limit
    while left > 0:  # what a small genre cannot fill goes to the others
        open_ones = [name for name in places if share[name] < len(places[name])]
        for name in open_ones[:left]:
            more = min(max(1, left // len(open_ones)), len(places[name]) - share[name])
            share[name] += more
        left = limit - sum(share.values())
    chosen = [rows[np.linspace(0, len(rows) - 1, share[name]).round().astype(int)] for name, rows in places.items()]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)
