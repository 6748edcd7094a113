"""Figures with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..statistics.bootstrap import all_alike_bound
from . import figures, frechet, kernel
from .figures import Figure

STRAIGHT = 0.9  # r2


def extrapolation(found: frechet.Extrapolation, dim: int) -> figures.Extrapolation:
    """A line as the file tells it; straight where its subsets have two clips a dimension and it fits."""
    half = reach(found)
    return figures.Extrapolation(
        value=found.value,
        low=found.value - half,
        high=found.value + half,
        r2=found.r2,
        slope=found.slope,
        sizes=found.sizes,
        distances=found.distances,
        straight=found.sizes[0] >= 2 * dim and found.r2 >= STRAIGHT,
    )


def reach(found: frechet.Extrapolation) -> float:
    """Half the width of the 95 % interval of the line's end."""
    from scipy.stats import t

    return float(t.ppf(0.975, max(1, len(found.sizes) - 2))) * found.error


def with_error(found: kernel.KernelDistance, x: np.ndarray, y: np.ndarray) -> Figure:
    """A distance between `x` and `y` with its interval by the normal law; none where its error is unknown or zero."""
    figure = Figure(value=found.value, n=len(x), n_reference=len(y))
    if not found.error:
        return figure
    half = 1.96 * found.error
    return figure.model_copy(update={"low": found.value - half, "high": found.value + half})


def share(count: int, n: int, n_reference: int | None = None) -> Figure:
    """A share with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    bounds = binomtest(count, n).proportion_ci(method="wilson")
    return Figure(value=count / n, low=float(bounds.low), high=float(bounds.high), n=n, n_reference=n_reference)


def mean(
    values: np.ndarray | Sequence[float],
    n_reference: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A mean with its 95 % interval by the normal law.

    Values that are all equal say nothing of their spread: their interval is the exact one that `limits`, the least and
    the greatest possible value, leave (`evaluation.statistics.bootstrap.alike_share`); without limits there is none.
    """
    values = np.asarray(values, dtype=np.float64)
    figure = Figure(value=float(values.mean()), n=len(values), n_reference=n_reference)
    if np.ptp(values) > 0:
        half = 1.96 * float(values.std(ddof=1) / np.sqrt(len(values)))
        return figure.model_copy(update={"low": figure.value - half, "high": figure.value + half})
    if limits is None:
        return figure
    q = float(all_alike_bound(len(values)))
    low, high = (q * figure.value + (1 - q) * limit for limit in limits)
    return figure.model_copy(update={"low": low, "high": high})
