"""Read TensorFlow checkpoints (format V2) without TensorFlow: an index and a file of raw numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import BackendError

TABLE_FOOTER, TABLE_MAGIC = 48, 0xDB4775248B80FB57
FLOAT32 = 1  # in TensorFlow's enumeration of data types
MAX_KEY, MAX_RANK = 1024, 8
OPTIMIZER = ("/Adam", "/Adam_1", "beta1_power", "beta2_power")  # how names of the optimizer's variables end


def read_checkpoint(index: bytes, data: bytes, where: str) -> dict[str, Tensor]:
    """Read the float32 variables of a checkpoint, without those of the Adam optimizer.

    The index is an uncompressed LevelDB table (github.com/google/leveldb, doc/table_format.md) that maps names to
    `BundleEntryProto` messages (tensorflow/core/protobuf/tensor_bundle.proto). Memory is bounded by the two files'
    sizes. Checksums are not compared.

    Args:
        index: The content of the file `.index`.
        data: The content of the file `.data-00000-of-00001`.
        where: The checkpoint, for the error.

    Returns:
        Tensors by name, in TensorFlow's layout.

    Raises:
        BackendError: A damaged, foreign, compressed, big-endian or sharded checkpoint, one of another data type,
            or one with numbers that are not finite.
    """
    try:
        tensors, total = {}, 0
        for key, value in _read_table(index):
            if not key:
                _check_header(value)
                continue
            name = key.decode()
            if name.endswith(OPTIMIZER):
                continue
            shape, offset, size = _read_entry(value, name)
            total += size
            if offset + size > len(data) or total > len(data):
                raise ValueError(f"{name} is outside of its data, which has {len(data):,} bytes")
            values = np.frombuffer(data, "<f4", size // 4, offset).astype(np.float32)
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has numbers that are not finite")
            tensors[name] = torch.from_numpy(values).reshape(shape)
        return tensors
    except (ValueError, IndexError) as error:
        raise BackendError(
            f"{where}: not a TensorFlow checkpoint of format V2, or a damaged one: {error}",
            "get the checkpoint again: its .index and .data-00000-of-00001 as TensorFlow's Saver wrote them",
        ) from error


def _read_table(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a LevelDB table. Raises ValueError or IndexError."""
    footer = table[-TABLE_FOOTER:]
    if len(footer) < TABLE_FOOTER or int.from_bytes(footer[-8:], "little") != TABLE_MAGIC:
        raise ValueError("its index has no table footer")
    _, at = _read_varint(footer, 0)  # the meta index, which is not needed
    _, at = _read_varint(footer, at)
    blocks, total = list(_read_block(table, footer[at:])), 0
    for _, handle in blocks:
        total += _read_varint(handle, _read_varint(handle, 0)[1])[0]
        if total > len(table):
            raise ValueError("its index has blocks that overlap")
        yield from _read_block(table, handle)


def _read_block(table: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of the block at a handle (offset, size). A key repeats the start of the one before."""
    offset, at = _read_varint(handle, 0)
    size, _ = _read_varint(handle, at)
    block = table[offset : offset + size]  # the byte after it says how it is compressed
    if len(block) < size or size < 4 or table[offset + size : offset + size + 1] != b"\0":
        raise ValueError("its index has a block that is cut off or compressed")
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")  # where the restart points begin
    at, key = 0, b""
    while at < end:
        shared, at = _read_varint(block, at)
        added, at = _read_varint(block, at)
        length, at = _read_varint(block, at)
        if shared > len(key) or shared + added > MAX_KEY or at + added + length > end:
            raise ValueError("its index has an entry that reaches out of its block")
        key = key[:shared] + block[at : at + added]
        yield key, block[at + added : at + added + length]
        at += added + length


def _check_header(message: bytes) -> None:
    """Raise ValueError for a `BundleHeaderProto` of several data files or of big-endian numbers."""
    fields = dict(_read_message(message))
    if fields.get(1) != 1 or fields.get(2, 0) != 0:
        raise ValueError("it has several data files, or big-endian numbers")


def _read_entry(message: bytes, name: str) -> tuple[list[int], int, int]:
    """Shape, offset and size in bytes, of a `BundleEntryProto`. Raises ValueError."""
    fields = dict(_read_message(message))
    dtype, shard, offset, size = (fields.get(number, 0) for number in (1, 3, 4, 5))
    if dtype != FLOAT32 or 7 in fields or shard != 0:
        raise ValueError(f"{name} is not one tensor of float32")
    dimensions = [dict(_read_message(value)).get(1, 0) for value in _sub_messages(fields.get(2, b""), 2)]
    shape = [length for length in dimensions if isinstance(length, int)]
    if len(shape) != len(dimensions) or len(shape) > MAX_RANK or isinstance(offset, bytes) or isinstance(size, bytes):
        raise ValueError(f"{name} has no shape, no offset or no size")
    if 4 * math.prod(shape) != size or size == 0:
        raise ValueError(f"{name} has the shape {shape} and {size} bytes")
    return shape, offset, size


def _sub_messages(message: int | bytes, number: int) -> list[bytes]:
    """The messages in a repeated field."""
    if isinstance(message, int):
        raise ValueError("it has a number in place of a shape")
    return [value for field, value in _read_message(message) if field == number and isinstance(value, bytes)]


def _read_message(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer: an int for numbers, bytes for strings and messages."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        size, at = _read_varint(message, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(message) + 1), at)
        if at + size > len(message):
            raise ValueError("it has a message that is cut off")
        yield number, message[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, least significant first, and the place after it."""
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("it has an integer of more than ten bytes")
