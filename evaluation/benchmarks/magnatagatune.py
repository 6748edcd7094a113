"""MagnaTagATune: clips of 29 s with tags from a game with a purpose."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pandas as pd

from builder.errors import DataError

from .base import Benchmark
from .files import find_near, is_audio, missing_error
from .text import normalize_label, printable
from .track import Recording

TABLE = "annotations_final.csv"
FOLDERS = "0123456789abcdef"
PARTS = {"train": "0123456789ab", "validation": "c", "test": "def"}
EMPTY = {"35644", "55753", "57881"}  # files of no bytes in the archive
_LIST = Path(__file__).with_name("splits") / "magnatagatune_tags.csv"


class MagnaTagATune(Benchmark):
    """`magnatagatune[@top50|all]:PATH`, where PATH contains annotations_final.csv and the folders 0 to f."""

    title = "MagnaTagATune"
    about = "25,863 clips of 29 s, MP3, with 188 tags"
    licence = "CC BY-NC-SA 3.0 (Magnatune)"
    citation = (
        "E. Law, K. West, M. Mandel, M. Bay, J. S. Downie: Evaluation of algorithms using games: the case of music "
        "tagging. ISMIR 2009."
    )
    homepage = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
    how_to_get = "PATH contains annotations_final.csv and folders 0 to f: `cat mp3.zip.* > mp3.zip && unzip mp3.zip`"
    multi_label = True
    variants = {
        "top50": "split by folder (0 to b, c, d to f); the 50 most frequent tags; clips with at least one of them",
        "all": "split by folder (0 to b, c, d to f); all 188 tags, clips without a tag left out",
    }
    extra_allowed = {"train": 6}
    extra_reason = "the published lists also leave out clips under 29.1 s"

    @property
    def published_sizes(self) -> dict[str, int]:
        """The counts of the top-50 lists that most papers use."""
        return {"train": 15_244, "validation": 1_529, "test": 4_332} if self.variant == "top50" else {}

    @property
    def own_labels(self) -> list[str]:
        """The tags as the table spells them."""
        tags = [name for name in self._table.columns if name not in ("clip_id", "mp3_path")]
        if self.variant == "all":
            return tags
        known = pd.read_csv(_LIST)
        wanted = set(known.loc[known["top50"] == 1, "tag"].map(normalize_label))
        return [tag for tag in tags if normalize_label(tag) in wanted]

    def open(self) -> None:
        """Find the table and the sixteen folders."""
        path = self.root
        table = find_near(path, lambda place: place / TABLE if (place / TABLE).is_file() else None)
        if table is None:
            raise missing_error(path, TABLE, (f"{TABLE}.zip", "annotations*.zip"), self.how_to_get)
        audio = find_near(path, _audio) or find_near(table.parent, _audio)
        if audio is None:
            raise missing_error(path, "folder 0 to f with MP3 files", ("mp3.zip", "mp3.zip.001"), self.how_to_get)
        self.table, self.audio = table, audio

    def read(self, part: str) -> list[Recording]:
        """Return the clips of the part's folders that have one of the tags."""
        tags = self.own_labels
        rows = self._table[self._table["mp3_path"].str[0].isin(list(PARTS[part]))]
        marks = rows[tags].to_numpy() == "1"
        recordings = []
        for identity, file, marked in zip(rows["clip_id"], rows["mp3_path"], marks, strict=True):
            if marked.any():
                labels = tuple(tag for tag, mark in zip(tags, marked, strict=True) if mark)
                artist = file.partition("/")[2].partition("-")[0] or None
                fault = "whose file is empty in the archive" if identity in EMPTY else ""
                recordings.append(Recording(identity, self._files.get(file), labels, part, artist, fault))
        return recordings

    def unlisted_files(self, part: str) -> list[str]:
        """Return MP3 files that the table does not name."""
        return sorted(self._files.keys() - set(self._table["mp3_path"]))

    @cached_property
    def _files(self) -> dict[str, Path]:
        return {
            f"{name}/{file.name}": file
            for name in FOLDERS
            if (self.audio / name).is_dir()
            for file in (self.audio / name).iterdir()
            if is_audio(file)
        }

    @cached_property
    def _table(self) -> pd.DataFrame:
        where = printable(str(self.table))
        try:
            table = pd.read_csv(self.table, sep="\t", dtype=str, keep_default_na=False)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise DataError(f"{where}: cannot be read as a table: {error}", "download it again") from error
        if absent := {"clip_id", "mp3_path"} - set(table.columns):
            raise DataError(
                f"{where}: has no column {min(absent)!r} (it is separated by tabs)", "download it again, unchanged"
            )
        if not len(table):
            raise DataError(f"{where}: has no clips", "download it again")
        return table


def _audio(place: Path) -> Path | None:
    return place if any(is_audio(file) for name in FOLDERS for file in (place / name).glob("*.mp3")) else None
