"""Files written whole or not at all: a temporary file beside the target, synced, then renamed over it.

In an object store an object appears when all of it has come: the temporary file is of this machine, then sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from .errors import DataError
from .storage import publish, remote, unwritten


def write_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file, then put it in `path`'s place. Raises DataError and leaves no half file."""
    if remote(path):
        _send_file(path, fill)
        return
    # Machines that share a folder may have processes of one number.
    part = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(part)
        with part.open("rb+") as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise unwritten(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _send_file(path: Path, fill: Callable[[Path], None]) -> None:
    try:
        with TemporaryDirectory(prefix="synthmir-") as folder:
            part = Path(folder) / path.name
            fill(part)
            publish(part, path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}, in the folder for temporary files",
            "make room there or name another (TMPDIR), then run the same command again: finished work is kept",
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""

    def fill(part: Path) -> None:
        part.write_bytes(data)

    write_file(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))
