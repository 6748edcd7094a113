"""MPEG audio, layers I to III: its frames are counted, and its Xing, Info and VBRI tags checked against the count.

Frame sizes follow ISO/IEC 11172-3 (MPEG 1) and 13818-3 (MPEG 2); MPEG 2.5 is its extension to half of those rates.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .layout import SLACK, Layout, Stream, View, describe_missing, limit_streams

SCAN_BYTES = 1 << 18  # read at a time where every frame is visited
HEAD_BYTES = 64  # of a frame that are examined: its header and the start of a tag
MAX_FRAME = 2_881  # bytes
MAX_ATTEMPTS = 10_000  # positions tried as the start of frames: a bound on the time
MAX_JUNK = 1 << 20  # bytes before the first frame
MAX_TAGS = 64
CHAIN = 3  # consecutive frames that are needed to take bytes for audio
XING = (b"Xing", b"Info")
_SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xeb]")
_V1 = ((0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),  # kbit/s, by layer
       (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
       (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320))  # fmt: skip
_V2 = ((0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
       *2 * ((0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),))  # fmt: skip
_RATES = (44_100, 48_000, 32_000)  # Hz of MPEG 1; MPEG 2 has half of it, MPEG 2.5 a quarter


@dataclass(frozen=True, slots=True)
class _FrameKind:
    """What the headers of all frames of one stream have in common."""

    version: int  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    layer: int  # 0: I, 1: II, 2: III
    rate: int  # index into `_RATES`
    mono: bool

    @classmethod
    def of(cls, head: bytes) -> _FrameKind:
        """The kind of the frame with this header."""
        return cls(head[1] >> 3 & 3, 3 - (head[1] >> 1 & 3), head[2] >> 2 & 3, head[3] >> 6 == 3)

    @property
    def samples(self) -> int:
        """Samples per channel in a frame."""
        return 384 if self.layer == 0 else 1152 if self.version == 3 or self.layer == 1 else 576

    @property
    def tag_offset(self) -> int:
        """Offset of a Xing tag in a frame: after its header and side information."""
        return 4 + ((17 if self.mono else 32) if self.version == 3 else (9 if self.mono else 17))


@lru_cache(maxsize=64)
def _frame_sizes(version: int, layer: int, rate: int) -> list[int]:
    """Bytes of a frame by the second and third byte of its header; 0 where that is no frame of this kind."""
    sizes = [0] * 65_536
    hertz = _RATES[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    for index in range(1, 15):
        bits = 1_000 * (_V1 if version == 3 else _V2)[layer][index]
        for padding in (0, 1):
            if layer == 0:
                size = 4 * (12 * bits // hertz + padding)
            else:
                size = (144 if version == 3 or layer == 1 else 72) * bits // hertz + padding
            for unprotected in (0, 1):
                first = 0xE0 | version << 3 | (3 - layer) << 1 | unprotected
                for private in (0, 1):
                    sizes[first << 8 | index << 4 | rate << 2 | padding << 1 | private] = size
    return sizes


def _count_frames(view: View, at: int, stop: int, kind: _FrameKind, most: int = 0) -> tuple[int, int, int]:
    """Count consecutive frames of one kind from `at` on, up to `most` (0: all).

    They end at another kind of frame, at a frame with a Xing tag, at what is no frame, or at or after `stop`.

    Returns:
        Where they end, how many they are, and where the last one starts.
    """
    sizes, mono, offset = _frame_sizes(kind.version, kind.layer, kind.rate), kind.mono, kind.tag_offset
    letters, count, last = {tag[0] for tag in XING}, 0, at
    step = CHAIN * MAX_FRAME if most else SCAN_BYTES
    while at < stop:
        chunk = view.read(at, step + HEAD_BYTES)
        place, end = 0, min(step, stop - at)
        while place < end:
            if chunk[place] != 255 or (chunk[place + 3] > 191) != mono:
                break
            if not (size := sizes[chunk[place + 1] << 8 | chunk[place + 2]]):
                break
            if chunk[place + offset] in letters and count and chunk[place + offset : place + offset + 4] in XING:
                break
            place, count, last = place + size, count + 1, at + place
        at += place
        if place < end or (most and count >= most):
            break
    return at, count, last


def _find_frames(view: View, at: int, stop: int, attempts: Iterator[int], within: int) -> int | None:
    """The next start of at least CHAIN frames, or of frames that end at `stop`; at most `within` bytes after `at`."""
    until = min(stop, at + within)
    while at < until:
        chunk = view.read(at, min(SCAN_BYTES, until - at) + 3)
        for match in _SYNC.finditer(chunk):
            place, head = at + match.start(), chunk[match.start() : match.start() + 4]
            if len(head) == 4 and head[2] >> 2 & 3 != 3 and place < until:
                if next(attempts, None) is None:
                    return None
                end, count, _ = _count_frames(view, place, stop, _FrameKind.of(head), CHAIN)
                if count >= CHAIN or (count and end == stop):
                    return place
        at += SCAN_BYTES
    return None


@dataclass(frozen=True, slots=True)
class _Tag:
    """A frame without audio that describes the others: Xing, Info or VBRI."""

    size: int  # of the frame, bytes
    count_offset: int  # in the frame, of the number of frames; 0: it has none
    frames: int = 0
    stream: int = 0  # bytes of all frames; 0: not stated


def _read_tag(view: View, at: int, kind: _FrameKind) -> _Tag | None:
    head = view.read(at, HEAD_BYTES)
    size = _frame_sizes(kind.version, kind.layer, kind.rate)[head[1] << 8 | head[2]]
    if kind.layer != 2 or not size:
        return None
    if head[36:40] == b"VBRI":
        length, frames = struct.unpack(">II", head[46:54])
        return _Tag(size, 0, frames, length)
    if head[kind.tag_offset : kind.tag_offset + 4] not in XING:
        return None
    flags, first, second = struct.unpack(">III", head[kind.tag_offset + 4 : kind.tag_offset + 16])
    if not flags & 1:
        return _Tag(size, 0)
    return _Tag(size, kind.tag_offset + 8, first, second if flags & 2 else 0)


@dataclass(slots=True)
class _Frames:
    """The frames of one stream."""

    kind: _FrameKind
    tag: _Tag | None
    ranges: list[tuple[int, int]]
    count: int
    cut: bool = False  # whether a frame is cut short
    lost: int = 0  # bytes between or after the frames that are not audio

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(stop - start for start, stop in self.ranges)

    def find_fault(self) -> str | None:
        """How the stream is truncated or damaged, None if it is not."""
        tag = self.tag
        if tag is not None and tag.stream and self.count < tag.frames:
            return describe_missing(tag.stream, self.size)  # with all bytes there, the tag's count is wrong
        if tag is not None and tag.frames <= self.count <= tag.frames + 1:
            return None  # as the tag states, but for the last frame at most
        if self.cut:
            return "it breaks off in the middle of an MPEG frame"
        return f"{self.lost:,} bytes between or after its MPEG frames are not audio" if self.lost > SLACK else None

    def to_stream(self, view: View, alone: bool) -> Stream:
        """The stream to give to a decoder. `alone`: it is the whole file, and libsndfile knows it as MPEG."""
        tag, (start, stop) = self.tag, self.ranges[0]
        count = self.count - (tag is not None)
        plain, frames, spare = alone, 0, 0
        parts: list[bytes | tuple[int, int]] = [*self.ranges]
        if tag is not None and tag.count_offset:
            if tag.frames != count:  # put the right number into the tag
                frame = bytearray(view.read(start, tag.size))
                struct.pack_into(">I", frame, tag.count_offset, count)
                if tag.stream:
                    struct.pack_into(">I", frame, tag.count_offset + 4, min(self.size, 0xFFFFFFFF))
                parts[:1], plain = [bytes(frame), (start + tag.size, stop)], False
        else:
            if tag is not None:
                parts[0], plain = (start + tag.size, stop), False
            frames, spare = count * self.kind.samples, MAX_FRAME * (count + 1)
        return Stream(tuple(parts), plain, frames, spare)


def find_mpeg_streams(view: View, start: int, stop: int) -> Layout:
    """Find the MPEG streams in the bytes `start` to `stop` of a file.

    Args:
        view: The file.
        start: Position of the first byte.
        stop: Position after the last byte.

    Returns:
        A stream for each run of frames of one kind, and for each run with a tag frame of its own. Without any frame:
        one stream, the file as it is. The layout's fault says how the file is truncated or damaged.
    """
    attempts = iter(range(MAX_ATTEMPTS))
    stop = _start_of_tags(view, start, stop)
    begin = at = _end_of_tags(view, start, stop)
    frames_at = _find_frames(view, at, stop, attempts, MAX_JUNK)
    streams: list[_Frames] = []
    after_tags = False
    while frames_at is not None:
        kind = _FrameKind.of(view.read(frames_at, 4))
        tag = _read_tag(view, frames_at, kind)
        end, count, last = _count_frames(view, frames_at, stop, kind)
        if cut := end > stop:
            end, count = last, count - 1
        if streams and streams[-1].kind == kind and tag is None and not after_tags:
            streams[-1].ranges.append((frames_at, end))
            streams[-1].count += count
            streams[-1].lost += frames_at - at
        else:
            streams.append(_Frames(kind, tag, [(frames_at, end)], count))
        streams[-1].cut |= cut
        if cut or end == stop:
            break
        at = _end_of_tags(view, end, stop)
        after_tags = at > end  # another file begins
        first, frames_at = frames_at, _find_frames(view, last + 1 if at == end else at, stop, attempts, stop)
        if frames_at is not None and frames_at < end:  # the last frame is cut short by the next one
            streams[-1].ranges[-1] = (first, last)
            streams[-1].count -= 1
            streams[-1].cut, at = True, frames_at
        if frames_at is None and stop - end > (end - first) // 16:  # a part that was never written, for example
            streams[-1].lost += stop - end
    # libsndfile recognises an MP3 by an ID3 tag or a frame at its very start.
    known = begin == 0 or (view.read(0, 3) == b"ID3" and begin == _end_of_tags(view, 0, stop, 1))
    alone = known and start == 0 and len(streams) == 1 and streams[0].ranges == [(begin, stop)]
    streams = [stream for stream in streams if stream.count > (stream.tag is not None)]
    if not streams:
        return Layout()
    fault = next(filter(None, (stream.find_fault() for stream in streams)), None)
    if next(attempts, None) is None:
        fault = fault or "most of it is not MPEG frames"
    return limit_streams([stream.to_stream(view, alone) for stream in streams], fault)


def _end_of_tags(view: View, at: int, stop: int, most: int = MAX_TAGS) -> int:
    """The end of the ID3 and APE tags that start at `at`."""
    for _ in range(most):
        head = view.read(at, 32)
        if head[:3] == b"ID3" and not any(byte & 0x80 for byte in head[6:10]):
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            at += 20 + size if head[5] & 0x10 else 10 + size
        elif head[:8] == b"APETAGEX":
            at += 32 + int.from_bytes(head[12:16], "little")
        elif head[:3] == b"TAG":
            at += 128
        else:
            break
    return min(at, stop)


def _start_of_tags(view: View, start: int, stop: int) -> int:
    """The start of the ID3, APE and Lyrics3 tags that end at `stop`."""
    for _ in range(MAX_TAGS):
        tail = view.read(max(0, stop - 128), 128) if stop - start > 128 else bytes(128)
        if tail[:3] == b"TAG":
            size = 128
        elif tail[-32:-24] == b"APETAGEX":
            size = int.from_bytes(tail[-20:-16], "little") + (32 if tail[-9] & 0x80 else 0)
        elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
            size = int(tail[-15:-9]) + 15
        else:
            break
        if size > stop - start:
            break
        stop -= size
    return stop
