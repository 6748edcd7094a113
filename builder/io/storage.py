"""Where corpora lie: a folder of this machine, or an address of an object store (s3://, hf://).

A place is a pathlib.Path or, for an address, a universal_pathlib.UPath: the same methods look, list and read. What
writes, moves or deletes goes through here, so that an object appears whole or not at all. A network folder (NFS, say)
that is mounted is a folder: renaming is atomic there. Rights and endpoints are read from where the store's own tools
read them (AWS_*, ~/.aws, HF_TOKEN, fsspec's configuration), never from an address.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import BackendError, DataError, HubError, SynthmirError

Item = TypeVar("Item")
Result = TypeVar("Result")

PART_BYTES = 16 << 20  # of a large upload: ten are in memory at once
CLIENTS = {
    "aiobotocore",
    "aiohttp",
    "botocore",
    "fsspec",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "requests",
    "s3fs",
}


@dataclass(frozen=True, slots=True)
class Store:
    """A kind of storage: what it needs, how long its lock stands between signs of life, requests at once."""

    package: str
    mend: str  # when the package is missing
    beat: float  # seconds
    abreast: int
    options: tuple[tuple[str, Any], ...] = ()


STORES = {
    # Listings that were kept would hide what other machines wrote since.
    "s3": Store(
        "s3fs", "uv sync --extra s3, or pip install 'synthmir[s3]'", 5.0, 16, (("use_listings_cache", False),)
    ),
    # Each write is a commit there, and the Hub counts them: a sign of life is a rare one.
    "hf": Store("huggingface_hub", "pip install huggingface_hub", 300.0, 1),
    "memory": Store("fsspec", "pip install fsspec", 5.0, 1),  # of this process alone
}
ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def to_path(address: str | Path) -> Path:
    """The place that a path or an address names. Raises DataError for an address that is none, BackendError without
    the package that speaks to its store. Nothing is asked of the store yet."""
    if not isinstance(address, str):
        if match := re.match(rf"({'|'.join(STORES)}):/", str(address)) if isinstance(address, Path) else None:
            raise DataError(
                f"{match[1]}://{str(address)[match.end() :]}: an address, where a folder of this machine is needed",
                "copy the corpus to a folder first; build, embed, verify and train take addresses",
            )
        return address
    match = ADDRESS.fullmatch(address)
    if match is None:
        return Path(address)
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme in ("file", "local"):
        return Path(rest)
    address = address.partition("?")[0]  # what follows may be a key
    rest = rest.partition("?")[0].rstrip("/")
    first, _, below = rest.partition("/")
    if "@" in first or (":" in first and not first.startswith("arn:")):
        raise DataError(
            f"{scheme}://***: an address must not hold keys or passwords: they would stand in records and messages",
            "give them to the store's own client (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, HF_TOKEN)",
        )
    store = STORES.get(scheme)
    if store is None:
        raise DataError(
            f"{address}: no storage of a kind that is known",
            f"a folder, or {', '.join(f'{name}://' for name in STORES)}; any other can be mounted as a folder",
        )
    _check(scheme, first, below, address)
    if find_spec(store.package) is None:
        raise BackendError(f"{address}: needs the package {store.package}, which is not installed", store.mend)
    from upath import UPath

    return cast(Path, UPath(f"{scheme}://{rest}", **dict(store.options)))


def _check(scheme: str, first: str, below: str, address: str) -> None:
    parts = below.split("/") if below else []
    if not first or {"", ".", ".."} & set(parts):
        raise DataError(f"{address}: not an address", f"{scheme}://{'org' if scheme == 'hf' else 'bucket'}/folder")
    if scheme == "hf" and (first not in ("datasets", "buckets") or len(parts) < 2):
        raise DataError(f"{address}: not the address of a data set", "hf://datasets/NAMESPACE/NAME")
    if scheme == "s3" and not parts:
        raise DataError(f"{address}: a whole bucket", f"give a folder in it: {scheme}://{first}/corpus")


def path_exists(path: Path) -> bool:
    """Whether anything lies there. Nothing does where no file can be called so: too long, with NUL, half a letter."""
    try:
        return path.exists()
    except ValueError:
        return False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def is_remote(path: Path) -> bool:
    """Whether a place is an object store's."""
    return not isinstance(path, Path)


