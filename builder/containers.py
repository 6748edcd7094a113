"""Where the audio is in a file: MPEG frames and Ogg pages are counted, the sizes in WAV, AIFF and AU headers checked.

libsndfile believes headers: an MP3 is as long as its Xing frame or its first bitrate suggests, of files joined end to
end only the first is read, and that the end of a file is missing goes unnoticed. `find_streams` therefore looks at the
file itself, and finds the bytes that a decoder is to be given.
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import IO, Any

READ, WALK = 1 << 16, 1 << 18  # bytes read at a time, and where all of them are walked through
HEAD_BYTES = 64  # bytes of an MPEG frame that are looked at: its header and the start of a tag
MAX_FRAME = 2_881  # bytes of an MPEG frame
MAX_ATTEMPTS = 10_000  # places in a file that are tried as the start of MPEG frames: bounds the time
MAX_JUNK = 1 << 20  # bytes in front of the first MPEG frame
MAX_STREAMS, MAX_CHUNKS, MAX_TAGS = 1_000, 10_000, 64
CHAIN = 3  # MPEG frames that must follow each other before bytes are taken for audio
SLACK = 1_500  # bytes fewer than a header states that are no damage: an MPEG frame, or a writer that miscounts
UNKNOWN_SIZE = 0x7FFF0000  # and above: in a header that was written to a pipe, before the size was known
UNENDED = "an Ogg stream in it has no last page"
XING = (b"Xing", b"Info")
_SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xeb]")
_V1 = ((0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),  # kbit/s, by layer
       (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
       (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320))  # fmt: skip
_V2 = ((0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
       *2 * ((0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),))  # fmt: skip
_RATES = (44_100, 48_000, 32_000)  # Hz of MPEG 1; MPEG 2 has half of it, MPEG 2.5 a quarter


@dataclass(frozen=True, slots=True)
class Stream:
    """What a decoder reads as one file."""

    parts: tuple[bytes | tuple[int, int], ...] = ()  # bytes, and (start, stop) in the file; none: the file as it is
    plain: bool = True  # whether the file as it is will do, where the decoder finds `frames` in it
    frames: int = 0  # samples a channel that were counted; 0: the decoder's own number is right
    spare: int = 0  # bytes that a decoder is to believe are behind the parts, where it estimates its length by them


@dataclass(slots=True)
class Layout:
    """The streams of a file, one after the other, and how it is truncated or damaged, if it is."""

    streams: list[Stream] = field(default_factory=lambda: [Stream()])
    fault: str | None = None


def find_streams(file: IO[bytes]) -> Layout:
    """The streams of an audio file, by its content. A kind that is not known here is one stream, the file as it is."""
    view = _View(file)
    start = view.read(0, 12)
    if start[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and start[8:] == b"WAVE":
        return _wave_layout(view, ">" if start[:4] == b"RIFX" else "<")
    if start[:4] == b"FORM" and start[8:] in (b"AIFF", b"AIFC"):
        sound = next(((at, size) for name, at, size in _chunks(view, ">") if name == b"SSND"), None)
        return Layout() if sound is None else Layout(fault=_lacks(view, *sound))
    if start[:4] in (b".snd", b"dns."):
        at, size = struct.unpack(">II" if start[:4] == b".snd" else "<II", start[4:])
        return _unfinished(view, at, 8) if size == 0 and at < view.size else Layout(fault=_lacks(view, at, size))
    if start[:4] == b"OggS":
        return _ogg_layout(view)
    if start[:4] == b"fLaC":
        return Layout()  # its decoder finds and checks all of it
    return _mpeg_layout(view, 0, view.size)


class Splice(io.RawIOBase):
    """A stream as a file. A read that fails ends it, since no exception passes through a decoder; `error` keeps it."""

    def __init__(self, file: IO[bytes], stream: Stream) -> None:
        self._file, self._parts = file, stream.parts
        sizes = (len(part) if isinstance(part, bytes) else part[1] - part[0] for part in stream.parts)
        self._starts = [0, *accumulate(sizes)]
        self._end, self._at = self._starts[-1] + stream.spare, 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, which may be behind the end; returns it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what follows; returns how many bytes that is, 0 at the end."""
        place = bisect_right(self._starts, self._at) - 1
        if place >= len(self._parts):
            # An ID3v1 tag is looked for in front of what is believed to be the end.
            data = bytes(min(len(buffer), self._end - self._at)) if 0 < self._end - self._at <= 128 else b""
            buffer[: len(data)] = data
            self._at += len(data)
            return len(data)
        part, start = self._parts[place], self._at - self._starts[place]
        count = min(len(buffer), self._starts[place + 1] - self._at)
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


