"""Copies: the recording that a clip repeats, if it repeats one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..audio import AUDIO_SUFFIXES, load_audio
from ..errors import DataError, RecipeError
from ..names import format_count
from .base import Estimate, EstimatorSettings
from .landmarks import HOP, LANDMARK_RATE, LandmarkIndex, Peaks, find_peaks, pair_peaks
from .sound import Sound

FIX = "write copies:FOLDER, a folder of audio"
VERSION = "2"  # of the search; the hash of the recordings follows it
LONGEST = 600.0  # seconds of a recording that are searched
PIECE = 10.0  # seconds of a clip that are searched at a time: over longer ones an inexact speed adds up
FRAMES = PIECE * LANDMARK_RATE / HOP  # in a piece
SPEEDS = tuple(1 + percent / 100 for percent in range(-6, 7) if percent)
CHANGES = ((1.0, 1.0), *((speed, speed) for speed in SPEEDS), *((speed, 1.0) for speed in SPEEDS))  # speed, pitch
CALIBRATED = 100  # recordings, at most, that are compared with the others to set the threshold
MARGIN = 8  # over the median; the tail falls about e-fold a landmark: 0.5 * exp(-8) = 0.02 % of clips
CERTAIN = 40  # landmarks in common: the recording is in the folder twice
FEWEST = 14  # landmarks of a copy, at least


class Match(NamedTuple):
    """The recording that shares most landmarks with a clip: its number, -1 for none."""

    number: int
    landmarks: int
    start: float  # second of the recording at which the clip begins
    speed: float
    pitch: float


class CopySearch:
    """Search of known recordings by landmarks, at several speeds and pitches.

    Landmarks are those of Wang (2003, "An industrial-strength audio search algorithm"). A clip is compared as it is,
    and as if it were up to 6 % faster or slower, in steps of 1 %: with its pitch, as a tape, or without.

    Args:
        recordings: The peaks of each recording.
    """

    def __init__(self, recordings: Sequence[Peaks]) -> None:
        self.index = LandmarkIndex([pair_peaks(peaks) for peaks in recordings])
        self.threshold = self._calibrate(recordings)

    def _calibrate(self, recordings: Sequence[Peaks]) -> int:
        """The landmarks in common from which a clip counts as a copy, by excerpts that others do not repeat."""
        if len(recordings) < 2:
            return FEWEST
        common = []
        for number in range(0, len(recordings), -(-len(recordings) // CALIBRATED)):
            peaks = recordings[number]
            middle = max(0.0, (peaks.frames.max(initial=0.0) - FRAMES) / 2)
            common.append(self.search(peaks.cut(middle, middle + FRAMES), number).landmarks)
        common = [landmarks for landmarks in common if landmarks < CERTAIN] or [0]
        return max(FEWEST, round(float(np.median(common))) + MARGIN)

    def search(self, peaks: Peaks, leave_out: int = -1) -> Match:
        """Find the recording that a clip repeats best.

        Args:
            peaks: Of the clip.
            leave_out: The number of a recording that does not count.

        Returns:
            The best match of its pieces of 10 s. `number` is -1 where nothing is in common.
        """
        best = Match(-1, 0, 0.0, 1.0, 1.0)
        pieces = max(1, round(peaks.frames.max(initial=0.0) / FRAMES))
        for place in range(pieces):
            first = place * FRAMES
            piece = peaks.cut(first, first + FRAMES if place < pieces - 1 else np.inf)
            for speed, pitch in CHANGES:
                number, landmarks, frame = self.index.search(pair_peaks(piece, speed, pitch), leave_out)
                if landmarks > best.landmarks:
                    best = Match(number, landmarks, (frame - first * speed) * HOP / LANDMARK_RATE, speed, pitch)
        return best


class Copies:
    """Search of known recordings in clips, see `CopySearch`.

    It finds what is repeated as recorded, also under noise, a codec or at a speed that is up to 6 % off; not a melody
    that is played again. The threshold is set by the recordings themselves: 8 landmarks above the median of what
    excerpts of them have in common with other recordings. The median is that of chance even where many are related.

    Args:
        settings: Its source is a folder of recordings.
    """

    name = "copies"
    light = False

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.source is None:
            raise RecipeError("estimates: copies needs recordings to search", FIX)
        folder = Path(settings.source).expanduser()
        self.names, recordings, digest, unreadable = read_recordings(folder)
        self.search = CopySearch(recordings)
        self.threshold = self.search.threshold
        self.revision = f"{VERSION}-{digest[:16]}"
        left_out = f" {format_count(unreadable, 'file')} could not be read." if unreadable else ""
        self.about = (
            f"The recording of {len(recordings):,} that shares most landmarks with the clip (Wang 2003), at up to 6 % "
            f"another speed; a copy has at least {self.threshold} in common.{left_out}"
        )

    def columns(self) -> dict[str, Any]:
        """`copies`: the nearest recording, landmarks in common, where it begins, its change, and if it is a copy."""
        from datasets import Value

        return {
            "copies": {
                "nearest": Value("string"),
                "landmarks": Value("int32"),
                "start": Value("float32"),
                "speed": Value("float32"),
                "pitch": Value("float32"),
                "copy": Value("bool"),
            }
        }

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Search each clip. `nearest` is None where nothing is in common."""
        return [{"copies": self._describe(sound)} for sound in sounds]

    def _describe(self, sound: Sound) -> dict[str, Any]:
        match = self.search.search(find_peaks(sound.at(LANDMARK_RATE)))
        found = match.number >= 0
        return {
            "nearest": self.names[match.number] if found else None,
            "landmarks": match.landmarks,
            "start": round(match.start, 2) if found else None,
            "speed": match.speed if found else None,
            "pitch": match.pitch if found else None,
            "copy": match.landmarks >= self.threshold,
        }


def read_recordings(folder: Path) -> tuple[list[str], list[Peaks], str, int]:
    """Read the recordings of a folder and the folders in it.

    Returns:
        Their names, their peaks, a hash of names and files, and how many audio files could not be read.

    Raises:
        DataError: There is no recording that can be read.
    """
    if not folder.is_dir():
        raise DataError(f"estimates: copies: {folder} is not a folder", FIX)
    names: list[str] = []
    recordings: list[Peaks] = []
    contents = hashlib.sha256()
    unreadable = 0
    for file in sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES):
        try:
            peaks = find_peaks(load_audio(file, LANDMARK_RATE, LONGEST))
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").digest()
        except (DataError, OSError):
            unreadable += 1
            continue
        name = file.relative_to(folder).as_posix().encode(errors="surrogateescape")
        names.append(name.decode(errors="replace"))
        recordings.append(peaks)
        contents.update(name + b"\n" + digest)
    if not recordings:
        fault = f": {format_count(unreadable, 'file')} could not be read" if unreadable else ""
        raise DataError(f"estimates: copies: {folder} has no recordings{fault}", FIX)
    return names, recordings, contents.hexdigest(), unreadable
