"""Clips of any length through an embedder that takes windows: cut, embedded in batches, averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..audio import windows
from .base import Embedder


def embed_clips(embedder: Embedder, clips: Sequence[np.ndarray], batch_size: int = 16) -> np.ndarray:
    """float32 [samples] a clip, at the embedder's rate -> float32 [clips, dim]: the mean over each clip's windows.

    Windows of one length go through together, whichever clip they are from; order is kept.
    """
    span = round(embedder.window_seconds * embedder.sampling_rate)
    cut = [windows(clip, span) for clip in clips]
    owner = np.repeat(np.arange(len(cut)), [len(part) for part in cut])
    pieces = [piece for part in cut for piece in part]
    total = np.zeros((len(clips), embedder.dim), np.float64)
    for length in sorted({len(piece) for piece in pieces}):
        chosen = [i for i, piece in enumerate(pieces) if len(piece) == length]
        for start in range(0, len(chosen), batch_size):
            some = chosen[start : start + batch_size]
            np.add.at(total, owner[some], embedder.embed(np.stack([pieces[i] for i in some])))
    counts = np.array([len(part) for part in cut])
    return (total / counts[:, None]).astype(np.float32)
