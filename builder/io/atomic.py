"""Files and folders that appear atomically: with all of their content, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DataError
from .storage import new_file


def write_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Write a file atomically.

    Args:
        path: The file, of this machine or of an object store. What it held before is replaced.
        fill: Writes the content to the temporary file that it is given.

    Raises:
        DataError: If the file cannot be written; no part of it is left.
    """
    with new_file(path) as part:
        fill(part)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes to a file atomically; see `write_file`."""
    with new_file(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write text to a file atomically, as UTF-8; see `write_file`."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def replace_folder(
    out: Path, is_replaceable: Callable[[Path], bool], what: str, option: str = "--out"
) -> Iterator[Path]:
    """Fill a folder and put it in the place of another atomically.

    Args:
        out: The folder to replace. It may be missing or empty.
        is_replaceable: Whether the folder that exists is of the same kind, so that it may be deleted.
        what: The kind, for messages: "a model".
        option: The option of the command that names `out`, for messages.

    Yields:
        An empty hidden folder beside `out`. It becomes `out` when the block ends well, else it is deleted.

    Raises:
        DataError: If `out` cannot be written, or is not replaceable.
    """
    out = out.expanduser().resolve()
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder", f"choose another {option}")
    if out.is_dir() and any(out.iterdir()) and not is_replaceable(out):
        raise DataError(f"{out}: is not empty, and does not hold {what}", f"choose a new folder: {option} DIR")
    part, old = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old")
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by a run that was killed
        part.mkdir(parents=True)
        yield part
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.errno is None:  # of Arrow: what the block reads is damaged
            raise DataError(
                f"{out}: not written, as what it is made from cannot be read: {error}",
                "check the corpus: synthmir verify CORPUS",
            ) from error
        raise DataError(
            f"cannot write {out}: {error.strerror or error}",
            f"make room or choose another {option}, then run it again",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
