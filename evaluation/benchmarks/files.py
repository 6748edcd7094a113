"""What lies on disk: audio files, folders near the one that was given, archives that nobody unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from builder.audio import AUDIO_SUFFIXES
from builder.errors import DataError
from builder.io.storage import is_file, is_folder, path_exists

from .text import listed, printable

Found = TypeVar("Found")
CROWD = 40  # a folder with more sub-folders holds audio, not other people's roots


def is_audio(file: Path) -> bool:
    """By name and suffix alone; whether it can be read is found out when it is."""
    return not file.name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES and not file.is_dir()


def subfolders(path: Path) -> list[Path]:
    """Folders in `path` that are not hidden; those that may not be read count as empty."""
    try:
        with os.scandir(path) as entries:  # a hundred thousand files are told from folders without asking for each
            return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def walk(folder: Path) -> Iterator[Path]:
    """All files under `folder` but those in hidden folders. Links are followed, each folder once: none loops."""
    seen: set[str] = set()
    for root, children, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            children.clear()
            continue
        seen.add(real)
        children[:] = [name for name in children if not name.startswith(".")]
        yield from (Path(root, name) for name in files)


def audio_under(folder: Path) -> dict[str, Path]:
    """Each audio file under `folder`, by its path within it with forward slashes."""
    return {file.relative_to(folder).as_posix(): file for file in walk(folder) if is_audio(file)}


def near(path: Path) -> Iterator[Path]:
    """`path`, what it holds, what that holds, and what holds it: where a root is that was missed by a level or two.

    Without what may not be read.
    """
    places = [path, *(children := sorted(subfolders(path)))]
    for child in children if len(children) <= CROWD else ():
        inner = sorted(subfolders(child))
        places += inner if len(inner) <= CROWD else []
    return (place for place in (*places, path.resolve().parent) if os.access(place, os.R_OK | os.X_OK))


def seek(path: Path, test: Callable[[Path], Found | None]) -> Found | None:
    """The first thing that `test` finds near `path`."""
    return next((found for place in near(path) if (found := test(place)) is not None), None)


def must_be_folder(path: Path, get: str) -> None:
    """Raises DataError if `path` is no folder; `get` tells what it must hold."""
    if is_folder(path):
        return
    name = printable(str(path))
    if is_file(path) and path.name.endswith((".zip", ".tar.gz", ".tgz", ".tar")):
        raise DataError(f"{name}: is an archive", f"unpack it and give the folder: {unpack(path)}")
    problem = "is no folder" if path_exists(path) else "does not exist"
    raise DataError(f"{name}: {problem}", f"check the path; {get}")


def unpack(archive: Path) -> str:
    """The command that unpacks an archive where it lies."""
    where, name = printable(str(archive.parent)), printable(archive.name)
    if name.endswith(".001"):
        whole = name.removesuffix(".001")
        return f"cd {where} && cat {whole}.0* > {whole} && unzip {whole}"
    return f"cd {where} && {'unzip' if name.endswith('.zip') else 'tar xf'} {name}"


def missing(path: Path, what: str, archives: Sequence[str], get: str) -> DataError:
    """The error for a folder without `what`: an archive near it (glob patterns) is not unpacked, or else."""
    above = path.resolve().parent
    for place in near(path):
        for pattern in archives:
            if place == above and pattern.startswith("*"):
                continue  # anybody's
            if packed := sorted(place.glob(pattern)):
                return DataError(
                    f"{printable(str(path))}: holds no {what}, but {printable(str(packed[0]))} is not unpacked",
                    unpack(packed[0]),
                )
    names = sorted(child.name for child in subfolders(path))
    found = f"its folders are {listed(names)}" if names else "it holds no folder"
    return DataError(f"{printable(str(path))}: holds no {what}; {found}", get)
