"""Kernel distance: an unbiased estimate of the squared maximum mean discrepancy (MMD), with its standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

BLOCK = 1024  # rows of a kernel matrix at once
BANDWIDTH_ROWS = 2_000  # at most, for the median of distances

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [a, dim], [b, dim] -> [a, b]


class KernelDistance(NamedTuple):
    """The squared MMD. It is 0 for equal distributions; as the estimate is unbiased, it can be negative."""

    value: float
    error: float | None  # jackknife standard error; None with fewer than three rows in a set


def polynomial_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute (a . b / dim + 1)^3, the kernel of the kernel inception distance (Binkowski et al. 2018, section 4).

    Args:
        a: [n, dim].
        b: [m, dim].

    Returns:
        [n, m].
    """
    base = a @ b.T / a.shape[1] + 1
    return np.asarray(base * base * base)  # ten times as fast as base**3


def gaussian_kernel(bandwidth: float) -> Kernel:
    """Create the kernel exp(-|a - b|^2 / (2 bandwidth^2)) of the kernel audio distance (KAD, Chung et al. 2025)."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
        return np.asarray(np.exp(np.maximum(squared, 0) / (-2 * bandwidth**2)))

    return kernel


def median_bandwidth(x: np.ndarray, seed: int = 0) -> float:
    """Compute the median distance between two rows (Gretton et al. 2012, section 8).

    Args:
        x: [n, dim]; of more than 2,000 rows a random 2,000 are used.
        seed: Of that draw.

    Returns:
        The median, or 1 if it is 0.
    """
    from scipy.spatial.distance import pdist

    random = np.random.default_rng(seed)
    rows = x if len(x) <= BANDWIDTH_ROWS else x[random.choice(len(x), BANDWIDTH_ROWS, replace=False)]
    return float(np.median(pdist(rows.astype(np.float64)))) or 1.0


def kernel_distance(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> KernelDistance:
    """Compute the U-statistic of the squared MMD (Gretton et al. 2012, lemma 6).

    Its standard error is the jackknife's over the rows of both sets (Efron and Stein 1981): one row is left out at a
    time, for which row sums of the kernel matrices suffice. Time grows with (n + m)^2, memory with n + m.

    Args:
        x: [n >= 2, dim].
        y: [m >= 2, dim].
        kernel: Computes a block of a kernel matrix.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    n, m = len(x), len(y)
    own_x, own_y = _sums_within(x, kernel), _sums_within(y, kernel)
    cross_x, cross_y = _sums_between(x, y, kernel)
    within_x, within_y, between = own_x.sum(), own_y.sum(), cross_x.sum()
    mean_x, mean_y = within_x / (n * (n - 1)), within_y / (m * (m - 1))
    value = float(mean_x + mean_y - 2 * between / (n * m))
    if min(n, m) < 3:
        return KernelDistance(value, None)
    without_x = (within_x - 2 * own_x) / ((n - 1) * (n - 2)) - 2 * (between - cross_x) / ((n - 1) * m)
    without_y = (within_y - 2 * own_y) / ((m - 1) * (m - 2)) - 2 * (between - cross_y) / (n * (m - 1))
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    return KernelDistance(value, float(np.sqrt(variance)))


def _sums_between(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the rows [n] and of the columns [m] of the kernel matrix [n, m]."""
    rows, columns = np.zeros(len(a)), np.zeros(len(b))
    for start in range(0, len(a), BLOCK):
        block = kernel(a[start : start + BLOCK], b)
        rows[start : start + BLOCK] = block.sum(axis=1)
        columns += block.sum(axis=0)
    return rows, columns


def _sums_within(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Sums of the rows [n] of the kernel matrix of a set with itself, without the diagonal."""
    rows = np.zeros(len(x))
    for start in range(0, len(x), BLOCK):  # the matrix is symmetric
        block = kernel(x[start : start + BLOCK], x[start:])
        np.fill_diagonal(block, 0)
        width = len(block)
        rows[start : start + width] += block.sum(axis=1)
        rows[start + width :] += block[:, width:].sum(axis=0)
    return rows
