"""A model folder on its way: written beside its place, put there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.io.atomic import replace_folder

from .classifier import is_model_folder
from .remote_code import add_remote_code


@contextmanager
def new_model_folder(out: Path) -> Iterator[Path]:
    """A hidden empty folder to fill. It takes the place of `out` if the block ends well, else it goes.

    With the model comes the code by which transformers alone opens it, see remote_code.py.

    Raises DataError for an `out` that cannot be written, and for one that holds anything but a model of ours.
    """
    with replace_folder(out, is_model_folder, "a model") as part:
        yield part
        if is_model_folder(part):
            add_remote_code(part)
