"""What differs between storages: a class for folders of this machine, and one for each protocol of an object store.

Everything else calls the functions of `builder.io.storage`, which choose the class. To add a protocol that fsspec
knows, subclass `ObjectStorage` and add an instance to `OBJECT_STORAGES`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, cast

from ..errors import BackendError, DataError, HubError, SynthmirError

PART_BYTES = 16 << 20  # of a large upload: ten parts are in memory at the same time
CLIENT_PACKAGES = {  # their exceptions are failures of the storage
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


def path_exists(path: Path) -> bool:
    """Return whether a file or folder exists.

    Names that no file can have (too long, with NUL, with a lone surrogate) do not exist.
    """
    try:
        return path.exists()
    except ValueError:
        return False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file, in hex. All of it is read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_error(path: Path, error: OSError) -> DataError:
    """Return the error to raise where the system refuses to write to a path of this machine."""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        fix = "choose a folder that you may write to, or ask for the right to"
    else:
        fix = "make room or choose another folder"
    return DataError(
        f"cannot write {path}: {error.strerror or error}",
        f"{fix}, then run the same command again: finished work is kept",
    )


class LocalStorage:
    """Folders of this machine, and network folders that are mounted: renaming is atomic in both."""

    parallel_requests = 1
    shared = True

    def explain(self, path: Path, error: Exception) -> SynthmirError | None:
        """Return None: what the system says is explained where something is written, by `write_error`."""
        return None

    def is_folder(self, path: Path) -> bool:
        """Return whether the folder exists."""
        return path_exists(path) and path.is_dir()

    def list_files(self, folder: Path) -> list[str]:
        """Return every file below a folder, relative to it and separated by slashes."""
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def open_for_arrow(self, path: Path) -> Path:
        """Return the path itself, so that pyarrow maps the file into memory."""
        return path

    def stored_sha256(self, path: Path) -> None:
        """Return None: a file system keeps no hashes."""

    @contextmanager
    def new_file(self, path: Path) -> Iterator[Path]:
        """Yield a file beside `path` to fill; then sync it and rename it to `path`."""
        # Processes of several machines that share the folder may have the same number.
        part = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
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

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents."""
        path.mkdir(parents=True, exist_ok=True)

    def delete_file(self, path: Path) -> None:
        """Delete a file if it exists."""
        path.unlink(missing_ok=True)

    def delete_folder(self, folder: Path) -> None:
        """Delete a folder and what it holds, if it exists."""
        shutil.rmtree(folder, ignore_errors=True)  # a worker that is being killed may still write to it
        if folder.exists():
            shutil.rmtree(folder)

    def delete_temporary_files(self, folder: Path) -> None:
        """Delete what `new_file` left below a folder where its process was killed."""
        for part in folder.rglob(".*.part"):
            part.unlink(missing_ok=True)

    def move_folder(self, source: Path, target: Path) -> None:
        """Rename a folder."""
        source.rename(target)


