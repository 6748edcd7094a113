"""Files written whole or not at all: a temporary file beside the target, synced, then renamed over it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .errors import DataError


def write_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file, then put it in `path`'s place. Raises DataError and leaves no half file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(part)
        with part.open("rb+") as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"cannot write {path}: {error.strerror or error}",
            "make room or choose another folder, then run the same command again: finished work is kept",
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""

    def fill(part: Path) -> None:
        part.write_bytes(data)

    write_file(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))
