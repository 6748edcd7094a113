"""Values with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..results.fidelity import Extrapolation, Figure
from ..statistics.bootstrap import all_alike_bound
from .frechet import FrechetExtrapolation
from .kernel_distance import KernelDistance

MIN_R2 = 0.9  # of a line that counts as straight


def extrapolation_with_interval(line: FrechetExtrapolation, dim: int) -> Extrapolation:
    """Add the 95 % interval to an extrapolation of a Fréchet distance of `dim` dimensions."""
    half = half_width(line)
    return Extrapolation(
        value=line.value,
        low=line.value - half,
        high=line.value + half,
        r2=line.r2,
        slope=line.slope,
        sizes=line.sizes,
        distances=line.distances,
        straight=line.sizes[0] >= 2 * dim and line.r2 >= MIN_R2,
    )


def half_width(line: FrechetExtrapolation) -> float:
    """Return half the width of the 95 % interval of the extrapolated value (Student's t)."""
    from scipy.stats import t

    return float(t.ppf(0.975, max(1, len(line.sizes) - 2))) * line.error


def distance_with_interval(distance: KernelDistance, n: int, n_reference: int) -> Figure:
    """Add the normal 95 % interval to a kernel distance.

    Args:
        distance: The distance and its standard error.
        n: The number of clips.
        n_reference: The number of recordings of the reference.

    Returns:
        The distance. It has no interval if its error is unknown or 0.
    """
    figure = Figure(value=distance.value, n=n, n_reference=n_reference)
    if not distance.error:
        return figure
    half = 1.96 * distance.error
    return figure.model_copy(update={"low": figure.value - half, "high": figure.value + half})


def share_with_interval(count: int, n: int, n_reference: int | None = None) -> Figure:
    """Compute the share count / n with Wilson's 95 % interval.

    Args:
        count: The number of clips that are counted, 0 to `n`.
        n: The number of clips, at least 1.
        n_reference: The number of recordings of the reference, if the share depends on it.

    Returns:
        The share in [0, 1] with its interval.
    """
    from scipy.stats import binomtest

    interval = binomtest(count, n).proportion_ci(method="wilson")
    return Figure(value=count / n, low=float(interval.low), high=float(interval.high), n=n, n_reference=n_reference)


def mean_with_interval(
    values: np.ndarray | Sequence[float],
    n_reference: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Compute a mean with its normal 95 % interval.

    Args:
        values: [n].
        n_reference: Number of recordings that the values depend on.
        limits: The lowest and the highest possible value. If all values are equal, their variance is unknown: the
            interval is then the exact one for values within these limits (`all_alike_bound`), or none without limits.
    """
    values = np.asarray(values, dtype=np.float64)
    figure = Figure(value=float(values.mean()), n=len(values), n_reference=n_reference)
    if np.ptp(values) > 0:
        half = 1.96 * float(values.std(ddof=1) / np.sqrt(len(values)))
        return figure.model_copy(update={"low": figure.value - half, "high": figure.value + half})
    if limits is None:
        return figure
    weight = float(all_alike_bound(len(values)))
    low, high = (weight * figure.value + (1 - weight) * limit for limit in limits)
    return figure.model_copy(update={"low": low, "high": high})
