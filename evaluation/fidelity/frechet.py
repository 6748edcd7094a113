"""The Fréchet distance of two sets of embeddings, and what it tends to as the sets grow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BLOCK = 4096  # rows factored at once
POINTS = 6  # of the fit
LARGEST = 10_000  # rows of the fit's largest subset


class Extrapolation(NamedTuple):
    """A straight line through distances over 1 / size; its value where 1 / size is zero."""

    value: float
    error: float  # standard error of the fit
    slope: float
    r2: float  # 1 where the points lie on the line
    sizes: list[int]
    distances: list[float]


class Gaussian(NamedTuple):
    """What the distance takes from a set: its mean [dim] and a root [rank, dim] with root.T @ root its covariance."""

    mean: np.ndarray
    root: np.ndarray


def gaussian(x: np.ndarray) -> Gaussian:
    """[n >= 2, dim] -> float64 mean and root of the covariance (divisor n - 1), `BLOCK` rows at a time.

    The root is the triangle of a QR decomposition, or the centred rows themselves where there are no more than
    dimensions: the covariance is never formed, so that none of the precision is lost that squaring loses.
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
    """|mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)): [n, dim] and [m, dim] -> the squared distance.

    Of two Gaussians with these moments (Dowson and Landau 1982; Heusel et al. 2017; of audio: Kilgour et al. 2019).
    With roots A, B of the covariances the last trace is the nuclear norm of A @ B.T: no matrix square root is taken,
    so that singular covariances (fewer rows than dimensions) need no patch. Its bias falls as 1 / n: compare only
    figures of the same n, or use `extrapolate`.
    """
    a, b = (side if isinstance(side, Gaussian) else gaussian(side) for side in (x, y))
    cross = np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum()
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + (a.root**2).sum() + (b.root**2).sum() - 2 * cross))


def extrapolate(x: np.ndarray, y: np.ndarray | Gaussian, seed: int = 0) -> Extrapolation | None:
    """The distance to `y` that `x` would have if it went on for ever (Chong and Forsyth 2020).

    Random subsets of `x`, from a tenth of it (but two a dimension, or else half of it) to all of it, at most 10,000
    rows, of a size as many as do not overlap; a line through their mean distances over 1 / size. `y` keeps its size,
    and its own bias. None under 20 rows.
    """
    if len(x) < 20:
        return None
    fixed = y if isinstance(y, Gaussian) else gaussian(y)
    random = np.random.default_rng(seed)
    largest = min(len(x), LARGEST)
    pool = x if largest == len(x) else x[np.sort(random.choice(len(x), largest, replace=False))]
    pool = pool.astype(np.float64) - fixed.mean
    seen, lengths = pool @ fixed.root.T, (pool**2).sum(axis=1)  # of any subset, its rows of these are all it takes
    smallest = max(largest // 10, min(2 * x.shape[1], largest // 2))
    sizes = sorted({round(size) for size in np.linspace(smallest, largest, POINTS)})
    trace = (fixed.root**2).sum()

    def distance(chosen: np.ndarray) -> float:
        size = len(chosen)
        weight = np.bincount(chosen, minlength=largest) / size
        squared = float(((weight @ pool) ** 2).sum())  # of the mean
        spread = (lengths[chosen].sum() - size * squared) / (size - 1)
        return float(squared + spread + trace - 2 * _nuclear_norm(seen[chosen]) / np.sqrt(size - 1))

    distances = []
    for size in sizes:
        order = random.permutation(largest)
        parts = [order[start : start + size] for start in range(0, largest - size + 1, size)]
        distances.append(float(np.mean([distance(np.sort(part)) for part in parts])))
    inverse = 1 / np.array(sizes)
    measured = np.array(distances)
    slope, value = np.polyfit(inverse, measured, 1)
    residuals = measured - (slope * inverse + value)
    total = float(((measured - measured.mean()) ** 2).sum())
    variance = (residuals**2).sum() / max(1, len(sizes) - 2)
    lever = 1 / len(sizes) + inverse.mean() ** 2 / ((inverse - inverse.mean()) ** 2).sum()
    r2 = 1 - float((residuals**2).sum()) / total if total > 0 else 1.0
    return Extrapolation(float(value), float(np.sqrt(variance * lever)), float(slope), r2, sizes, distances)


def _nuclear_norm(product: np.ndarray) -> float:
    """The sum of the singular values of the rows, centred in place: by the smaller Gram matrix, to about 1e-7 of it.

    That is far below what the draw of a subset changes, and five times as fast as the singular values themselves.
    """
    centred = product
    centred -= product.mean(axis=0)
    gram = centred.T @ centred if len(centred) > centred.shape[1] else centred @ centred.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum())