def limit_workers(path: Path, asked: int | None) -> int | None:
    """How many worker processes to ask for to write there: memory is of this process alone."""
    if not is_remote(path) or _upath(path).protocol != "memory":
        return asked
    if asked not in (None, 1):
        raise DataError(f"{path}: other processes do not see it", "leave --workers out, or write to a folder")
    return 1


def store_of(path: Path) -> Store:
    """The kind of storage that a remote place is in."""
    return STORES[_upath(path).protocol]


def _upath(path: Path) -> Any:
    return path


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Tell in words what a store refuses inside: DataError for rights and names, BackendError for a store that cannot
    be reached, HubError for the Hub. On a folder of this machine it does nothing."""
    if not is_remote(path):
        yield
        return
    try:
        yield
    except SynthmirError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        raise _told(path, error) from error


def _told(path: Path, error: Exception) -> SynthmirError:
    said = " ".join((str(error) or type(error).__name__).split())[:300]
    if _upath(path).protocol == "hf":
        return HubError(
            f"{path}: {said}", "check the name and your token (hf auth login), then run the same command again"
        )
    kind = type(error).__name__
    if "request time" in said:
        return DataError(f"{path}: {said}", "set this machine's clock: the storage's differs by too much")
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: {said}", "check the address; a bucket must be there before a corpus goes into it")
    if "Credentials" in kind or "Profile" in kind:
        return DataError(f"{path}: {said}", "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws")
    if isinstance(error, PermissionError):
        return DataError(
            f"{path}: {said}",
            "ask for the right to list, read, write and delete there, or use other keys (AWS_*, ~/.aws)",
        )
    return BackendError(
        f"{path}: the storage cannot be reached or fails ({kind}: {said})",
        "check the network and AWS_ENDPOINT_URL, then run the same command again: finished work is kept",
    )


def is_folder(path: Path) -> bool:
    """Whether a folder is there. Of a store, raises what `reaching` tells where it cannot say."""
    if not is_remote(path):
        return path_exists(path) and path.is_dir()
    with storage_errors(path):
        fs = _upath(path).fs
        fs.invalidate_cache()
        try:
            return bool(fs.info(_upath(path).path)["type"] == "directory")
        except FileNotFoundError:
            return False


def is_file(path: Path) -> bool:
    """Whether a file is there."""
    return path_exists(path) and path.is_file()


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex. All of it is read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def upload_file(part: Path, target: Path) -> None:
    """Put a local file in a store as `target`, whole or not at all. Raises what `reaching` tells."""
    with storage_errors(target):
        fs, key, size = _upath(target).fs, _upath(target).path, part.stat().st_size
        if _upath(target).protocol == "s3":
            fs.put_file(str(part), key, chunksize=PART_BYTES, Metadata={"sha256": hash_file(part)})
        elif _upath(target).protocol == "memory":
            fs.pipe_file(key, part.read_bytes())  # put_file would show it while it grows
        else:
            fs.put_file(str(part), key)
        if (arrived := fs.info(key)["size"]) != size:
            raise DataError(f"{target}: {arrived} bytes arrived of {size}", "run the same command again")


def stored_sha256(path: Path) -> str | None:
    """What a store says is the SHA-256 of an object, None where it does not say. S3 says what `publish` gave it."""
    fs, key = _upath(path).fs, _upath(path).path
    if _upath(path).protocol == "s3":
        return cast("str | None", fs.metadata(key).get("sha256"))
    lfs = fs.info(key).get("lfs") if _upath(path).protocol == "hf" else None
    return lfs["sha256"] if lfs else None


def open_for_arrow(path: Path) -> Any:
    """What pyarrow opens: the path itself, so that a local file is mapped, or a file of the store."""
    if not is_remote(path):
        return path
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(_upath(path).fs)).open_input_file(_upath(path).path)


def list_files(folder: Path) -> list[str]:
    """Every file below a folder, relative to it, with slashes."""
    if not is_remote(folder):
        return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    with storage_errors(folder):
        fs, root = _upath(folder).fs, _upath(folder).path
        fs.invalidate_cache()
        return [path[len(root) :].lstrip("/") for path in fs.find(root)]


def read_all_files(folder: Path) -> list[bytes]:
    """The contents of all objects below a folder of a store, fetched together."""
    with storage_errors(folder):
        fs = _upath(folder).fs
        fs.invalidate_cache()
        found = fs.find(_upath(folder).path)
        return list(fs.cat(found).values()) if found else []


def map_parallel(function: Callable[[Item], Result], items: Sequence[Item], path: Path) -> list[Result]:
    """What a function that reads a little below `path` gives for each item: in a store, several at once."""
    if not is_remote(path):
        return [function(item) for item in items]
    with ThreadPoolExecutor(store_of(path).abreast) as pool:
        return list(pool.map(function, items))


def write_error(path: Path, error: OSError) -> DataError:
    """What to tell where the system refuses to write at a place of this machine."""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        fix = "choose a folder that you may write to, or ask for the right to"
    else:
        fix = "make room or choose another folder"
    return DataError(
        f"cannot write {path}: {error.strerror or error}",
        f"{fix}, then run the same command again: finished work is kept",
    )


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Tell in words what the system refuses inside: DataError."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it; a store knows none."""
    if not is_remote(path):
        with write_errors(path):
            path.mkdir(parents=True, exist_ok=True)


