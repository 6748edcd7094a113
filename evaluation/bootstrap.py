"""How sure a figure is: percentile bootstrap intervals over tracks (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Figures:
    """What a confusion matrix says; each array has the matrix's leading axes. NaN stands for 0/0."""

    accuracy: np.ndarray  # [...]
    macro_f1: np.ndarray  # [...], mean over the classes that have tracks
    balanced_accuracy: np.ndarray  # [...], the same
    precision: np.ndarray  # [..., classes]
    recall: np.ndarray  # [..., classes]
    f1: np.ndarray  # [..., classes]


def figures(confusion: np.ndarray) -> Figures:
    """Counts [..., classes, classes], rows true, columns predicted -> the figures of each matrix.

    Means run over the classes that have tracks, as in the metric `genre_report`.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision, f1 = hits / support, hits / predicted, 2 * hits / (support + predicted)
    held = support > 0

    def over_held(values: np.ndarray) -> np.ndarray:
        return np.where(held, values, 0.0).sum(axis=-1) / held.sum(axis=-1)

    return Figures(
        accuracy=hits.sum(axis=-1) / support.sum(axis=-1),
        macro_f1=over_held(f1),
        balanced_accuracy=over_held(recall),
        precision=precision,
        recall=recall,
        f1=f1,
    )


def bootstrap(confusion: np.ndarray, resamples: int = 1000, seed: int = 0) -> Figures:
    """95 % intervals of every figure: each array gains a leading axis [2] of low and high bound.

    Drawing n tracks with replacement and counting them draws the confusion matrix [classes, classes] from a
    multinomial with the observed shares, so that it is drawn at once: time and memory do not grow with n, and the
    order of the tracks cannot matter. A class that a resample misses is left out of that resample's means. Where no
    error was made the interval has no width: the bootstrap cannot see what the sample does not hold.
    """
    total = int(confusion.sum())
    if total == 0:
        raise ValueError("no tracks to resample")
    draws = np.random.default_rng(seed).multinomial(total, confusion.ravel() / total, size=resamples)
    sample = figures(draws.reshape(resamples, *confusion.shape))
    return Figures(*(_interval(getattr(sample, name)) for name in Figures.__slots__))


def _interval(values: np.ndarray) -> np.ndarray:
    """[resamples, ...] -> [2, ...]: the middle 95 % of the defined values, NaN where none is defined."""
    defined = ~np.isnan(values).all(axis=0)
    bounds = np.nanpercentile(np.where(defined, values, 0.0), (2.5, 97.5), axis=0)
    return np.where(defined, bounds, np.nan)
