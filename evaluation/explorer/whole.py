"""A folder written whole or not at all: filled beside its place, then put there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import DataError


@contextmanager
def whole_folder(out: Path, ours: Callable[[Path], bool], option: str) -> Iterator[Path]:
    """A hidden empty folder to fill; it takes the place of `out` if the block ends well, else it goes.

    Raises DataError for an `out` that cannot be written, and for one that holds what `ours` does not know.
    """
    out = out.expanduser().resolve()
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder", f"choose another {option}")
    if out.is_dir() and any(out.iterdir()) and not ours(out):
        raise DataError(f"{out}: is not empty, and not what this command wrote", f"choose a new folder: {option} DIR")
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
