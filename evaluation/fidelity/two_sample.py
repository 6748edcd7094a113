"""How easily two sets are told apart: the classifier two-sample test (Lopez-Paz and Oquab 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 5
STRENGTH = 0.01  # inverse of the L2 penalty on standardised dimensions: right for more dimensions than clips too


class TwoSample(NamedTuple):
    """Held-out answers of classifiers that were trained on the other folds."""

    accuracy: float
    low: float  # 95 % interval
    high: float
    n: int  # clips, both sets together
    auc: float
    p_value: float  # of such an accuracy, or a higher one, by guessing


def probe(balanced: bool = False) -> Pipeline:
    """A linear classifier of embeddings: standardisation, then L2-penalised logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weight = "balanced" if balanced else None
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300, tol=1e-3, class_weight=weight))


def folds_of(groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """int64 [n]: the fold of each row; rows of one group share theirs."""
    names, place = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    found: np.ndarray = (order % folds)[place]
    return found


def two_sample(
    x: np.ndarray, y: np.ndarray, groups_x: Sequence[str], groups_y: Sequence[str], seed: int = 0
) -> TwoSample | None:
    """[n, dim], [n, dim], as many of both -> the test by logistic regression in five folds, groups kept whole.

    Accuracy 0.5 is what two sets of one distribution give, 1 what sets give that share nothing. The folds' classifiers
    share most of what they learnt from, and clips of one group are alike, so that answers vary more than as many
    independent ones: interval (Wilson) and p-value (binomial, one-sided) count n (folds - 1) / (2 folds - 1) answers
    (Nadeau and Bengio 2003) over the design effect of the groups (Kish 1965). None where a set has only one group.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import roc_auc_score

    if len(x) != len(y):
        raise ValueError(f"needs as many of both sets, found {len(x)} and {len(y)}")
    folds = min(FOLDS, len(set(groups_x)), len(set(groups_y)))
    if folds < 2:
        return None
    rows, truth = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    fold = np.concatenate([folds_of(groups_x, folds, seed), folds_of(groups_y, folds, seed + 1)])
    chance = np.zeros(len(rows))
    for held in range(folds):
        model = probe(balanced=True).fit(rows[fold != held], truth[fold != held])
        chance[fold == held] = model.predict_proba(rows[fold == held])[:, 1]
    correct = (chance > 0.5) == truth
    accuracy = float(correct.mean())
    names = [f"x{name}" for name in groups_x] + [f"y{name}" for name in groups_y]
    answers = max(1, int(len(rows) * (folds - 1) / (2 * folds - 1) / design_effect(correct, names)))
    test = binomtest(round(accuracy * answers), answers, 0.5, alternative="greater")
    bounds = binomtest(round(accuracy * answers), answers, 0.5).proportion_ci(method="wilson")
    auc = float(roc_auc_score(truth, chance))
    return TwoSample(accuracy, float(bounds.low), float(bounds.high), len(rows), auc, float(test.pvalue))


def design_effect(correct: np.ndarray, groups: Sequence[str]) -> float:
    """How many times the variance of a share grows as members of a group go together: 1 where they do not.

    Of a share of 0 or 1 it is the mean size of a group.
    """
    share = correct.mean()
    if share in (0, 1):
        return len(correct) / len(set(groups))  # nothing to see it by: as if members of a group always went together
    place = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    sums = np.bincount(place, correct - share)
    return max(1.0, float((sums**2).sum() / (len(correct) * share * (1 - share))))
