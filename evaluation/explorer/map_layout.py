"""The 2-D layout of embeddings for the map, computed once and cached on disk."""

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

LANDMARKS = 1_500  # clips that t-SNE places; the others are placed near their nearest landmarks
NEIGHBOURS = 5  # landmarks that place one of the other clips
VERSION = 1  # of the layout; cached layouts of another version are not used


def compute_layout(vectors: np.ndarray) -> np.ndarray:
    """Place embeddings in two dimensions with t-SNE (`builder.plotting.project_embeddings`).

    t-SNE of many clips takes minutes. With more than `LANDMARKS` clips it places an evenly spaced subset of that
    size. Each other clip is placed at the mean of its nearest landmarks, weighted by inverse squared distance.

    Args:
        vectors: float32 [n, dim], n >= 3.

    Returns:
        float32 [n, 2] in [-1, 1].
    """
    scale = vectors.std(axis=0, dtype=np.float64)
    if not (scale > 0).any():  # identical vectors: put them on a line, so that each point can be selected
        return np.stack([np.linspace(-1, 1, len(vectors)), np.zeros(len(vectors))], axis=1).astype(np.float32)
    landmarks = np.linspace(0, len(vectors) - 1, min(LANDMARKS, len(vectors))).round().astype(int)
    points = np.zeros((len(vectors), 2), np.float64)
    points[landmarks] = project_embeddings(vectors[landmarks])
    others = np.setdiff1d(np.arange(len(vectors)), landmarks)
    if len(others):
        from ..fidelity.neighbours import nearest_neighbours, unit_vectors

        rows = unit_vectors(vectors, vectors.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))
        cosines, indices = nearest_neighbours(rows[others], rows[landmarks], NEIGHBOURS)
        weights = 1 / (np.maximum(2 - 2 * cosines.astype(np.float64), 0) + 1e-3)
        weights /= weights.sum(axis=1, keepdims=True)
        points[others] = (points[landmarks][indices] * weights[:, :, None]).sum(axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: np.ndarray = 2 * (points - low) / np.where(high > low, high - low, 1) - 1
    return scaled.astype(np.float32)


def load_or_compute_layout(vectors: np.ndarray, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the cached layout of these vectors, or compute and cache it.

    The cache is `$XDG_CACHE_HOME/synthmir/maps`. Where it cannot be written, nothing is cached.

    Args:
        vectors: float32 [n, dim].
        compute: Called without arguments if there is no cached layout; returns float32 [n, 2].
    """
    import sklearn

    key = hashlib.sha256(
        f"map {VERSION} {sklearn.__version__} {vectors.shape} ".encode() + vectors.tobytes()
    ).hexdigest()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = home / "synthmir" / "maps" / f"{key[:32]}.npy"
    try:
        points: np.ndarray = np.load(file, allow_pickle=False)
        if points.shape == (len(vectors), 2) and points.dtype == np.float32 and np.isfinite(points).all():
            return points
    except (OSError, ValueError, EOFError):
        pass
    points = np.asarray(compute(), np.float32)
    _cache(file, points)
    return points


def _cache(file: Path, points: np.ndarray) -> None:
    """Write a layout to the cache if possible."""
    buffer = io.BytesIO()
    np.save(buffer, points, allow_pickle=False)
    try:
        write_bytes(file, buffer.getvalue())
    except (DataError, OSError):
        return
