"""Checks of untrusted Parquet files: how much memory one takes is computed, and limited, before it is read.

Arrow trusts what a file says. A page of a few bytes may hold 2^31 numbers, and a dictionary may repeat a text of one
megabyte a million times. Therefore the headers of the pages are read here (Apache Parquet format 2.x, in Thrift's
compact protocol), and nothing is decompressed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import DataError
from .storage import open_for_arrow

EXPANSION, SLACK = (
    64,
    256 << 20,
)  # a file may unpack to so many times its size, plus bytes; ordinary files: 20 times
PAGE_SLACK = 64 << 20
BATCH_BYTES = 64 << 20  # of rows in memory
MAX_FOOTER = 32 << 20  # bytes
MAX_COLUMNS, MAX_DEPTH = 10_000, 50  # of a schema; Arrow builds it by recursion
WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}  # bytes of a value by type of column; all others are texts
DATA, DICTIONARY = 0, 2  # types of page; 3 is the newer type of data page
PLAIN_DICTIONARY, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 2, 7, 8  # encodings
FIX = "fetch the file again, from a source that you trust; synthmir verify shows what is damaged in a corpus"


def check_parquet(path: Path, columns: Collection[str] | None = None) -> None:
    """Check that columns of a file can be read safely: they unpack to at most `EXPANSION` times its size plus `SLACK`.

    Args:
        path: The file. In an object store only its footer is checked, as every page would be a request.
        columns: Which. Default: all.

    Raises:
        DataError: If the file is damaged or unpacks to more.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            footer = _footer(file, size)
            _check_schema(footer)
            if isinstance(path, Path):
                _check_pages(path, file, size, footer, columns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", FIX) from error
    except (ValueError, IndexError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}", FIX) from error


def read_batches(
    path: Path | str, rows: int, columns: Sequence[str] | None = None, ids: Collection[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a file in batches. No more is in memory than a batch and a page.

    Args:
        path: The file.
        rows: In each batch. It has fewer if they would be larger than `BATCH_BYTES`.
        columns: Which. Default: all.
        ids: Only rows with these ids; `columns` must have "id". Default: all rows.
    """
    file = pq.ParquetFile(open_for_arrow(Path(path) if isinstance(path, str) else path), buffer_size=1 << 20)
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    largest = max(
        (group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0
    )  # by the mean of a group
    wanted = None if ids is None else pa.array(list(ids), file.schema_arrow.field("id").type)
    size, held = max(1, min(rows, BATCH_BYTES // max(largest, 1))), list[pa.RecordBatch]()
    for group in range(len(groups)):  # `iter_batches` over several groups would keep the buffers of all that were read
        for batch in file.iter_batches(size, row_groups=[group], columns=columns):
            left = size - sum(map(len, held))
            held.append(batch.slice(0, left))
            if len(batch) >= left:
                yield _join_batches(held, wanted)
                held = [batch.slice(left)] if len(batch) > left else []
    if held:
        yield _join_batches(held, wanted)


def _join_batches(batches: list[pa.RecordBatch], ids: pa.Array | None) -> pa.RecordBatch:
    """Join batches, and keep the rows with one of `ids`."""
    batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    return batch if ids is None else batch.filter(pc.is_in(batch.column("id"), ids))


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Raise DataError for damage that Arrow finds inside the block, where `check_parquet` does not look."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}", FIX) from error


def check_footer(footer: bytes, name: str) -> None:
    """Raise DataError for a footer (`FileMetaData`) that is invalid or nested too deep."""
    try:
        _check_schema(Thrift(footer).struct())
    except (ValueError, IndexError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {error}", FIX) from error


def _footer(file: BinaryIO, size: int) -> Struct:
    """Read `FileMetaData`. Arrow is not used: it ends the process if statistics contradict each other."""
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise ValueError("it does not end like one")
    length = int.from_bytes(tail[:4], "little")
    if length > min(MAX_FOOTER, size - 12):
        raise ValueError(f"its footer claims {length:,} bytes")
    file.seek(size - 8 - length)
    return Thrift(file.read(length)).struct()


def _check_schema(footer: Struct) -> None:
    """Raise ValueError for too many columns, too deep ones, and names that are not text.

    The schema is a tree in preorder; each node has its number of children.
    """
    elements = footer.structs(2)
    if not 1 < len(elements) <= MAX_COLUMNS:
        raise ValueError(f"it has {len(elements):,} columns")
    waiting: list[int] = []
    for element in elements:
        element.name().decode()  # Arrow accepts any bytes, and fails when a name is read
        if len(waiting) > MAX_DEPTH:
            raise ValueError(f"its columns are nested more than {MAX_DEPTH} deep")
        if waiting:
            waiting[-1] -= 1
        if (children := element.number(5)) > 0:
            waiting.append(children)
        while waiting and waiting[-1] <= 0:
            waiting.pop()


def _check_pages(path: Path, file: BinaryIO, size: int, footer: Struct, columns: Collection[str] | None) -> None:
    total, limit = 0, SLACK + EXPANSION * size
    repeated: dict[str, int] = {}  # by column: what its texts unpack to if all are as long as one can be
    longest: dict[str, int] = {}  # by column: bytes of such a text
    with_prefixes: set[str] = set()  # columns of texts that may share a prefix with the one before
    for chunk in (chunk for group in footer.structs(4) for chunk in group.structs(1)):
        metadata = chunk.inner(3)
        names = [part.decode("utf-8", "replace") for part in metadata.texts(3)]
        name, kind = ".".join(names), metadata.number(1)
        if chunk.get(1):
            raise ValueError(f"column {name!r} is in another file")
        if columns is not None and names[:1] and names[0] not in columns:
            continue
        dictionary_size = 0  # bytes
        for page in _pages(file, size, metadata, name):
            unpacked, packed, page_kind = page.number(2), page.number(3), page.number(1)
            if unpacked > PAGE_SLACK + EXPANSION * packed:
                raise ValueError(f"a page of column {name!r} claims {unpacked:,} bytes in {packed:,}")
            if page_kind == DICTIONARY:
                dictionary_size = unpacked
                continue
            head = page.inner(5 if page_kind == DATA else 8)
            values, encoding = head.number(1), head.number(2 if page_kind == DATA else 4)
            total += unpacked + values * WIDTHS.get(kind, 8)
            if kind not in WIDTHS and encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY, DELTA_BYTE_ARRAY):
                most = unpacked if encoding == DELTA_BYTE_ARRAY else dictionary_size
                with_prefixes |= {name} if encoding == DELTA_BYTE_ARRAY else set()
                repeated[name] = repeated.get(name, 0) + values * most
                longest[name] = max(longest.get(name, 1), most)
            if total > limit:
                raise ValueError(f"up to column {name!r} it unpacks to {total:,} bytes, the file has {size:,}")
    for name, most in repeated.items():
        if (
            total + most > limit
            and total + _measure_texts(path, name, limit, longest[name], name in with_prefixes) > limit
        ):
            raise ValueError(f"the texts of column {name!r} unpack to over {limit:,} bytes, the file has {size:,}")


def _measure_texts(path: Path, name: str, enough: int, longest: int, with_prefixes: bool) -> int:
    """Measure the bytes of a column's texts, each counted as often as it occurs; few are in memory."""
    # Texts that share prefixes cannot be read as a dictionary: they are unpacked, a few at a time.
    file = pq.ParquetFile(path, read_dictionary=[] if with_prefixes else [name])
    total = 0
    for batch in file.iter_batches(max(1, min(1 << 16, PAGE_SLACK // longest)), columns=[name]):
        array = batch.column(0)
        while pa.types.is_nested(array.type):
            array = array.field(name.split(".")[-1]) if pa.types.is_struct(array.type) else array.flatten()
        if not pa.types.is_dictionary(array.type):
            total += array.nbytes
        else:
            total += pc.sum(pc.binary_length(array.dictionary).cast("int64").take(array.indices)).as_py() or 0
        if total > enough:
            break
    return total


def _pages(file: BinaryIO, size: int, chunk: Struct, name: str) -> Iterator[Struct]:
    """Yield the header of each page of a column chunk."""
    starts = [at for at in (chunk.number(11), chunk.number(9)) if at]
    at, end = min(starts, default=0), min(starts, default=0) + chunk.number(7)
    if not 4 <= at <= end <= size - 8:
        raise ValueError(f"column {name!r} is outside the file")
    values = 0
    while at < end and values < chunk.number(5):
        header, length = _page(file, at, end)
        at += length + header.number(3)
        count = max((head.number(1) for head in (header.inner(5), header.inner(8))), default=0)
        if min(header.number(2), header.number(3), count) < 0 or at > end:
            raise ValueError(f"a page of column {name!r} is longer than the column")
        values += count
        yield header


def _page(file: BinaryIO, at: int, end: int) -> tuple[Struct, int]:
    for length in (256, 1 << 14, 1 << 20):  # it is long if it has statistics of long texts
        file.seek(at)
        reader = Thrift(file.read(min(length, end - at)))
        try:
            return reader.struct(), reader.at
        except IndexError:
            if length >= end - at:
                raise
    raise ValueError("the header of a page has no end")


class Struct(dict[int, Any]):
    """A struct: {field id: value}. Its methods raise ValueError for a field of another type."""

    def _typed(self, field: int, kind: type, default: Any) -> Any:
        value = self.get(field, default)
        if type(value) is not kind:
            raise ValueError(f"field {field} is {type(value).__name__}")
        return value

    def number(self, field: int) -> int:
        """Return an integer, 0 if the field is missing."""
        return int(self._typed(field, int, 0))

    def name(self) -> bytes:
        """Return the name of a column."""
        return bytes(self._typed(4, bytes, b""))

    def inner(self, field: int) -> Struct:
        """Return a struct, an empty one if the field is missing."""
        struct: Struct = self._typed(field, Struct, Struct())
        return struct

    def structs(self, field: int) -> list[Struct]:
        """Return a list of structs."""
        structs: list[Struct] = self._typed(field, list, [])
        if structs and not isinstance(structs[0], Struct):
            raise ValueError(f"field {field} lists {type(structs[0]).__name__}")
        return structs

    def texts(self, field: int) -> list[bytes]:
        """Return a list of texts."""
        texts: list[bytes] = self._typed(field, list, [])
        if texts and not isinstance(texts[0], bytes):
            raise ValueError(f"field {field} lists {type(texts[0]).__name__}")
        return texts


class Thrift:
    """A reader of Thrift's compact protocol. Raises IndexError where the data end too early."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> Struct:
        """Read a struct with everything in it."""
        struct, field = Struct(), 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._whole()
            struct[field] = self._value(head & 15, depth)
        return struct

    def _value(self, kind: int, depth: int) -> Any:
        if kind == 12:
            if depth > MAX_DEPTH:
                raise ValueError("it is nested too deep")
            return self.struct(depth + 1)
        if kind in (4, 5, 6):
            return self._whole()
        if kind in (7, 8):
            length = 8 if kind == 7 else self._varint()
            if length > len(self.data) - self.at:
                raise IndexError("it ends too early")
            self.at += length
            return self.data[self.at - length : self.at]
        if kind in (9, 10):
            return self._list(depth)
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        raise ValueError(f"it holds a value of kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = (head >> 4 if head >> 4 < 15 else self._varint()), head & 15
        if count > len(self.data) - self.at:
            raise IndexError("it ends too early")  # every value takes at least one byte
        kind = 3 if kind in (1, 2) else kind  # within a list a boolean takes a byte
        return [self._value(kind, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        byte = self.data[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("it holds a number of too many digits")

    def _whole(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
