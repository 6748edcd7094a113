"""Files and folders wherever they are kept: on this machine, or in an object store (s3://, hf://).

A path is a pathlib.Path or, for an address, a universal_pathlib.UPath: the same methods look, list and read. What
writes, moves or deletes goes through the functions here, so that a file appears atomically. Credentials and endpoints
are read from where the store's own tools read them (AWS_*, ~/.aws, HF_TOKEN, fsspec's configuration), never from an
address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import BackendError, DataError
from .storage_backends import (
    LOCAL_STORAGE,
    OBJECT_STORAGES,
    ObjectStorage,
    Storage,
    explain_errors,
    hash_file,
    path_exists,
    write_error,
)

__all__ = [
    "delete_file",
    "delete_folder",
    "delete_temporary_files",
    "hash_file",
    "is_file",
    "is_folder",
    "is_remote",
    "limit_workers",
    "list_files",
    "make_folder",
    "map_parallel",
    "move_folder",
    "new_file",
    "object_storage_of",
    "open_for_arrow",
    "path_exists",
    "read_all_files",
    "resume_move",
    "storage_errors",
    "stored_sha256",
    "to_path",
    "write_error",
    "write_errors",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def to_path(address: str | Path) -> Path:
    """Return the path that an address or a local path names. The store is not contacted.

    Args:
        address: "runs/demo", "file:///data/demo", "s3://bucket/demo", "hf://datasets/namespace/name".

    Raises:
        DataError: If the address is malformed, holds credentials, or is of an unknown kind of storage.
        BackendError: If the package for the storage is not installed.
    """
    if isinstance(address, Path):
        if match := re.match(rf"({'|'.join(OBJECT_STORAGES)}):/", str(address)):
            raise DataError(
                f"{match[1]}://{str(address)[match.end() :]}: is an address, where a folder of this machine is needed",
                "copy the corpus to a folder first; build, embed, verify and train take addresses",
            )
        return address
    if not isinstance(address, str):
        return address  # a UPath
    match = ADDRESS.fullmatch(address)
    if match is None:
        return Path(address)
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme in ("file", "local"):
        return Path(rest)
    address = address.partition("?")[0]  # the query may hold a key
    rest = rest.partition("?")[0].rstrip("/")
    parts = rest.split("/")
    if "@" in parts[0] or (":" in parts[0] and not parts[0].startswith("arn:")):
        raise DataError(
            f"{scheme}://***: an address must not hold keys or passwords: they would appear in records and messages",
            "give them to the store's client (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, HF_TOKEN)",
        )
    storage = OBJECT_STORAGES.get(scheme)
    if storage is None:
        raise DataError(
            f"{address}: an unknown kind of storage",
            f"use a folder, or {', '.join(f'{name}://' for name in OBJECT_STORAGES)}; "
            "other storages can be mounted as a folder",
        )
    if {"", ".", ".."} & set(parts):
        raise DataError(f"{address}: is not an address", f"write {scheme}://BUCKET/FOLDER")
    storage.check_address(address, parts)
    if find_spec(storage.package) is None:
        raise BackendError(f"{address}: needs the package {storage.package}, which is not installed", storage.install)
    from upath import UPath

    try:
        return cast(Path, UPath(f"{scheme}://{rest}", **storage.options))
    except ValueError as error:  # a bracket without its other half, which begins an IPv6 address
        raise DataError(f"{address}: is not an address: {error}", f"write {scheme}://BUCKET/FOLDER") from error


def is_remote(path: Path) -> bool:
    """Return whether a path is in an object store."""
    return not isinstance(path, Path)


def storage_of(path: Path) -> Storage:
    """Return the storage that a path is in."""
    return object_storage_of(path) if is_remote(path) else LOCAL_STORAGE


def object_storage_of(path: Path) -> ObjectStorage:
    """Return the object store that a remote path is in."""
    return OBJECT_STORAGES[cast(Any, path).protocol]


def limit_workers(path: Path, workers: int | None) -> int | None:
    """Return how many worker processes may write to a path: `workers`, or 1 for memory://, which only this one sees.

    Raises:
        DataError: If more are asked for than there may be.
    """
    if storage_of(path).shared:
        return workers
    if workers not in (None, 1):
        raise DataError(f"{path}: other processes cannot see it", "leave --workers out, or write to a folder")
    return 1


def storage_errors(path: Path) -> AbstractContextManager[None]:
    """Explain an object store's exceptions inside the block; those of a folder of this machine are left as they are.

    Raises:
        DataError: For missing rights and wrong names.
        BackendError: If the store cannot be reached.
        HubError: For anything that the Hugging Face Hub refuses.
    """
    return explain_errors(storage_of(path), path)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Explain exceptions of writing inside the block, also those of a folder of this machine (DataError)."""
    try:
        with storage_errors(path):
            yield
    except OSError as error:
        raise write_error(path, error) from error


