"""Audio of any length, read and resampled a minute at a time: five hours take no more memory than two minutes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain, islice
from math import ceil, gcd
from pathlib import Path

import numpy as np

from ..audio import mono, resample
from ..errors import DataError

BLOCK_SECONDS = 60
AHEAD = 5  # blocks that are read before they are asked for
REACH = 20  # samples of the lower rate that a resampler's filter sees to each side, at most


def stream(source: str | Path | bytes, sampling_rate: int) -> Iterator[np.ndarray]:
    """A file or its bytes -> blocks of float32 [samples] at `sampling_rate`, channels averaged to mono.

    End to end they are what `builder.audio.load_audio` gives. Raises DataError as it does, once the fault is reached.
    """
    blocks = _decoded(source)
    rate = next(blocks)
    return _resampled(blocks, int(rate), sampling_rate)


def begun(source: str | Path | bytes | None, sampling_rate: int) -> Iterator[np.ndarray]:
    """`stream` with its first minutes read already: for a thread that reads ahead."""
    if source is None:
        raise DataError("there is no audio in this row")
    blocks = stream(source, sampling_rate)
    return chain(list(islice(blocks, AHEAD)), blocks)


def _decoded(source: str | Path | bytes) -> Iterator:
    """The sampling rate in Hz, then blocks of float32 [samples]."""
    import soundfile

    name = "audio bytes" if isinstance(source, bytes) else str(source)
    empty = True
    try:
        # By descriptor: libsndfile takes no name that is not UTF-8.
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            handle = file if isinstance(source, bytes) else file.fileno()
            with soundfile.SoundFile(handle, closefd=False) as audio:
                yield audio.samplerate
                while len(samples := audio.read(BLOCK_SECONDS * audio.samplerate, dtype="float32", always_2d=True)):
                    if not np.isfinite(samples).all():
                        raise DataError(f"{name}: holds samples that are no numbers (NaN or infinite)")
                    empty = False
                    yield mono(samples)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    except (soundfile.SoundFileError, ValueError) as error:
        reason = getattr(error, "error_string", str(error))
        raise DataError(f"{name}: cannot be read as audio: {reason}") from error
    if empty:
        raise DataError(f"{name}: holds no samples")


def _resampled(blocks: Iterator[np.ndarray], origin: int, target: int) -> Iterator[np.ndarray]:
    """Each block resampled with as much of its neighbours as the filter sees, so that no seam is left."""
    if origin == target:
        yield from blocks
        return
    divisor = gcd(origin, target)
    step, new = origin // divisor, target // divisor  # every `step` samples in are `new` out, and both grids meet
    context = step * ceil(REACH * max(1.0, origin / target) / step + 1)
    held, before = np.zeros(0, np.float32), 0  # `before` samples at the front were given out already
    for block in blocks:
        if (ready := (len(held) - before - context) // step * step) > 0:
            out = resample(held[: before + ready + context], origin, target)
            yield out[before // step * new : (before + ready) // step * new]
            spare = max(0, before + ready - context)
            held, before = held[spare:], before + ready - spare
        held = np.concatenate([held, block])
    yield resample(held, origin, target)[before // step * new :]