class _View:
    """Bytes at any place of a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size = file, file.seek(0, io.SEEK_END)
        self._start, self._held = 0, b""

    def read(self, at: int, count: int) -> bytes:
        """`count` bytes from `at`; zeros stand for those behind the end."""
        place = at - self._start
        if place < 0 or place + count > len(self._held):
            self._file.seek(min(at, self.size))
            self._held = self._file.read(max(count, READ)) or b""
            self._start, place = at, 0
        found = self._held[place : place + count]
        return found if len(found) == count else found.ljust(count, b"\0")


# Sizes in headers ---------------------------------------------------------------------------------------------------


def _chunks(view: _View, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of each chunk of a RIFF or IFF file, as its header says."""
    at, left = 12, MAX_CHUNKS
    while at + 8 <= view.size and (left := left - 1):
        name, size = struct.unpack(f"{order}4sI", view.read(at, 8))
        yield name, at + 8, size
        at += 8 + size + size % 2


def _wave_layout(view: _View, order: str) -> Layout:
    code, long = 0, None
    for name, at, size in _chunks(view, order):
        if name == b"fmt ":
            (code,) = struct.unpack(f"{order}H", view.read(at, 2))
        elif name == b"ds64":
            (long,) = struct.unpack("<Q", view.read(at + 8, 8))
        elif name == b"data":
            if long is not None and size == 0xFFFFFFFF:
                return Layout(fault=_missing(long, view.size - at))
            if code in (0x50, 0x55):  # MPEG, which libsndfile does not look for in here
                stop = view.size if size == 0 or size >= UNKNOWN_SIZE else at + size
                found = _mpeg_layout(view, at, min(stop, view.size))
                return Layout(found.streams, _lacks(view, at, size) or found.fault)
            if size == 0 and at < view.size and not _chunk_at(view, at, order):
                return _unfinished(view, at, at - 4, order)
            return Layout(fault=_lacks(view, at, size))
    return Layout()


def _chunk_at(view: _View, at: int, order: str) -> bool:
    name, size = struct.unpack(f"{order}4sI", view.read(at, 8))
    return at + 8 + size <= view.size and re.fullmatch(rb"[A-Za-z0-9_ ]{4}", name) is not None


def _unfinished(view: _View, at: int, place: int, order: str = ">") -> Layout:
    """One stream, with the size at `place` made that of all behind `at`: whoever wrote it was stopped."""
    size = struct.pack(f"{order}I", min(view.size - at, UNKNOWN_SIZE))
    return Layout([Stream(((0, place), size, (place + 4, view.size)), plain=False)])


def _lacks(view: _View, at: int, size: int) -> str | None:
    return None if size >= UNKNOWN_SIZE else _missing(size, view.size - at)


