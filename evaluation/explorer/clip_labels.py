"""The labels of all clips of a corpus in one table. No audio is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builder.corpus.corpus import group_shards
from builder.errors import DataError
from builder.io.columns import name_labels, read_matrix
from builder.io.hf_features import read_label_names
from builder.io.parquet_guard import check_footer

from .corpus_source import CorpusSource

if TYPE_CHECKING:
    import pandas as pd

TEXT_COLUMNS = ("id", "prompt", "genre", "subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals")
LEVEL_COLUMNS = ("duration", "loudness", "peak")
COLUMNS = (*TEXT_COLUMNS, *LEVEL_COLUMNS, "attempts", "seed", "generator", "soundfont")
INTEGER_TYPES = {"tempo_bpm": pa.int32(), "attempts": pa.int16(), "seed": pa.int64()}
VERIFY = "synthmir verify CORPUS"
READERS = 8  # shards whose footers and labels are fetched at the same time


@dataclass(frozen=True, slots=True)
class CorpusShard:
    """A Parquet file of the corpus with its footer."""

    name: str
    split: str
    footer: pq.FileMetaData


@dataclass(frozen=True, slots=True)
class ClipLabels:
    """The labels of all clips in the order of the shards."""

    table: pd.DataFrame  # a row for each clip, `COLUMNS` and "split"
    names: dict[str, list[str]]  # the names of each label column, in the taxonomy's order
    shards: list[CorpusShard]


def list_shards(source: CorpusSource, config: str = "data") -> list[tuple[str, str]]:
    """List (file, split) of a config's shards, training split first.

    A corpus that has grown has several parts. The shards of each part have their own numbers.

    Raises:
        DataError: Shards of a split are missing.
    """
    names = [name for name in source.files() if name.rpartition("/")[0] == config]
    shards = group_shards(names, f"{source.name}: {config}", "see what is missing: synthmir verify CORPUS")
    return [(name, split) for split, files in shards.items() for name in files]


def read_clip_labels(source: CorpusSource) -> ClipLabels:
    """Read the labels of all clips.

    Raises:
        DataError: There are no shards with `id` and `audio`, or one cannot be read.
        HubError: The repository cannot be read.
    """
    names = list_shards(source)
    if not names:
        raise DataError(
            f"{source.name}: not a corpus (it has no data/train-...parquet)", "give what `synthmir build` made"
        )
    with ThreadPoolExecutor(min(READERS, len(names)) if source.kind == "hub" else 1) as pool:
        parts = list(pool.map(lambda shard: _read_shard(source, *shard), names))
    # A part that was added later may know more labels.
    label_columns = max((part for _, _, part in parts), key=lambda part: sum(map(len, part.values())))
    import pandas as pd

    nullable = {pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    try:
        rows = pa.concat_tables([part for part, _, _ in parts], promote_options="default")
    except pa.ArrowException as error:
        raise DataError(
            f"{source.name}: its shards differ in their columns: {error}", "synthmir verify CORPUS"
        ) from error
    table = rows.to_pandas(types_mapper=nullable.get)
    table["instruments"] = [tuple(names) if names is not None else () for names in table["instruments"]]
    return ClipLabels(table, label_columns, [shard for _, shard, _ in parts])


def read_error(name: str, error: Exception) -> DataError:
    """Create the error for a Parquet file that cannot be read."""
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{name}: cannot be read: {reason}", "synthmir verify CORPUS")


def _read_shard(source: CorpusSource, name: str, split: str) -> tuple[pa.Table, CorpusShard, dict[str, list[str]]]:
    """Read a shard's labels, its footer, and the names of its label columns."""
    source.check_parquet(name, (*COLUMNS, "audio"))
    path = f"{source.name}/{name}"
    try:
        with source.open(name) as handle:
            file = pq.ParquetFile(handle, metadata=read_footer(handle, path), pre_buffer=True)
            available = file.schema_arrow.names
            if not {"id", "audio"} <= set(available):
                raise DataError(f"{path}: has no columns id and audio", "give a corpus of synthmir")
            names = read_label_names(file.schema_arrow.metadata)
            table = file.read(columns=[column for column in COLUMNS if column in available])
        table.validate(full=True)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "id": table["id"],
            "split": pa.array([split] * len(table), pa.string()),
        }
        for column in COLUMNS[1:]:
            values = name_labels(table[column], names.get(column)) if column in available else pa.nulls(len(table))
            if column in INTEGER_TYPES:
                values = values.cast(INTEGER_TYPES[column], safe=False)
            elif column in LEVEL_COLUMNS:
                values = values.cast(pa.float32())
            columns[column] = values
        return pa.table(columns), CorpusShard(name, split, file.metadata), names
    except (pa.ArrowException, OSError) as error:
        raise read_error(path, error) from error


