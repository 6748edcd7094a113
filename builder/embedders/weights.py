"""Read weights from a file: tensors only, no code. Each fault has an error of its own."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from errno import ENOENT
from pathlib import Path

import torch
from torch import Tensor

from ..corpus.shards import hash_file
from ..errors import BackendError
from ..io.storage import is_file, is_folder

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
PREFIXES = ("", "net.", "model.", "module.", "model.net.")  # added by hear21passt's wrapper, Lightning, DataParallel
MAX_LISTED = 8
MAX_HEADER = 8 << 20  # bytes; a thousand tensors take 100 kB


def find_weights_file(path: str | Path) -> Path:
    """The file itself, or the only file of weights in a folder, where a .safetensors file is preferred.

    Raises:
        BackendError: No such file or folder, or a folder without or with several files of weights.
    """
    path = Path(path).expanduser()
    if is_file(path):
        return path
    if not is_folder(path):
        raise BackendError(
            f"embedder.weights: there is no file and no folder {path}", f"give a {_list_names(SUFFIXES)}"
        )
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    files = [file for file in files if file.suffix == SUFFIXES[0]] or files
    if len(files) != 1:
        names = _list_names(file.name for file in files) if files else f"no {_list_names(SUFFIXES)}"
        raise BackendError(f"embedder.weights: {path} holds {names}", "name the one file to use")
    return files[0]


def file_revision(file: Path) -> str:
    """The first 16 hex digits of a file's SHA-256."""
    return hash_file(file)[:16]


def folder_revision(folder: Path) -> str:
    """16 hex digits of what `save_pretrained` wrote into a folder: settings and weights, by name and content."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".bin"))
    listing = "".join(f"{hash_file(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the named tensors of a safetensors or torch.save file. No code in the file is run.

    A checkpoint of {"state_dict": ...} or {"model": ...} gives the tensors in there.

    Raises:
        BackendError: A damaged file, or one that holds other objects than tensors.
    """
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            check_header(file)
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(
            r"(Unsupported|Trying to load|Trying to call|Unable to)[^\n]*?(?=\. | was not|$|\n)", str(error)
        )
        raise BackendError(
            f"{file}: holds other objects than tensors; none was loaded: {reason[0] if reason else 'a pickle'}",
            "save only the state_dict: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
        ) from error
    except Exception as error:  # whatever a damaged file makes torch raise
        raise _damaged(file, error) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise BackendError(f"{file}: expected named tensors, found {type(content).__name__}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def check_header(file: Path) -> None:
    """Raise ValueError for a safetensors file with a header of many megabytes, before it is read.

    The first eight bytes are the header's length. A header that long describes millions of empty tensors.
    """
    if not file.is_file():
        raise FileNotFoundError(ENOENT, "No such file", str(file))
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
    if length > min(MAX_HEADER, file.stat().st_size):
        raise ValueError(f"its header claims {length:,} bytes")


def select_tensors(
    state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], ignored: tuple[str, ...], what: str
) -> dict[str, Tensor]:
    """Pick the tensors with these names and shapes from a state dict.

    Args:
        state: Tensors by name. A prefix that all share (`net.`) is removed.
        shapes: The shape of each tensor to pick.
        ignored: Names that start with one of these may be there or not.
        what: The file and the model, for the error.

    Raises:
        BackendError: Tensors are missing, unexpected or of another shape; it lists them all.
    """
    prefix = max(PREFIXES, key=lambda p: sum(p + name in state for name in shapes))
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    faults = {
        "missing": [name for name in shapes if name not in tensors],
        "unexpected": [name for name in tensors if name not in shapes and not name.startswith(ignored)],
        "of another shape": [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in shapes.items()
            if name in tensors and tuple(tensors[name].shape) != shape
        ],
    }
    if any(faults.values()):
        lines = [f"  - {len(names)} {kind}: {_list_names(names)}" for kind, names in faults.items() if names]
        raise BackendError("\n".join([f"{what}: these weights do not fit", *lines]))
    return {name: tensors[name] for name in shapes}


def _damaged(file: Path, error: Exception) -> BackendError:
    """The error for a file that torch or safetensors cannot read."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BackendError(
        f"{file}: not a file of weights, or only a part of one: {reason[:120]}", "download the file again"
    )


def _list_names(names: Iterable[str]) -> str:
    """The first few names, separated by commas."""
    names = list(names)
    more = [f"... ({len(names) - MAX_LISTED} more)"] if len(names) > MAX_LISTED else []
    return ", ".join([*names[:MAX_LISTED], *more])
