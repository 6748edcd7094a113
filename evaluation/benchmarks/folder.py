"""A folder of recordings: `PATH/<genre>/**/*.{wav,flac,mp3,ogg,...}`, of any rate, channels and length."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from builder.audio import AUDIO_SUFFIXES
from builder.embedders.file_table import is_table, normalize_name, read_file_table
from builder.errors import DataError
from builder.names import format_count

from .base import Benchmark
from .files import is_audio, subfolders, walk_files
from .mapping import Mapping
from .text import join_names, normalize_label, printable
from .track import Recording

GROUPS = ("artist", "album")  # columns that say which tracks are not independent, the best first
HEAD = 65_536  # bytes that differ in most files of one size


class Folder(Benchmark):
    """`folder:PATH`. Folder names are labels, whatever their case, spaces, hyphens and underscores.

    Artists are those of a table beside the files: see `builder.embedders.file_table`.
    """

    title = "A folder"
    about = "your own recordings, with a folder for each label"
    licence = "unknown"
    citation = ""
    how_to_get = "PATH contains a folder for each genre, named after it, with audio files"
    options = ("mapping",)
    parts = ("all",)
    default_part = "all"
    min_labels = 1  # recordings of one genre can be evaluated too
    matched: Sequence[Path] = ()

    @property
    def source(self) -> str:
        """The path."""
        return printable(self.spec.target)

    @property
    def protocol(self) -> str:
        """Every recording counts."""
        return "Every recording in the folders that name a label."

    @property
    def own_labels(self) -> list[str]:
        """The names of the folders; of two spellings of one name the first."""
        spelt: dict[str, str] = {}
        for folder in self.folders:
            spelt.setdefault(normalize_label(folder.name), printable(folder.name))
        return list(spelt.values())

    def open(self) -> None:
        """Find the folders."""
        self.top = self.root
        self.folders = sorted(subfolders(self.top), key=lambda path: path.name)

    def read(self, part: str) -> list[Recording]:
        """Every audio file in a folder, by its path, with the artist that a table beside the files has for it."""
        spelt = {normalize_label(name): name for name in self.own_labels}
        found = [(folder, file) for folder in self.folders for file in walk_files(folder)]
        audio = [(folder, file) for folder, file in found if is_audio(file)]
        loose = [file for file in self.top.iterdir() if file.is_file()]
        names = [file.relative_to(self.top).as_posix() for _, file in audio]
        artists, notes = read_artists(
            self.top,
            [*loose, *(file for _, file in found)],
            [*names, *(file.name for file in loose if is_audio(file))],
        )
        self.notes += notes
        recordings = [
            Recording(printable(name), file, (spelt[normalize_label(folder.name)],), artist=artists.get(name))
            for name, (folder, file) in zip(names, audio, strict=True)
        ]
        return sorted(recordings, key=lambda one: (one.id, os.fsencode(one.path or "")))

    def find_mapping(self, labels: Sequence[str]) -> Mapping:
        """Map labels by name, or by the given file. Raises DataError where no folder names a label."""
        mapping = super().find_mapping(labels)
        if not mapping.map:
            raise self._no_genre(labels)
        self.matched = [folder for folder in self.folders if self._spelt(folder) in mapping.map]
        return mapping

    def no_tracks_error(self) -> DataError:
        """Return the error for folders without audio."""
        names = [folder.name for folder in self.matched or self.folders]
        where = f"no audio file in {join_names(names)}" if names else "it holds no folder of audio files"
        return DataError(
            f"{self.source}: {where}",
            f"put files in there that end in one of: {' '.join(sorted(AUDIO_SUFFIXES))}",
        )

    def ignored_notes(self, part: str) -> list[str]:
        """Return sentences about files that are no tracks, and about copies."""
        loose = sum(is_audio(path) for path in self.top.iterdir())
        ignored = sum(
            not is_audio(file) and not is_table(file) for folder in self.matched for file in walk_files(folder)
        )
        empty = [folder.name for folder in self.folders if not any(map(is_audio, walk_files(folder)))]
        notes = []
        if empty:
            notes.append(f"ignored {format_count(len(empty), 'folder')} without an audio file: {join_names(empty)}")
        if copies := _copies(self._evaluated(part)):
            count = format_count(len(copies), "duplicate file")
            notes.append(f"did not leave out {count}: {join_names(copies, 5)}")
        return notes + [
            f"{what} {format_count(number, noun)}{where}"
            for what, number, noun, where in (
                ("left out", loose, "audio file", " outside the genre folders"),
                ("ignored", ignored, "hidden or non-audio file", ""),
            )
            if number
        ]

    def _evaluated(self, part: str) -> list[Recording]:
        """Return the files in folders that name a label of the model, or all files without a model."""
        names = {self._spelt(folder) for folder in self.matched or self.folders}
        return [one for one in self.part_recordings(part).usable if one.labels[0] in names]

    def _spelt(self, folder: Path) -> str:
        """Return the label that a folder names."""
        key = normalize_label(folder.name)
        return next(name for name in self.own_labels if normalize_label(name) == key)

    def _no_genre(self, labels: Sequence[str]) -> DataError:
        """Return the error for a root without genre folders: one level too low or too high, or other genres."""
        keys = {normalize_label(name) for name in labels}
        if normalize_label(self.top.resolve().name) in keys:
            parent = printable(str(self.top.resolve().parent))
            return DataError(
                f"{self.source} is itself the folder of one genre: one level too low", f"give folder:{parent}"
            )
        deeper = [*self.folders, *(child for folder in self.folders for child in subfolders(folder))]
        for folder in deeper:
            if any(normalize_label(path.name) in keys for path in subfolders(folder)):
                inner = printable(str(folder))
                return DataError(
                    f"{self.source} is too high: the folders of the genres are in {inner}", f"give folder:{inner}"
                )
        names = [path.name for path in self.folders]
        contents = f"its folders are {join_names(names)}" if names else "it holds no folder"
        if loose := sum(is_audio(path) for path in self.top.iterdir()):
            contents += f"; audio files directly in it: {loose}"
        return DataError(
            f"{self.source}: no folder in it has the name of a label; {contents}",
            f"put each genre's files in a folder named after one of the model's labels ({', '.join(labels)}), or map "
            "the folders to labels: folder:PATH?mapping=FILE",
        )


def read_artists(top: Path, paths: Sequence[Path], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Read the artist of each file from a table beside the files; of a table without artists, the album.

    Args:
        top: The root of the files.
        paths: All files, of which the tables are read.
        names: The paths of the audio files from the root.

    Returns:
        Artists by path, of the files that the table names one for; and sentences about the table.

    Raises:
        DataError: A table cannot be read, or an artist is no name.
    """
    table = read_file_table(top, paths, names)
    if table is None:
        return {}, []
    notes = list(table.notes)
    column = next((name for name in GROUPS if table.has_column(name)), None)
    if column is None:
        return {}, [*notes, f"{table.path.name} has no column artist: every track counts as an artist of its own"]
    if column != GROUPS[0]:
        notes.append(f"{table.path.name} has no column artist: each {column} counts as an artist")
    artists = {}
    for number, name in enumerate(names):
        row = table.find_row(number)
        if row is not None and (value := row.cells.get(column)) is not None:
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise DataError(f"{row.where}: {column} is {value!r:.100}, not a name", "write the name as text")
            artists[name] = normalize_name(str(value))
    return artists, notes


def _copies(recordings: Sequence[Recording]) -> list[str]:
    """Return "id = id" for each file that is a copy of one before it. Empty files do not count.

    Files are compared by size, then by their first bytes, and only then as a whole.
    """
    files = {one.id: one.path for one in recordings if one.path is not None and one.path.stat().st_size}
    groups = _alike(list(files), lambda name: files[name].stat().st_size)
    groups = [part for group in groups for part in _alike(group, lambda name: _digest(files[name], HEAD))]
    groups = [part for group in groups for part in _alike(group, lambda name: _digest(files[name], None))]
    return [f"{name} = {first}" for first, *others in groups for name in others]


def _alike(names: Sequence[str], key: Callable[[str], object]) -> list[list[str]]:
    """Group names by a key, and return the groups of several."""
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _digest(file: Path, size: int | None) -> bytes:
    """Hash the first `size` bytes, or all; an unreadable file gives its own name."""
    try:
        with file.open("rb") as opened:
            return sha256(opened.read(size)).digest()
    except OSError:
        return os.fsencode(file)