def read_footer(handle: IO[bytes], name: str) -> pq.FileMetaData:
    """Read a file's footer and nothing else. Arrow itself would fetch the last 64 KB, which hold audio too."""
    end = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, end - 8))
    length = int.from_bytes(handle.read(4), "little")
    handle.seek(max(0, end - 8 - length))
    tail = handle.read()
    check_footer(tail[:-8], name)
    return pq.read_metadata(pa.BufferReader(tail))


def read_embeddings(source: CorpusSource, config: str, ids: Sequence[str]) -> np.ndarray | None:
    """Read the embeddings of clips, joined by id.

    Args:
        source: The corpus.
        config: The name of the configuration that holds the embeddings.
        ids: The clips' ids.

    Returns:
        float32 [clips, dim] in the order of `ids`, or None if a clip has no embedding.

    Raises:
        DataError: A shard cannot be read, or the embeddings differ in length.
    """
    index = {identity: number for number, identity in enumerate(ids)}
    vectors: np.ndarray | None = None
    filled = np.zeros(len(index), bool)
    for name, _ in list_shards(source, config):
        source.check_parquet(name, ("id", "embedding"))
        try:
            with source.open(name) as handle:
                table = pq.read_table(handle, columns=["id", "embedding"], pre_buffer=True)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise read_error(f"{source.name}/{name}", error) from error
        if not len(table):
            continue
        shard_ids = [str(identity) for identity in table["id"].to_pylist()]
        dim = None if vectors is None else vectors.shape[1]
        values = read_matrix(
            [table["embedding"]], len(table), f"{source.name}/{name}", shard_ids.__getitem__, dim=dim, fix=VERIFY
        )
        if vectors is None:
            vectors = np.zeros((len(index), values.shape[1]), np.float32)
        rows = np.array([index.get(identity, -1) for identity in shard_ids])
        vectors[rows[rows >= 0]] = values[rows >= 0]
        filled[rows[rows >= 0]] = True
    return vectors if filled.all() and len(index) else None


def sample_evenly(genres: Sequence[str], limit: int | None) -> np.ndarray:
    """Choose rows so that genres are as equally frequent as possible, evenly spaced within each genre.

    Args:
        genres: The genre of each row.
        limit: How many rows at most; None for all.

    Returns:
        int64 [min(limit, rows)], ascending.
    """
    if limit is None or limit >= len(genres):
        return np.arange(len(genres))
    rows: dict[str, np.ndarray] = {
        name: np.flatnonzero([genre == name for genre in genres]) for name in sorted(set(genres))
    }
    shares = dict.fromkeys(rows, 0)
    left = limit
    while left > 0:  # what a small genre cannot fill goes to the others
        unfilled = [name for name in rows if shares[name] < len(rows[name])]
        for name in unfilled[:left]:
            shares[name] += min(max(1, left // len(unfilled)), len(rows[name]) - shares[name])
        left = limit - sum(shares.values())
    chosen = [
        places[np.linspace(0, len(places) - 1, shares[name]).round().astype(int)] for name, places in rows.items()
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)
