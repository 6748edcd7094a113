"""A person's own recordings: `PATH/<genre>/**/*.{wav,flac,mp3,ogg,...}`, of any rate, channels and length."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.audio import AUDIO_SUFFIXES
from builder.errors import DataError, RecipeError

from .base import Track, label_key, printable


class Folder:
    """`folder:PATH`. Folder names stand for labels, whatever their case, spaces, hyphens and underscores."""

    licence = "unknown"
    citation = ""

    def __init__(self, target: str, labels: Sequence[str]) -> None:
        """Walk `target`. Raises RecipeError without a path, DataError where there is nothing to judge on."""
        if not target:
            raise RecipeError("folder: names no folder", "write folder:PATH, where PATH holds one folder a genre")
        self.root = Path(target).expanduser()
        self.name, self.source = f"folder:{printable(target)}", printable(str(self.root))
        if not self.root.is_dir():
            problem = "is no folder" if self.root.exists() else "does not exist"
            raise DataError(f"{self.source}: {problem}", "check the path: it must hold one folder a genre")
        index = {label_key(name): number for number, name in enumerate(labels)}
        folders = sorted(_subfolders(self.root), key=lambda path: path.name)
        matched = [path for path in folders if label_key(path.name) in index]
        if not matched:
            raise self._no_genre(folders, labels)

        self.tracks: list[Track] = []
        ignored = 0
        for folder in matched:
            for file in _files(folder):
                if not _is_audio(file):
                    ignored += 1
                    continue
                identity = printable(file.relative_to(self.root).as_posix())
                self.tracks.append(Track(identity, file, index[label_key(folder.name)]))
        self.tracks.sort(key=lambda track: (track.id, os.fsencode(track.path)))
        if not self.tracks:
            raise DataError(
                f"{self.source}: no audio file in {_listed([path.name for path in matched])}",
                f"put files in there that end in one of: {' '.join(sorted(AUDIO_SUFFIXES))}",
            )
        unmatched = [path.name for path in folders if path not in matched]
        loose = sum(_is_audio(path) for path in self.root.iterdir())
        held = {track.label for track in self.tracks}
        without = [name for number, name in enumerate(labels) if number not in held]
        self.notes = [
            note
            for count, note in (
                (len(unmatched), f"left out {len(unmatched)} folder(s) that name no label: {_listed(unmatched)}"),
                (len(without), f"{len(without)} label(s) of the model have no track here: {_listed(without)}"),
                (loose, f"left out {loose} audio file(s) that lie in no genre's folder"),
                (ignored, f"ignored {ignored} file(s) that are hidden or no audio by their suffix"),
            )
            if count
        ]

    def _no_genre(self, folders: list[Path], labels: Sequence[str]) -> DataError:
        """The error for a root without genre folders: one level too low, one too high, or other genres."""
        keys = {label_key(name) for name in labels}
        if label_key(self.root.resolve().name) in keys:
            parent = printable(str(self.root.resolve().parent))
            return DataError(
                f"{self.source} is itself the folder of one genre: one level too low", f"give folder:{parent}"
            )
        deeper = [*folders, *(child for folder in folders for child in _subfolders(folder))]
        for folder in deeper:
            if any(label_key(path.name) in keys for path in _subfolders(folder)):
                inner = printable(str(folder))
                return DataError(
                    f"{self.source} is too high: the folders of the genres lie in {inner}", f"give folder:{inner}"
                )
        found = f"its folders are {_listed([path.name for path in folders])}" if folders else "it holds no folder"
        if loose := sum(_is_audio(path) for path in self.root.iterdir()):
            found += f", and {loose} audio file(s) lie in it directly"
        return DataError(
            f"{self.source}: no folder in it bears the name of a label; {found}",
            f"put each genre's files in a folder named after one of the model's labels: {', '.join(labels)}",
        )


def _is_audio(file: Path) -> bool:
    """By name and suffix alone; whether it can be read is found out when it is."""
    return not file.name.startswith(".") and file.suffix.lower() in AUDIO_SUFFIXES and not file.is_dir()


def _subfolders(path: Path) -> list[Path]:
    """Folders in `path` that are not hidden; those that may not be read count as empty."""
    try:
        return [child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError:
        return []


def _files(folder: Path) -> Iterator[Path]:
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


def _listed(names: Sequence[str], limit: int = 8) -> str:
    """Names in a sentence, the first few of many."""
    shown = ", ".join(printable(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
