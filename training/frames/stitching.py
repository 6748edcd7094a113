"""Recordings of any length: cut into windows that overlap, and what is predicted of them made one again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .spectrogram import FRAME_HOP


def cut_windows(blocks: Iterable[np.ndarray], window: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut audio into windows that overlap by half. The last one ends with the audio.

    Args:
        blocks: float32 [n] each, the audio in order.
        window: Samples in a window, a multiple of two frames.

    Yields:
        The first frame of a window, and its samples, float32 [window]; of audio that is shorter than a window, all of
        it, and of the last window up to a frame more.
    """
    held, offset, start = np.zeros(0, np.float32), 0, 0  # `offset` samples are over, `start` is the next window's
    for block in blocks:
        held = np.concatenate([held, block])
        total = offset + len(held)
        while start + window <= total:
            yield start // FRAME_HOP, held[start - offset :][:window]
            start += window // 2
        keep = max(offset, min(start, total - window - FRAME_HOP))
        held, offset = held[keep - offset :], keep
    total = offset + len(held)
    covered = start - window // 2 + window if start else 0
    if total - covered >= FRAME_HOP or not start:
        last = max(0, (total - window) // FRAME_HOP * FRAME_HOP)
        yield last // FRAME_HOP, held[last - offset :]


class Stitcher:
    """Averages overlapping windows, each weighted by the distance from its ends, as they come."""

    def __init__(self) -> None:
        self._done: list[np.ndarray] = []
        self._sums: np.ndarray | None = None  # float32 [frames, outputs], from frame `_first` on
        self._weights = np.zeros((0, 1), np.float32)
        self._first = 0

    def add(self, start: int, values: np.ndarray) -> None:
        """Add a window: its first frame, not before that of the window before it, and float32 [frames, outputs]."""
        if self._sums is None:
            self._sums = np.zeros((0, values.shape[1]), np.float32)
        self._finish_before(start)
        missing = start + len(values) - self._first - len(self._sums)
        if missing > 0:
            self._sums = np.pad(self._sums, ((0, missing), (0, 0)))
            self._weights = np.pad(self._weights, ((0, missing), (0, 0)))
        place = np.arange(len(values))
        weight = (np.minimum(place, place[::-1]) + 1).astype(np.float32)[:, None]
        rows = slice(start - self._first, start - self._first + len(values))
        self._sums[rows] += weight * values
        self._weights[rows] += weight

    def finish(self) -> np.ndarray:
        """Return all frames, float16 [frames, outputs]. Half the memory, and closer than the model is right."""
        assert self._sums is not None, "no window was added"
        self._finish_before(self._first + len(self._sums))
        return np.concatenate(self._done)

    def _finish_before(self, frame: int) -> None:
        assert self._sums is not None
        if (n := frame - self._first) > 0:
            self._done.append((self._sums[:n] / np.maximum(self._weights[:n], 1e-9)).astype(np.float16))
            self._sums, self._weights, self._first = self._sums[n:], self._weights[n:], frame
