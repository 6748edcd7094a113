"""Compare two models on the same tracks: the difference of each metric, its interval and its p-value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.metrics import MetricValues

from .bootstrap import MAX_WEIGHTS, confidence_intervals, group_codes
from .metrics import MetricSet, mean_value, merge_evidence


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of model `a` minus that of model `b`, its 95 % interval, and the p-value of no difference."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    n: int  # tracks
    groups: int  # units that are drawn: artists, or the tracks themselves


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    metrics_of: Callable[[np.ndarray], MetricSet] = mean_value,
    groups: Sequence[object] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    method: str = "bca",
) -> dict[str, Difference]:
    """Compare every metric of two models on the same tracks.

    Tracks are drawn for both models at once, and in whole groups, so that the difficulty of a track cancels out. The
    p-value is that of a two-sided randomisation test (Fisher-Pitman; Cohen, *Empirical Methods for Artificial
    Intelligence*, 1995, section 5.3): the share of random swaps of the models' predictions, each on whole groups, that
    give a difference at least as large. The unswapped order counts as one of them, so that p is never 0.

    Where no resample changes a difference of shares, as where both models predict the same on every track, the
    interval is the exact one of `confidence_intervals`. A difference of errors in bpm has no such bound and gets an
    interval without width.

    Args:
        a: [n, ...], one row for each track: what `metrics_of` takes, for the first model.
        b: The same for the second model, on the same tracks in the same order.
        metrics_of: Makes the metrics of such rows. The default is the mean of one number a track.
        groups: [n], what is drawn together, as in `confidence_intervals`.
        resamples: How many resamples and how many swaps are drawn.
        seed: Seed of both.
        method: "bca" or "percentile", as in `confidence_intervals`.

    Returns:
        The difference by metric, without metrics that are not defined for both models.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tracks of one model and {len(b)} of the other: they must be the same")
    n = len(a)
    first, second, mixed = metrics_of(a), metrics_of(b), metrics_of(np.concatenate([a, b]))

    def difference(weights: np.ndarray) -> MetricValues:
        return _subtract(first(weights), second(weights))

    def swapped_difference(swap: np.ndarray) -> MetricValues:
        """Swap the models' predictions where `swap` [r, n] is 1."""
        stay = 1 - swap
        return _subtract(mixed(np.hstack([stay, swap])), mixed(np.hstack([swap, stay])))

    ones = np.ones((1, n))
    values_a, values_b, observed = first(ones), second(ones), difference(ones)
    paired = MetricSet(difference, merge_evidence(first.evidence, second.evidence), lowest=-1.0)
    bounds = confidence_intervals(paired, n, groups, resamples, seed, method)
    codes = group_codes(groups, n)
    at_least_as_large = {name: np.ones_like(value[0]) for name, value in observed.items()}
    rng = np.random.default_rng([seed, 1])
    at_once = max(1, MAX_WEIGHTS // (2 * n))
    for start in range(0, resamples, at_once):
        swap = rng.integers(2, size=(min(at_once, resamples - start), int(codes.max()) + 1))[:, codes]
        for name, value in swapped_difference(swap.astype(np.float64)).items():
            at_least_as_large[name] += (np.abs(value) >= np.abs(observed[name]) - 1e-12).sum(axis=0)
    return {
        name: Difference(
            a=float(values_a[name][0]),
            b=float(values_b[name][0]),
            difference=float(value[0]),
            low=float(bounds[name][0]),
            high=float(bounds[name][1]),
            p=float(at_least_as_large[name] / (resamples + 1)),
            n=n,
            groups=int(codes.max()) + 1,
        )
        for name, value in observed.items()
        if value.ndim == 1 and np.isfinite(value[0]) and np.isfinite(bounds[name]).all()
    }


def _subtract(first: MetricValues, second: MetricValues) -> MetricValues:
    return {name: first[name] - second[name] for name in first if name in second}


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of a family of tests by Holm's step-down procedure.

    Source: Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of Statistics 6,
    1979. The chance of any false rejection in the family is at most the level that adjusted p-values are held to.

    Args:
        p_values: One of each test, 0 to 1.

    Returns:
        The adjusted p-values in the same order, 0 to 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
