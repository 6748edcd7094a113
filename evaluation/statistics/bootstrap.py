"""95 % confidence intervals of metrics, over tracks or over artists.

The bootstrap is that of Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993. Where it cannot give an
interval that covers 95 % of the time, the jackknife or an exact interval takes its place: see `confidence_intervals`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from training.metrics import MetricValues

from .metrics import MetricSet

LEVEL = 0.95
MAX_WEIGHTS = 4_000_000  # held in memory at a time
MAX_BLOCKS = 200  # of the jackknife
NO_WIDTH = 1e-9  # rounding leaves this much of an interval whose resamples are all equal


class ConfidenceIntervals(MetricValues):
    """Low and high bound by metric, float64 [2] or [2, labels].

    Attributes:
        exact: By metric, bool [] or [labels]: whether the interval is an exact one.
    """

    def __init__(self, bounds: MetricValues) -> None:
        super().__init__(bounds)
        self.exact = {name: np.zeros(values.shape[1:], bool) for name, values in bounds.items()}


def confidence_intervals(
    metrics: MetricSet,
    tracks: int,
    groups: Sequence[object] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    method: str = "bca",
    rankings: Collection[str] = (),
) -> ConfidenceIntervals:
    """Compute the 95 % confidence interval of every metric.

    A resample in which a metric is not defined, as where it misses a class, does not count for that metric. Where all
    resamples are equal, as where a model makes no error, the bootstrap gives an interval without width. Metrics with
    evidence then get an exact interval, which is Clopper and Pearson's for a share.

    Args:
        metrics: The metrics as a function of the tracks' weights.
        tracks: How many tracks there are.
        groups: [tracks], what is drawn together, such as the artist: tracks of one artist are not independent. A
            track of group None is drawn alone. None: every track is drawn alone.
        resamples: How many bootstrap resamples are drawn.
        seed: Seed of the resamples.
        method: "percentile", the middle 95 % of the resamples; or "bca", which corrects them for bias and skewness
            (Efron, *Better Bootstrap Confidence Intervals*, JASA 82, 1987).
        rankings: Names of metrics from 0 to 1 that are computed from the order of the tracks, such as average
            precision. A resample holds copies of tracks, which are neighbours in that order and raise the score: with
            "bca" these metrics get the jackknife's interval.

    Returns:
        Low and high bound by metric, float64 [2] or [2, labels]; NaN where no resample defines the metric.
    """
    if tracks == 0:
        raise ValueError("no tracks to resample")
    codes = group_codes(groups, tracks)
    chunks = [metrics(weights) for weights in resample_weights(codes, resamples, seed)]
    samples = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    values = metrics(np.ones((1, tracks)))
    if method == "percentile":
        bounds = {name: _quantiles(drawn, *_tails(drawn.shape[1:])) for name, drawn in samples.items()}
    else:
        without = metrics(_leave_out_weights(codes))
        bounds = {
            name: _jackknife(values[name][0], without[name])
            if name in rankings
            else _bca(samples[name], values[name][0], without[name])
            for name in samples
        }
    intervals = ConfidenceIntervals(bounds)
    for name in metrics.evidence:
        intervals.exact[name] = intervals[name][1] - intervals[name][0] <= NO_WIDTH
        if intervals.exact[name].any():
            exact = _exact_interval(metrics, name, values[name][0], codes)
            intervals[name] = np.where(intervals.exact[name], exact, intervals[name])
    return intervals


def _exact_interval(metrics: MetricSet, name: str, value: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the bounds [2, ...] of `value` [...], which every unit (an artist, or a track alone) has.

    If less than a share q of all units had that value, n units in a row would have it in less than 2.5 % of samples,
    with q = 0.025 ** (1 / n); the other units may have any value. At 0 and 1 this is the interval of Clopper and
    Pearson (*The Use of Confidence or Fiducial Limits*, Biometrika 26, 1934). n counts the units that the metric is
    computed from: for a class's recall those with the class, for a ROC-AUC the fewer of those with and without the
    label (so many independent pairs there are).

    A mean of perfect shares r of classes with n units each has the lowest mean that keeps the product of all r ** n
    at 0.025: r is 1, or proportional to n. With classes of one size this is Clopper and Pearson's interval of all
    units together; a class of few units widens it. A unit in several classes counts in each by an equal part, as all
    of them can fail with it.

    F1 is 2 J / (1 + J), where J is the share of correct ones among the tracks that have the label or are predicted to
    have it. Its upper bound is J's, mapped; its lower bound is q times F1, which is below J's, mapped.
    """
    is_mean = value.ndim == 0 and metrics.evidence[name][0].ndim == 2
    counts = []
    for evidence in metrics.evidence[name]:
        held = np.zeros((int(codes.max()) + 1, *evidence.shape[1:]))
        np.maximum.at(held, codes, evidence.astype(np.float64))
        counts.append((held / np.maximum(held.sum(axis=1, keepdims=True), 1) if is_mean else held).sum(axis=0))
    units = np.minimum.reduce(counts)
    if is_mean:
        n = np.sort(units[units > 0])
        # The log of r / n, if the classes up to this one are the imperfect ones.
        scale = (np.log((1 - LEVEL) / 2) - np.cumsum(n * np.log(n))) / np.cumsum(n)
        last = np.flatnonzero(scale + np.log(n) <= 0)[-1]
        q = np.minimum(np.exp(scale[last] + np.log(n)), 1.0).mean()
    else:
        q = all_alike_bound(units)
    low, high = q * value + (1 - q) * metrics.lowest, q * value + (1 - q)
    if "f1" in name and metrics.lowest == 0:
        jaccard = q * value / (2 - value) + (1 - q)
        high = 2 * jaccard / (1 + jaccard)
    return np.stack([low, high])


