"""Exact nearest neighbours by cosine, in blocks: memory grows with the rows, not with their pairs."""

from __future__ import annotations

import numpy as np

BLOCK = 4096  # 64 MB of similarities


def unit(vectors: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[n, dim] -> float32 [n, dim]: standardised by mean and scale [dim], then of length 1; zero rows stay zero."""
    rows = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), BLOCK):
        part = (vectors[start : start + BLOCK] - mean) / scale
        length = np.linalg.norm(part, axis=1, keepdims=True)
        rows[start : start + BLOCK] = part / np.where(length > 0, length, 1)
    return rows


def nearest(queries: np.ndarray, base: np.ndarray | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest rows of `base`, nearest first: cosines float32 [n, k] and places int64 [n, k].

    Without `base`: among the queries, a row itself left out; each product is then used for both of its rows.
    """
    top = _Top(len(queries), k)
    if base is not None:
        for i in range(0, len(queries), BLOCK):
            for j in range(0, len(base), BLOCK):
                top.offer(i, j, queries[i : i + BLOCK] @ base[j : j + BLOCK].T)
        return top.ordered()
    for i in range(0, len(queries), BLOCK):
        for j in range(i, len(queries), BLOCK):
            cosines = queries[i : i + BLOCK] @ queries[j : j + BLOCK].T
            if i == j:
                np.fill_diagonal(cosines, -np.inf)
            top.offer(i, j, cosines)
            if i != j:
                top.offer(j, i, cosines.T)
    return top.ordered()


class _Top:
    """The best `k` of each row so far. Most blocks have nothing better: they cost one comparison a pair."""

    def __init__(self, rows: int, k: int) -> None:
        self.cosines = np.full((rows, k), -np.inf, np.float32)  # unordered
        self.places = np.full((rows, k), -1, np.int64)
        self.worst = np.full(rows, -np.inf, np.float32)
        self.k = k

    def offer(self, row: int, place: int, cosines: np.ndarray) -> None:
        """Cosines [rows, candidates]: the first is of row `row` with candidate `place`."""
        mine = slice(row, row + len(cosines))
        if cosines.shape[1] > self.k and (self.places[mine] < 0).all():  # the first block: all are better
            kept = np.argpartition(cosines, -self.k, axis=1)[:, -self.k :]
            self.cosines[mine] = np.take_along_axis(cosines, kept, axis=1)
            self.places[mine] = kept + place
            self.worst[mine] = self.cosines[mine].min(axis=1)
            return
        rows, columns = np.nonzero(cosines > self.worst[mine, None])  # in order of rows
        if not len(rows):
            return
        counts = np.bincount(rows, minlength=len(cosines))
        better = np.flatnonzero(counts)
        width = counts.max()
        slot = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
        line = np.empty(len(cosines), np.int64)
        line[better] = np.arange(len(better))
        offered = np.full((len(better), width), -np.inf, np.float32)
        places = np.full((len(better), width), -1, np.int64)
        offered[line[rows], slot] = cosines[rows, columns]
        places[line[rows], slot] = columns + place
        offered = np.concatenate([self.cosines[row + better], offered], axis=1)
        places = np.concatenate([self.places[row + better], places], axis=1)
        kept = np.argpartition(-offered, self.k - 1, axis=1)[:, : self.k]
        self.cosines[row + better] = np.take_along_axis(offered, kept, axis=1)
        self.places[row + better] = np.take_along_axis(places, kept, axis=1)
        self.worst[row + better] = self.cosines[row + better].min(axis=1)

    def ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """Nearest first, equals by place."""
        order = np.lexsort((self.places, -self.cosines), axis=1)
        return np.take_along_axis(self.cosines, order, axis=1), np.take_along_axis(self.places, order, axis=1)
