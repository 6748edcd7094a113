"""Where clips lie on the map: two numbers for each embedding, worked out once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from builder.errors import DataError
from builder.io.atomic import write_bytes
from builder.plotting import project_embeddings

LANDMARKS = 1_500  # clips that t-SNE places; the others go where their nearest of these are
NEAR = 5  # of them
EDITION = 1  # of the layout: another one is not read from the cache


def lay_out(vectors: np.ndarray) -> np.ndarray:
    """float32 [n >= 3, dim] -> float32 [n, 2] in [-1, 1]: as the report's map is made (`drawing.project`).

    Beyond `LANDMARKS` clips t-SNE would take minutes: it places so many, evenly taken, and every other clip goes to
    the mean of its nearest of them, the nearer the heavier.
    """
    scale = vectors.std(axis=0, dtype=np.float64)
    if not (scale > 0).any():  # all alike: on a line, so that each can be pointed at
        return np.stack([np.linspace(-1, 1, len(vectors)), np.zeros(len(vectors))], axis=1).astype(np.float32)
    chosen = np.linspace(0, len(vectors) - 1, min(LANDMARKS, len(vectors))).round().astype(int)
    points = np.zeros((len(vectors), 2), np.float64)
    points[chosen] = project_embeddings(vectors[chosen])
    others = np.setdiff1d(np.arange(len(vectors)), chosen)
    if len(others):
        from ..fidelity.neighbours import nearest, unit

        rows = unit(vectors, vectors.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))
        cosines, near = nearest(rows[others], rows[chosen], NEAR)
        weight = 1 / (np.maximum(2 - 2 * cosines.astype(np.float64), 0) + 1e-3)
        weight /= weight.sum(axis=1, keepdims=True)
        points[others] = (points[chosen][near] * weight[:, :, None]).sum(axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    placed: np.ndarray = 2 * (points - low) / np.where(high > low, high - low, 1) - 1
    return placed.astype(np.float32)


def remembered(vectors: np.ndarray, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make()` gives, float32 [n, 2], from the user's cache if these vectors were laid out before."""
    import sklearn

    key = hashlib.sha256(
        f"map {EDITION} {sklearn.__version__} {vectors.shape} ".encode() + vectors.tobytes()
    ).hexdigest()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = home / "synthmir" / "maps" / f"{key[:32]}.npy"
    try:
        points: np.ndarray = np.load(file, allow_pickle=False)
        if points.shape == (len(vectors), 2) and points.dtype == np.float32 and np.isfinite(points).all():
            return points
    except (OSError, ValueError, EOFError):
        pass
    points = np.asarray(make(), np.float32)
    _keep(file, points)
    return points


def _keep(file: Path, points: np.ndarray) -> None:
    """Into the cache, where it can be written."""
    buffer = io.BytesIO()
    np.save(buffer, points, allow_pickle=False)
    try:
        write_bytes(file, buffer.getvalue())
    except (DataError, OSError):
        return
