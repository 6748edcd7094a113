"""Annotations as arrays at a frame rate: piano roll, beats and chords."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError, RecipeError
from .annotation import Annotation, as_annotation

FRAME_RATE = 50.0  # frames a second
PITCHES = 128


class ChordVectors(NamedTuple):
    """Chords by frame."""

    chroma: np.ndarray  # int8 [frames, 12]: 1 for each pitch class of the chord, from C; 0 for N, -1 for X
    root: np.ndarray  # int8 [frames]: pitch class of the root, from C; -1 for N and X
    bass: np.ndarray  # int8 [frames]: semitones of the bass above the root; -1 for N and X


def piano_roll(
    annotation: Annotation | Mapping[str, Any], rate: float = FRAME_RATE, *, drums: bool = False
) -> np.ndarray:
    """Make the piano roll of the notes.

    Args:
        annotation: An annotation with notes, or a row of the config `annotations`.
        rate: Frames a second. Frame k is at k / rate seconds.
        drums: Include drum tracks, by their General-MIDI key.

    Returns:
        uint8 [frames, 128]: the velocity of the loudest note of each MIDI pitch, 0 where none sounds. There are
        ceil(rate * duration) frames. A note has at least one, that nearest to its onset. For the layout of
        `pretty_midi`, transpose it.

    Raises:
        DataError: The annotation has no notes.
        RecipeError: The rate is not above 0.
    """
    annotation = as_annotation(annotation)
    roll = np.zeros((_count_frames(annotation, rate), PITCHES), np.uint8)
    notes = _require(annotation, "notes")
    rows = np.flatnonzero(drums | ~notes.is_drum)
    start = np.rint(notes.onset[rows] * rate).astype(np.int64)
    end = np.maximum(np.rint(notes.offset[rows] * rate).astype(np.int64), start + 1)
    for first, last, pitch, velocity in zip(
        start.tolist(), end.tolist(), notes.pitch[rows].tolist(), notes.velocity[rows].tolist(), strict=True
    ):
        sounding = roll[first:last, pitch]
        np.maximum(sounding, velocity, out=sounding)
    return roll


def beat_activations(annotation: Annotation | Mapping[str, Any], rate: float = FRAME_RATE) -> np.ndarray:
    """Mark the frames of beats and downbeats.

    Args:
        annotation: An annotation with beats, or a row of the config `annotations`.
        rate: Frames a second. Frame k is at k / rate seconds.

    Returns:
        float32 [frames, 2]: 1 in the frame nearest to each beat, and in column 1 to each downbeat; else 0. Without
        positions, column 1 is NaN.

    Raises:
        DataError: The annotation has no beats.
        RecipeError: The rate is not above 0.
    """
    annotation = as_annotation(annotation)
    marks = np.zeros((_count_frames(annotation, rate), 2), np.float32)
    frames = np.rint(_require(annotation, "beats") * rate).astype(np.int64)
    inside = (frames >= 0) & (frames < len(marks))
    marks[frames[inside], 0] = 1
    if annotation.positions is None:
        marks[:, 1] = np.nan
    else:
        marks[frames[inside & (annotation.positions == 1)], 1] = 1
    return marks


def chord_vectors(annotation: Annotation | Mapping[str, Any], rate: float = FRAME_RATE) -> ChordVectors:
    """Encode the chords of each frame by `mir_eval.chord`.

    Args:
        annotation: An annotation with chords, or a row of the config `annotations`.
        rate: Frames a second. Frame k is at k / rate seconds.

    Returns:
        `chroma`, int8 [frames, 12], the pitch classes from C; `root`, int8 [frames]; and `bass`, int8 [frames], in
        semitones above the root. Root and bass are those of `mir_eval.chord.encode`; `chroma` is its bitmap, turned so
        that it starts at C. Time without a chord is as N.

    Raises:
        DataError: The annotation has no chords, or a label is not in Harte's syntax.
        RecipeError: The rate is not above 0.
    """
    import mir_eval

    annotation = as_annotation(annotation)
    frames = _count_frames(annotation, rate)
    chords = _require(annotation, "chords")
    vectors = ChordVectors(np.zeros((frames, 12), np.int8), np.full(frames, -1, np.int8), np.full(frames, -1, np.int8))
    starts, ends = (np.rint(times * rate).astype(np.int64).tolist() for times in (chords.start, chords.end))
    for start, end, label in zip(starts, ends, chords.label, strict=True):
        try:
            root, bitmap, bass = mir_eval.chord.encode(label)
        except mir_eval.chord.InvalidChordException as error:
            raise DataError(
                f"annotation {annotation.id}: chord {label!r} is not in Harte's syntax", "write it as A:min7, C/5, N"
            ) from error
        vectors.chroma[start:end] = np.roll(bitmap, max(root, 0))
        vectors.root[start:end], vectors.bass[start:end] = root, bass
    return vectors


def _count_frames(annotation: Annotation, rate: float) -> int:
    if not rate > 0:
        raise RecipeError(f"rate={rate}: not a number of frames a second", "give a number above 0, such as 50")
    return ceil(round(annotation.duration * rate, 6))


def _require(annotation: Annotation, name: str) -> Any:
    if (value := getattr(annotation, name)) is None:
        raise DataError(f"annotation {annotation.id}: has no {name}", f"choose one whose {name} are annotated")
    return value
