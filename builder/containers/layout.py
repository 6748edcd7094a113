"""The streams of an audio file, and a file object that gives one of them to a decoder."""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import IO, Any

READ_BYTES = 1 << 16
MAX_STREAMS = 1_000
SLACK = 1_500  # bytes that may be missing without damage: an MPEG frame, or a writer that miscounts
ID3V1_BYTES = 128


@dataclass(frozen=True, slots=True)
class Stream:
    """What a decoder reads as one file.

    Attributes:
        parts: Bytes, or (start, stop) of a range in the file, in order. Empty: the file as it is.
        plain: Whether the decoder may read the file as it is, where it finds at least `frames` in it.
        frames: Samples per channel that were counted. 0: the decoder's own number is right.
        spare: Bytes to report beyond the parts to a decoder that estimates its length from the number of bytes.
    """

    parts: tuple[bytes | tuple[int, int], ...] = ()
    plain: bool = True
    frames: int = 0
    spare: int = 0


@dataclass(slots=True)
class Layout:
    """The streams of a file, in order, and how the file is truncated or damaged (None: it is not)."""

    streams: list[Stream] = field(default_factory=lambda: [Stream()])
    fault: str | None = None


def limit_streams(streams: list[Stream], fault: str | None) -> Layout:
    """A layout of at most `MAX_STREAMS` streams; more are a fault."""
    if len(streams) > MAX_STREAMS:
        fault = fault or f"it is joined from {len(streams):,} pieces, of which {MAX_STREAMS:,} are read"
    return Layout(streams[:MAX_STREAMS], fault)


def describe_missing(claimed: int, available: int) -> str | None:
    """The fault of a file with fewer bytes of audio than its header states, None where it has enough."""
    if claimed - available <= min(SLACK, claimed // 16):
        return None
    return f"it has {max(0, available):,} of the {claimed:,} bytes of audio that its header states"


class View:
    """Random access to the bytes of a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size = file, file.seek(0, io.SEEK_END)
        self._start, self._held = 0, b""

    def read(self, at: int, count: int) -> bytes:
        """Read `count` bytes from `at`; beyond the end of the file they are zeros."""
        offset = at - self._start
        if offset < 0 or offset + count > len(self._held):
            self._file.seek(min(at, self.size))
            self._held = self._file.read(max(count, READ_BYTES)) or b""
            self._start, offset = at, 0
        return self._held[offset : offset + count].ljust(count, b"\0")


class Splice(io.RawIOBase):
    """A stream as a file object.

    No exception passes through a decoder, so a read that fails ends the file and is kept in `error`.
    """

    def __init__(self, file: IO[bytes], stream: Stream) -> None:
        self._file, self._parts = file, stream.parts
        sizes = (len(part) if isinstance(part, bytes) else part[1] - part[0] for part in stream.parts)
        self._starts = [0, *accumulate(sizes)]
        self._end, self._at = self._starts[-1] + stream.spare, 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which may be beyond the end, and return it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer and return the number of bytes, 0 at the end."""
        index = bisect_right(self._starts, self._at) - 1
        if index >= len(self._parts):
            # A decoder looks for an ID3v1 tag before what it takes for the end.
            left = self._end - self._at
            data = bytes(min(len(buffer), left)) if 0 < left <= ID3V1_BYTES else b""
        else:
            part, start = self._parts[index], self._at - self._starts[index]
            count = min(len(buffer), self._starts[index + 1] - self._at)
            if isinstance(part, bytes):
                data = part[start : start + count]
            else:
                try:
                    self._file.seek(part[0] + start)
                    data = self._file.read(count)
                except OSError as error:
                    self.error = error
                    return 0
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
