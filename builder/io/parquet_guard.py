"""A Parquet file of anybody's looked over before it is read: what it would unpack to is known, and bounded, first.

Arrow believes what a file says of itself. A page of a few bytes may say that it holds 2^31 numbers, and hold them; a
text of a megabyte may stand a million times under one number of a dictionary. So the headers of the pages (Apache
Parquet format 2.x, Thrift's compact protocol) are read here, which are all that tells, and nothing is unpacked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import DataError
from .safe_files import parse_json
from .storage import open_for_arrow

if TYPE_CHECKING:
    from datasets import Features

EXPANSION, SLACK = (
    64,
    256 << 20,
)  # so many times its size, and bytes beside, may a file unpack to; honest ones: 20 times
PAGE_SLACK = 64 << 20
BATCH_BYTES = 64 << 20  # of rows that are read at once
MAX_FOOTER = 32 << 20  # bytes
MAX_COLUMNS, MAX_DEPTH = 10_000, 50  # of a schema; Arrow builds it by recursion
WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}  # bytes of a value by kind of column; all others are texts
DATA, DICTIONARY = 0, 2  # kinds of page; 3 is the newer kind of data
PLAIN_DICTIONARY, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 2, 7, 8  # encodings
FIX = "fetch the file again, from somebody you trust; what is damaged in a corpus: synthmir verify"


def check_parquet(path: Path, columns: Collection[str] | None = None) -> None:
    """Raise DataError for a file whose columns (all, if not named) cannot be read safely: damaged, or far too large.

    What passes unpacks to no more than EXPANSION times the file's size and SLACK.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            footer = _footer(file, size)
            _check_schema(footer)
            if isinstance(path, Path):  # in a store every page would be a request, and it is the reader's own
                _check_pages(path, file, size, footer, columns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", FIX) from error
    except (ValueError, IndexError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}", FIX) from error


def read_batches(
    path: Path | str, rows: int, columns: Sequence[str] | None = None, ids: Collection[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """A file's rows, `rows` at a time, or fewer where they are so large that a batch would pass BATCH_BYTES.

    Pages are read as they are needed, so that no more is held than a batch and a page. `ids`: rows of these alone;
    `columns` must then have "id".
    """
    file = pq.ParquetFile(open_for_arrow(Path(path) if isinstance(path, str) else path), buffer_size=1 << 20)
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)  # by the mean row
    wanted = None if ids is None else pa.array(list(ids), file.schema_arrow.field("id").type)
    size, held = max(1, min(rows, BATCH_BYTES // max(largest, 1))), list[pa.RecordBatch]()
    for group in range(len(groups)):  # one by one: `iter_batches` over several keeps the buffers of all it has read
        for batch in file.iter_batches(size, row_groups=[group], columns=columns):
            left = size - sum(map(len, held))
            held.append(batch.slice(0, left))
            if len(batch) >= left:
                yield _chosen(held, wanted)
                held = [batch.slice(left)] if len(batch) > left else []
    if held:
        yield _chosen(held, wanted)


def _chosen(batches: list[pa.RecordBatch], ids: pa.Array | None) -> pa.RecordBatch:
    """Batches as one; of its rows those of `ids`."""
    batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    return batch if ids is None else batch.filter(pc.is_in(batch.column("id"), ids))


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Tell in words what Arrow finds damaged inside, where `look_over` does not look: DataError."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}", FIX) from error


def check_footer(footer: bytes, name: str) -> None:
    """Raise DataError for a footer (`FileMetaData`) that is none, or that Arrow would follow too deep."""
    try:
        _check_schema(Thrift(footer).struct())
    except (ValueError, IndexError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {error}", FIX) from error


def features_from_schema(schema: pa.Schema, path: Path | str) -> Features:
    """The columns as `datasets` has them, by what a file says of itself. Raises DataError where that is nonsense."""
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except Exception as error:  # it is JSON of anybody's
        raise DataError(f"{path}: its columns are not described as `datasets` does: {error!r:.200}", FIX) from error


def read_label_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Names of the label columns (of lists, too), as `datasets` writes them into a schema; what is odd is left out."""
    try:
        columns = parse_json((metadata or {})[b"huggingface"])["info"]["features"].items()
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    found = {}
    for column, feature in columns:
        inner = feature.get("feature", feature) if isinstance(feature, dict) else None
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and names:
            found[column] = [str(name) for name in names]
    return found


def _footer(file: BinaryIO, size: int) -> Struct:
    """`FileMetaData`. Arrow's own view of it is not asked for: it ends the process where statistics contradict."""
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise ValueError("it does not end as one")
    length = int.from_bytes(tail[:4], "little")
    if length > min(MAX_FOOTER, size - 12):
        raise ValueError(f"its footer claims {length:,} bytes")
    file.seek(size - 8 - length)
    return Thrift(file.read(length)).struct()


def _check_schema(footer: Struct) -> None:
    """Not too many columns, not too deep, and with names that are text.

    The tree stands in preorder, each node with its number of children.
    """
    elements = footer.structs(2)
    if not 1 < len(elements) <= MAX_COLUMNS:
        raise ValueError(f"it has {len(elements):,} columns")
    waiting: list[int] = []
    for element in elements:
        element.name().decode()  # Arrow takes any bytes, and does not tell before it is asked for a name
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
    leaning: set[str] = set()  # columns of texts that may each begin as the one before
    for chunk in (chunk for group in footer.structs(4) for chunk in group.structs(1)):
        told = chunk.inner(3)
        names = [word.decode("utf-8", "replace") for word in told.words(3)]
        name, kind = ".".join(names), told.number(1)
        if chunk.get(1):
            raise ValueError(f"column {name!r} lies in another file")
        if columns is not None and names[:1] and names[0] not in columns:
            continue
        words = 0  # bytes of the chunk's dictionary
        for page in _pages(file, size, told, name):
            unpacked, packed, page_kind = page.number(2), page.number(3), page.number(1)
            if unpacked > PAGE_SLACK + EXPANSION * packed:
                raise ValueError(f"a page of column {name!r} claims {unpacked:,} bytes in {packed:,}")
            if page_kind == DICTIONARY:
                words = unpacked
                continue
            head = page.inner(5 if page_kind == DATA else 8)
            values, encoding = head.number(1), head.number(2 if page_kind == DATA else 4)
            total += unpacked + values * WIDTHS.get(kind, 8)
            if kind not in WIDTHS and encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY, DELTA_BYTE_ARRAY):
                most = unpacked if encoding == DELTA_BYTE_ARRAY else words
                leaning |= {name} if encoding == DELTA_BYTE_ARRAY else set()
                repeated[name] = repeated.get(name, 0) + values * most
                longest[name] = max(longest.get(name, 1), most)
            if total > limit:
                raise ValueError(f"up to column {name!r} it unpacks to {total:,} bytes, the file has {size:,}")
    for name, most in repeated.items():
        if total + most > limit and total + _text(path, name, limit, longest[name], name in leaning) > limit:
            raise ValueError(f"the texts of column {name!r} unpack to over {limit:,} bytes, the file has {size:,}")


def _text(path: Path, name: str, enough: int, longest: int, leaning: bool) -> int:
    """How many bytes the texts of a column are, each counted as often as it stands there; few are unpacked at once."""
    # Texts that lean on each other cannot be read as a dictionary: they are unpacked, a few at a time.
    file = pq.ParquetFile(path, read_dictionary=[] if leaning else [name])
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
    """The header of each page of a column chunk."""
    starts = [at for at in (chunk.number(11), chunk.number(9)) if at]
    at, end = min(starts, default=0), min(starts, default=0) + chunk.number(7)
    if not 4 <= at <= end <= size - 8:
        raise ValueError(f"column {name!r} lies outside of the file")
    values = 0
    while at < end and values < chunk.number(5):
        header, length = _page(file, at, end)
        at += length + header.number(3)
        found = max((head.number(1) for head in (header.inner(5), header.inner(8))), default=0)
        if min(header.number(2), header.number(3), found) < 0 or at > end:
            raise ValueError(f"a page of column {name!r} is longer than the column")
        values += found
        yield header


def _page(file: BinaryIO, at: int, end: int) -> tuple[Struct, int]:
    for length in (256, 1 << 14, 1 << 20):  # with statistics of long texts it is long
        file.seek(at)
        reader = Thrift(file.read(min(length, end - at)))
        try:
            return reader.struct(), reader.at
        except IndexError:
            if length >= end - at:
                raise
    raise ValueError("the header of a page has no end")


class Struct(dict[int, Any]):
    """A struct by its fields' ids. ValueError: a field is of another kind than it must be."""

    def _kind(self, field: int, kind: type, default: Any) -> Any:
        value = self.get(field, default)
        if type(value) is not kind:
            raise ValueError(f"field {field} is {type(value).__name__}")
        return value

    def number(self, field: int) -> int:
        """A whole number, 0 if it is not there."""
        return int(self._kind(field, int, 0))

    def name(self) -> bytes:
        """Of a column."""
        return bytes(self._kind(4, bytes, b""))

    def inner(self, field: int) -> Struct:
        """A struct, empty if it is not there."""
        found: Struct = self._kind(field, Struct, Struct())
        return found

    def structs(self, field: int) -> list[Struct]:
        """A list of structs."""
        found: list[Struct] = self._kind(field, list, [])
        if found and not isinstance(found[0], Struct):
            raise ValueError(f"field {field} lists {type(found[0]).__name__}")
        return found

    def words(self, field: int) -> list[bytes]:
        """A list of texts."""
        found: list[bytes] = self._kind(field, list, [])
        if found and not isinstance(found[0], bytes):
            raise ValueError(f"field {field} lists {type(found[0]).__name__}")
        return found


class Thrift:
    """Thrift's compact protocol, read. IndexError: it breaks off."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> Struct:
        """A struct with all that is in it."""
        found, field = Struct(), 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._whole()
            found[field] = self._value(head & 15, depth)
        return found

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
                raise IndexError("it breaks off")
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
            raise IndexError("it breaks off")  # every value takes a byte at least
        kind = 3 if kind in (1, 2) else kind  # within a list a truth takes a byte
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
