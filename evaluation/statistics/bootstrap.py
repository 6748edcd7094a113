"""How sure a figure is: 95 % bootstrap intervals over tracks, or over artists (Efron and Tibshirani 1993)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from .metrics import MetricSet, MetricValues

LEVEL = 0.95
CELLS = 4_000_000  # weights held at once
BLOCKS = 200  # left out in turn to learn a figure's skewness
NO_WIDTH = 1e-9  # what rounding leaves of an interval whose resamples are all alike


class ConfidenceIntervals(MetricValues):
    """Low and high bound by figure; `exact`, bool [] or [labels], says which of them are Clopper and Pearson's."""

    def __init__(self, bounds: MetricValues) -> None:
        super().__init__(bounds)
        self.exact = {name: np.zeros(values.shape[1:], bool) for name, values in bounds.items()}


def intervals(
    judge: MetricSet,
    tracks: int,
    groups: Sequence[object] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    method: str = "bca",
    rankings: Collection[str] = (),
) -> ConfidenceIntervals:
    """95 % intervals of every figure: low and high bound [2] or [2, labels], NaN where there is none.

    `groups` [tracks] names what is drawn whole, the artists say: tracks of one artist are not independent. None: each
    track stands alone. `method` is "percentile", the middle 95 % of the resamples, or "bca", which corrects them for
    bias and skewness (Efron 1987). A resample in which a figure is not defined, as it missed a class, does not count
    for that figure. Where all resamples are alike, as with no error, the bootstrap cannot see what the sample does not
    hold: figures with `evidence` then have exact intervals (`_exact`), the others an interval without width.

    `rankings` names figures from 0 to 1 that come from the order of tracks, as average precision does. A resample
    holds tracks twice, which stand side by side in the order and flatter it: with "bca" theirs are the jackknife's.
    """
    if tracks == 0:
        raise ValueError("no tracks to resample")
    codes = group_codes(groups, tracks)
    parts = [judge(weights) for weights in resample_weights(codes, resamples, seed)]
    samples = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    value = judge(np.ones((1, tracks)))
    if method == "percentile":
        found = ConfidenceIntervals(
            {name: _quantiles(values, *_tails(values.shape[1:])) for name, values in samples.items()}
        )
    else:
        without = judge(_leave_out(codes))
        found = ConfidenceIntervals(
            {
                name: _jackknife(value[name][0], without[name])
                if name in rankings
                else _bca(samples[name], value[name][0], without[name])
                for name in samples
            }
        )
    for name in judge.evidence:
        found.exact[name] = found[name][1] - found[name][0] <= NO_WIDTH
        if found.exact[name].any():
            found[name] = np.where(found.exact[name], _exact(judge, name, value[name][0], codes), found[name])
    return found