def _missing(claimed: int, there: int) -> str | None:
    if claimed - there <= min(SLACK, claimed // 16):
        return None
    return f"it has {max(0, there):,} of the {claimed:,} bytes of audio that its header states"


# Ogg ----------------------------------------------------------------------------------------------------------------


def _ogg_layout(view: _View) -> Layout:
    """A stream for each link of a chain. All of them must end, as the format wants, with a page that says so."""
    links: list[int] = []
    unended: set[bytes] = set()
    at, starting, fault = 0, False, None
    while (at := _find(view, at, b"OggS\0")) < view.size:
        head = view.read(at, 27 + 255)
        kind, serial, segments = head[5], head[14:18], head[26]
        if kind & 2 and not starting:
            fault = fault or (UNENDED if unended else None)
            links.append(at)
            unended.clear()
        if starting := bool(kind & 2):
            unended.add(serial)
        if kind & 4:
            unended.discard(serial)
        following = at + 27 + segments + sum(head[27 : 27 + segments])
        if following < view.size and view.read(following, 4) != b"OggS":
            if (place := _find(view, at + 4, b"OggS\0")) < following:
                fault = fault or "it breaks off in the middle of an Ogg page"
            following = place
        at = following
    fault = fault or (UNENDED if unended or at > view.size else None)
    if len(links) < 2:
        return Layout(fault=fault)
    return _bounded([Stream((ends,), plain=False) for ends in pairwise([*links, view.size])], fault)


def _find(view: _View, at: int, word: bytes) -> int:
    """Where a word is next; the end of the file, or `at` behind it, where it is not."""
    while at < view.size:
        found = view.read(at, READ).find(word)
        if found >= 0:
            return at + found
        at = min(view.size, at + READ - len(word) + 1)
    return at


def _bounded(streams: list[Stream], fault: str | None) -> Layout:
    if len(streams) > MAX_STREAMS:
        return Layout(
            streams[:MAX_STREAMS],
            fault or f"it is joined from {len(streams):,} pieces, of which {MAX_STREAMS:,} are read",
        )
    return Layout(streams, fault)


# MPEG ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the headers of one stream's frames have in common."""

    version: int  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    layer: int  # 0: I, 1: II, 2: III
    rate: int  # index
    mono: bool

    @classmethod
    def of(cls, head: bytes) -> _Kind:
        return cls(head[1] >> 3 & 3, 3 - (head[1] >> 1 & 3), head[2] >> 2 & 3, head[3] >> 6 == 3)

    @property
    def samples(self) -> int:
        """Of a frame."""
        return 384 if self.layer == 0 else 1152 if self.version == 3 or self.layer == 1 else 576

    @property
    def mark(self) -> int:
        """Where a Xing tag is in a frame: behind its header and its side information."""
        return 4 + ((17 if self.mono else 32) if self.version == 3 else (9 if self.mono else 17))


@lru_cache(maxsize=64)
def _sizes(version: int, layer: int, rate: int) -> list[int]:
    """Bytes of a frame by the second and third byte of its header; 0 where it is none of this kind."""
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


def _walk(view: _View, at: int, stop: int, kind: _Kind, most: int = 0) -> tuple[int, int, int]:
    """Frames of one kind from `at` on, `most` at most -> where they end, how many they are, where the last starts.

    They end in front of another kind, of a frame with a Xing tag, or of what is no frame; or at `stop` or behind it.
    """
    sizes, mono, mark = _sizes(kind.version, kind.layer, kind.rate), kind.mono, kind.mark
    letters, count, last = {tag[0] for tag in XING}, 0, at
    step = CHAIN * MAX_FRAME if most else WALK
    while at < stop:
        chunk = view.read(at, step + HEAD_BYTES)
        place, end = 0, min(step, stop - at)
        while place < end:
            if chunk[place] != 255 or (chunk[place + 3] > 191) != mono:
                break
            if not (size := sizes[chunk[place + 1] << 8 | chunk[place + 2]]):
                break
            if chunk[place + mark] in letters and count and chunk[place + mark : place + mark + 4] in XING:
                break
            place, count, last = place + size, count + 1, at + place
        at += place
        if place < end or (most and count >= most):
            break
    return at, count, last


def _find_frames(view: _View, at: int, stop: int, attempts: Iterator[int], within: int) -> int | None:
    """Where frames start, at least CHAIN of them or all up to `stop`; `within` so many bytes from `at`."""
    until = min(stop, at + within)
    while at < until:
        chunk = view.read(at, min(WALK, until - at) + 3)
        for match in _SYNC.finditer(chunk):
            place, head = at + match.start(), chunk[match.start() : match.start() + 4]
            if len(head) == 4 and head[2] >> 2 & 3 != 3 and place < until:
                if next(attempts, None) is None:
                    return None
                end, count, _ = _walk(view, place, stop, _Kind.of(head), CHAIN)
                if count >= CHAIN or (count and end == stop):
                    return place
        at += WALK
    return None


@dataclass(frozen=True, slots=True)
class _Tag:
    """A frame that holds no audio but tells of the others."""

    size: int  # of the frame, bytes
    place: int  # in the frame, of the number of frames; 0: it has none
    frames: int = 0
    stream: int = 0  # bytes of all frames; 0: it does not say


def _tag_of(view: _View, at: int, kind: _Kind) -> _Tag | None:
    head = view.read(at, 64)
    size = _sizes(kind.version, kind.layer, kind.rate)[head[1] << 8 | head[2]]
    if kind.layer != 2 or not size:
        return None
    if head[36:40] == b"VBRI":
        length, frames = struct.unpack(">II", head[46:54])
        return _Tag(size, 0, frames, length)
    if head[kind.mark : kind.mark + 4] not in XING:
        return None
    flags, first, second = struct.unpack(">III", head[kind.mark + 4 : kind.mark + 16])
    if not flags & 1:
        return _Tag(size, 0)
    return _Tag(size, kind.mark + 8, first, second if flags & 2 else 0)


@dataclass(slots=True)
class _Frames:
    """The MPEG frames of one stream."""

    kind: _Kind
    tag: _Tag | None
    ranges: list[tuple[int, int]]
    count: int
    cut: bool = False  # whether a frame is cut short
    lost: int = 0  # bytes that are not audio, between frames or after them

    def fault(self) -> str | None:
        size = sum(stop - start for start, stop in self.ranges)
        tag = self.tag
        if tag is not None and tag.stream and self.count < tag.frames:
            return _missing(tag.stream, size)  # too many frames alone are a header that is wrong
        if tag is not None and tag.frames <= self.count <= tag.frames + 1:
            return None  # as it says, but for the last frame at most
        if self.cut:
            return "it breaks off in the middle of an MPEG frame"
        return f"{self.lost:,} bytes between or after its MPEG frames are not audio" if self.lost > SLACK else None

    def stream(self, view: _View, alone: bool) -> Stream:
        tag, (start, stop) = self.tag, self.ranges[0]
        count = self.count - (tag is not None)
        plain, frames, spare = alone, 0, 0
        parts: list[bytes | tuple[int, int]] = [*self.ranges]
        if tag is not None and tag.place:
            if tag.frames != count:  # its first frame then gives the number that is right
                frame = bytearray(view.read(start, tag.size))
                struct.pack_into(">I", frame, tag.place, count)
                if tag.stream:
                    size = sum(stop - start for start, stop in self.ranges)
                    struct.pack_into(">I", frame, tag.place + 4, min(size, 0xFFFFFFFF))
                parts[:1], plain = [bytes(frame), (start + tag.size, stop)], False
        else:
            if tag is not None:
                parts[0], plain = (start + tag.size, stop), False
            frames, spare = count * self.kind.samples, MAX_FRAME * (count + 1)
        return Stream(tuple(parts), plain, frames, spare)


def _mpeg_layout(view: _View, start: int, stop: int) -> Layout:
    """A stream for each run of frames of one kind, or with a tag frame of its own; none: the file as it is."""
    attempts = iter(range(MAX_ATTEMPTS))
    stop = _before_tags(view, start, stop)
    begin = at = _behind_tags(view, start, stop)
    found = _find_frames(view, at, stop, attempts, MAX_JUNK)
    streams: list[_Frames] = []
    tagged = False
    while found is not None:
        kind = _Kind.of(view.read(found, 4))
        tag = _tag_of(view, found, kind)
        end, count, last = _walk(view, found, stop, kind)
        if cut := end > stop:
            end, count = last, count - 1
        if streams and streams[-1].kind == kind and tag is None and not tagged:
            streams[-1].ranges.append((found, end))
            streams[-1].count += count
            streams[-1].lost += found - at
        else:
            streams.append(_Frames(kind, tag, [(found, end)], count))
        streams[-1].cut |= cut
        if cut or end == stop:
            break
        at = _behind_tags(view, end, stop)
        tagged = at > end  # another file begins
        first, found = found, _find_frames(view, last + 1 if at == end else at, stop, attempts, stop)
        if found is not None and found < end:  # the last frame is cut short by what follows
            streams[-1].ranges[-1] = (first, last)
            streams[-1].count -= 1
            streams[-1].cut, at = True, found
        if found is None and stop - end > (end - first) // 16:  # what was never written, for one
            streams[-1].lost += stop - end
    # libsndfile knows an MP3 by an ID3 tag or a frame at its very start.
    known = begin == 0 or (view.read(0, 3) == b"ID3" and begin == _behind_tags(view, 0, stop, 1))
    alone = known and start == 0 and len(streams) == 1 and streams[0].ranges == [(begin, stop)]
    streams = [one for one in streams if one.count > (one.tag is not None)]
    if not streams:
        return Layout()
    fault = next(filter(None, (one.fault() for one in streams)), None)
    if next(attempts, None) is None:
        fault = fault or "most of it is not MPEG frames"
    return _bounded([one.stream(view, alone) for one in streams], fault)


def _behind_tags(view: _View, at: int, stop: int, most: int = MAX_TAGS) -> int:
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


def _before_tags(view: _View, start: int, stop: int) -> int:
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
