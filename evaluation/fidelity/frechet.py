"""Fréchet distance between two sets of embeddings, and its extrapolation to an infinitely large set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BLOCK = 4096  # rows that are decomposed at once
POINTS = 6  # subset sizes of the fit
MAX_ROWS = 10_000  # of the fit's largest subset


class FrechetExtrapolation(NamedTuple):
    """A line fitted to distances over 1 / size, and its value at 1 / size = 0."""

    value: float
    error: float  # standard error of the value
    slope: float
    r2: float  # coefficient of determination
    sizes: list[int]
    distances: list[float]


class Gaussian(NamedTuple):
    """The moments of a set: its mean [dim], and a root [rank, dim] such that root.T @ root is its covariance."""

    mean: np.ndarray
    root: np.ndarray


def fit_gaussian(x: np.ndarray) -> Gaussian:
    """Compute the mean of a set and a root of its covariance (divisor n - 1), `BLOCK` rows at a time.

    The root is the triangular factor of a QR decomposition, or the centred rows if there are no more of them than
    dimensions. The covariance is never formed, so squaring loses no precision.

    Args:
        x: [n >= 2, dim].
    """
    import torch

    mean = x.mean(axis=0, dtype=np.float64)
    triangle = np.empty((0, x.shape[1]))
    for start in range(0, len(x), BLOCK):
        rows = np.concatenate([triangle, x[start : start + BLOCK] - mean])
        # torch's QR is three times as fast as numpy's on two cores.
        triangle = rows if len(rows) <= x.shape[1] else torch.linalg.qr(torch.from_numpy(rows), mode="r").R.numpy()
    return Gaussian(mean, triangle / np.sqrt(len(x) - 1))


def frechet_distance(x: np.ndarray | Gaussian, y: np.ndarray | Gaussian) -> float:
    """Compute |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) for means and covariances C of two sets.

    It is the squared 2-Wasserstein distance between Gaussians with these moments (Dowson and Landau 1982), called
    Fréchet inception distance for images (Heusel et al. 2017) and Fréchet audio distance for audio (Kilgour et al.
    2019). With roots A and B of the covariances, the trace of the square root is the nuclear norm of A @ B.T, so that
    singular covariances (fewer rows than dimensions) need no regularisation.

    Its bias falls as 1 / n: compare distances of equal n, or use `extrapolate_frechet`.

    Args:
        x: [n >= 2, dim], or its moments.
        y: [m >= 2, dim], or its moments.

    Returns:
        At least 0.
    """
    a, b = (side if isinstance(side, Gaussian) else fit_gaussian(side) for side in (x, y))
    cross = np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum()
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + (a.root**2).sum() + (b.root**2).sum() - 2 * cross))


def extrapolate_frechet(x: np.ndarray, y: np.ndarray | Gaussian, seed: int = 0) -> FrechetExtrapolation | None:
    """Extrapolate the distance to `y` to infinitely many rows of `x` (Chong and Forsyth 2020, section 3).

    Distances of random subsets of `x` are fitted by a line over 1 / size. Sizes are evenly spaced up to all rows, at
    most 10,000. The smallest is a tenth of the largest, or two rows a dimension but at most half of it. The distance
    of a size is the mean over as many disjoint subsets as there are. The size of `y`, and so its own bias, is
    unchanged.

    Args:
        x: [n, dim].
        y: [m >= 2, dim], or its moments.
        seed: Of the subsets.

    Returns:
        None with fewer than 20 rows.
    """
    if len(x) < 20:
        return None
    fixed = y if isinstance(y, Gaussian) else fit_gaussian(y)
    random = np.random.default_rng(seed)
    largest = min(len(x), MAX_ROWS)
    pool = x if largest == len(x) else x[np.sort(random.choice(len(x), largest, replace=False))]
    pool = pool.astype(np.float64) - fixed.mean
    products, lengths = pool @ fixed.root.T, (pool**2).sum(axis=1)  # all that the distance of a subset needs
    smallest = max(largest // 10, min(2 * x.shape[1], largest // 2))
    sizes = sorted({round(size) for size in np.linspace(smallest, largest, POINTS)})
    trace = (fixed.root**2).sum()

    def subset_distance(chosen: np.ndarray) -> float:
        size = len(chosen)
        weight = np.bincount(chosen, minlength=largest) / size
        squared_mean = float(((weight @ pool) ** 2).sum())
        variance = (lengths[chosen].sum() - size * squared_mean) / (size - 1)
        cross = _nuclear_norm(products[chosen]) / np.sqrt(size - 1)
        return float(squared_mean + variance + trace - 2 * cross)

    distances = []
    for size in sizes:
        order = random.permutation(largest)
        subsets = [order[start : start + size] for start in range(0, largest - size + 1, size)]
        distances.append(float(np.mean([subset_distance(np.sort(subset)) for subset in subsets])))
    inverse = 1 / np.array(sizes)
    measured = np.array(distances)
    slope, value = np.polyfit(inverse, measured, 1)
    residuals = measured - (slope * inverse + value)
    total = float(((measured - measured.mean()) ** 2).sum())
    variance = (residuals**2).sum() / max(1, len(sizes) - 2)
    leverage = 1 / len(sizes) + inverse.mean() ** 2 / ((inverse - inverse.mean()) ** 2).sum()
    r2 = 1 - float((residuals**2).sum()) / total if total > 0 else 1.0
    return FrechetExtrapolation(float(value), float(np.sqrt(variance * leverage)), float(slope), r2, sizes, distances)


def _nuclear_norm(product: np.ndarray) -> float:
    """The sum of the singular values of the rows after centring, from the smaller Gram matrix, to about 1e-7.

    That error is far below the variance between subsets, and five times as fast as computing the singular values.
    """
    product -= product.mean(axis=0)  # in place: the caller's rows are a copy
    gram = product.T @ product if len(product) > product.shape[1] else product @ product.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum())