def delete_temporary_files(folder: Path) -> None:
    """Delete the temporary files that killed runs left below a folder; in a store there are none."""
    if not is_remote(folder):
        for torn in folder.rglob(".*.part"):
            with write_errors(torn):
                torn.unlink(missing_ok=True)


def delete_file(path: Path) -> None:
    """Delete a file, if it is there."""
    if not is_remote(path):
        with write_errors(path):
            path.unlink(missing_ok=True)
        return
    with storage_errors(path):
        fs, key = _upath(path).fs, _upath(path).path
        if _upath(path).protocol == "hf" and not fs.exists(key):
            return  # it has an error of its own for this
        try:
            fs.rm_file(key)
        except FileNotFoundError:
            return


def delete_folder(folder: Path) -> None:
    """Delete a folder and all in it, if it is there."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)  # a worker that is dying may write in it yet
        if folder.exists():
            with write_errors(folder):
                shutil.rmtree(folder)
        return
    with storage_errors(folder):
        fs, root = _upath(folder).fs, _upath(folder).path
        fs.invalidate_cache()
        try:
            fs.rm(root, recursive=True)
        except FileNotFoundError:
            return


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder. In a store, which cannot, each object is copied there and deleted here: `resume_move` goes on
    with what was stopped in between."""
    if not is_remote(source):
        with write_errors(target):
            source.rename(target)
        return
    with storage_errors(target):
        fs, old, new = _upath(source).fs, _upath(source).path, _upath(target).path
        fs.invalidate_cache()

        def one(path: str) -> None:
            copy = new + path[len(old) :]
            fs.cp_file(path, copy)
            if fs.info(copy)["size"] != fs.info(path)["size"]:
                raise DataError(f"{target}: a copy is not whole", "run the same command again")
            fs.rm_file(path)

        found = fs.find(old)
        if old.startswith("datasets/") and _upath(source).protocol == "hf":
            _commit_move(fs, {path: new + path[len(old) :] for path in found})
        else:
            map_parallel(one, found, source)


def _commit_move(fs: Any, moved: dict[str, str]) -> None:
    """Move files of a repository on the Hub by one commit, {from: to}. Nothing is sent again."""
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete, HfApi

    named = [(fs.resolve_path(old), fs.resolve_path(new)) for old, new in moved.items()]
    repo = named[0][0]
    HfApi(endpoint=fs.endpoint, token=fs.token).create_commit(
        repo.repo_id,
        [CommitOperationCopy(old.path_in_repo, new.path_in_repo) for old, new in named]
        + [CommitOperationDelete(old.path_in_repo) for old, _ in named],
        commit_message=f"Put {len(named)} files in their place",
        repo_type=repo.repo_type,
        revision=repo.revision,
    )
    fs.invalidate_cache()


def resume_move(source: Path, target: Path) -> None:
    """Go on with a `move` that was stopped half way."""
    if is_remote(source) and is_folder(target) and is_folder(source):
        move_folder(source, target)