def _exact(judge: MetricSet, name: str, value: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Bounds [2, ...] of `value` [...] where every unit (an artist, or a track alone) has that same value.

    Were less than a share q of all units so, n of them in a row would be seen in less than 2.5 % of samples, with
    q = 0.025 ** (1 / n); the other units may have any value. At 0 and 1 this is Clopper and Pearson's interval (1934).
    n counts the units that the figure is computed from: those with the class for its recall, the fewer of those with
    and without the tag for its ROC-AUC (that many pairs of one each are independent).

    A mean of perfect shares r of classes with n units each has the least mean that keeps the product of all r ** n at
    0.025: r is 1, or proportional to n. With classes of one size this is Clopper and Pearson's of all units together,
    and a class of few units widens it. A unit in several classes counts in each by an equal part: they may fail
    together.

    F1 is 2 J / (1 + J), J being the share of hits among the tracks that have the label or were given it: its upper
    bound is J's, mapped; its lower one is q times F1, which is less than J's.
    """
    mean = value.ndim == 0 and judge.evidence[name][0].ndim == 2
    counts = []
    for bearers in judge.evidence[name]:
        held = np.zeros((int(codes.max()) + 1, *bearers.shape[1:]))
        np.maximum.at(held, codes, bearers.astype(np.float64))
        counts.append((held / np.maximum(held.sum(axis=1, keepdims=True), 1) if mean else held).sum(axis=0))
    units = np.minimum.reduce(counts)
    if mean:
        n = np.sort(units[units > 0])
        scale = (np.log((1 - LEVEL) / 2) - np.cumsum(n * np.log(n))) / np.cumsum(
            n
        )  # log of r / n, were these classes the imperfect ones
        some = np.flatnonzero(scale + np.log(n) <= 0)[-1]
        q = np.minimum(np.exp(scale[some] + np.log(n)), 1.0).mean()
    else:
        q = all_alike_bound(units)
    low, high = q * value + (1 - q) * judge.lowest, q * value + (1 - q)
    if "f1" in name and judge.lowest == 0:
        hits = q * value / (2 - value) + (1 - q)
        high = 2 * hits / (1 + hits)
    return np.stack([low, high])


def all_alike_bound(n: float | np.ndarray) -> Any:
    """The share of all units that are alike under which less than 2.5 % of samples of n independent ones are so."""
    return ((1 - LEVEL) / 2) ** (1 / np.maximum(n, 1))


def group_codes(groups: Sequence[object] | None, tracks: int) -> np.ndarray:
    """int64 [tracks]: the number of each track's group; None as a group is a group of its own."""
    if groups is None:
        return np.arange(tracks)
    known: dict[object, int] = {}
    codes = [
        known.setdefault(("alone", index) if group is None else ("group", group), len(known))
        for index, group in enumerate(groups)
    ]
    return np.array(codes, np.int64)


def resample_weights(codes: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights [some, tracks] of resamples, a chunk at a time: how often each track's group was drawn."""
    count = int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // max(len(codes), count))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield counts[:, codes].astype(np.float64)


def _leave_out(codes: np.ndarray) -> np.ndarray:
    """Weights [blocks, tracks]: each leaves out one group, or one of 200 blocks of groups where there are more."""
    count = int(codes.max()) + 1
    blocks = np.random.default_rng(0).permutation(count) % min(count, BLOCKS)
    return (blocks[codes][None, :] != np.arange(min(count, BLOCKS))[:, None]).astype(np.float64)


def _bca(samples: np.ndarray, value: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Bias-corrected, accelerated bounds of samples [r, ...] of `value` [...], by the jackknife's [blocks, ...]."""
    from scipy.special import ndtr, ndtri

    defined = ~np.isnan(samples)
    n = np.maximum(defined.sum(axis=0), 1)
    below = ((samples < value) & defined).sum(axis=0) + ((samples == value) & defined).sum(axis=0) / 2
    bias = ndtri(np.clip(below / n, 0.5 / n, 1 - 0.5 / n))
    kept = ~np.isnan(without)
    centre = np.where(kept, without, 0.0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    off = np.where(kept, centre - without, 0.0)
    spread = (off**2).sum(axis=0)
    skew = np.divide((off**3).sum(axis=0), 6 * spread**1.5, out=np.zeros_like(spread), where=spread > 0)
    low, high = (bias + (bias + z) / (1 - skew * (bias + z)) for z in ndtri(_tails(())))
    return _quantiles(samples, ndtr(low), ndtr(high))


def _jackknife(value: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Bounds of `value` [...], a share, by the jackknife's [blocks, ...] on the scale of angles (Tukey 1958).

    Student's t has as many degrees of freedom as the influences' kurtosis leaves to their variance: few where a few
    tracks decide, as with a rare label. A mean over labels is moved by its bias, which it does not average out as it
    does their luck, by one standard error at most; of a single label that costs more than it brings.
    """
    from scipy.special import stdtrit

    angle, others = (np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))) for values in (value, without))
    kept = ~np.isnan(others)
    blocks = np.maximum(kept.sum(axis=0), 1)
    centre = np.where(kept, others, 0.0).sum(axis=0) / blocks
    off = np.where(kept, others - centre, 0.0)
    squares = (off**2).sum(axis=0)
    ratio = np.divide(blocks * (off**4).sum(axis=0), squares**2, out=np.ones_like(squares), where=squares > 0)
    freedom = np.maximum(2 * blocks / np.maximum(ratio - 1, 1e-9), 1.0)
    error = np.sqrt((blocks - 1) / blocks * squares)
    bias = np.clip((blocks - 1) * (centre - angle), -error, error) if value.ndim == 0 else 0.0
    reach = stdtrit(freedom, (1 + LEVEL) / 2) * error
    low, high = (np.sin(np.clip(angle - bias + side * reach, 0.0, np.pi / 2)) ** 2 for side in (-1, 1))
    return np.stack([np.minimum(low, value), np.maximum(high, value)])


def _tails(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.full(shape, (1 - LEVEL) / 2), np.full(shape, (1 + LEVEL) / 2)


def _quantiles(samples: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[r, ...] and shares [...] -> [2, ...]: those quantiles of the defined samples, NaN where none is defined."""
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
