"""The kernel distance (squared maximum mean discrepancy) of two sets of embeddings, unbiased, with its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

BLOCK = 1024  # rows of a kernel matrix at once
SAMPLE = 2_000  # rows that the bandwidth is found on

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [a, dim], [b, dim] -> [a, b]


class KernelDistance(NamedTuple):
    """The squared discrepancy: 0 where the distributions are one; as it is unbiased, it may come out under 0."""

    value: float
    error: float | None  # jackknife standard error, None under three rows a side


def polynomial(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a . b / dim + 1)^3: the kernel of KID (Binkowski et al. 2018)."""
    base = a @ b.T / a.shape[1] + 1
    return np.asarray(base * base * base)  # ten times as fast as a power


def gaussian_kernel(bandwidth: float) -> Kernel:
    """exp(-|a - b|^2 / (2 bandwidth^2)): the kernel of KAD (Chung et al. 2025)."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
        return np.asarray(np.exp(np.maximum(squared, 0) / (-2 * bandwidth**2)))

    return kernel


def median_bandwidth(x: np.ndarray, seed: int = 0) -> float:
    """The median distance of two rows of [n, dim] (Gretton et al. 2012), over 2,000 rows; 1 where all are the same."""
    from scipy.spatial.distance import pdist

    random = np.random.default_rng(seed)
    rows = x if len(x) <= SAMPLE else x[random.choice(len(x), SAMPLE, replace=False)]
    # Centred: float64 distances of what float32 rows hold, whatever their offset.
    return float(np.median(pdist(rows.astype(np.float64)))) or 1.0


def kernel_distance(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> KernelDistance:
    """[n >= 2, dim], [m >= 2, dim] -> the U-statistic of the squared discrepancy (Gretton et al. 2012, lemma 6).

    Its standard error is the jackknife's over the rows of both sides (Efron and Stein 1981): one row left out at a
    time, which row sums of the kernel matrices give at once. Time grows with (n + m)^2, memory with n + m.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    n, m = len(x), len(y)
    own_x, own_y = _own_sums(x, kernel), _own_sums(y, kernel)
    cross_x, cross_y = _row_sums(x, y, kernel)
    within_x, within_y, between = own_x.sum(), own_y.sum(), cross_x.sum()
    mean_x, mean_y = within_x / (n * (n - 1)), within_y / (m * (m - 1))
    value = float(mean_x + mean_y - 2 * between / (n * m))
    if min(n, m) < 3:
        return KernelDistance(value, None)
    without_x = (within_x - 2 * own_x) / ((n - 1) * (n - 2)) - 2 * (between - cross_x) / ((n - 1) * m)
    without_y = (within_y - 2 * own_y) / ((m - 1) * (m - 2)) - 2 * (between - cross_y) / (n * (m - 1))
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    return KernelDistance(value, float(np.sqrt(variance)))


def _row_sums(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Sums [n] over the rows and [m] over the columns of the kernel matrix [n, m]."""
    rows, columns = np.zeros(len(a)), np.zeros(len(b))
    for start in range(0, len(a), BLOCK):
        block = kernel(a[start : start + BLOCK], b)
        rows[start : start + BLOCK] = block.sum(axis=1)
        columns += block.sum(axis=0)
    return rows, columns


def _own_sums(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Sums [n] over the rows of the kernel matrix of a set and itself, the diagonal left out."""
    rows = np.zeros(len(x))
    for start in range(0, len(x), BLOCK):  # the lower half is the upper one
        block = kernel(x[start : start + BLOCK], x[start:])
        np.fill_diagonal(block, 0)
        width = len(block)
        rows[start : start + width] += block.sum(axis=1)
        rows[start + width :] += block[:, width:].sum(axis=0)
    return rows
