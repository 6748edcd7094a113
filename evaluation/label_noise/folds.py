"""Out-of-fold probabilities of labels: each clip is predicted by a classifier that saw none of its prompt group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRENGTH = 0.03  # C of the logistic regression on standardised embeddings; a larger one learns the wrong labels
ITERATIONS = 300


def assign_folds(labels: np.ndarray, groups: Sequence[str], folds: int, seed: int = 0) -> np.ndarray:
    """Divide groups into folds, those of each label evenly.

    Args:
        labels: int64 [n]. A group counts for the label of its first row.
        groups: [n], rows of one group are in one fold.
        folds: The number of folds.
        seed: Of the order of groups.

    Returns:
        int64 [n], from 0 to folds - 1.
    """
    of_label: dict[int, list[str]] = {}
    first = dict(zip(reversed(groups), reversed(labels.tolist()), strict=True))
    for group, label in sorted(first.items()):
        of_label.setdefault(label, []).append(group)
    rng = np.random.default_rng(seed)
    shuffled = [members[place] for _, members in sorted(of_label.items()) for place in rng.permutation(len(members))]
    fold = {group: place % folds for place, group in enumerate(shuffled)}
    return np.array([fold[group] for group in groups], np.int64)


def predict_out_of_fold(embeddings: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int) -> np.ndarray:
    """Predict the labels of each fold by a logistic regression that is fitted to the others.

    Args:
        embeddings: float32 [n, dim].
        labels: int64 [n], from 0 to classes - 1.
        folds: int64 [n], from `assign_folds`.
        classes: The number of labels.

    Returns:
        float64 [n, classes], probabilities. A label that is in no other fold has 0.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probabilities = np.zeros((len(labels), classes))
    for fold in np.unique(folds):
        mine = folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=ITERATIONS))
        model.fit(embeddings[~mine], labels[~mine])
        probabilities[np.ix_(mine, model.classes_)] = model.predict_proba(embeddings[mine])
    return probabilities
