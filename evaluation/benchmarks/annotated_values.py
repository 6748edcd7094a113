"""Make the parts of an `Annotation` of what data sets write: keys, chords, segments, melodies and notes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from builder.annotations.annotation import MELODY_RATE, Notes, Segments
from builder.audio import ENDLESS, measure_audio, read_blocks

UNKNOWN_CHORD = "X"  # mir_eval leaves stretches of this label out
_KEY = re.compile(r"([A-Ga-g])\s*(sharp|flat|[#♯b♭]*)[\s:_-]*([A-Za-z]*)$")
_MODES = {
    "": "major", "maj": "major", "major": "major", "M": "major", "ionian": "major",
    "min": "minor", "minor": "minor", "m": "minor", "aeolian": "minor",
}  # fmt: skip
_NO_KEY = {"n", "x", "none", "unknown", "-", ""}


def measure_seconds(path: Path) -> float:
    """Measure audio in seconds. Raises DataError where it cannot be read."""
    samples, _, rate = measure_audio(path)
    if samples >= ENDLESS:  # the header does not say
        samples = sum(len(block) for block, _ in read_blocks(path))
    return samples / rate


class ConversionError(ValueError):
    """A value that no `Annotation` can hold; the message says why."""


def parse_key(text: str) -> str | None:
    """Parse "D:minor", "Db maj", "F# minor", "Am", "bb:min" as "D:minor", "Db:major", ...; None for no key.

    Raises:
        ConversionError: A mode that is neither major nor minor, or no key.
    """
    text = text.strip()
    if text.lower() in _NO_KEY:
        return None
    match = _KEY.match(text)
    if match is None:
        raise ConversionError(f"the key {text[:40]!r}")
    accidental = match[2].replace("♯", "#").replace("♭", "b").replace("sharp", "#").replace("flat", "b")
    mode = _MODES.get(match[3]) or _MODES.get(match[3].lower())
    if mode is None:
        raise ConversionError(f"the mode {match[3][:20].lower()}, neither major nor minor")
    return f"{match[1].upper()}{accidental}:{mode}"


def key_or_none(text: str) -> str | None:
    """Parse a key; None also for what is none."""
    try:
        return parse_key(text)
    except ConversionError:
        return None


@lru_cache(4096)
def is_chord(label: str) -> bool:
    """Whether mir_eval can read a label of a chord (Harte et al. 2005)."""
    from mir_eval.chord import InvalidChordException, encode

    try:
        encode(label)
    except (InvalidChordException, ValueError, KeyError, IndexError):
        return False
    return True


def make_segments(intervals: np.ndarray, labels: Sequence[str]) -> tuple[Segments, int]:
    """Order stretches by their start, and cut those that overlap the next.

    Args:
        intervals: float64 [segments, 2], seconds.
        labels: Of each.

    Returns:
        The segments without empty ones, and how many were cut.
    """
    intervals = np.asarray(intervals, np.float64).reshape(-1, 2)
    order = np.argsort(intervals[:, 0], kind="stable")
    start, end = intervals[order].T
    ends = np.minimum(end, np.append(start[1:], np.inf))
    kept = ends > start
    names = tuple(str(labels[place]) for place in order[kept])
    return Segments(start[kept], ends[kept], names), int((ends < end - 1e-6).sum())


def clean_chords(intervals: np.ndarray, labels: Sequence[str]) -> tuple[Segments, list[str]]:
    """Make chords that mir_eval can score: in order, without overlaps, with labels that it can read.

    Args:
        intervals: float64 [chords, 2], seconds.
        labels: Of each. Those that mir_eval cannot read become `UNKNOWN_CHORD`.

    Returns:
        The chords, and what was changed.
    """
    names = [label.strip() for label in labels]
    segments, cut = make_segments(intervals, [name if is_chord(name) else UNKNOWN_CHORD for name in names])
    odd = not all(map(is_chord, names))
    remarks = ["chords that mir_eval cannot read are left out of the score"] if odd else []
    return segments, [*remarks, "chords that overlap are cut"] if cut else remarks


def count_melody_values(duration: float) -> int:
    """Count the values of `Annotation.melody` for so many seconds."""
    return math.ceil(round(MELODY_RATE * duration, 6))


def resample_melody(times: np.ndarray, pitches: np.ndarray, voiced: np.ndarray, duration: float) -> np.ndarray:
    """Resample a melody to `MELODY_RATE` values a second.

    A value is voiced where the nearest one in time is, and no further from it than one and a half hops. Between two
    voiced ones within a semitone the pitch is interpolated in cents.

    Args:
        times: float64 [values], seconds, increasing.
        pitches: float64 [values], MIDI numbers; of unvoiced values any.
        voiced: bool [values].
        duration: Seconds of audio.

    Returns:
        float32 [ceil(MELODY_RATE * duration)], Hz, 0 where unvoiced.
    """
    grid = np.arange(count_melody_values(duration)) / MELODY_RATE
    if not voiced.any():
        return np.zeros(len(grid), np.float32)
    hop = float(np.median(np.diff(times))) if len(times) > 1 else 1 / MELODY_RATE
    after = np.clip(np.searchsorted(times, grid), 1, max(len(times) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    nearest = np.where(np.abs(times[after] - grid) < np.abs(grid - times[before]), after, before)
    sounds = voiced[nearest] & (np.abs(times[nearest] - grid) <= 1.5 * hop)
    pitch = pitches[nearest].copy()
    smooth = voiced[before] & voiced[after] & (times[after] > times[before])
    smooth &= (grid >= times[before]) & (grid <= times[after])
    smooth[smooth] &= np.abs(pitches[after[smooth]] - pitches[before[smooth]]) <= 1
    low, high = before[smooth], after[smooth]
    share = (grid[smooth] - times[low]) / (times[high] - times[low])
    pitch[smooth] = pitches[low] + share * (pitches[high] - pitches[low])
    hertz = np.zeros(len(grid), np.float32)
    hertz[sounds] = 440 * 2 ** ((pitch[sounds] - 69) / 12)
    return hertz


def make_notes(
    intervals: np.ndarray,
    pitches: np.ndarray,
    velocity: np.ndarray,
    program: np.ndarray | int = 0,
    is_drum: np.ndarray | bool = False,
    track: np.ndarray | int = 0,
) -> Notes:
    """Make notes of columns: pitches are rounded, notes without length or with an impossible pitch left out.

    Args:
        intervals: float64 [notes, 2], onset and offset in seconds.
        pitches: float64 [notes], MIDI numbers.
        velocity: float64 [notes], 0 to 127.
        program: [notes], General-MIDI programs from 0.
        is_drum: bool [notes].
        track: [notes].
    """
    with np.errstate(invalid="ignore"):
        kept = (intervals[:, 1] > intervals[:, 0]) & np.isfinite(pitches) & (pitches >= 0) & (pitches < 127.5)
    rows = np.flatnonzero(kept)
    numbers = np.round(pitches[rows])
    rows = rows[np.lexsort((numbers, intervals[rows, 0]))]
    columns = [np.broadcast_to(np.asarray(column), (len(pitches),))[rows] for column in (program, is_drum, track)]
    return Notes(
        intervals[rows, 0],
        intervals[rows, 1],
        np.minimum(np.round(pitches[rows]), 127).astype(np.int16),
        np.clip(np.round(velocity[rows]), 1, 127).astype(np.int16),
        columns[0].astype(np.int16),
        columns[1].astype(np.bool_),
        columns[2].astype(np.int16),
    )
