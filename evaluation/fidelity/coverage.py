"""Whether a corpus stays where real music is, and how much of that it reaches: by balls of nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEIGHBOURS = 5
BLOCK = 1024


class Coverage(NamedTuple):
    """What each clip has to say; the figures are the means.

    `precise` bool [n]: the clip lies in a ball of some reference clip. `dense` float64 [n]: in how many, over k.
    `recalled` bool [m]: the reference clip lies in a ball of some clip. `covered` bool [m]: its ball holds a clip.
    """

    precise: np.ndarray
    recalled: np.ndarray
    dense: np.ndarray
    covered: np.ndarray


def coverage(x: np.ndarray, y: np.ndarray, k: int = NEIGHBOURS) -> Coverage:
    """Corpus [n > k, dim], reference [m > k, dim] -> precision, recall, density and coverage, clip by clip.

    A clip's ball reaches to its k-th nearest neighbour in its own set. Precision and recall: Kynkäänniemi et al. 2019;
    density and coverage: Naeem et al. 2020. The figures depend on n and m: take the same of both. Memory is blocked.
    """
    centre = y.mean(axis=0, dtype=np.float64)  # distances do not change, their float32 rounding does
    x, y = (np.asarray(side - centre, dtype=np.float32) for side in (x, y))
    reach_x, reach_y = _reach(x, k), _reach(y, k)
    dense = np.zeros(len(x))
    precise = np.zeros(len(x), bool)
    recalled, covered = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        distance = _squared(x[rows], y)
        inside = distance <= reach_y
        precise[rows], dense[rows] = inside.any(axis=1), inside.sum(axis=1) / k
        covered |= inside.any(axis=0)
        recalled |= (distance <= reach_x[rows, None]).any(axis=0)
    return Coverage(precise, recalled, dense, covered)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T), 0))


def _reach(x: np.ndarray, k: int) -> np.ndarray:
    """float32 [n]: the squared distance of each row's k-th nearest other row."""
    parts = []
    for start in range(0, len(x), BLOCK):
        distance = _squared(x[start : start + BLOCK], x)
        own = np.arange(len(distance))
        distance[own, start + own] = np.inf
        parts.append(np.partition(distance, k - 1, axis=1)[:, k - 1])
    return np.concatenate(parts)
