"""WAV, AIFF and AU: the size of the audio that the header states, against the size of the file."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from .layout import Layout, Stream, View, describe_missing
from .mpeg import find_mpeg_streams

MAX_CHUNKS = 10_000
UNKNOWN_SIZE = 0x7FFF0000  # and above: the header was written to a pipe, before the size was known
WAVE_MPEG = (0x50, 0x55)  # format codes of MPEG audio in a WAV file


def find_wave_streams(view: View, order: str) -> Layout:
    """Find the audio of a RIFF, RF64 or BW64 file. `order` is "<" or ">", as in `struct`."""
    code, long_size = 0, None
    for name, at, size in _read_chunks(view, order):
        if name == b"fmt ":
            (code,) = struct.unpack(f"{order}H", view.read(at, 2))
        elif name == b"ds64":
            (long_size,) = struct.unpack("<Q", view.read(at + 8, 8))
        elif name == b"data":
            if long_size is not None and size == 0xFFFFFFFF:
                return Layout(fault=describe_missing(long_size, view.size - at))
            if code in WAVE_MPEG:  # libsndfile does not look for it here
                stop = view.size if size == 0 or size >= UNKNOWN_SIZE else at + size
                layout = find_mpeg_streams(view, at, min(stop, view.size))
                return Layout(layout.streams, _find_fault(view, at, size) or layout.fault)
            if size == 0 and at < view.size and not _is_chunk(view, at, order):
                return _with_size(view, at, at - 4, order)
            return Layout(fault=_find_fault(view, at, size))
    return Layout()


def find_aiff_streams(view: View) -> Layout:
    """Find the audio of an AIFF or AIFC file."""
    for name, at, size in _read_chunks(view, ">"):
        if name == b"SSND":
            return Layout(fault=_find_fault(view, at, size))
    return Layout()


def find_au_streams(view: View, start: bytes) -> Layout:
    """Find the audio of an AU file, which begins with the 12 bytes `start`."""
    at, size = struct.unpack(">II" if start[:4] == b".snd" else "<II", start[4:])
    if size == 0 and at < view.size:
        return _with_size(view, at, 8, ">")
    return Layout(fault=_find_fault(view, at, size))


def _read_chunks(view: View, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, position and stated size of each chunk of a RIFF or IFF file."""
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > view.size:
            return
        name, size = struct.unpack(f"{order}4sI", view.read(at, 8))
        yield name, at + 8, size
        at += 8 + size + size % 2


def _is_chunk(view: View, at: int, order: str) -> bool:
    name, size = struct.unpack(f"{order}4sI", view.read(at, 8))
    return at + 8 + size <= view.size and re.fullmatch(rb"[A-Za-z0-9_ ]{4}", name) is not None


def _with_size(view: View, at: int, field: int, order: str) -> Layout:
    """One stream whose size field covers all audio from `at` on: its writer was stopped before it wrote the size."""
    size = struct.pack(f"{order}I", min(view.size - at, UNKNOWN_SIZE))
    return Layout([Stream(((0, field), size, (field + 4, view.size)), plain=False)])


def _find_fault(view: View, at: int, size: int) -> str | None:
    return None if size >= UNKNOWN_SIZE else describe_missing(size, view.size - at)
