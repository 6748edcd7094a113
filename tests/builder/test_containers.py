"""Audio files as people have them: headers missing or wrong, files joined end to end, junk, and truncation."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.audio import decode_audio, load_audio, measure_audio, stream_audio
from builder.containers.detect import find_streams
from builder.containers.layout import MAX_STREAMS, Splice, Stream
from builder.errors import DataError

RATE = 44_100
Samples = np.ndarray


def music(seconds: float = 2.0, rate: int = RATE, channels: int = 2) -> Samples:
    """A loud half of noise and a quiet half, so that a variable bitrate varies."""
    samples = 0.2 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    samples[len(samples) // 2 :] *= 0.002
    return samples.astype(np.float32)


def encoded(samples: Samples, kind: str, rate: int = RATE, **options: object) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, **options)
    return buffer.getvalue()


def read(data: bytes) -> Samples:
    """What libsndfile has of an intact file."""
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0])


VBR = encoded(music(), "MP3", bitrate_mode="VARIABLE", compression_level=0.4)
CBR = encoded(music(1.0), "MP3", bitrate_mode="CONSTANT", compression_level=0.6)
FIRST = 417  # bytes of the first frame of both at 128 kbit/s and 44.1 kHz: the Xing frame
BARE = VBR[FIRST:]
HALF = len(VBR) // 2
FRAMES = struct.unpack(">I", VBR[44:48])[0]  # in it, beside the first
OGG = encoded(music(), "OGG", subtype="VORBIS")
OPUS = encoded(music(1.0, 48_000), "OGG", 48_000, subtype="OPUS")
FLAC = encoded(music(), "FLAC")
WAV, AIFF, AU = (encoded(music(), kind, subtype="PCM_16") for kind in ("WAV", "AIFF", "AU"))
JUNK = (b"HTTP/1.0 200 OK\r\nicy-metaint: 8192\r\n" * 99)[:3_000]
ID3 = b"ID3\x03\x00\x00" + bytes([0, 0x08, 0, 0]) + np.random.default_rng(2).bytes(8 << 14)  # 128 KiB: a picture
ID3V1 = b"TAG" + b"x" * 125
APE = b"".join(
    b"APETAGEX" + struct.pack("<IIII", 2000, 132, 1, flags) + bytes(8) + body
    for flags, body in ((0xA0000000, bytes(100)), (0x80000000, b""))
)
LYRICS = b"LYRICSBEGIN" + b"la " * 20 + b"000071LYRICS200"


def patched(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def xing(frames: int) -> bytes:
    """VBR, whose Xing frame counts another number of frames."""
    return patched(VBR, 44, struct.pack(">I", frames))


def in_wav(mp3: bytes) -> bytes:
    """MP3 as the data of a WAV file."""
    format = struct.pack("<HHIIHHHHIHHH", 0x55, 2, RATE, 16_000, 1, 0, 12, 1, 2, 1152, 1, 1393)
    chunks = b"WAVEfmt " + struct.pack("<I", len(format)) + format + b"data" + struct.pack("<I", len(mp3)) + mp3
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def data_size(size: int) -> bytes:
    """WAV, whose header gives another size of its samples, as that of a recorder that was stopped."""
    return patched(WAV, WAV.find(b"data") + 4, struct.pack("<I", size))


def streamed(flac: bytes) -> bytes:
    """FLAC as an encoder writes it to a pipe: its length is 0 in the header."""
    return patched(flac, 21, bytes([flac[21] & 0xF0]) + bytes(4))


def both(*files: bytes) -> Samples:
    return np.concatenate([read(data) for data in files])


COMPLETE = {
    "mp3, Xing counts a third": (xing(FRAMES // 3), read(VBR)),
    "mp3, Xing of a pipe": (patched(xing(0), 48, bytes(4)), read(VBR)),
    "mp3, Xing counts fifty times": (xing(FRAMES * 50), read(VBR)),
    "mp3, zeros first": (bytes(4_096) + VBR, read(VBR)),
    "mp3, junk first": (JUNK + VBR, read(VBR)),
    "mp3, joined": (VBR + CBR, both(VBR, CBR)),
    "mp3, joined with tags": (ID3 + VBR + ID3V1 + ID3 + CBR + APE + ID3V1, both(VBR, CBR)),
    "mp3, joined with zeros between": (VBR + bytes(700) + CBR, both(VBR, CBR)),
    "mp3, picture and ID3v1": (ID3 + VBR + ID3V1, read(VBR)),
    "mp3, APE": (APE + VBR + APE, read(VBR)),
    "mp3, Lyrics3 and ID3v1": (VBR + LYRICS + ID3V1, read(VBR)),
    "mp3, zeros last": (VBR + bytes(1_000), read(VBR)),
    "mp3 in WAV": (in_wav(VBR), read(VBR)),
    "mp3 in WAV, Xing counts a third": (in_wav(xing(FRAMES // 3)), read(VBR)),
    "ogg, chained": (OGG + OGG, both(OGG, OGG)),
    "ogg, junk last": (OGG + JUNK, read(OGG)),
    "ogg, junk between": (OGG + JUNK + OGG, both(OGG, OGG)),
    "opus, chained": (OPUS + OPUS, both(OPUS, OPUS)),
    "wav, size 0": (data_size(0), read(WAV)),
    "wav, size unknown": (data_size(0xFFFFFFFF), read(WAV)),
    "wav, size unknown to SoX": (data_size(0x7FFFF000), read(WAV)),
    "wav, both sizes 0": (patched(data_size(0), 4, bytes(4)), read(WAV)),
    "wav, odd chunk before": (WAV[:36] + b"LIST\x05\0\0\0INFOx\0" + WAV[36:], read(WAV)),
    "wav, chunk behind": (WAV + b"LIST\x04\0\0\0INFO", read(WAV)),
    "rf64": (encoded(music(), "RF64", subtype="PCM_16"), read(WAV)),
    "aiff, size 0": (patched(AIFF, AIFF.find(b"SSND") + 4, bytes(4)), read(AIFF)),
    "au, size unknown": (patched(AU, 8, b"\xff" * 4), read(AU)),
    "au, size 0": (patched(AU, 8, bytes(4)), read(AU)),
    "flac, no length": (streamed(FLAC), read(FLAC)),
    "flac, ID3 first": (ID3[:6] + bytes([0, 0, 8, 0]) + bytes(1_024) + FLAC, read(FLAC)),
    "flac, another MD5": (patched(FLAC, 26, bytes(range(16))), read(FLAC)),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLETE)
def test_every_sample_is_read(tmp_path: Path, name: str) -> None:
    data, want = COMPLETE[name]
    (tmp_path / "a.mp3").write_bytes(data)
    for source in (data, tmp_path / "a.mp3"):
        np.testing.assert_allclose(decode_audio(source)[0], want, atol=1e-6)
        assert len(load_audio(source, measure_audio(source)[2])) == len(want)


def test_an_mp3_without_its_xing_frame_has_every_frame() -> None:
    """With what the encoder added at both ends, as nothing says how much that is."""
    for data in (BARE, ID3 + BARE + ID3V1, JUNK + BARE, CBR[FIRST:]):
        got, want = decode_audio(data)[0], read(CBR if data[-100:] == CBR[-100:] else VBR)
        assert len(got) % 1_152 == 0 and 0 < len(got) - len(want) <= 3 * 1_152
        np.testing.assert_allclose(got[1_105 : 1_105 + len(want)], want[: len(got) - 1_105], atol=1e-6)
    vbri = b"VBRI" + struct.pack(">HHHII", 1, 0, 0, FIRST + len(BARE), FRAMES)  # Fraunhofer's instead
    vbri = VBR[:4] + bytes(32) + vbri.ljust(FIRST - 36, b"\0")
    assert len(decode_audio(BARE)[0]) == len(decode_audio(vbri + BARE)[0]) == 1_152 * FRAMES
    with pytest.raises(DataError, match="bytes of audio that its header states"):
        decode_audio(vbri + BARE[:HALF])
    assert len(decode_audio(BARE + ID3V1 + ID3 + BARE)[0]) == len(decode_audio(BARE + BARE)[0]) == 2 * 1_152 * FRAMES


@pytest.mark.parametrize(
    ("head", "size", "samples"),
    [
        (b"\xff\xfd\x84\x00", 384, 1_152),  # MPEG 1, layer II, 128 kbit/s, 48 kHz: 144 * 128,000 / 48,000
        (b"\xff\xff\xc0\x00", 416, 384),  # MPEG 1, layer I, 384 kbit/s, 44.1 kHz: 4 * floor(12 * 384,000 / 44,100)
        (b"\xff\xff\xc2\x00", 420, 384),  # and padding, four bytes in that layer
        (b"\xff\xf5\x84\x00", 384, 1_152),  # MPEG 2, layer II, 64 kbit/s, 24 kHz
        (b"\xff\xf3\x84\xc0", 192, 576),  # MPEG 2, layer III, 64 kbit/s, 24 kHz: 72 * 64,000 / 24,000
        (b"\xff\xe2\x88\xc0", 576, 576),  # MPEG 2.5, layer III, 64 kbit/s, 8 kHz, with a checksum
    ],
)
def test_frames_of_all_layers_are_as_long_as_the_standard_says(head: bytes, size: int, samples: int) -> None:
    layout = find_streams(io.BytesIO(10 * head.ljust(size, b"\0")))
    assert [stream.frames for stream in layout.streams] == [10 * samples] and layout.fault is None


@pytest.mark.parametrize("rate", [48_000, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_all_rates_are_counted(rate: int, channels: int) -> None:
    """MPEG 1, 2 and 2.5."""
    data = encoded(music(1.0, rate, channels), "MP3", rate, bitrate_mode="VARIABLE", compression_level=0.5)
    want = read(data)
    assert measure_audio(data) == (rate, channels, rate)
    tag = max(data.find(word, 0, 64) for word in (b"Xing", b"Info"))
    for count in (1, 9_999):
        np.testing.assert_allclose(decode_audio(patched(data, tag + 8, struct.pack(">I", count)))[0], want, atol=1e-6)
    np.testing.assert_allclose(decode_audio(data + data)[0], both(data, data), atol=1e-6)
    with pytest.raises(DataError, match="truncated"):
        decode_audio(data[: len(data) // 2])


TRUNCATED = {
    "mp3": (VBR[:HALF], "bytes of audio that its header states"),
    "mp3, ID3v1 last": (VBR[:HALF] + ID3V1, "bytes of audio that its header states"),
    "mp3, no Xing": (BARE[:HALF], "in the middle of an MPEG frame"),
    "mp3, Xing counts a third": (xing(FRAMES // 3)[:HALF], "in the middle of an MPEG frame"),
    "mp3, then another": (VBR[:HALF] + CBR, "bytes of audio that its header states"),
    "mp3, no Xing, then another": (BARE[:HALF] + CBR, "in the middle of an MPEG frame"),
    "mp3, no Xing, no middle": (BARE[:9_000] + bytes(9_000) + BARE[18_000:], "are not audio"),
    "mp3, no Xing, never written": (BARE[:HALF] + bytes(HALF), "are not audio"),
    "mp3 in WAV": (in_wav(VBR)[:HALF], "bytes of audio that its header states"),
    "ogg": (OGG[:10_000], "has no last page"),
    "ogg, chained": (OGG + OGG[:10_000], "has no last page"),
    "ogg, then another": (OGG[:10_000] + OGG, "middle of an Ogg page"),
    "opus": (OPUS[: len(OPUS) // 2], "has no last page"),
    "wav": (WAV[: len(WAV) // 2 + 1], "bytes of audio that its header states"),
    "rf64": (encoded(music(), "RF64", subtype="PCM_16")[: len(WAV) // 2], "bytes of audio that its header states"),
    "aiff": (AIFF[: len(AIFF) // 2 + 1], "bytes of audio that its header states"),
    "au": (AU[: len(AU) // 2 + 1], "bytes of audio that its header states"),
    "flac": (FLAC[: len(FLAC) // 2], "lost sync"),
    "flac, no length": (streamed(FLAC)[: len(FLAC) // 2], "lost sync"),
    "flac, longer by its header": (patched(FLAC, 22, struct.pack(">I", 1 << 20)), "88,200 of the 1,048,576 samples"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUNCATED)
def test_what_is_truncated_is_an_error(tmp_path: Path, name: str) -> None:
    data, reason = TRUNCATED[name]
    (tmp_path / "a.mp3").write_bytes(data)
    for source in (data, tmp_path / "a.mp3"):
        for attempt in (
            decode_audio,
            lambda one: load_audio(one, 16_000),
            lambda one: list(stream_audio(one, 16_000)),
        ):
            with pytest.raises(DataError, match=reason):
                attempt(source)
    with pytest.raises(DataError, match=r"a\.mp3: "):
        decode_audio(tmp_path / "a.mp3")


def test_free_format_is_left_to_the_decoder() -> None:
    """Frames of one size that their headers do not give: of silence, as no frame then refers to another."""
    data = encoded(np.zeros((RATE, 2), np.float32), "MP3", bitrate_mode="CONSTANT", compression_level=2 / 3)  # 128
    free, at = b"", 0
    while at < len(data):
        size = FIRST + (data[at + 2] >> 1 & 1)
        free += (data[at : at + 2] + bytes([data[at + 2] & 0x0D]) + data[at + 3 : at + size]).ljust(430, b"\0")
        at += size
    assert len(free) // 430 == 1 + len(decode_audio(free[430:])[0]) // 1_152 > 30
    assert len(decode_audio(free)[0]) == RATE


def test_less_than_a_frame_that_lacks_is_no_damage() -> None:
    """A writer that counts its own header, and a last frame that is short."""
    assert len(decode_audio(WAV[:-44])[0]) == len(read(WAV)) - 11
    assert len(read(VBR)) - len(decode_audio(VBR[:-10])[0]) == 1_152
    assert len(decode_audio(VBR[:20_000] + bytes(300) + VBR[20_300:])[0]) >= len(read(VBR)) - 3 * 1_152


def test_joined_files_of_other_channels_and_rates() -> None:
    mono = encoded(music(1.0, channels=1), "MP3")
    assert decode_audio(VBR + mono)[0].shape == (len(read(VBR)) + len(read(mono)), 2)
    assert decode_audio(mono + VBR)[0].shape == (len(read(VBR)) + len(read(mono)), 1)
    np.testing.assert_allclose(decode_audio(mono + VBR)[0][len(read(mono)) :, 0], read(VBR).mean(axis=1), atol=1e-6)
    with pytest.raises(DataError, match="its sampling rate changes from 44,100 to 48,000 Hz"):
        decode_audio(VBR + encoded(music(1.0, 48_000), "MP3", 48_000))


def test_a_limit_is_of_what_there_is_and_not_of_what_a_header_says() -> None:
    assert len(decode_audio(xing(FRAMES * 50), seconds=2)[0]) == 2 * RATE
    for data in (VBR, xing(FRAMES // 3), BARE, OGG, streamed(FLAC), VBR + VBR):
        with pytest.raises(DataError, match="is longer than"):
            decode_audio(data, seconds=1.5)


@pytest.mark.parametrize("data", [bytes(100_000), JUNK, ID3, ID3V1 * 9, b"\xff\xfb\x90\x00" * 999, BARE[:500]])
def test_what_holds_no_frames_is_no_audio(data: bytes) -> None:
    with pytest.raises(DataError, match=r"cannot be read as audio|holds no samples|truncated"):
        decode_audio(data)


def test_a_read_error_amid_a_splice_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(self: Splice, buffer: object) -> int:
        self.error = OSError(5, "Input/output error")
        return 0

    (tmp_path / "a.mp3").write_bytes(JUNK + VBR)
    assert len(decode_audio(tmp_path / "a.mp3")[0]) == len(read(VBR))
    monkeypatch.setattr(Splice, "readinto", fail)
    with pytest.raises(DataError, match="Input/output error"):
        decode_audio(tmp_path / "a.mp3")


def test_a_splice_reads_as_a_file() -> None:
    file = Splice(io.BytesIO(b"0123456789"), Stream((b"ab", (2, 5), (5, 5), b"c", (8, 10)), spare=200))
    assert file.read(3) == b"ab" and file.read(9) == b"234" and file.read(9) == b"c" and file.read() == b"89"
    assert file.read() == b"" and file.seek(4) == 4 and file.read(1) == b"4"
    assert file.seek(-128, io.SEEK_END) == 80 and file.read(128) == bytes(128)  # where an ID3v1 tag is looked for


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfb\x90\x64" * 50_000,
        b"\xff\xfb\x90" * 66_666,
        b"ID3\x03\0\0\0\0\0\0" * 20_000,
        (b"OggS\0\2" + bytes(21)) * 7_000,
        b"".join(b"\xff\xfb\x10" + mode + bytes(100) for mode in (b"\0", b"\0", b"\0", b"\xc0", b"\xc0", b"\xc0"))
        * 600,
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 25_000,
    ],
    ids=["sync", "frames", "tags", "pages", "kinds", "chunks"],
)
def test_files_of_headers_only_are_looked_through_in_bounds(data: bytes) -> None:
    layout = find_streams(io.BytesIO(data))
    assert 1 <= len(layout.streams) <= MAX_STREAMS
    with pytest.raises(DataError):
        decode_audio(data)


def test_a_large_file_is_looked_through_in_bounded_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.mp3").open("wb") as file:
        for _ in range(400):
            file.write(BARE)
    tracemalloc.start()
    try:
        samples, _, _ = measure_audio(tmp_path / "a.mp3")
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert samples == 400 * FRAMES * 1_152
