"""FMA: Creative Commons music from the Free Music Archive, in 8 or 16 genres, split by artist."""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path

import pandas as pd

from builder.errors import DataError

from .base import Benchmark
from .files import find_near, missing_error, subfolders
from .text import printable
from .track import Recording

GENRES = [
    "Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental",
    "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken",
]  # fmt: skip
SIZES = ("small", "medium", "large")  # each contains the one before it
SILENT = {"099134", "108925", "133297"}  # files without audio: github.com/mdeff/fma/issues/44
PARTS = {"training": "train", "validation": "validation", "test": "test"}
_NEEDED = {
    "split": ("set", "split"),
    "subset": ("set", "subset"),
    "genre": ("track", "genre_top"),
    "artist": ("artist", "id"),
}


class Fma(Benchmark):
    """`fma[@small|medium|large]:PATH`, where PATH contains fma_metadata/ and fma_small/ (or the other sizes)."""

    title = "FMA"
    about = "clips of 30 s, MP3: small 8,000 in 8 genres, medium 25,000 in 16, large 106,574"
    licence = "each track under a Creative Commons licence of its artist's choice; metadata CC BY 4.0"
    citation = (
        "M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson: FMA: a dataset for music analysis. ISMIR 2017. "
        "arXiv:1612.01840."
    )
    homepage = "https://github.com/mdeff/fma"
    how_to_get = "PATH contains fma_metadata/tracks.csv and fma_small/000/000002.mp3 ...: both fma_*.zip unpacked"
    variants = {
        size: f"the {size} subset with its own split of 80, 10 and 10 %, which shares no artist; by `genre_top`"
        for size in SIZES
    }

    @property
    def own_labels(self) -> list[str]:
        """The top-level genres of the subset."""
        return GENRES if self.variant != "small" else sorted(set(self._tracks["genre"].dropna()))

    @property
    def published_sizes(self) -> dict[str, int]:
        """The counts of `tracks.csv` in the first release."""
        return {
            "small": {"train": 6_400, "validation": 800, "test": 800},
            "medium": {"train": 19_922, "validation": 2_505, "test": 2_573},
            "large": {"train": 84_353, "validation": 10_958, "test": 11_263},
        }[self.variant]

    def open(self) -> None:
        """Find `tracks.csv` and the audio, of a larger size where needed; without `@SIZE` the smallest."""
        path = self.root
        lists = find_near(path, _lists)
        if lists is None:
            raise missing_error(path, "fma_metadata/tracks.csv", ("fma_metadata*.zip",), self.how_to_get)
        sizes = SIZES[SIZES.index(self.variant) :]
        audio = find_near(path, lambda place: _audio(place, sizes)) or find_near(
            lists.parent, lambda place: _audio(place, sizes)
        )
        if audio is None:
            packed = tuple(f"fma_{size}*.zip" for size in (*sizes, "full"))
            raise missing_error(path, f"fma_{self.variant}/ with audio", packed, self.how_to_get)
        self.lists, self.audio = lists, audio
        named = audio.name.removeprefix("fma_")
        if not self.spec.variant and named in SIZES:
            self.variant = named

    def read(self, part: str) -> list[Recording]:
        """Return the tracks of one part of the subset."""
        rows = self._tracks[self._tracks["split"] == part]
        return [
            Recording(
                identity,
                self._files.get(identity),
                (genre,) if isinstance(genre, str) else (),
                part,
                artist if isinstance(artist, str) else None,
                "no audio in the archive" if identity in SILENT else "",
            )
            for identity, genre, artist in zip(rows.index, rows["genre"], rows["artist"], strict=True)
        ]

    def unlisted_files(self, part: str) -> list[str]:
        """Return MP3 files that `tracks.csv` does not name in any subset."""
        return sorted(self._files.keys() - set(self._rows.index))

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Audio files by the six digits of their track."""
        return {file.stem: file for folder in subfolders(self.audio) for file in folder.glob("[0-9]*.mp3")}

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return _read(self.lists)

    @cached_property
    def _tracks(self) -> pd.DataFrame:
        """By the six digits of each track of the subset: split, genre, artist."""
        wanted = SIZES[: SIZES.index(self.variant) + 1]
        rows = self._rows[self._rows["subset"].isin(wanted)].sort_index()
        if rows.empty:
            raise DataError(
                f"{printable(str(self.lists))}: names no track of the subset {self.variant}", self.how_to_get
            )
        return rows.assign(split=rows["split"].map(PARTS))


def _lists(place: Path) -> Path | None:
    return next((file for file in (place / "fma_metadata/tracks.csv", place / "tracks.csv") if file.is_file()), None)


def _audio(place: Path, sizes: tuple[str, ...]) -> Path | None:
    """Return the folder with `000/000002.mp3`: `fma_<size>` of one of the sizes, smallest first."""
    itself = [place] if place.name.removeprefix("fma_") in sizes else []
    for folder in [*(place / f"fma_{size}" for size in sizes), *itself]:
        if any(child.name.isdigit() and len(child.name) == 3 for child in subfolders(folder)):
            return folder
    return None


def _read(path: Path) -> pd.DataFrame:
    """Read `tracks.csv`: two header rows, then a row with the name of the index. Only needed columns are parsed."""
    where = printable(str(path))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            top, second, third = (next(lines, []) for _ in range(3))
        places = {pair: number for number, pair in enumerate(zip(top, second, strict=False))}
        if absent := [" ".join(pair) for pair in _NEEDED.values() if pair not in places]:
            raise DataError(
                f"{where}: has no column {absent[0]!r} in its two header rows", "unpack fma_metadata.zip again"
            )
        named = third[:1] == ["track_id"]
        rows = pd.read_csv(
            path,
            header=None,
            skiprows=3 if named else 2,
            dtype=str,
            keep_default_na=False,  # an artist may be called None
            na_values=[""],
            usecols=[0, *(places[p] for p in _NEEDED.values())],
        )
        names = {0: "id", **{places[pair]: name for name, pair in _NEEDED.items()}}
        rows = rows.rename(columns=names)
        return rows.assign(id=rows["id"].str.zfill(6)).set_index("id")
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError, ValueError) as error:
        raise DataError(f"{where}: cannot be read as a table: {error}", "unpack fma_metadata.zip again") from error
