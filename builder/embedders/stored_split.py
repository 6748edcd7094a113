"""One split of a data set as it is stored: Parquet files, or a data set that `datasets` opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.corpus import newest_shard
from ..corpus.shards import FOOTER
from ..errors import DataError
from ..io.columns import describe_column, merge_descriptions
from ..io.parquet_guard import check_parquet, parquet_errors, read_batches
from ..io.safe_files import parse_json
from ..io.storage import open_for_arrow

if TYPE_CHECKING:
    from datasets import Dataset

VERIFY = "see what is damaged: synthmir verify CORPUS"
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself."""

    rows: int
    schema: pa.Schema
    made: dict[str, Any]  # by the writer: embedder, revision, ...


class ParquetSplit:
    """A split in Parquet files, each of which is checked before it is read."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self.footers = tuple(read_footer(file) for file in self.files)
        self._checked: set[str] = set()

    def __len__(self) -> int:
        return sum(footer.rows for footer in self.footers)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the newest file: those of the others are among them."""
        return list(self._newest.schema.names)

    def describe(self, column: str) -> dict[str, Any]:
        """Describe a column, see `describe_column`. Raises DataError where the files contradict one another."""
        kind: dict[str, Any] | None = None
        for file, footer in zip(self.files, self.footers, strict=True):
            if column in footer.schema.names:
                other = describe_column(footer.schema, column)
                if (kind := merge_descriptions(kind or other, other)) is None:
                    raise DataError(f"{file}: column {column!r} is not described as in the other files", VERIFY)
        return kind or {}

    def type_of(self, column: str) -> pa.DataType:
        """The Arrow type of a column."""
        return self._newest.schema.field(column).type

    def read(self, columns: Sequence[str], rows: np.ndarray | None = None) -> Iterator[pa.Table]:
        """Read columns, a file at a time; of files without any of the `rows` (int64, ascending) nothing is read."""
        new = [name for name in columns if name not in self._checked]
        start = 0
        for file, footer in zip(self.files, self.footers, strict=True):
            mine = None if rows is None else rows[(rows >= start) & (rows < start + footer.rows)] - start
            start += footer.rows
            if mine is not None and not len(mine):
                continue
            if missing := [name for name in columns if name not in footer.schema.names]:
                raise DataError(f"{file}: has no column {missing[0]!r}", VERIFY)
            if new:
                check_parquet(file, new)
            with parquet_errors(file):
                table = pq.read_table(open_for_arrow(file), columns=list(columns), partitioning=None)
                table.validate(full=True)
            yield table if mine is None else table.take(pa.array(mine))
        if rows is None:
            self._checked |= set(new)

    def read_audio(self, ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """The stored audio of some clips by id, in the order of the files, a few clips in memory at a time."""
        for file in self.files:
            check_parquet(file, ("id", "audio"))
            with parquet_errors(file):
                wanted = set(pq.read_table(open_for_arrow(file), columns=["id"])["id"].to_pylist()) & set(ids)
                for batch in read_batches(file, 64, ["id", "audio"], sorted(wanted)) if wanted else ():
                    yield from ((row["id"], row["audio"]) for row in batch.to_pylist())

    @property
    def _newest(self) -> Footer:
        return self.footers[self.files.index(newest_shard(self.files))]


class ArrowSplit:
    """A split that `datasets` holds, memory-mapped."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.data.column_names)

    def describe(self, column: str) -> dict[str, Any]:
        """Describe a column, see `describe_column`."""
        return dict(self.data.features.to_dict()[column])

    def type_of(self, column: str) -> pa.DataType:
        """The Arrow type of a column."""
        return self.data.features.arrow_schema.field(column).type

    def read(self, columns: Sequence[str], rows: np.ndarray | None = None) -> Iterator[pa.Table]:
        """Read columns, some thousand rows at a time: all rows, or `rows` (int64)."""
        data = self.data.select_columns(list(columns))
        data = data if rows is None else data.select(rows)
        try:
            yield from data.with_format("arrow").iter(ROWS_AT_ONCE)
        except pa.ArrowException as error:
            raise DataError(f"a saved data set cannot be read: {error}", "save it again") from error

    def read_audio(self, ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """The stored audio of some clips by id, in the order of the rows."""
        for table in self.read(("id", "audio")):
            yield from ((row["id"], row["audio"]) for row in table.to_pylist() if row["id"] in set(ids))


def read_footer(file: Path) -> Footer:
    """Read a file's footer, after a check that it is safe to follow. Raises DataError."""
    check_parquet(file, ())
    with parquet_errors(file):
        parquet = pq.ParquetFile(open_for_arrow(file))
        try:
            made = parse_json((parquet.metadata.metadata or {}).get(FOOTER, b"{}"))
        except ValueError as error:
            raise DataError(f"{file}: not a open_for_arrow Parquet file: {error}", VERIFY) from error
        return Footer(parquet.metadata.num_rows, parquet.schema_arrow, made if isinstance(made, dict) else {})
