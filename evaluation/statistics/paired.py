"""Two models on the same tracks: is the difference more than luck?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import CELLS, group_codes, intervals
from .metrics import MetricSet, MetricValues, merge_evidence


@dataclass(frozen=True, slots=True)
class Difference:
    """`a` minus `b`, with its 95 % interval and the p-value of "they do not differ"."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    n: int  # tracks
    groups: int  # what was drawn whole: artists, or the tracks themselves


def mean(values: np.ndarray) -> MetricSet:
    """[n] of one number a track (right or wrong, an error) -> their mean."""

    def judge(weights: np.ndarray) -> MetricValues:
        return {"mean": weights @ values / weights.sum(axis=1)}

    return MetricSet(judge)


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    figure: Callable[[np.ndarray], MetricSet] = mean,
    groups: Sequence[object] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    method: str = "bca",
) -> dict[str, Difference]:
    """Every figure of `a` minus that of `b`, by name: `mean` of numbers a track unless `figure` says otherwise.

    `a` and `b` [n, ...] hold what the two models did on the same tracks in the same order. `figure(rows)` gives the
    judge of such rows: `mean` for right-or-wrong arrays, `lambda cells: single_label(...)` for macro-F1. Tracks are
    drawn for both at once, whole `groups` at a time, so that what makes a track hard for both cancels out.

    The p-value is that of a randomisation test: were the models alike, then to swap their answers on any track (on
    all tracks of a group at once) would change nothing, so it is the share of random swaps, the true order counted
    among them, that give a difference as large either way (Fisher-Pitman; Cohen 1995). Figures that are not defined
    for both are left out.

    Where no resample changes a difference of shares (both models answered alike on every track, say), its interval is
    the exact one of `intervals`: alike on n tracks is not alike on all. A difference of errors in bpm has no such
    bound, and there the interval has no width.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tracks of one model and {len(b)} of the other: they must be the same")
    n = len(a)
    ours, theirs, mixed = figure(a), figure(b), figure(np.concatenate([a, b]))

    def straight(weights: np.ndarray) -> MetricValues:
        return _less(ours(weights), theirs(weights))

    def swapped(swap: np.ndarray) -> MetricValues:
        """0 or 1 [r, n] -> the difference with those tracks' answers swapped."""
        stay = 1 - swap
        return _less(mixed(np.hstack([stay, swap])), mixed(np.hstack([swap, stay])))

    ones = np.ones((1, n))
    values_a, values_b, observed = ours(ones), theirs(ones), straight(ones)
    paired = MetricSet(straight, merge_evidence(ours.evidence, theirs.evidence), lowest=-1.0)
    bounds = intervals(paired, n, groups, resamples, seed, method)
    codes = group_codes(groups, n)
    reached = {name: np.ones_like(value[0]) for name, value in observed.items()}
    rng = np.random.default_rng([seed, 1])
    at_once = max(1, CELLS // (2 * n))
    for start in range(0, resamples, at_once):
        swap = rng.integers(2, size=(min(at_once, resamples - start), int(codes.max()) + 1))[:, codes]
        for name, value in swapped(swap.astype(np.float64)).items():
            reached[name] += (np.abs(value) >= np.abs(observed[name]) - 1e-12).sum(axis=0)
    return {
        name: Difference(
            a=float(values_a[name][0]),
            b=float(values_b[name][0]),
            difference=float(value[0]),
            low=float(bounds[name][0]),
            high=float(bounds[name][1]),
            p=float(reached[name] / (resamples + 1)),
            n=n,
            groups=int(codes.max()) + 1,
        )
        for name, value in observed.items()
        if value.ndim == 1 and np.isfinite(value[0]) and np.isfinite(bounds[name]).all()
    }


def _less(ours: MetricValues, theirs: MetricValues) -> MetricValues:
    return {name: ours[name] - theirs[name] for name in ours if name in theirs}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests -> those that keep its error rate (Holm 1979), in the given order."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
