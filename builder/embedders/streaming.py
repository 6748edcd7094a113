"""Audio of any length, read ahead by threads a few minutes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ..audio import stream
from ..errors import DataError

AHEAD = 5  # blocks that are read before they are asked for


def begun(source: str | Path | bytes | None, sampling_rate: int) -> Iterator[np.ndarray]:
    """`builder.audio.stream` with its first minutes read already: for a thread that reads ahead."""
    if source is None:
        raise DataError("there is no audio in this row")
    read = stream(source, sampling_rate)
    return chain(list(islice(read, AHEAD)), read)
