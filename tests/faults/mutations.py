"""Files damaged on purpose, by seed: as disks, networks and people with bad intentions damage them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 36,
    (1 << 63) - 1,
    1 << 63,
)
NASTY = (
    "", "null", "-1", "0", "1e999", "NaN", "true", "1" * 5000, "1:" * 3000 + "1", "x" * 100_000, "[" * 10_000,
    "{" * 10_000, '{"a":' * 5_000, "- " * 3_000, "&a [*a, *a]", "*a", "!!python/object/apply:os.system ['false']",
    "!!binary AAAA", "../../../../etc/passwd", "/etc/passwd", "../outside", "\x00", "\ufeff", "\ud7ff", "\u202e", '"',
    "'", "\t",
    "{}", "[]", "<<: {a: 1}", "\n", "\r", ",", ";" * 1000, '"' + "y" * 200_000 + '"', "2026-13-99", "0x" + "f" * 3000,
    "${HOME}",
    "file:///etc/passwd", "hf:../../x", "a" * 300,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1 << 31, 1 << 40, 1 << 63, 10**30, 1e308, float("nan"), float("inf"), "", "x" * 10_000,
    "../../outside",
    "/etc/passwd", [], {}, [[]], [None], {"": None}, "hf:/nowhere", "0", [1] * 1000, "\ud800", "trust_remote_code",
)  # fmt: skip


def mutated(data: bytes, random: Random, text: bool = False, place: tuple[float, float] = (0.0, 1.0)) -> bytes:
    """`data` with one to four damages, within a part of it (from a share of its length to another)."""
    kinds = TEXT if text else BINARY
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        low, high = (round(share * len(data)) for share in place)
        data = random.choice(kinds)(data, random, low, max(low + 1, high))
    return data


def _flip(data: bytes, random: Random, low: int, high: int) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if out:
            out[random.randrange(low, high) % len(out)] ^= 1 << random.randrange(8)
    return bytes(out)


def _truncate(data: bytes, random: Random, low: int, high: int) -> bytes:
    return data[: random.randrange(low, high)]


def _number(data: bytes, random: Random, low: int, high: int) -> bytes:
    """A number of the header made another, of either byte order."""
    size = random.choice((1, 2, 4, 8))
    at = random.randrange(low, high)
    value = random.choice(EDGES) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, random.choice(("little", "big"))) + data[at + size :]


def _repeat(data: bytes, random: Random, low: int, high: int) -> bytes:
    start, size = random.randrange(low, high), random.choice((1, 16, 256, 4096))
    return data[:start] + data[start : start + size] * random.choice((2, 3, 20)) + data[start + size :]


def _zero(data: bytes, random: Random, low: int, high: int) -> bytes:
    start, size = random.randrange(low, high), random.choice((4, 64, 1024))
    return data[:start] + bytes([random.choice((0, 0, 255))]) * len(data[start : start + size]) + data[start + size :]


def _splice(data: bytes, random: Random, low: int, high: int) -> bytes:
    """A piece of it over another piece."""
    size = random.choice((4, 32, 512))
    source, target = random.randrange(max(1, len(data))), random.randrange(low, high)
    piece = data[source : source + size]
    return data[:target] + piece + data[target + len(piece) :]


def _cut(data: bytes, random: Random, low: int, high: int) -> bytes:
    start = random.randrange(low, high)
    return data[:start] + data[start + random.choice((1, 4, 100, 2000)) :]


def _noise(data: bytes, random: Random, low: int, high: int) -> bytes:
    start = random.randrange(low, high)
    return data[:start] + random.randbytes(random.choice((1, 8, 200))) + data[start:]


def _nasty(data: bytes, random: Random, low: int, high: int) -> bytes:
    """A word made one of NASTY."""
    start = random.randrange(low, high)
    end = start + random.choice((0, 1, 5, 20))
    return data[:start] + random.choice(NASTY).encode("utf-8", "surrogatepass") + data[end:]


def _value(data: bytes, random: Random, low: int, high: int) -> bytes:
    """What stands behind a colon or comma made one of NASTY."""
    places = [at for at in range(low, min(high, len(data))) if data[at] in b":,\t"]
    if not places:
        return _nasty(data, random, low, high)
    start = random.choice(places) + 1
    ends = [at for at in (data.find(mark, start) for mark in (b"\n", b",", b"}", b"\t")) if at >= 0]
    return (
        data[:start] + b" " + random.choice(NASTY).encode("utf-8", "surrogatepass") + data[min(ends, default=start) :]
    )


def _lines(data: bytes, random: Random, low: int, high: int) -> bytes:
    """Lines doubled, lost or in another order."""
    lines = data.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    how = random.randrange(3)
    if how == 0:
        lines[at:at] = [lines[random.randrange(len(lines))]] * random.choice((1, 100))
    elif how == 1:
        del lines[at]
    else:
        random.shuffle(lines)
    return b"".join(lines)


def _json(data: bytes, random: Random, low: int, high: int) -> bytes:
    """One value of a JSON document made one of VALUES, or moved to another key."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return _nasty(data, random, low, high)
    places: list[tuple[Any, Any]] = []
    waiting = [found]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            waiting.append(node[key])
    if not places:
        return _nasty(data, random, low, high)
    for _ in range(random.choice((1, 1, 3))):
        node, key = random.choice(places)
        node[key] = random.choice(VALUES)
        if isinstance(node, dict) and random.random() < 0.2:
            node[random.choice(("_attn_implementation", "auto_map", "configuration_files", "__class__", "../x"))] = (
                node[key]
            )
    return json.dumps(found).encode("utf-8", "surrogatepass")


Mutation = Callable[[bytes, Random, int, int], bytes]
BINARY: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _flip,
    _truncate,
    _number,
    _number,
    _repeat,
    _zero,
    _splice,
    _cut,
    _noise,
)
TEXT: tuple[Mutation, ...] = (_flip, _truncate, _nasty, _value, _value, _lines, _json, _json, _cut, _repeat)
