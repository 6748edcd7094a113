"""Excerpts of clips as files beside a page, which plays them."""

from __future__ import annotations

from pathlib import Path

from builder.audio import encode_flac, load_audio
from builder.errors import DataError
from builder.io.atomic import write_bytes

RATE, SECONDS = 32_000, 10  # of an excerpt
ASSETS = "assets"


def write_excerpt(out: Path, name: str, source: Path | bytes | None) -> str | None:
    """Write the first ten seconds of a clip as FLAC.

    Args:
        out: The folder of the page; the file goes to `assets/` in it.
        name: Of the file.
        source: The clip's file, or its bytes.

    Returns:
        The file relative to `out`; None if the clip cannot be read.
    """
    if source is None:
        return None
    try:
        samples = load_audio(source, RATE)[: RATE * SECONDS]
    except DataError:
        return None
    write_bytes(out / ASSETS / name, encode_flac(samples, RATE))
    return f"{ASSETS}/{name}"
