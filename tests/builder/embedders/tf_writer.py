"""Write TensorFlow checkpoints of format V2, as builder/embedders/tf_checkpoint.py reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from builder.embedders.musicnn_network import MUSICNN_SHAPES, VGG_SHAPES

INDEX, DATA = ".index", ".data-00000-of-00001"
RESTART_EVERY = 16  # keys; the others repeat the start of the key before


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """A number in a protocol buffer."""
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    """A message or string in a protocol buffer."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def bundle_header(shards: int = 1, endianness: int = 0) -> bytes:
    return number(1, shards) + number(2, endianness) + message(3, number(1, 1))


def bundle_entry(shape: tuple[int, ...], offset: int, size: int, dtype: int = 1, shard: int = 0) -> bytes:
    dimensions = b"".join(message(2, number(1, length)) for length in shape)
    checksum = varint(6 << 3 | 5) + bytes(4)
    return (
        number(1, dtype) + message(2, dimensions) + number(3, shard) + number(4, offset) + number(5, size) + checksum
    )


def block(entries: Mapping[bytes, bytes]) -> bytes:
    """A block of a LevelDB table, without its trailer."""
    out, restarts, before = bytearray(), [], b""
    for place, (key, value) in enumerate(entries.items()):
        if place % RESTART_EVERY == 0:
            restarts.append(len(out))
            before = b""
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(map(len, (before, key)))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return bytes(out) + b"".join(at.to_bytes(4, "little") for at in [*restarts, len(restarts)])


def table(entries: Mapping[bytes, bytes], compression: int = 0, per_block: int = 40) -> bytes:
    """A LevelDB table of several blocks."""
    out, index, keys = bytearray(), {}, sorted(entries)

    def add(content: bytes) -> bytes:
        handle = varint(len(out)) + varint(len(content))
        out.extend(content + bytes([compression, 0, 0, 0, 0]))
        return handle

    for first in range(0, len(keys), per_block):
        part = keys[first : first + per_block]
        index[part[-1] + b"\0"] = add(block({key: entries[key] for key in part}))
    handles = add(block({})) + add(block(index))
    return bytes(out) + handles.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def checkpoint(tensors: Mapping[str, np.ndarray]) -> tuple[bytes, bytes]:
    """The contents of `.index` and of the data file."""
    entries, data = {b"": bundle_header()}, bytearray()
    for name, values in tensors.items():
        entries[name.encode()] = bundle_entry(values.shape, len(data), 4 * values.size)
        data += values.astype("<f4").tobytes()
    return table(entries), bytes(data)


def save(folder: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """Write a checkpoint into a new folder."""
    folder.mkdir(parents=True)
    for name, content in zip((INDEX, DATA), checkpoint(tensors), strict=True):
        (folder / name).write_bytes(content)
    return folder


def random_musicnn(arch: str) -> dict[str, np.ndarray]:
    """Weights of one of musicnn's models, drawn at random, with variables of the optimizer."""
    rng = np.random.default_rng(0)
    tensors = {"beta1_power": np.float32(0.9).reshape(())}
    for name, shape in (VGG_SHAPES if arch.endswith("vgg") else MUSICNN_SHAPES).shapes().items():
        centre, spread = {"gamma": (0.0, 1.0), "moving_variance": (2.0, 0.3)}.get(name.rpartition("/")[2], (0.0, 0.3))
        if name.endswith("kernel"):
            spread = 1.4 * np.prod(shape[:-1]) ** -0.5
        tensors[name] = centre + spread * rng.standard_normal(shape, np.float32)
        tensors[f"{name}/Adam_1"] = np.zeros(1, np.float32)
    return tensors