def all_alike_bound(n: float | np.ndarray) -> Any:
    """Return the lower 95 % bound of a share that was seen in all of `n` independent units.

    It is the lower limit of Clopper and Pearson (1934) for n of n, 0.025 ** (1 / n).
    """
    return ((1 - LEVEL) / 2) ** (1 / np.maximum(n, 1))


def group_codes(groups: Sequence[object] | None, tracks: int) -> np.ndarray:
    """Number the groups of tracks.

    Args:
        groups: [tracks] of hashable names; None as a name is a group of its own. None: every track is its own.
        tracks: How many tracks there are.

    Returns:
        int64 [tracks], the number of each track's group, from 0.
    """
    if groups is None:
        return np.arange(tracks)
    known: dict[object, int] = {}
    codes = [
        known.setdefault(("alone", index) if group is None else ("group", group), len(known))
        for index, group in enumerate(groups)
    ]
    return np.array(codes, np.int64)


def resample_weights(codes: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples of groups, with replacement.

    Args:
        codes: int64 [tracks], each track's group, as `group_codes` returns.
        resamples: How many resamples to draw.
        seed: Seed of the draws.

    Yields:
        float64 [rows, tracks] for some resamples at a time: how often each track's group was drawn.
    """
    count = int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, MAX_WEIGHTS // max(len(codes), count))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield counts[:, codes].astype(np.float64)


def _leave_out_weights(codes: np.ndarray) -> np.ndarray:
    """Return weights [blocks, tracks] that each leave out one group, or one of 200 blocks of groups."""
    count = int(codes.max()) + 1
    blocks = np.random.default_rng(0).permutation(count) % min(count, MAX_BLOCKS)
    return (blocks[codes][None, :] != np.arange(min(count, MAX_BLOCKS))[:, None]).astype(np.float64)


def _bca(samples: np.ndarray, value: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Return the BCa bounds of `value` [...] from its resamples [r, ...] and its jackknife values [blocks, ...]."""
    from scipy.special import ndtr, ndtri

    defined = ~np.isnan(samples)
    n = np.maximum(defined.sum(axis=0), 1)
    below = ((samples < value) & defined).sum(axis=0) + ((samples == value) & defined).sum(axis=0) / 2
    bias = ndtri(np.clip(below / n, 0.5 / n, 1 - 0.5 / n))
    kept = ~np.isnan(without)
    centre = np.where(kept, without, 0.0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    influence = np.where(kept, centre - without, 0.0)
    spread = (influence**2).sum(axis=0)
    skew = np.divide((influence**3).sum(axis=0), 6 * spread**1.5, out=np.zeros_like(spread), where=spread > 0)
    low, high = (bias + (bias + z) / (1 - skew * (bias + z)) for z in ndtri(_tails(())))
    return _quantiles(samples, ndtr(low), ndtr(high))


def _jackknife(value: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Return the jackknife's bounds of `value` [...], a share, on the arcsine scale (Tukey 1958).

    Student's t has as many degrees of freedom as the kurtosis of the influences leaves to their variance: few where a
    few tracks decide, as with a rare label. A mean over labels is corrected for its bias, which averages over labels
    do not remove, by at most one standard error; for a single label that correction adds more variance than it
    removes bias.
    """
    from scipy.special import stdtrit

    angle, others = (np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))) for values in (value, without))
    kept = ~np.isnan(others)
    blocks = np.maximum(kept.sum(axis=0), 1)
    centre = np.where(kept, others, 0.0).sum(axis=0) / blocks
    influence = np.where(kept, others - centre, 0.0)
    squares = (influence**2).sum(axis=0)
    ratio = np.divide(blocks * (influence**4).sum(axis=0), squares**2, out=np.ones_like(squares), where=squares > 0)
    freedom = np.maximum(2 * blocks / np.maximum(ratio - 1, 1e-9), 1.0)
    error = np.sqrt((blocks - 1) / blocks * squares)
    bias = np.clip((blocks - 1) * (centre - angle), -error, error) if value.ndim == 0 else 0.0
    reach = stdtrit(freedom, (1 + LEVEL) / 2) * error
    low, high = (np.sin(np.clip(angle - bias + side * reach, 0.0, np.pi / 2)) ** 2 for side in (-1, 1))
    return np.stack([np.minimum(low, value), np.maximum(high, value)])


def _tails(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.full(shape, (1 - LEVEL) / 2), np.full(shape, (1 + LEVEL) / 2)


def _quantiles(samples: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the quantiles `low` and `high` [...] of samples [r, ...], [2, ...]; NaN samples do not count."""
    ranked = np.sort(samples, axis=0)  # NaN last
    defined = (~np.isnan(samples)).sum(axis=0)
    bounds = []
    for share in (low, high):
        place = np.clip(share, 0.0, 1.0) * np.maximum(defined - 1, 0)
        floor = np.floor(place).astype(np.int64)
        ceiling = np.minimum(floor + 1, np.maximum(defined - 1, 0))
        under, over = (np.take_along_axis(ranked, at[None], axis=0)[0] for at in (floor, ceiling))
        bounds.append(under + (over - under) * (place - floor))
    return np.stack(bounds)
