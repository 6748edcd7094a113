"""Annotations as text: beats in `.beats` files, chords and sections in `.lab` files.

Both are lines of fields between tabs, which mir_eval, mirdata, Sonic Visualiser and Audacity read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..io.atomic import write_text
from ..io.safe_files import read_text
from .annotation import Segments

MAX_BYTES = 8 << 20  # of a file that is read
POSITION = re.compile(r"[1-9][0-9]?", re.ASCII)


def format_beats(times: np.ndarray, positions: np.ndarray | None = None) -> str:
    """Format beats as the lines of a `.beats` file: the time in seconds and, if known, the position in the bar."""
    if positions is None:
        return "".join(f"{time:.6f}\n" for time in times.tolist())
    rows = zip(times.tolist(), positions.tolist(), strict=True)
    return "".join(f"{time:.6f}\t{position}\n" for time, position in rows)


def format_lab(segments: Segments) -> str:
    """Format segments as the lines of a `.lab` file: start and end in seconds, and the label."""
    rows = zip(segments.start.tolist(), segments.end.tolist(), segments.label, strict=True)
    return "".join(f"{start:.6f}\t{end:.6f}\t{' '.join(label.split()) or 'N'}\n" for start, end, label in rows)


def write_beats(path: str | Path, times: np.ndarray, positions: np.ndarray | None = None) -> None:
    """Write beats as a `.beats` file, atomically.

    Args:
        path: The file.
        times: float64 [beats], seconds.
        positions: int [beats], the place of each beat in its bar, from 1. Default: not written.

    Raises:
        DataError: The file cannot be written.
    """
    write_text(Path(path), format_beats(times, positions))


def read_beats(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a `.beats` file.

    Args:
        path: A file with a time on each line and, if known, the position in the bar.

    Returns:
        float64 [beats], seconds, and int8 [beats] positions; None unless every line has one.

    Raises:
        DataError: The file cannot be read, or a line is not of this form.
    """
    times, positions = [], []
    for where, fields in _read_lines(path, 1):
        times.append(_parse_time(where, fields[0]))
        if fields[1:]:
            if not POSITION.fullmatch(fields[1]):
                raise DataError(f"{where}: {fields[1]!r} is not a position in a bar", "write a number from 1 to 99")
            positions.append(int(fields[1]))
    return np.array(times, np.float64), np.array(positions, np.int8) if len(positions) == len(times) else None


def write_lab(path: str | Path, segments: Segments) -> None:
    """Write chords or sections as a `.lab` file, atomically.

    Args:
        path: The file.
        segments: The chords or sections.

    Raises:
        DataError: The file cannot be written.
    """
    write_text(Path(path), format_lab(segments))


def read_lab(path: str | Path) -> Segments:
    """Read a `.lab` file.

    Args:
        path: A file with a start, an end and a label on each line.

    Returns:
        The segments. A label may contain spaces.

    Raises:
        DataError: The file cannot be read, or a line is not of this form.
    """
    rows = [
        (_parse_time(where, start), _parse_time(where, end), label)
        for where, (start, end, label) in _read_lines(path, 3)
    ]
    start, end = (np.array([row[column] for row in rows], np.float64) for column in (0, 1))
    return Segments(start, end, tuple(label for _, _, label in rows))


def _read_lines(path: str | Path, fewest: int) -> Iterator[tuple[str, list[str]]]:
    """The fields of each line that is not empty or a comment, and its place for messages."""
    try:
        text = read_text(Path(path), MAX_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split(None, max(fewest - 1, 1))
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < fewest:
            raise DataError(f"{path}, line {number}: {line!r} has fewer than {fewest} fields", "START END LABEL")
        yield f"{path}, line {number}", [field.strip() for field in fields]


def _parse_time(where: str, text: str) -> float:
    try:
        time = float(text)
    except ValueError:
        time = float("nan")
    if not isfinite(time):
        raise DataError(f"{where}: {text!r} is not a time in seconds", "write a number such as 1.25")
    return time
