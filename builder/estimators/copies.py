"""Copies: the recording that a clip repeats, if it repeats one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import AUDIO_SUFFIXES, load_audio
from ..errors import DataError, RecipeError
from .base import Estimate, EstimatorSettings
from .landmarks import HOP, LANDMARK_RATE, LandmarkIndex, Landmarks, find_landmarks
from .sound import Sound

LONGEST = 600.0  # seconds of a recording that are searched
CALIBRATED = 200  # recordings, at most, that are compared with the others to set the threshold
PERCENTILE, MARGIN = 99, 2.0  # of the agreement between different recordings, and how often it must be exceeded
FEWEST = 12  # landmarks of a copy, at least


class Copies:
    """Search of known recordings in clips by landmarks (Wang 2003, "An industrial-strength audio search algorithm").

    It finds what is repeated as recorded, also under noise or a codec; not a melody that is played again, nor a copy
    at another speed. The threshold is set by the recordings themselves: twice the 99th percentile of the landmarks
    that different recordings have in common.

    Args:
        settings: Its source is a folder of recordings.
    """

    name = "copies"
    light = False

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.source is None:
            raise RecipeError("estimates: copies needs recordings to search", "write copies:FOLDER, a folder of audio")
        folder = Path(settings.source).expanduser()
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
        self.names: list[str] = []
        recordings: list[Landmarks] = []
        for file in files:
            try:
                samples = load_audio(file, LANDMARK_RATE, LONGEST)
            except DataError:  # not audio, or damaged: it cannot be searched
                continue
            self.names.append(file.relative_to(folder).as_posix())
            recordings.append(find_landmarks(samples))
        if not recordings:
            raise DataError(f"estimates: copies: {folder} has no recordings", "write copies:FOLDER, a folder of audio")
        self._index = LandmarkIndex(recordings)
        digest = hashlib.sha256("\n".join(self.names).encode() + self._index.hashes.tobytes())
        self.revision = f"1-{digest.hexdigest()[:16]}"
        self.threshold = self._calibrate(recordings)
        self.about = (
            f"The recording of {len(recordings):,} that shares most landmarks with the clip (Wang 2003); a copy has "
            f"at least {self.threshold} in common."
        )

    def _calibrate(self, recordings: list[Landmarks]) -> int:
        """The landmarks in common from which a clip counts as a copy."""
        step = max(1, len(recordings) // CALIBRATED)
        numbers = range(0, len(recordings), step) if len(recordings) > 1 else ()
        common = [self._index.search(recordings[number], number)[1] for number in numbers]
        highest = float(np.percentile(common, PERCENTILE)) if common else 0.0
        return max(FEWEST, round(MARGIN * highest))

    def columns(self) -> dict[str, Any]:
        """`copies`: the nearest recording, landmarks in common, the second at which it begins, and if it is a copy."""
        from datasets import Value

        return {
            "copies": {
                "nearest": Value("string"),
                "landmarks": Value("int32"),
                "start": Value("float32"),
                "copy": Value("bool"),
            }
        }

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Search each clip. `nearest` is None where nothing is in common."""
        return [{"copies": self._search(sound)} for sound in sounds]

    def _search(self, sound: Sound) -> dict[str, Any]:
        number, common, frame = self._index.search(find_landmarks(sound.at(LANDMARK_RATE)))
        found = number >= 0
        return {
            "nearest": self.names[number] if found else None,
            "landmarks": common,
            "start": round(frame * HOP / LANDMARK_RATE, 2) if found else None,
            "copy": common >= self.threshold,
        }
