"""MTG-Jamendo: 55,000 full tracks with tags of genre, instrument and mood or theme."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from builder.errors import DataError, RecipeError
from builder.validation import suggest

from .base import Benchmark
from .files import find_audio_files, find_near, missing_error, subfolders
from .text import printable
from .track import Recording

SUBSETS = {  # variant: the name in its files, what the labels are
    "genre": ("autotagging_genre", "87 genres"),
    "instrument": ("autotagging_instrument", "40 instruments"),
    "moodtheme": ("autotagging_moodtheme", "56 moods and themes"),
    "top50": ("autotagging_top50tags", "the 50 most frequent tags"),
    "all": ("autotagging", "all tags"),
}
BY_TASK = {"genre": "genre", "mood": "moodtheme", "instruments": "instrument"}
COUNTS = {  # split 0: rows of train, validation and test
    "genre": (32_572, 11_043, 11_479),
    "instrument": (14_395, 5_466, 5_115),
    "moodtheme": (9_949, 3_802, 4_231),
    "top50": (32_136, 10_888, 11_356),
}
_VARIANT = re.compile(rf"({'|'.join(SUBSETS)})(?:-split([0-4]))?$|split([0-4])$")


class Jamendo(Benchmark):
    """`jamendo[@SUBSET-splitN]:PATH`, SUBSET one of genre, instrument, moodtheme, top50, all; N 0 to 4."""

    title = "MTG-Jamendo"
    about = "55,525 full tracks, MP3, with tags of genre, instrument, and mood or theme"
    licence = "each track under a Creative Commons licence of its artist's choice; metadata CC BY-NC-SA 4.0"
    citation = (
        "D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra: The MTG-Jamendo dataset for automatic music tagging. "
        "Machine Learning for Music Discovery Workshop, ICML 2019."
    )
    homepage = "https://github.com/MTG/mtg-jamendo-dataset"
    how_to_get = (
        "PATH contains data/splits/split-0/*.tsv (a clone of github.com/MTG/mtg-jamendo-dataset) and the audio as "
        "48/948.mp3 or 48/948.low.mp3, its tar files unpacked"
    )
    multi_label = True
    variants = {
        f"{subset}-split{number}": f"{what}; split {number} of the five that come with it, which share no artist"
        for subset, (_, what) in SUBSETS.items()
        for number in range(5)
    }

    def choose_variant(self, wanted: str) -> str:
        """`SUBSET-splitN`, `SUBSET` or `splitN`; by default the subset of the task, and split 0."""
        match = _VARIANT.match(wanted)
        if wanted and not match:
            raise RecipeError(
                f"{self.name}: jamendo has no variant {wanted!r}{suggest(wanted, self.variants)}",
                f"use one of {', '.join(SUBSETS)}, with -split0 to -split4 behind it",
            )
        subset = (match and match[1]) or BY_TASK.get(self.task, "top50")
        return f"{subset}-split{(match and (match[2] or match[3])) or 0}"

    @property
    def mapping_names(self) -> tuple[str, ...]:
        """One table for all categories, as no tag is in two."""
        return ("jamendo",)

    @property
    def subset(self) -> str:
        """genre, instrument, moodtheme, top50 or all."""
        return self.variant.partition("-")[0]

    @property
    def published_sizes(self) -> dict[str, int]:
        """The counts of split 0; the others have none."""
        if not self.variant.endswith("split0") or self.subset not in COUNTS:
            return {}
        return dict(zip(self.parts, COUNTS[self.subset], strict=True))

    @property
    def own_labels(self) -> list[str]:
        """All tags of the three lists without their category, sorted."""
        return sorted({tag for part in self.parts for row in self._rows(part) for tag in row[3]})

    def open(self) -> None:
        """Find the lists of the variant's split, and the audio."""
        path = self.root
        number = self.variant[-1]
        first = f"{SUBSETS[self.subset][0]}-test.tsv"
        lists = find_near(path, lambda place: _lists(place, number, first))
        if lists is None:
            raise missing_error(path, f"data/splits/split-{number}/{first}", (), self.how_to_get)
        audio = find_near(path, _audio) or find_near(lists.resolve().parents[2], _audio)
        if audio is None:
            raise missing_error(path, "folder 00 to 99 with MP3 files", ("*audio*.tar", "*.tar"), self.how_to_get)
        self.lists, self.audio = lists, audio

    def read(self, part: str) -> list[Recording]:
        """Return the tracks of one list."""
        return [
            Recording(identity, self._path(file), tags, part, artist)
            for identity, artist, file, tags in self._rows(part)
        ]

    def unlisted_files(self, part: str) -> list[str]:
        """Return MP3 files that none of the three lists names; none for a subset, as subsets share their audio."""
        if self.subset != "all":
            return []
        named = {str(self._path(row[2])) for name in self.parts for row in self._rows(name)}
        return sorted(name for name, path in self._files.items() if str(path) not in named)

    def _path(self, file: str) -> Path | None:
        return self._files.get(file) or self._files.get(f"{file.removesuffix('.mp3')}.low.mp3")

    @cached_property
    def _files(self) -> dict[str, Path]:
        return find_audio_files(self.audio)

    @cached_property
    def _read(self) -> dict[str, list[tuple[str, str, str, tuple[str, ...]]]]:
        return {}

    def _rows(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        """Return (id, artist, path, tags) of one list. Each tag is a field, so that lines differ in length."""
        if part not in self._read:
            path = self.lists / f"{SUBSETS[self.subset][0]}-{part}.tsv"
            where = printable(str(path))
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{where}: cannot be read: {error}", self.how_to_get) from error
            if not lines or not lines[0].startswith("TRACK_ID\t"):
                raise DataError(f"{where}: has no header that starts with TRACK_ID", self.how_to_get)
            rows = []
            for number, line in enumerate(lines[1:], 2):
                fields = line.split("\t")
                if len(fields) < 6:
                    raise DataError(
                        f"{where}, line {number}: has {len(fields)} fields, not six or more", self.how_to_get
                    )
                tags = tuple(field.rpartition("---")[2] for field in fields[5:] if field)
                rows.append((fields[0], fields[1], fields[3], tags))
            self._read[part] = rows
        return self._read[part]


def _lists(place: Path, number: str, first: str) -> Path | None:
    for folder in (
        place / f"data/splits/split-{number}",
        place / f"splits/split-{number}",
        place / f"split-{number}",
        place,
    ):
        if (folder / first).is_file() and folder.name == f"split-{number}":
            return folder
    return None


def _audio(place: Path) -> Path | None:
    """Return the folder with `48/948.mp3`."""
    numbered = (child for child in subfolders(place) if child.name.isdigit() and len(child.name) == 2)
    return place if any(next(child.glob("*.mp3"), None) for child in numbered) else None
