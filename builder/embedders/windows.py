"""Embed clips of any length with an embedder that takes windows: read, cut, embed in batches, average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ..audio import stream_audio
from ..errors import DataError
from .base import EmbedderBackend

Blocks = Iterable[np.ndarray]  # one clip as consecutive float32 [samples]
ClipOpener = Callable[[], Blocks]
BLOCKS_AHEAD = 5  # blocks that are read before they are asked for


def read_ahead(source: str | Path | bytes | None, sampling_rate: int) -> Iterator[np.ndarray]:
    """Blocks of a clip as `builder.audio.stream_audio` gives them, the first ones decoded already.

    For a thread that decodes the next clips while these are embedded.

    Args:
        source: A file or its bytes; None where a row has no audio.
        sampling_rate: In Hz, what the audio is resampled to.

    Returns:
        Blocks of float32 [samples] in [-1, 1], mono.

    Raises:
        DataError: There is no audio, or it cannot be read; faults further on are raised by the iterator.
    """
    if source is None:
        raise DataError("there is no audio in this row")
    blocks = stream_audio(source, sampling_rate)
    return chain(list(islice(blocks, BLOCKS_AHEAD)), blocks)


def cut_windows(blocks: Blocks, window: int, hop: int | None = None) -> Iterator[np.ndarray]:
    """Cut a clip into windows. Memory holds little more than one block of it.

    Args:
        blocks: The clip as consecutive blocks of float32 [samples].
        window: Samples in a window.
        hop: None: windows are end to end, and the last one ends with the clip. Else they are centred on every
            `hop`-th sample from the first on, and the clip's ends are mirrored, as in hear21passt's scene embeddings
            and torch.stft.

    Yields:
        float32 [window]. A clip that is not longer than a window is its only window, of its own length.
    """
    return _end_to_end(blocks, window) if hop is None else _centred(blocks, window, hop)


def _end_to_end(blocks: Blocks, window: int) -> Iterator[np.ndarray]:
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= 2 * window:
            yield held[:window]
            held = held[window:]
    yield held[:window]
    if len(held) > window:
        yield held[-window:]


def _centred(blocks: Blocks, window: int, hop: int) -> Iterator[np.ndarray]:
    held, half, started = np.zeros(0, np.float32), window // 2, False
    for block in blocks:
        held = np.concatenate([held, block])
        if not started and len(held) > window:
            held, started = np.concatenate([held[half:0:-1], held]), True
        while started and len(held) > window + half:
            yield held[:window]
            held = held[hop:]
    if not started:
        yield held
        return
    held = np.concatenate([held, held[-2 : -half - 2 : -1]])
    while len(held) >= window:
        yield held[:window]
        held = held[hop:]


def embed_clips(embedder: EmbedderBackend, clips: Sequence[np.ndarray], batch_size: int = 16) -> np.ndarray:
    """Embed clips that are in memory; a clip's embedding is the mean over its windows.

    Args:
        embedder: What embeds.
        clips: float32 [samples] each, mono at the embedder's sampling rate.
        batch_size: Windows in one call of the embedder.

    Returns:
        float32 [clips, dim].
    """
    vectors, faults = embed_streams(embedder, [lambda clip=clip: [clip] for clip in clips], batch_size)  # type: ignore[misc]
    for fault in faults.values():
        raise fault
    return vectors


def embed_streams(
    embedder: EmbedderBackend, clips: Sequence[ClipOpener], batch_size: int = 16
) -> tuple[np.ndarray, dict[int, DataError]]:
    """Embed clips block by block; windows of one length are embedded together, whichever clip they are from.

    Args:
        embedder: What embeds.
        clips: Functions that open a clip: blocks of float32 [samples], mono at the embedder's sampling rate.
        batch_size: Windows in one call of the embedder.

    Returns:
        float32 [clips, dim], and the DataError of each clip that cannot be read to its end, by its index. The
        embedding of such a clip is NaN.
    """
    window = round(embedder.window_seconds * embedder.sampling_rate)
    seconds = getattr(embedder, "hop_seconds", None)
    hop = None if seconds is None else round(seconds * embedder.sampling_rate)
    total, counts = np.zeros((len(clips), embedder.dim)), np.zeros(len(clips))
    waiting: dict[int, list[tuple[int, np.ndarray]]] = {}
    faults: dict[int, DataError] = {}

    def flush(length: int) -> None:
        owners, pieces = zip(*waiting.pop(length), strict=True)
        np.add.at(total, list(owners), embedder.embed(np.stack(pieces)))
        np.add.at(counts, list(owners), 1)

    for index, clip in enumerate(clips):
        try:
            for piece in cut_windows(clip(), window, hop):
                waiting.setdefault(len(piece), []).append((index, piece))
                if len(waiting[len(piece)]) == batch_size:
                    flush(len(piece))
        except DataError as error:
            faults[index] = error
    for length in sorted(waiting):
        flush(length)
    total[list(faults)], counts[list(faults)] = np.nan, 1
    return (total / counts[:, None]).astype(np.float32), faults
