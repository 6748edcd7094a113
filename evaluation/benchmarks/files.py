"""Find audio files, folders near a given one, and archives that are not unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from builder.audio import AUDIO_SUFFIXES
from builder.errors import DataError
from builder.io.storage import is_file, is_folder, path_exists

from .text import join_names, printable

Found = TypeVar("Found")
MANY_FOLDERS = 40  # sub-folders: with more, they hold audio and are no roots of data sets


def is_audio(file: Path) -> bool:
    """Return whether a file is audio by its name and suffix."""
    return not file.name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES and not file.is_dir()


def subfolders(path: Path) -> list[Path]:
    """Return the folders in `path` that are not hidden. An unreadable folder counts as empty."""
    try:
        with os.scandir(path) as entries:  # no call for each of a hundred thousand files
            return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield all files under `folder` except in hidden folders. Links are followed, each folder once."""
    seen: set[str] = set()
    for root, children, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            children.clear()
            continue
        seen.add(real)
        children[:] = [name for name in children if not name.startswith(".")]
        yield from (Path(root, name) for name in files)


def find_audio_files(folder: Path) -> dict[str, Path]:
    """Return the audio files under `folder` by their path within it, with forward slashes."""
    return {file.relative_to(folder).as_posix(): file for file in walk_files(folder) if is_audio(file)}


def nearby_folders(path: Path) -> Iterator[Path]:
    """Yield readable folders where a root may be that was missed by a level or two.

    These are `path`, its sub-folders, their sub-folders, and its parent.
    """
    places = [path, *(children := sorted(subfolders(path)))]
    for child in children if len(children) <= MANY_FOLDERS else ():
        inner = sorted(subfolders(child))
        places += inner if len(inner) <= MANY_FOLDERS else []
    return (place for place in (*places, path.resolve().parent) if os.access(place, os.R_OK | os.X_OK))


def find_near(path: Path, test: Callable[[Path], Found | None]) -> Found | None:
    """Return the first result of `test` that is not None, over folders near `path`."""
    return next((result for place in nearby_folders(path) if (result := test(place)) is not None), None)


def require_folder(path: Path, get: str) -> None:
    """Raise DataError where `path` is no folder; `get` says what it must contain."""
    if is_folder(path):
        return
    name = printable(str(path))
    if is_file(path) and path.name.endswith((".zip", ".tar.gz", ".tgz", ".tar")):
        raise DataError(f"{name}: is an archive", f"unpack it and give the folder: {unpack_command(path)}")
    problem = "is no folder" if path_exists(path) else "does not exist"
    raise DataError(f"{name}: {problem}", f"check the path; {get}")


def unpack_command(archive: Path) -> str:
    """Return the command that unpacks an archive in its folder."""
    where, name = printable(str(archive.parent)), printable(archive.name)
    if name.endswith(".001"):
        whole = name.removesuffix(".001")
        return f"cd {where} && cat {whole}.0* > {whole} && unzip {whole}"
    return f"cd {where} && {'unzip' if name.endswith('.zip') else 'tar xf'} {name}"


def missing_error(path: Path, what: str, archives: Sequence[str], get: str) -> DataError:
    """Return the error for a folder that lacks files, which names an archive near it if one is not unpacked.

    Args:
        path: The folder that was given.
        what: What is missing, for the message: "GTZAN track".
        archives: Glob patterns of archives that hold it. In the folder above `path` patterns that start with "*" are
            skipped, as they may match an archive of something else.
        get: The fix if there is no archive: how to get the data.

    Returns:
        The error, which the caller raises.
    """
    above = path.resolve().parent
    for place in nearby_folders(path):
        for pattern in archives:
            if place == above and pattern.startswith("*"):
                continue  # may belong to something else
            if packed := sorted(place.glob(pattern)):
                return DataError(
                    f"{printable(str(path))}: holds no {what}, but {printable(str(packed[0]))} is not unpacked",
                    unpack_command(packed[0]),
                )
    names = sorted(child.name for child in subfolders(path))
    contents = f"its folders are {join_names(names)}" if names else "it holds no folder"
    return DataError(f"{printable(str(path))}: holds no {what}; {contents}", get)
