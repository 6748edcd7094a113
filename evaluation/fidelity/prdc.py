"""Precision, recall, density and coverage (PRDC) of a corpus with respect to real music."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEIGHBOURS = 5
BLOCK = 1024


class Prdc(NamedTuple):
    """The contribution of each clip. The metrics are the means of these arrays."""

    precision: np.ndarray  # bool [n]: the clip is in the ball of some reference clip
    recall: np.ndarray  # bool [m]: the reference clip is in the ball of some clip
    density: np.ndarray  # float64 [n]: in how many balls of reference clips the clip is, divided by k
    coverage: np.ndarray  # bool [m]: the reference clip's ball contains a clip


def compute_prdc(x: np.ndarray, y: np.ndarray, k: int = NEIGHBOURS) -> Prdc:
    """Compute improved precision and recall, density and coverage.

    The ball of a clip reaches to its k-th nearest neighbour in its own set. Precision and recall: Kynkäänniemi et al.
    2019, "Improved precision and recall metric for assessing generative models", section 2. Density and coverage:
    Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", section 3. All depend on n and
    m: compare values of equal n and m. Memory is blocked.

    Args:
        x: Corpus [n > k, dim].
        y: Reference [m > k, dim].
        k: Which neighbour sets a ball's radius.
    """
    centre = y.mean(axis=0, dtype=np.float64)  # distances do not change, but their float32 rounding does
    x, y = (np.asarray(side - centre, dtype=np.float32) for side in (x, y))
    radius_x, radius_y = _squared_radii(x, k), _squared_radii(y, k)
    density = np.zeros(len(x))
    precision = np.zeros(len(x), bool)
    recall, coverage = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        distance = _squared_distances(x[rows], y)
        inside = distance <= radius_y
        precision[rows], density[rows] = inside.any(axis=1), inside.sum(axis=1) / k
        coverage |= inside.any(axis=0)
        recall |= (distance <= radius_x[rows, None]).any(axis=0)
    return Prdc(precision, recall, density, coverage)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T), 0))


def _squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each row to its k-th nearest other row, float32 [n]."""
    parts = []
    for start in range(0, len(x), BLOCK):
        distance = _squared_distances(x[start : start + BLOCK], x)
        own = np.arange(len(distance))
        distance[own, start + own] = np.inf
        parts.append(np.partition(distance, k - 1, axis=1)[:, k - 1])
    return np.concatenate(parts)
