"""GTZAN: a thousand clips of 30 s in ten genres, with fault-filtered and artist-filtered splits."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import pandas as pd

from builder.audio import measure_audio
from builder.errors import DataError

from .base import Benchmark
from .files import find_near, is_audio, missing_error, subfolders
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
    homepage = "http://marsyas.info/downloads/datasets.html"
    how_to_get = (
        "PATH contains a folder for each genre (blues/blues.00000.wav ...) or the files in one folder; genres.tar.gz, "
        "or `GTZAN Dataset - Music Genre Classification` on Kaggle, unpacked"
    )
    variants = {
        "filtered": "fault-filtered split of 443, 197 and 290 tracks: repeats, wrong labels and distortions are left "
        "out; of the 401 artists that are known, one (of disco) is in two parts",
        **{f"fold{fold}": _ARTISTS.format(f"fold {fold}") for fold in (1, 2, 3)},
        "all": "all 1,000 clips without a split: it has repeats, wrong labels and shared artists, so that scores of "
        "a model trained on GTZAN are too high",
    }

    @property
    def own_labels(self) -> list[str]:
        """The ten genres."""
        return list(GENRES)

    @property
    def published_sizes(self) -> dict[str, int]:
        """The counts of the lists."""
        return {str(part): int(count) for part, count in self._lists["split"].value_counts().items()}

    def open(self) -> None:
        """Find the folder with the genres' folders or with the files, near the path."""
        self.parts = {"filtered": self.parts, "all": ("all",)}.get(self.variant, ("train", "test"))
        self.default_part = self.parts[-1]
        path = self.root
        home = path.resolve()
        if normalize_label(home.name) in _KEYS and len(_genre_folders(home.parent)) > 1:  # the folder of a genre
            path = home.parent
        files = find_near(path, _files)
        if files is None:
            raise missing_error(
                path, "GTZAN track", ("genres*.tar.gz", "genres*.zip", "*archive*.zip", "gtzan*.zip"), self.how_to_get
            )
        self.files = files

    def read(self, part: str) -> list[Recording]:
        """Return the tracks of one part of the variant."""
        rows = self._lists[self._lists["split"] == part]
        recordings: list[Recording] = []
        for track, artist in zip(rows["track"], rows["artist"], strict=True):
            genre = track.partition(".")[0]
            paths: list[Path | None] = [*self.files.get(track, [])] or [None]
            fault = "unreadable in many copies" if track == DAMAGED and not _opens(paths[0]) else ""
            recordings += [Recording(track, path, (genre,), part, artist or None, fault) for path in paths]
        return recordings

    def unlisted_files(self, part: str) -> list[str]:
        """Return files whose names are not GTZAN's."""
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
        """track, artist, split of the variant."""
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
    """Return audio files by track ("blues.00000"), where `path` has the genres' folders or the tracks; else None."""
    files: dict[str, list[Path]] = {}
    for folder in _genre_folders(path) or [path]:
        for file in sorted(folder.iterdir(), key=lambda file: (file.suffix != ".wav", file.name)):
            if is_audio(file):
                name = _NAME.match(file.name)
                genre = name and _KEYS.get(normalize_label(name["genre"]))
                files.setdefault(f"{genre}.{name['number']}" if name and genre else file.name, []).append(file)
    return files if any(name.rpartition(".")[0] in GENRES for name in files) else None


def _opens(path: Path | None) -> bool:
    """Return whether a file is complete audio; a missing one counts as complete."""
    try:
        return path is None or measure_audio(path)[0] > 0
    except DataError:
        return False
