"""Exact nearest neighbours by cosine, computed in blocks: memory grows with the number of rows, not of pairs."""

from __future__ import annotations

import numpy as np

BLOCK = 4096  # rows; a block of similarities takes 64 MB


def unit_vectors(vectors: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardise rows and scale them to length 1. A row of zeros stays zero.

    Args:
        vectors: [n, dim].
        mean: [dim], subtracted.
        scale: [dim], divided by.

    Returns:
        float32 [n, dim].
    """
    rows = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), BLOCK):
        part = (vectors[start : start + BLOCK] - mean) / scale
        length = np.linalg.norm(part, axis=1, keepdims=True)
        rows[start : start + BLOCK] = part / np.where(length > 0, length, 1)
    return rows


def nearest_neighbours(queries: np.ndarray, base: np.ndarray | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` rows of `base` with the highest cosine to each query.

    Args:
        queries: Unit vectors [n, dim].
        base: Unit vectors [m, dim]. None searches the queries themselves, each without itself.
        k: How many neighbours.

    Returns:
        Cosines float32 [n, k] and indices int64 [n, k], nearest first; equal cosines by index.
    """
    top = _TopK(len(queries), k)
    if base is not None:
        for i in range(0, len(queries), BLOCK):
            for j in range(0, len(base), BLOCK):
                top.add(i, j, queries[i : i + BLOCK] @ base[j : j + BLOCK].T)
        return top.sorted()
    for i in range(0, len(queries), BLOCK):
        for j in range(i, len(queries), BLOCK):  # a product serves the rows of both blocks
            cosines = queries[i : i + BLOCK] @ queries[j : j + BLOCK].T
            if i == j:
                np.fill_diagonal(cosines, -np.inf)
            top.add(i, j, cosines)
            if i != j:
                top.add(j, i, cosines.T)
    return top.sorted()


class _TopK:
    """The highest `k` cosines of each row so far. Most blocks contain none: they cost one comparison a pair."""

    def __init__(self, rows: int, k: int) -> None:
        self.cosines = np.full((rows, k), -np.inf, np.float32)  # not sorted
        self.indices = np.full((rows, k), -1, np.int64)
        self.lowest = np.full(rows, -np.inf, np.float32)
        self.k = k

    def add(self, row: int, index: int, cosines: np.ndarray) -> None:
        """Add candidates: cosines [rows, candidates], the first of row `row` with candidate `index`."""
        block = slice(row, row + len(cosines))
        if cosines.shape[1] > self.k and (self.indices[block] < 0).all():  # the first block needs no comparison
            kept = np.argpartition(cosines, -self.k, axis=1)[:, -self.k :]
            self.cosines[block] = np.take_along_axis(cosines, kept, axis=1)
            self.indices[block] = kept + index
            self.lowest[block] = self.cosines[block].min(axis=1)
            return
        rows, columns = np.nonzero(cosines > self.lowest[block, None])  # in order of rows
        if not len(rows):
            return
        counts = np.bincount(rows, minlength=len(cosines))
        improved = np.flatnonzero(counts)
        width = counts.max()
        slot = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
        line = np.empty(len(cosines), np.int64)
        line[improved] = np.arange(len(improved))
        new_cosines = np.full((len(improved), width), -np.inf, np.float32)
        new_indices = np.full((len(improved), width), -1, np.int64)
        new_cosines[line[rows], slot] = cosines[rows, columns]
        new_indices[line[rows], slot] = columns + index
        new_cosines = np.concatenate([self.cosines[row + improved], new_cosines], axis=1)
        new_indices = np.concatenate([self.indices[row + improved], new_indices], axis=1)
        kept = np.argpartition(-new_cosines, self.k - 1, axis=1)[:, : self.k]
        self.cosines[row + improved] = np.take_along_axis(new_cosines, kept, axis=1)
        self.indices[row + improved] = np.take_along_axis(new_indices, kept, axis=1)
        self.lowest[row + improved] = self.cosines[row + improved].min(axis=1)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and indices, nearest first, equal cosines by index."""
        order = np.lexsort((self.indices, -self.cosines), axis=1)
        return np.take_along_axis(self.cosines, order, axis=1), np.take_along_axis(self.indices, order, axis=1)
