"""Differences of agreement: clips with a word, or of a sub-genre, against the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from training.metrics import MetricValues

from ..results import agreement as results
from ..results.fidelity import Figure
from ..statistics.bootstrap import confidence_intervals
from ..statistics.metrics import MetricSet
from ..statistics.paired import adjust_holm

WIDTH = 2 * 1.959964  # standard errors in a 95 % interval


def find_words(prompt: str) -> set[str]:
    """The words of a prompt in lower case."""
    return set(re.findall(r"[^\W\d_][\w'-]+", prompt.lower()))


def compare_with_others(
    values: np.ndarray,
    members: Sequence[Collection[str]],
    groups: Sequence[str],
    minimum: int,
    resamples: int,
    seed: int,
) -> list[results.Word]:
    """Compare the agreement of clips with a word with that of the others, for every word.

    Args:
        values: float64 [n] in [0, 1].
        members: [n], the words of each clip.
        groups: [n], clips of one group are drawn together.
        minimum: The clips with a word, and without it, that a comparison needs.
        resamples: Of the bootstrap.
        seed: Of the resamples.

    Returns:
        The words, the largest differences first. The interval of each is its own, by percentiles. Its p-value is that
        of a normal distribution as wide as the interval, adjusted by Holm (1979) over all words.
    """
    from scipy.stats import norm

    counts = Counter(word for own in members for word in own)
    known = sorted(word for word, n in counts.items() if minimum <= n <= len(members) - minimum)
    if not known:
        return []
    has = np.array([[word in own for word in known] for own in members], np.float32)

    def compute(weights: np.ndarray) -> MetricValues:
        with np.errstate(invalid="ignore", divide="ignore"):
            weighted, total = weights * values, weights.sum(axis=1, keepdims=True)
            held, sums = weights @ has, weighted @ has
            rest = (weighted.sum(axis=1, keepdims=True) - sums) / (total - held)
            return {"difference": sums / held - rest}

    metrics = MetricSet(compute)
    differences = metrics(np.ones((1, len(values))))["difference"][0]
    low, high = confidence_intervals(metrics, len(values), groups, resamples, seed, "percentile")["difference"]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.abs(differences) / ((high - low) / WIDTH)
    p_values = np.where(differences == 0, 1.0, np.nan_to_num(2 * norm.sf(scores), nan=1.0))
    adjusted = adjust_holm(p_values.tolist())
    return [
        results.Word(
            word=known[place],
            n=counts[known[place]],
            difference=make_figure(differences[place], low[place], high[place], len(values)),
            p_holm=float(adjusted[place]),
        )
        for place in np.argsort(-np.abs(differences), kind="stable").tolist()
    ]


def is_clear(difference: Figure) -> bool:
    """Whether the interval of a difference does not have 0."""
    return difference.low is not None and difference.high is not None and (difference.low > 0 or difference.high < 0)


def make_figure(value: float, low: float, high: float, n: int) -> Figure:
    """Make a figure; bounds that are NaN are None."""
    bounds = [None if np.isnan(bound) else float(bound) for bound in (low, high)]
    return Figure(value=float(value), low=bounds[0], high=bounds[1], n=n)
