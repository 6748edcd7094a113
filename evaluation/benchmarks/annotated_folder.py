"""A folder of recordings with files of annotations beside them, as annotated tracks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from builder.annotations.annotation import MELODY_RATE, Annotation
from builder.annotations.jams import read_jams
from builder.annotations.labs import read_beats, read_lab
from builder.audio import AUDIO_SUFFIXES
from builder.errors import DataError
from builder.io.safe_files import read_text

from .annotated import AnnotatedTrack, AnnotatedTracks
from .annotated_values import ConversionError, clean_chords, count_melody_values, measure_seconds, parse_key
from .files import is_audio, require_folder, walk_files
from .folder import read_artists
from .text import printable

BESIDE = (".jams", ".beats", ".lab", ".chords.lab", ".sections.lab", ".key", ".bpm")
MAX_TEXT = 1 << 10  # bytes of a key or a tempo
SAME_LENGTH = 1.0  # seconds by which the audio may differ from what its JAMS file says


class AnnotatedFolder(AnnotatedTracks):
    """`folder:PATH`: audio files at any depth, and beside `song.wav` what is annotated of it.

    `song.jams`; `song.beats` (time and position in the bar); `song.lab` or `song.chords.lab`, and `song.sections.lab`
    (start, end, label); `song.key` ("A minor"); `song.bpm`. Text files replace what the JAMS file has of their kind.
    Artists are those of a table beside the files, as in the benchmark `folder`.
    """

    def open(self) -> None:
        """Find the audio files. Raises DataError where there is none."""
        top = Path(self.spec.target).expanduser()
        require_folder(top, f"PATH contains audio files, and beside song.wav one of song{', song'.join(BESIDE)}")
        files = sorted(walk_files(top))
        self.files = {printable(path.relative_to(top).as_posix()): path for path in files if is_audio(path)}
        if not self.files:
            raise DataError(
                f"{self.source}: holds no audio file",
                f"put files in there that end in one of: {' '.join(sorted(AUDIO_SUFFIXES))}",
            )
        self.artists, self.table_notes = read_artists(top, files, list(self.files))

    def __len__(self) -> int:
        """Count the audio files."""
        return len(self.files)

    @property
    def notes(self) -> list[str]:
        """Sentences about the table of artists, and about what was left out."""
        return [*self.table_notes, *super().notes]

    def read(self) -> Iterator[AnnotatedTrack]:
        """Yield the recordings that have a file of annotations beside them."""
        for name, path in self.files.items():
            beside = {suffix: file for suffix in BESIDE if (file := path.with_suffix(suffix)).is_file()}
            if not beside:
                self.leave_out(name, f"without a file beside it that ends in one of {' '.join(BESIDE)}")
                continue
            try:
                duration = measure_seconds(path)
            except DataError:
                self.leave_out(name, "whose audio cannot be read")
                continue
            try:
                annotation = self._read_annotation(name, duration, beside)
            except (DataError, ConversionError) as error:
                self.leave_out(name, f"whose annotation cannot be read ({' '.join(str(error).split())[:160]})")
                continue
            yield AnnotatedTrack(name, self.artists.get(name), path, annotation)

    def _read_annotation(self, name: str, duration: float, beside: dict[str, Path]) -> Annotation:
        """Read the files beside a recording. Raises DataError and ConversionError."""
        annotation = Annotation(name, duration)
        if ".jams" in beside:
            annotation = self._read_jams(name, duration, beside[".jams"])
        found: dict[str, Any] = {}
        if ".beats" in beside:
            found["beats"], found["positions"] = read_beats(beside[".beats"])
            if (np.diff(found["beats"]) <= 0).any():
                raise ConversionError(f"{beside['.beats'].name}: its times are not in order")
        for suffix in (".lab", ".chords.lab"):
            if suffix in beside:
                segments = read_lab(beside[suffix])
                found["chords"], remarks = clean_chords(np.stack([segments.start, segments.end], 1), segments.label)
                for what in remarks:
                    self.remark(name, what)
        if ".sections.lab" in beside:
            found["sections"] = read_lab(beside[".sections.lab"])
        if ".key" in beside:
            found["key"] = parse_key(_read_line(beside[".key"]))
        if ".bpm" in beside:
            found["tempo_bpm"] = _read_tempo(beside[".bpm"])
        return replace(annotation, **found)

    def _read_jams(self, name: str, duration: float, path: Path) -> Annotation:
        """Read a JAMS file of this audio. Raises DataError for one of audio of another length."""
        annotation = read_jams(path)
        if abs(annotation.duration - duration) > SAME_LENGTH:
            raise DataError(
                f"{path.name}: is of audio of {annotation.duration:.1f} s, and this has {duration:.1f} s",
                "put the JAMS file of this recording beside it",
            )
        melody = annotation.melody
        if melody is not None:
            silence = np.zeros(round(MELODY_RATE * (SAME_LENGTH + 1)), np.float32)
            melody = np.append(melody, silence)[: count_melody_values(duration)]
        chords, remarks = annotation.chords, list[str]()
        if chords is not None:
            chords, remarks = clean_chords(np.stack([chords.start, chords.end], 1), chords.label)
        for what in remarks:
            self.remark(name, what)
        key = None if annotation.key is None else parse_key(annotation.key)
        return replace(annotation, id=name, duration=duration, melody=melody, chords=chords, key=key)


def _read_line(path: Path) -> str:
    try:
        return read_text(path, MAX_TEXT).strip().partition("\n")[0]
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name}: cannot be read: {error}", "write one line of text") from error


def _read_tempo(path: Path) -> float | None:
    text = _read_line(path)
    try:
        bpm = float(text)
    except ValueError as error:
        raise ConversionError(f"{path.name}: the tempo {text[:40]!r}") from error
    return bpm if math.isfinite(bpm) and bpm > 0 else None
