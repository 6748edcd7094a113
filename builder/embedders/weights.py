"""Weights from a file: tensors and nothing else, told apart by what is wrong with them."""

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
PREFIXES = ("", "net.", "model.", "module.", "model.net.")  # of hear21passt's wrapper, of Lightning, of DataParallel
MAX_LISTED = 8
MAX_HEADER = 8 << 20  # bytes; a thousand tensors are described in 100 kB


def weights_file(path: str | Path) -> Path:
    """The file itself, or the only file of weights in a folder (a .safetensors before others). Raises BackendError."""
    path = Path(path).expanduser()
    if is_file(path):
        return path
    if not is_folder(path):
        raise BackendError(f"embedder.weights: there is no file and no folder {path}", f"give a {_listed(SUFFIXES)}")
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    found = [file for file in found if file.suffix == SUFFIXES[0]] or found
    if len(found) != 1:
        names = _listed(file.name for file in found) if found else f"no {_listed(SUFFIXES)}"
        raise BackendError(f"embedder.weights: {path} holds {names}", "name the one file to use")
    return found[0]


def revision(file: Path) -> str:
    """The first 16 hex digits of a file's SHA-256."""
    return hash_file(file)[:16]


def folder_revision(folder: Path) -> str:
    """16 hex digits of what `save_pretrained` wrote into a folder: settings and weights, by name and content."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".bin"))
    listing = "".join(f"{hash_file(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The named tensors in a safetensors file or a torch.save file. No code in it is run. Raises BackendError."""
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            check_header(file)
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        told = re.search(
            r"(Unsupported|Trying to load|Trying to call|Unable to)[^\n]*?(?=\. | was not|$|\n)", str(error)
        )
        raise BackendError(
            f"{file}: holds something else than tensors, and nothing of it was run: {told[0] if told else 'a pickle'}",
            "save the state_dict alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
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
    """Raise ValueError for a safetensors file whose header is longer than any. What it says is checked when opened.

    The eight bytes in front are the header's length; a header of megabytes is millions of tensors of nothing.
    """
    if not file.is_file():
        raise FileNotFoundError(ENOENT, "No such file", str(file))
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
    if length > min(MAX_HEADER, file.stat().st_size):
        raise ValueError(f"its header claims {length:,} bytes")


def fitting(
    found: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], ignored: tuple[str, ...], what: str
) -> dict[str, Tensor]:
    """The tensors of these shapes. Raises BackendError that lists what is missing, spare or of another shape.

    A common prefix (`net.`) is dropped; names that start with one of `ignored` may be there or not.
    """
    prefix = max(PREFIXES, key=lambda p: sum(p + name in found for name in shapes))
    tensors = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
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
        lines = [f"  - {len(names)} {kind}: {_listed(names)}" for kind, names in faults.items() if names]
        raise BackendError("\n".join([f"{what}: these weights do not fit", *lines]))
    return {name: tensors[name] for name in shapes}


def _damaged(file: Path, error: Exception) -> BackendError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BackendError(
        f"{file}: not a file of weights, or only a part of one: {reason[:120]}", "fetch the file again"
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = [f"... ({len(names) - MAX_LISTED} more)"] if len(names) > MAX_LISTED else []
    return ", ".join([*names[:MAX_LISTED], *more])
