"""Columns of embeddings and labels, from Arrow to numpy and names. Every reader of embeddings uses these functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import DataError
from .safe_files import parse_json

EMBED_AGAIN = "embed it again: synthmir embed"


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of the list types."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def combine(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def read_matrix(
    columns: Iterable[pa.Array | pa.ChunkedArray],
    count: int,
    where: str,
    name_row: Callable[[int], str],
    *,
    dim: int | None = None,
    fix: str = EMBED_AGAIN,
) -> np.ndarray:
    """Copy a column of embeddings into one matrix, part by part.

    Args:
        columns: The parts of the column, in order. Each row is a list of numbers.
        count: The number of rows.
        where: The data set and split, for messages.
        name_row: Gives the id of a row by its number, for messages.
        dim: The length that every embedding must have; by default that of the first one.
        fix: What the user can do about a damaged row.

    Returns:
        float32 [count, dim], all finite.

    Raises:
        DataError: An embedding is null, of another length or not finite, or the column does not hold lists of numbers.
    """
    matrix, start = np.empty((0, dim or 0), np.float32), 0
    for column in columns:
        array = combine(column)
        array = array.storage if isinstance(array, pa.ExtensionArray) else array
        if not is_list(array.type):
            raise DataError(f"{where}: the column of embeddings holds {array.type}, not lists of numbers", fix)
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        if start == 0:
            matrix = np.empty((count, dim or (int(lengths[0]) if len(lengths) else 0)), np.float32)
        width = matrix.shape[1]
        if (odd := np.flatnonzero((lengths != width) | (lengths == 0))).size:
            row = start + int(odd[0])
            expected = f"{width} were expected" if dim else f"that of {name_row(0)!r} has {width}"
            raise DataError(f"{where}: embedding of {name_row(row)!r} has {lengths[odd[0]]} numbers, {expected}", fix)
        try:
            values = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), width)
            rows = matrix[start : start + len(array)]
            rows[:] = values
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: the column of embeddings holds {array.type}, not numbers", fix) from error
        if (bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))).size:
            row = start + int(bad[0])
            raise DataError(f"{where}: embedding of {name_row(row)!r} holds NaN or infinite numbers", fix)
        start += len(array)
    return matrix


def name_labels(column: pa.Array | pa.ChunkedArray, names: Sequence[str] | None) -> pa.Array:
    """Replace the codes of a label column, or of a column of lists of labels, by their names.

    Args:
        column: The column as it is stored.
        names: The names of the codes, or None for a column that holds no codes.

    Returns:
        The names; null for a row without a label, and for a code without a name. A column that holds no codes is
        returned as it is.
    """
    column = combine(column)
    if names is None or not pa.types.is_integer(column.type.value_type if is_list(column.type) else column.type):
        return column
    if is_list(column.type):
        offsets = pa.array(np.append(0, np.cumsum(pc.fill_null(pc.list_value_length(column), 0))), pa.int32())
        named = name_labels(column.flatten(), names)
        return pa.ListArray.from_arrays(offsets, named, mask=column.is_null() if column.null_count else None)
    known = pc.if_else(pc.and_(pc.greater_equal(column, 0), pc.less(column, len(names))), column, None)
    return pa.array(names, pa.string()).take(known)


def describe_column(schema: pa.Schema, column: str) -> dict[str, Any]:
    """Describe a column as `datasets` wrote it into the file, or else by its Arrow type.

    Returns:
        A feature as a dictionary: {"_type": "ClassLabel", "names": [...]}, {"_type": "Value", "dtype": "string"}, ...
    """
    try:
        kind = dict(parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"][column])
        inner = kind.get("feature", kind)
        if not isinstance(inner["_type"], str) or not all(isinstance(name, str) for name in inner.get("names") or ()):
            raise ValueError("not a feature of datasets")
        return kind
    except (KeyError, ValueError, TypeError, AttributeError):
        from datasets import Features

        return dict(Features.from_arrow_schema(pa.schema([schema.field(column)])).to_dict()[column])


def names_of(kind: dict[str, Any]) -> list[str] | None:
    """The class names in a column's description, also those of a list's items; None where it names no classes."""
    inner = kind.get("feature") or kind
    return list(inner["names"]) if inner.get("_type") == "ClassLabel" else None


def merge_descriptions(kind: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """Of two descriptions of one label column, the one whose names continue the other's; None if they contradict.

    A corpus that has grown has label columns whose newer shards name more classes.
    """
    if kind == other:
        return kind
    one, two = (each.get("feature", each) for each in (kind, other))
    if not one.get("names") or not two.get("names") or one["_type"] != two["_type"]:
        return None
    short, long = sorted((one["names"], two["names"]), key=len)
    if long[: len(short)] != short:
        return None
    return kind if one["names"] == long else other