def is_folder(path: Path) -> bool:
    """Return whether a folder exists. Raises as `storage_errors` does where the store does not answer."""
    with storage_errors(path):
        return storage_of(path).is_folder(path)


def is_file(path: Path) -> bool:
    """Return whether a file exists."""
    return path_exists(path) and path.is_file()


def list_files(folder: Path) -> list[str]:
    """Return every file below a folder, relative to it and separated by slashes."""
    with storage_errors(folder):
        return storage_of(folder).list_files(folder)


def read_all_files(folder: Path) -> list[bytes]:
    """Return the contents of every object below a folder of an object store, fetched together."""
    with storage_errors(folder):
        return object_storage_of(folder).read_all_files(folder)


def stored_sha256(path: Path) -> str | None:
    """Return the SHA-256 that the storage keeps of a file, without reading it; None if it keeps none."""
    return storage_of(path).stored_sha256(path)


def open_for_arrow(path: Path) -> Any:
    """Return what pyarrow reads: the path of a local file, which it maps into memory, or an open file of a store."""
    return storage_of(path).open_for_arrow(path)


def map_parallel(function: Callable[[Item], Result], items: Sequence[Item], path: Path) -> list[Result]:
    """Call a function for each item, in parallel if `path` is in an object store.

    Args:
        function: Reads a little, below `path`.
        items: What to call it with.
        path: Where it reads.

    Returns:
        What the function returns, in the order of the items.
    """
    if not is_remote(path):
        return [function(item) for item in items]
    with ThreadPoolExecutor(object_storage_of(path).parallel_requests) as pool:
        return list(pool.map(function, items))


def new_file(path: Path) -> AbstractContextManager[Path]:
    """Yield a temporary file of this machine to fill. When the block ends well, it becomes `path` atomically.

    Raises:
        DataError: If it cannot be written; no part of it is left.
    """
    return storage_of(path).new_file(path)


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Object stores have no empty folders: nothing is done there."""
    with write_errors(path):
        storage_of(path).make_folder(path)


def delete_file(path: Path) -> None:
    """Delete a file if it exists."""
    with write_errors(path):
        storage_of(path).delete_file(path)


def delete_folder(folder: Path) -> None:
    """Delete a folder and what it holds, if it exists."""
    with write_errors(folder):
        storage_of(folder).delete_folder(folder)


def delete_temporary_files(folder: Path) -> None:
    """Delete what `new_file` left below a folder where its process was killed."""
    with write_errors(folder):
        storage_of(folder).delete_temporary_files(folder)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder. An object store copies and deletes its objects; `resume_move` finishes what was interrupted."""
    with write_errors(target):
        storage_of(source).move_folder(source, target)


def resume_move(source: Path, target: Path) -> None:
    """Finish a `move_folder` in an object store that was interrupted."""
    if is_remote(source) and is_folder(target) and is_folder(source):
        move_folder(source, target)
