"""The classifier two-sample test: how well a classifier separates two sets of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..statistics.linear_probe import create_probe

FOLDS = 5


class TwoSample(NamedTuple):
    """The result over all held-out clips."""

    accuracy: float
    low: float  # 95 % interval
    high: float
    n: int  # clips of both sets together
    auc: float
    p_value: float  # probability of this accuracy or a higher one by chance


def assign_folds(groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Assign rows to folds at random. Rows of one group get the same fold.

    Args:
        groups: The group of each row.
        folds: The number of folds. They differ by at most one group.
        seed: Of the random order of the groups.

    Returns:
        int64 [n], the fold of each row, from 0.
    """
    names, index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold: np.ndarray = (order % folds)[index]
    return fold


def two_sample_test(
    x: np.ndarray, y: np.ndarray, groups_x: Sequence[str], groups_y: Sequence[str], seed: int = 0
) -> TwoSample | None:
    """Test whether two sets are of one distribution (Lopez-Paz and Oquab 2017, section 3).

    Logistic regression is trained and evaluated by five-fold cross-validation that keeps groups together. The accuracy
    is 0.5 for equal distributions and 1 for separable sets.

    Interval (Wilson) and p-value (one-sided binomial) use an effective number of predictions: n is multiplied by
    (folds - 1) / (2 folds - 1), as the folds' classifiers share training data (Nadeau and Bengio 2003), and divided by
    the design effect of the groups (Kish 1965), as clips of a group are similar.

    Args:
        x: [n, dim].
        y: [n, dim]; both sets have equally many rows.
        groups_x: The group of each row of `x`, such as an artist or a prompt.
        groups_y: The group of each row of `y`.
        seed: Of the folds.

    Returns:
        None if a set has only one group.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import roc_auc_score

    if len(x) != len(y):
        raise ValueError(f"both sets need equally many rows, not {len(x)} and {len(y)}")
    folds = min(FOLDS, len(set(groups_x)), len(set(groups_y)))
    if folds < 2:
        return None
    rows, truth = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    fold = np.concatenate([assign_folds(groups_x, folds, seed), assign_folds(groups_y, folds, seed + 1)])
    probability = np.zeros(len(rows))
    for held_out in range(folds):
        model = create_probe(balanced=True).fit(rows[fold != held_out], truth[fold != held_out])
        probability[fold == held_out] = model.predict_proba(rows[fold == held_out])[:, 1]
    correct = (probability > 0.5) == truth
    accuracy = float(correct.mean())
    names = [f"x{name}" for name in groups_x] + [f"y{name}" for name in groups_y]
    effective = max(1, int(len(rows) * (folds - 1) / (2 * folds - 1) / design_effect(correct, names)))
    test = binomtest(round(accuracy * effective), effective, 0.5, alternative="greater")
    interval = binomtest(round(accuracy * effective), effective, 0.5).proportion_ci(method="wilson")
    auc = float(roc_auc_score(truth, probability))
    return TwoSample(accuracy, float(interval.low), float(interval.high), len(rows), auc, float(test.pvalue))


def design_effect(correct: np.ndarray, groups: Sequence[str]) -> float:
    """Compute by how much groups increase the variance of a share (Kish 1965).

    Args:
        correct: bool [n].
        groups: The group of each row.

    Returns:
        At least 1, the value for independent rows. For a share of 0 or 1, where it cannot be estimated, the mean size
        of a group, as if the rows of a group always agreed.
    """
    share = correct.mean()
    if share in (0, 1):
        return len(correct) / len(set(groups))
    index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    sums = np.bincount(index, correct - share)
    return max(1.0, float((sums**2).sum() / (len(correct) * share * (1 - share))))
