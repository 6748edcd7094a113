"""Writes a model folder atomically."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel

from builder.io.atomic import replace_folder
from builder.io.hf_progress import quiet_transformers

from .classifier import CONFIG, WEIGHTS, is_model_folder
from .remote_code import add_remote_code


@contextmanager
def new_model_folder(out: Path) -> Iterator[Path]:
    """Give a hidden empty folder to fill. It replaces `out` if the block ends without an error, else it is deleted.

    With the model comes the code by which transformers alone opens it, see remote_code.py.

    Raises DataError for an `out` that cannot be written, and for one that holds anything but a synthmir model.
    """
    with replace_folder(out, is_model_folder, "a model") as part:
        yield part
        if is_model_folder(part):
            add_remote_code(part)


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors of a model into a folder."""
    with quiet_transformers():  # one small file
        model.save_pretrained(folder)
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors lets only the owner read
