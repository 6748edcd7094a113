"""Recordings of a folder or a data set as tracks, without their labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.embedders.audio_sources import open_source

from ..benchmarks.track import Track

AUDIO_COLUMN = "audio"  # of what `synthmir embed --out` reads unless it is given another
ROWS = 1000  # of a part; audio is read some rows at a time


def read_recordings(source: str) -> Iterator[Track]:
    """Read the recordings of a folder of audio files, or of a data set with audio.

    Args:
        source: The folder or the data set, as `synthmir embed --out` takes it.

    Yields:
        A track for each recording, its id as `synthmir embed` gives it.

    Raises:
        DataError: There is nothing that can be read, or no audio in it.
    """
    for part in open_source(source, AUDIO_COLUMN, ROWS).values():
        for rows in part.read_batches(ROWS):
            for row in rows:
                audio = row[part.column]
                path, data = (audio, None) if isinstance(audio, Path) else (None, audio)
                yield Track(str(row["id"]), path, -1, data=data)
