"""Files written whole or not at all: a temporary file beside the target, synced, then renamed over it.

In an object store an object appears when all of it has come: the temporary file is of this machine, then sent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from ..errors import DataError
from .storage import is_remote, upload_file, write_error


def write_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file, then put it in `path`'s place. Raises DataError and leaves no half file."""
    if is_remote(path):
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
        raise write_error(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _send_file(path: Path, fill: Callable[[Path], None]) -> None:
    try:
        with TemporaryDirectory(prefix="synthmir-") as folder:
            part = Path(folder) / path.name
            fill(part)
            upload_file(part, path)
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


@contextmanager
def replace_folder(out: Path, ours: Callable[[Path], bool], what: str, option: str = "--out") -> Iterator[Path]:
    """A hidden empty folder to fill; it takes the place of `out` if the block ends well, else it goes.

    Raises DataError for an `out` that cannot be written, and for one that holds what `ours` does not know as `what`.
    """
    out = out.expanduser().resolve()
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder", f"choose another {option}")
    if out.is_dir() and any(out.iterdir()) and not ours(out):
        raise DataError(f"{out}: is not empty, and what it holds is no {what}", f"choose a new folder: {option} DIR")
    part, old = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir(parents=True)
        yield part
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write {out}: {error.strerror or error}",
            f"make room or choose another {option}, then run it again",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
