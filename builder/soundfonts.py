"""Sound fonts by name or path: where they are, what identifies them, and their licences."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import BackendError, RecipeError

DEFAULT = "TimGM6mb"
MAX_BYTES = 2 << 30
_DIGITS = 16  # of a digest
_SPEC = re.compile(rf"(?P<font>.*?)(@(?P<digest>[0-9a-f]{{{_DIGITS}}}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KnownFont:
    """A sound font that recipes may name.

    Attributes:
        files: Where it may be installed.
        command: What installs it.
        licence: Its licence.
        by: Who made it.
    """

    files: tuple[str, ...]
    command: str
    licence: str
    by: str


KNOWN = {
    DEFAULT: KnownFont((), "pip install pretty_midi", "GPL-2", "Tim Brechbill"),
    "FluidR3_GM": KnownFont(
        ("/usr/share/sounds/sf2/FluidR3_GM.sf2", "/usr/share/soundfonts/FluidR3_GM.sf2"),
        "apt-get install fluid-soundfont-gm",
        "MIT",
        "Frank Wen",
    ),
    "MuseScore_General": KnownFont(
        ("/usr/share/sounds/sf3/MuseScore_General.sf3", "/usr/share/sounds/sf2/MuseScore_General.sf2"),
        "apt-get install musescore-general-soundfont-small",
        "MIT",
        "S. Christian Collins and others",
    ),
}


@dataclass(frozen=True, slots=True)
class FontFile:
    """A sound font on this machine: the name for rows and cards, its file, and the start of the file's SHA-256."""

    name: str
    path: Path
    digest: str


def find_font(text: str) -> FontFile:
    """Find a sound font.

    Args:
        text: A name in `KNOWN`, or the path of an SF2 or SF3 file; "@" and a digest after it must be the file's.

    Raises:
        BackendError: It is not installed, there is no such file, it cannot be read, or its digest is another.
    """
    font, digest = split_font(text)
    try:
        path = _locate(font)
        found = FontFile(name_font(text), path, _digest(path, path.stat().st_size, path.stat().st_mtime_ns))
    except OSError as error:
        raise BackendError(
            f"generator.soundfont: {font} cannot be read ({error.strerror or error})",
            "change its permissions, or name another sound font",
        ) from error
    if digest not in (None, found.digest):
        raise BackendError(
            f"generator.soundfont: {path} has the digest {found.digest}, the recipe asks for {digest}",
            "install that version of the sound font, or make a new corpus with this one",
        )
    return found


def identify_font(text: str) -> str:
    """Return a sound font's digest: the one that the text states, or that of the file. Raises as `find_font`."""
    return split_font(text)[1] or find_font(text).digest


def pin_font(text: str) -> str:
    """Return a sound font as a recipe in a corpus names it: without folders, with its digest."""
    font, _ = split_font(text)
    return f"{Path(font).name}@{identify_font(text)}"


def name_font(text: str) -> str:
    """Return the name of a sound font for rows and cards: its name, or that of its file."""
    font, _ = split_font(text)
    return font if font in KNOWN else Path(font).name


def split_font(text: str) -> tuple[str, str | None]:
    """Split "NAME@DIGEST" into name and digest, None without one."""
    match = _SPEC.fullmatch(text)
    return (match["font"], match["digest"]) if match else (text, None)


def resolve_font(text: str, folder: Path) -> str:
    """Return a sound font whose relative path starts at a folder with the path made absolute."""
    font, digest = split_font(text)
    if font in KNOWN or not _is_path(font):
        return text
    return str(folder / Path(font).expanduser()) + (f"@{digest}" if digest else "")


def _is_path(font: str) -> bool:
    return "/" in font or "\\" in font or Path(font).suffix.lower() in (".sf2", ".sf3")


def _locate(font: str) -> Path:
    """The file of a sound font."""
    if font == DEFAULT:
        spec = importlib.util.find_spec("pretty_midi")
        places = [Path(spec.origin).parent / "TimGM6mb.sf2"] if spec and spec.origin else []
    elif font in KNOWN:
        places = [Path(file) for file in KNOWN[font].files]
    elif _is_path(font):
        places = [Path(font).expanduser()]
    else:
        raise RecipeError(
            f"generator.soundfont: there is no sound font called {font!r}",
            f"known: {', '.join(KNOWN)}; or give the path of an SF2 or SF3 file",
        )
    if (path := next((place for place in places if place.is_file()), None)) is None:
        if font in KNOWN:
            raise BackendError(f"generator.soundfont: {font} is not installed", KNOWN[font].command)
        raise BackendError(
            f"generator.soundfont: there is no file {font}", "put it there, or change generator.soundfont"
        )
    if path.stat().st_size > MAX_BYTES:
        raise BackendError(f"generator.soundfont: {path} is larger than {MAX_BYTES >> 30} GiB", "use a smaller one")
    return path


@lru_cache(64)
def _digest(path: Path, size: int, modified: int) -> str:
    """The start of a file's SHA-256; size and time of change let a changed file be read again."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:_DIGITS]