class ObjectStorage:
    """An object store that fsspec reads and writes; a folder is a prefix of its objects' keys.

    An object appears when all of it has arrived. Paths are `universal_pathlib.UPath` objects, which have the methods
    of pathlib.Path. Exceptions are those of the store's client.
    """

    package = "fsspec"  # that speaks to the store
    install = "pip install fsspec"
    options: ClassVar[dict[str, Any]] = {}  # of the fsspec file system
    parallel_requests = 1
    shared = True  # other processes see what is written
    public = False  # others may read what is written, and each write is a commit that is kept
    heartbeat_seconds = 5.0  # between two signs of life of the owner of a lock

    def check_address(self, address: str, parts: list[str]) -> None:
        """Raise DataError for an address that this storage cannot have. `parts` are what slashes separate in it."""

    def explain(self, path: Path, error: Exception) -> SynthmirError | None:
        """Return the error to raise for an exception of the client, None for what is not the storage's fault."""
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in CLIENT_PACKAGES:
            return None
        return self.explain_message(path, error, " ".join((str(error) or type(error).__name__).split())[:300])

    def explain_message(self, path: Path, error: Exception, message: str) -> SynthmirError:
        """Return the error to raise for an exception of the client with this message.

        Args:
            path: The file or folder.
            error: The exception of the client.
            message: Its text, on one line.
        """
        return BackendError(
            f"{path}: the storage cannot be reached or fails ({type(error).__name__}: {message})",
            "check the network, then run the same command again: finished work is kept",
        )

    def is_folder(self, path: Path) -> bool:
        """Return whether there are objects below a path."""
        fs, key = split_path(path)
        fs.invalidate_cache()
        try:
            return bool(fs.info(key)["type"] == "directory")
        except FileNotFoundError:
            return False

    def list_files(self, folder: Path) -> list[str]:
        """Return every object below a folder, relative to it."""
        fs, root = split_path(folder)
        fs.invalidate_cache()
        return [key[len(root) :].lstrip("/") for key in fs.find(root)]

    def read_all_files(self, folder: Path) -> list[bytes]:
        """Return the contents of every object below a folder, fetched together."""
        fs, root = split_path(folder)
        fs.invalidate_cache()
        keys = fs.find(root)
        return list(fs.cat(keys).values()) if keys else []

    def open_for_arrow(self, path: Path) -> Any:
        """Return the object as a file that pyarrow reads."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        fs, key = split_path(path)
        return PyFileSystem(FSSpecHandler(fs)).open_input_file(key)

    def stored_sha256(self, path: Path) -> str | None:
        """Return the SHA-256 that the store keeps of an object, None if it keeps none."""
        return None

    @contextmanager
    def new_file(self, path: Path) -> Iterator[Path]:
        """Yield a file of this machine to fill; then upload it to `path`."""
        try:
            with TemporaryDirectory(prefix="synthmir-") as folder:
                part = Path(folder) / path.name
                yield part
                with explain_errors(self, path):
                    self.upload_file(part, path)
        except OSError as error:
            raise DataError(
                f"cannot write {path}: {error.strerror or error}, in the folder for temporary files",
                "make room there or name another (TMPDIR), then run the same command again: finished work is kept",
            ) from error

    def upload_file(self, part: Path, target: Path) -> None:
        """Copy a file of this machine to the store."""
        fs, key = split_path(target)
        self.put(fs, part, key)
        if (arrived := fs.info(key)["size"]) != (size := part.stat().st_size):
            raise DataError(f"{target}: {arrived} bytes arrived of {size}", "run the same command again")

    def put(self, fs: Any, part: Path, key: str) -> None:
        """Send a file.

        Args:
            fs: The fsspec file system.
            part: The file, on this machine.
            key: Key of the object.
        """
        fs.put_file(str(part), key)

    def make_folder(self, path: Path) -> None:
        """Do nothing: an object store has no empty folders."""

    def delete_file(self, path: Path) -> None:
        """Delete an object if it exists."""
        fs, key = split_path(path)
        with suppress(FileNotFoundError):
            fs.rm_file(key)

    def delete_folder(self, folder: Path) -> None:
        """Delete every object below a folder."""
        fs, root = split_path(folder)
        fs.invalidate_cache()
        with suppress(FileNotFoundError):
            fs.rm(root, recursive=True)

    def delete_temporary_files(self, folder: Path) -> None:
        """Do nothing: an upload that was stopped leaves no object."""

    def move_folder(self, source: Path, target: Path) -> None:
        """Copy each object below a folder to the new one and delete the old one."""
        fs, old = split_path(source)
        new = split_path(target)[1]
        fs.invalidate_cache()
        self.move_objects(fs, {key: new + key[len(old) :] for key in fs.find(old)})

    def move_objects(self, fs: Any, moved: dict[str, str]) -> None:
        """Move objects, {old key: new key}."""
        from concurrent.futures import ThreadPoolExecutor

        def move_object(key: str) -> None:
            fs.cp_file(key, moved[key])
            if fs.info(moved[key])["size"] != fs.info(key)["size"]:
                raise DataError(f"{moved[key]}: the copy is not complete", "run the same command again")
            fs.rm_file(key)

        with ThreadPoolExecutor(self.parallel_requests) as pool:
            list(pool.map(move_object, moved))


class S3Storage(ObjectStorage):
    """Amazon S3 and what speaks its protocol (AWS_ENDPOINT_URL). Keys come from AWS_* or ~/.aws."""

    package = "s3fs"
    install = "uv sync --extra s3, or pip install 'synthmir[s3]'"
    options: ClassVar[dict[str, Any]] = {"use_listings_cache": False}  # it would hide what other machines wrote
    parallel_requests = 16

    def check_address(self, address: str, parts: list[str]) -> None:
        """Raise DataError for a bucket without a folder in it."""
        if len(parts) < 2:
            raise DataError(f"{address}: is a whole bucket", f"give a folder in it: s3://{parts[0]}/corpus")

    def explain_message(self, path: Path, error: Exception, message: str) -> SynthmirError:
        """Return a DataError for clocks, names and rights, else a BackendError.

        Args:
            path: The file or folder.
            error: The exception of the client.
            message: Its text, on one line.
        """
        kind = type(error).__name__
        fix = None
        if "request time" in message:
            fix = "set this machine's clock: the storage's differs by too much"
        elif isinstance(error, FileNotFoundError):
            fix = "check the address; the bucket must exist before a corpus is written to it"
        elif "Credentials" in kind or "Profile" in kind:
            fix = "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"
        elif isinstance(error, PermissionError):
            fix = "ask for the right to list, read, write and delete there, or use other keys (AWS_*, ~/.aws)"
        if fix is not None:
            return DataError(f"{path}: {message}", fix)
        return BackendError(
            f"{path}: the storage cannot be reached or fails ({kind}: {message})",
            "check the network and AWS_ENDPOINT_URL, then run the same command again: finished work is kept",
        )

    def put(self, fs: Any, part: Path, key: str) -> None:
        """Send a file in parts, with its hash as metadata.

        Args:
            fs: The fsspec file system.
            part: The file, on this machine.
            key: Key of the object.
        """
        fs.put_file(str(part), key, chunksize=PART_BYTES, Metadata={"sha256": hash_file(part)})

    def stored_sha256(self, path: Path) -> str | None:
        """Return the hash that `put` sent along, None for objects that other programs wrote."""
        fs, key = split_path(path)
        return cast("str | None", fs.metadata(key).get("sha256"))


class HubStorage(ObjectStorage):
    """Data set repositories and buckets of the Hugging Face Hub. The token comes from HF_TOKEN or `hf auth login`."""

    package = "huggingface_hub"
    install = "pip install huggingface_hub"
    public = True
    heartbeat_seconds = 300.0  # a sign of life is a commit, and the Hub limits how many there may be

    def check_address(self, address: str, parts: list[str]) -> None:
        """Raise DataError for what is neither a data set nor a bucket."""
        if parts[0] not in ("datasets", "buckets") or len(parts) < 3:
            raise DataError(f"{address}: is not the address of a data set", "hf://datasets/NAMESPACE/NAME")

    def explain_message(self, path: Path, error: Exception, message: str) -> SynthmirError:
        """Return a HubError.

        Args:
            path: The file or folder.
            error: The exception of the client.
            message: Its text, on one line.
        """
        fix = "check the name and your token (hf auth login), then run the same command again"
        return HubError(f"{path}: {message}", fix)

    def stored_sha256(self, path: Path) -> str | None:
        """Return the hash of a file in large-file storage (LFS), None for small files."""
        fs, key = split_path(path)
        lfs = fs.info(key).get("lfs")
        return lfs["sha256"] if lfs else None

    def delete_file(self, path: Path) -> None:
        """Delete a file if it exists."""
        fs, key = split_path(path)
        if fs.exists(key):  # the exception for a missing file is not FileNotFoundError
            super().delete_file(path)

    def move_objects(self, fs: Any, moved: dict[str, str]) -> None:
        """Move the files of a repository in one commit; nothing is uploaded again."""
        from huggingface_hub import CommitOperationCopy, CommitOperationDelete, HfApi

        if not all(key.startswith("datasets/") for key in moved):  # a bucket has no commits
            super().move_objects(fs, moved)
            return
        resolved = [(fs.resolve_path(old), fs.resolve_path(new)) for old, new in moved.items()]
        repo = resolved[0][0]
        HfApi(endpoint=fs.endpoint, token=fs.token).create_commit(
            repo.repo_id,
            [CommitOperationCopy(old.path_in_repo, new.path_in_repo) for old, new in resolved]
            + [CommitOperationDelete(old.path_in_repo) for old, _ in resolved],
            commit_message=f"Move {len(resolved)} files",
            repo_type=repo.repo_type,
            revision=repo.revision,
        )
        fs.invalidate_cache()


class MemoryStorage(ObjectStorage):
    """Files in the memory of this process, for tests and examples."""

    shared = False

    def put(self, fs: Any, part: Path, key: str) -> None:
        """Copy a file at once: `put_file` would show it while it grows.

        Args:
            fs: The fsspec file system.
            part: The file, on this machine.
            key: Key of the object.
        """
        fs.pipe_file(key, part.read_bytes())


Storage = LocalStorage | ObjectStorage
LOCAL_STORAGE = LocalStorage()
OBJECT_STORAGES: dict[str, ObjectStorage] = {"s3": S3Storage(), "hf": HubStorage(), "memory": MemoryStorage()}


def split_path(path: Path) -> tuple[Any, str]:
    """Return the fsspec file system of an object's path, and the object's key."""
    upath: Any = path
    return upath.fs, upath.path


@contextmanager
def explain_errors(storage: Storage, path: Path) -> Iterator[None]:
    """Raise what `storage.explain` returns for exceptions inside the block."""
    try:
        yield
    except SynthmirError:
        raise
    except Exception as error:
        if (explained := storage.explain(path, error)) is None:
            raise
        raise explained from error
