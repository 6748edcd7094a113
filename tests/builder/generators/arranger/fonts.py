"""Small sound fonts, made in code."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def listed(name: bytes, *chunks: bytes) -> bytes:
    return chunk(b"LIST", name + b"".join(chunks))


def font(
    samples: np.ndarray,
    rate: int,
    root: int,
    loop: tuple[int, int] | None,
    *generators: tuple[int, int],
    program: int = 0,
    compress: bool = False,
) -> bytes:
    """A SoundFont with one preset of one instrument of one sample, which SoundFont 3 has as Ogg Vorbis."""
    data = samples.astype("<i2").tobytes() + b"\0" * 92
    end, kind = len(samples), 1
    if compress:
        ogg = io.BytesIO()
        soundfile.write(ogg, samples / 32_768, rate, format="OGG", subtype="VORBIS")
        data, end, kind = ogg.getvalue(), len(ogg.getvalue()), 0x11
    settings = [*generators, *([(54, 1)] if loop else []), (53, 0)]
    start, stop = loop or (0, len(samples))
    hydra = {
        b"phdr": struct.pack("<20sHHHIII", b"Sine", program, 0, 0, 0, 0, 0)
        + struct.pack("<20sHHHIII", b"EOP", 0, 0, 1, 0, 0, 0),
        b"pbag": struct.pack("<HHHH", 0, 0, 1, 0),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<HHHH", 41, 0, 0, 0),
        b"inst": struct.pack("<20sH", b"Sine", 0) + struct.pack("<20sH", b"EOI", 1),
        b"ibag": struct.pack("<HHHH", 0, 0, len(settings), 0),
        b"imod": bytes(10),
        b"igen": b"".join(struct.pack("<HH", *pair) for pair in settings) + bytes(4),
        b"shdr": struct.pack("<20s5IBbHH", b"Sine", 0, end, start, stop, rate, root, 0, 0, kind) + bytes(46),
    }
    body = b"sfbk" + listed(b"sdta", chunk(b"smpl", data)) + listed(b"pdta", *(chunk(*item) for item in hydra.items()))
    return chunk(b"RIFF", body)


def sine(cycles: int, period: int) -> np.ndarray:
    return 16_384 * np.sin(2 * np.pi * np.arange(cycles * period) / period)
