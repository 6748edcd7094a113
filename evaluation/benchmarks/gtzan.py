"""GTZAN: a thousand clips of 30 s in ten genres, with the split lists that make its figures believable."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import pandas as pd

from builder.audio import measure_audio
from builder.errors import DataError

from .base import Benchmark
from .files import is_audio, missing, seek, subfolders
from .text import normalize_label
from .track import Recording

LISTS = Path(__file__).with_name("splits")
GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
DAMAGED = "jazz.00054"  # no audio in the copy on Kaggle, and in others that were made from it
_NAME = re.compile(r"(?P<genre>[A-Za-z _-]+?)[._](?P<number>\d{5})\.\w+$")
_KEYS = {normalize_label(name): name for name in GENRES}
_ARTISTS = "three folds that share no artist (Sturm's artist filter, 948 tracks), {} to test and the others to train"


class Gtzan(Benchmark):
    """`gtzan[@filtered|fold1|fold2|fold3|all]:PATH`: the archive's, Kaggle's or the flat layout, `.wav` or `.au`."""

    title = "GTZAN"
    about = "1,000 clips of 30 s in ten genres, 22,050 Hz mono"
    licence = "none given: excerpts of commercial recordings, for research only"
    citation = (
        "G. Tzanetakis, P. Cook: Musical genre classification of audio signals. IEEE Transactions on Speech and Audio "
        "Processing 10(5), 2002. Faults: B. L. Sturm: The GTZAN dataset: its contents, its faults, their effects on "
        "evaluation, and its future use. arXiv:1306.1461, 2013. Split: C. Kereliuk, B. L. Sturm, J. Larsen: Deep "
        "learning and music adversaries. arXiv:1507.04761, 2015."
    )
    home = "http://marsyas.info/downloads/datasets.html"
    get = (
        "PATH holds a folder a genre (blues/blues.00000.wav ...) or the files side by side; genres.tar.gz, or "
        "`GTZAN Dataset - Music Genre Classification` on Kaggle, unpacked"
    )
    variants = {
        "filtered": "fault-filtered split of 443, 197 and 290 tracks: repeats, mislabels and distortions are left "
        "out; of the 401 artists that are known, one (of disco) is in two parts",
        **{f"fold{fold}": _ARTISTS.format(f"fold {fold}") for fold in (1, 2, 3)},
        "all": "all 1,000 clips without a split: repeats, mislabels and shared artists are in it, so that figures of "
        "a model that learnt from GTZAN are too high",
    }

    @property
    def own_labels(self) -> list[str]:
        """The ten genres."""
        return list(GENRES)

    @property
    def declared(self) -> dict[str, int]:
        """As the lists name them."""
        return {str(part): int(count) for part, count in self._lists["split"].value_counts().items()}

    def open(self) -> None:
        """Find the folder of the genres' folders, or of the files; the better of the places near the path."""
        self.parts = {"filtered": self.parts, "all": ("all",)}.get(self.variant, ("train", "test"))
        self.judged = self.parts[-1]
        path = self.root
        home = path.resolve()
        if normalize_label(home.name) in _KEYS and len(_genre_folders(home.parent)) > 1:  # a genre's own folder
            path = home.parent
        files = seek(path, _files)
        if files is None:
            raise missing(
                path, "GTZAN track", ("genres*.tar.gz", "genres*.zip", "*archive*.zip", "gtzan*.zip"), self.get
            )
        self.files = files

    def read(self, part: str) -> list[Recording]:
        """The tracks of one part of the variant's list."""
        rows = self._lists[self._lists["split"] == part]
        found: list[Recording] = []
        for track, artist in zip(rows["track"], rows["artist"], strict=True):
            genre = track.partition(".")[0]
            paths: list[Path | None] = [*self.files.get(track, [])] or [None]
            fault = "which cannot be read in many copies" if track == DAMAGED and not _opens(paths[0]) else ""
            found += [Recording(track, path, (genre,), part, artist or None, fault) for path in paths]
        return found

    def unlisted_files(self, part: str) -> list[str]:
        """Files that bear no name of GTZAN's."""
        known = set(self._all["track"])
        return sorted(name for name in self.files if name not in known)

    @cached_property
    def _all(self) -> pd.DataFrame:
        """track, artist ("blues-12", empty where unknown), fold (0: in none)."""
        table = pd.DataFrame({"track": [f"{genre}.{number:05d}" for genre in GENRES for number in range(100)]})
        folds = pd.read_csv(LISTS / "gtzan_artist_folds.csv")
        table = table.merge(folds, how="left", on="track")
        known = table["artist"].notna()
        genre = table["track"].str.partition(".")[0]
        numbers = table["artist"].fillna(0).astype(int).astype(str)
        return table.assign(artist=(genre + "-" + numbers).where(known, ""), fold=table["fold"].fillna(0).astype(int))

    @cached_property
    def _lists(self) -> pd.DataFrame:
        """track, artist, split: what the variant names."""
        if self.variant == "all":
            return self._all.assign(split="all")
        if self.variant == "filtered":
            return pd.read_csv(LISTS / "gtzan_fault_filtered.csv").merge(self._all, how="left", on="track")
        table = self._all[self._all["fold"] > 0]
        tested = table["fold"] == int(self.variant.removeprefix("fold"))
        return table.assign(split=tested.map({True: "test", False: "train"}))


def _genre_folders(path: Path) -> list[Path]:
    return sorted(child for child in subfolders(path) if normalize_label(child.name) in _KEYS)


def _files(path: Path) -> dict[str, list[Path]] | None:
    """Audio files by track ("blues.00000"), where `path` holds the genres' folders or the tracks themselves."""
    found: dict[str, list[Path]] = {}
    for folder in _genre_folders(path) or [path]:
        for file in sorted(folder.iterdir(), key=lambda file: (file.suffix != ".wav", file.name)):
            if is_audio(file):
                name = _NAME.match(file.name)
                genre = name and _KEYS.get(normalize_label(name["genre"]))
                found.setdefault(f"{genre}.{name['number']}" if name and genre else file.name, []).append(file)
    return found if any(name.rpartition(".")[0] in GENRES for name in found) else None


def _opens(path: Path | None) -> bool:
    """Whether the file is complete audio; one that is not there is another matter."""
    try:
        return path is None or measure_audio(path)[0] > 0
    except DataError:
        return False
