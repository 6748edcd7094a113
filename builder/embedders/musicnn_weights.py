"""Find the checkpoints in the Python package `musicnn` 0.1.0 without importing it, as that needs TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path

import torch
from filelock import FileLock

from ..errors import BackendError
from ..io.storage import hash_file, is_file, is_folder

MUSICNN_REQUIREMENT = "musicnn==0.1.0"
MUSICNN_WHEEL = "musicnn-0.1.0-py3-none-any.whl"
MUSICNN_WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
MUSICNN_INSTALL = (
    f"pip install --no-deps {MUSICNN_REQUIREMENT} (its dependencies are not needed; without pip: uv pip install), or "
    f"name the wheel or a folder with a checkpoint: embedder.weights"
)
CHECKPOINT_FILES = {".index": 1 << 20, ".data-00000-of-00001": 64 << 20}  # and the most bytes of each
DOWNLOAD_SECONDS = 600


def read_musicnn_files(weights: str | None, arch: str) -> tuple[bytes, bytes, str]:
    """Read a model's checkpoint.

    Args:
        weights: The package's wheel, the package's folder, or a folder with the checkpoint's two files. None: the
            installed package, else its wheel in torch's cache, which pip downloads once.
        arch: The model, which is the name of its folder in the package.

    Returns:
        The content of `.index` and of `.data-00000-of-00001`, and where they are.

    Raises:
        BackendError: They are not there, cannot be read or cannot be downloaded.
    """
    if weights is None:
        folder = _find_installed(arch)
        return _read_folder(folder) if folder else _read_wheel(download_wheel(), arch)
    path = Path(weights).expanduser()
    if is_file(path):
        return _read_wheel(path, arch)
    if not is_folder(path):
        raise BackendError(f"embedder.weights: there is no file and no folder {path}", MUSICNN_INSTALL)
    for folder in (path, path / arch, path / "musicnn" / arch):
        if _has_checkpoint(folder):
            return _read_folder(folder)
    raise BackendError(
        f"embedder.weights: {path} holds no {' and '.join(CHECKPOINT_FILES)}, nor a folder {arch} with them",
        MUSICNN_INSTALL,
    )


def has_weights(arch: str) -> bool:
    """Whether a model's checkpoint is on this machine: in the installed package, or in the cached wheel."""
    return _find_installed(arch) is not None or _wheel_path().is_file()


def _has_checkpoint(folder: Path) -> bool:
    """Whether a folder has both files of a checkpoint."""
    return all(is_file(folder / name) for name in CHECKPOINT_FILES)


def _find_installed(arch: str) -> Path | None:
    """The folder of a model in the installed package, if there is one."""
    try:
        spec = find_spec("musicnn")
    except ValueError:  # something else of this name is imported
        return None
    locations = (spec and spec.submodule_search_locations) or []
    return next((folder for place in locations if _has_checkpoint(folder := Path(place, arch))), None)


def _read_folder(folder: Path) -> tuple[bytes, bytes, str]:
    """The checkpoint in a folder."""
    contents = []
    for name, limit in CHECKPOINT_FILES.items():
        try:
            with (folder / name).open("rb") as handle:
                contents.append(handle.read(limit + 1))
        except OSError as error:
            raise BackendError(f"{folder / name}: cannot be read: {error}", MUSICNN_INSTALL) from error
    return _check_sizes(contents, str(folder))


def _read_wheel(wheel: Path, arch: str) -> tuple[bytes, bytes, str]:
    """The checkpoint in a wheel, which is a zip file. Nothing is written to disk."""
    contents = []
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, limit in CHECKPOINT_FILES.items():
                with archive.open(f"musicnn/{arch}/{name}") as handle:
                    contents.append(handle.read(limit + 1))
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        reason = str(error.args[0] if error.args else error)
        raise BackendError(f"{wheel}: not the wheel of {MUSICNN_REQUIREMENT}: {reason}", MUSICNN_INSTALL) from error
    return _check_sizes(contents, f"{wheel}, {arch}")


