"""NSynth: single notes of 4 s, labelled with the family of their instrument."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from builder.errors import DataError
from builder.io.safe_files import parse_json

from .base import Benchmark
from .files import find_near, missing_error
from .text import printable
from .track import Recording

FAMILIES = [
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
]  # fmt: skip
FOLDERS = {"train": "nsynth-train", "validation": "nsynth-valid", "test": "nsynth-test"}


class NSynth(Benchmark):
    """`nsynth:PATH`, where PATH contains nsynth-test/ (nsynth-valid/, nsynth-train/) with examples.json and audio/."""

    title = "NSynth"
    about = "305,979 single notes of 4 s in eleven families of instruments, 16 kHz mono WAV"
    licence = "CC BY 4.0"
    citation = (
        "J. Engel, C. Resnick, A. Roberts, S. Dieleman, D. Eck, K. Simonyan, M. Norouzi: Neural audio synthesis of "
        "musical notes with WaveNet autoencoders. ICML 2017. arXiv:1704.01279."
    )
    homepage = "https://magenta.tensorflow.org/datasets/nsynth"
    how_to_get = (
        "PATH contains nsynth-test/examples.json and nsynth-test/audio/*.wav: nsynth-test.jsonwav.tar.gz, unpacked"
    )
    variants = {
        "family": "its own split, the family of the instrument; `artist` is the instrument, whose notes are alike",
    }

    @property
    def published_sizes(self) -> dict[str, int]:
        """The authors' counts."""
        return {"train": 289_205, "validation": 12_678, "test": 4_096}

    @property
    def own_labels(self) -> list[str]:
        """The eleven families."""
        return list(FAMILIES)

    def open(self) -> None:
        """Find the folder of the three parts. Only the evaluated part must be there."""
        path = self.root
        home = find_near(path, lambda place: place if _parts(place) else None)
        if home is None:
            raise missing_error(
                path, "nsynth-test/examples.json", ("nsynth-*.jsonwav.tar.gz", "nsynth-*.tar.gz"), self.how_to_get
            )
        self.folder = home

    def read(self, part: str) -> list[Recording]:
        """Return the notes of one part; none where its folder is missing and another part is evaluated."""
        folder = self.folder / FOLDERS[part]
        if not (folder / "examples.json").is_file():
            if self.labels is not None and part == self.evaluated_split:
                raise missing_error(
                    self.folder, f"{folder.name}/examples.json", (f"{folder.name}*.tar.gz",), self.how_to_get
                )
            return []
        notes, files = self._notes(folder), self._files(folder)
        recordings = []
        for key, note in notes.items():
            family, instrument = note.get("instrument_family_str"), note.get("instrument_str")
            labels = (family,) if family in FAMILIES else ()
            recordings.append(Recording(key, files.get(key), labels, part, instrument))
        return recordings

    def unlisted_files(self, part: str) -> list[str]:
        """Return WAV files of the part that `examples.json` does not name."""
        folders = [self.folder / FOLDERS[name] for name in (self.parts if part == "all" else (part,))]
        present = [folder for folder in folders if (folder / "examples.json").is_file()]
        return sorted(key for folder in present for key in self._files(folder).keys() - self._notes(folder).keys())

    @cached_property
    def _kept(self) -> dict[Path, dict[str, Any]]:
        return {}

    def _files(self, folder: Path) -> dict[str, Path]:
        audio = folder / "audio"
        if audio not in self._kept:
            self._kept[audio] = {file.stem: file for file in audio.glob("[!.]*.wav")}
        return self._kept[audio]

    def _notes(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Read `examples.json`: notes by name."""
        path = folder / "examples.json"
        if path not in self._kept:
            try:
                notes = parse_json(path.read_bytes())
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{printable(str(path))}: cannot be read as JSON: {error}", "unpack it again"
                ) from error
            if not isinstance(notes, dict) or not all(isinstance(note, dict) for note in notes.values()):
                raise DataError(f"{printable(str(path))}: does not have notes by their names", "unpack it again")
            self._kept[path] = notes
        return self._kept[path]


def _parts(place: Path) -> bool:
    return any((place / folder / "examples.json").is_file() for folder in FOLDERS.values())
