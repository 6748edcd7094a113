"""A model folder on its way: written beside its place, put there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import DataError

from .model import is_model_folder
from .remote_code import add_remote_code


@contextmanager
def model_folder(out: Path) -> Iterator[Path]:
    """A hidden empty folder to fill. It takes the place of `out` if the block ends well, else it goes.

    With the model comes the code by which transformers alone opens it, see remote_code.py.

    Raises DataError for an `out` that cannot be written, and for one that holds anything but a model of ours.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder", "choose another --out")
    if out.is_dir() and any(out.iterdir()) and not is_model_folder(out):
        raise DataError(f"{out}: is not empty, and what it holds is no model", "choose an empty or a new folder")
    part, old = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir(parents=True)
        yield part
        if is_model_folder(part):
            add_remote_code(part)
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write {out}: {error.strerror or error}", "make room or choose another --out, then train again"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