def _check_sizes(contents: list[bytes], where: str) -> tuple[bytes, bytes, str]:
    """The two files' contents. Raises BackendError if one is longer than any checkpoint of musicnn."""
    for (name, limit), content in zip(CHECKPOINT_FILES.items(), contents, strict=True):
        if len(content) > limit:
            raise BackendError(f"{where}: {name} has more than {limit:,} bytes", MUSICNN_INSTALL)
    index, data = contents
    return index, data, where


def download_wheel() -> Path:
    """Find the package's wheel in torch's cache; pip downloads it if it is not there.

    Of several processes one downloads, and the others wait. What a killed download has left is deleted by the next.

    Raises:
        BackendError: It cannot be downloaded, or its SHA-256 is not the published one.
    """
    wheel = _wheel_path()
    try:
        if not _is_whole(wheel):
            wheel.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(wheel.with_suffix(".lock"), timeout=DOWNLOAD_SECONDS):
                if not _is_whole(wheel):  # another process may have downloaded it
                    _download_to(wheel)
    except OSError as error:
        raise _not_downloaded(str(error)) from error
    return wheel


def _wheel_path() -> Path:
    """Where the package's wheel is kept: torch's cache."""
    return Path(torch.hub.get_dir(), "checkpoints", MUSICNN_WHEEL)


def _is_whole(wheel: Path) -> bool:
    """Whether a file is there and is the published wheel."""
    return wheel.is_file() and hash_file(wheel) == MUSICNN_WHEEL_SHA256


def _download_to(wheel: Path) -> None:
    """Download the wheel. Raises BackendError or OSError."""
    for left in wheel.parent.glob(f"{wheel.stem}-*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(".partial", f"{wheel.stem}-", wheel.parent) as folder:
        reason = _run_installer([*_find_installer(), "--dest", folder, MUSICNN_REQUIREMENT])
        downloaded = Path(folder, MUSICNN_WHEEL)
        if not downloaded.is_file():
            raise _not_downloaded(reason)
        if (digest := hash_file(downloaded)) != MUSICNN_WHEEL_SHA256:
            raise _not_downloaded(f"its SHA-256 is {digest} instead of {MUSICNN_WHEEL_SHA256}")
        downloaded.replace(wheel)


def _find_installer() -> list[str]:
    """The command that downloads a wheel: this environment's pip, Python's own, or one that uv gets.

    Raises BackendError if there is none.
    """
    # One retry: pip's five take ten seconds where there is no network.
    options = ["download", "--quiet", "--no-input", "--retries", "1", "--no-deps", "--only-binary", ":all:"]
    if find_spec("pip"):
        return [sys.executable, "-m", "pip", *options]
    if spec := find_spec("ensurepip"):  # environments that uv makes have no pip
        for wheel in Path(spec.origin or "").parent.glob("_bundled/pip-*.whl"):
            return [sys.executable, str(wheel / "pip"), *options]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip", *options]
    raise _not_downloaded("neither pip nor uv is here")


def _run_installer(command: list[str]) -> str:
    """Run a command, and return why it failed: the last line of what it reports."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False,
            env={"UV_HTTP_RETRIES": "1", **os.environ},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it took more than {DOWNLOAD_SECONDS} seconds"
    if "connection broken by" in done.stderr:  # pip's last line is only that there is no such package
        return "the package index cannot be reached"
    return (done.stderr.strip() or f"{command[0]} ended with {done.returncode}").splitlines()[-1].strip()


def _not_downloaded(reason: str) -> BackendError:
    """The error for a wheel that is not there."""
    return BackendError(
        f"the weights of musicnn are in the package {MUSICNN_REQUIREMENT}, which is not installed and could not be "
        f"downloaded: {reason}",
        MUSICNN_INSTALL,
    )
