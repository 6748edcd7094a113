"""Intervals: right figures inside, right coverage, right edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sk

from evaluation.bootstrap import bootstrap, figures

COUNTS = hnp.arrays(np.int64, st.integers(2, 5).map(lambda k: (k, k)), elements=st.integers(0, 9)).filter(np.any)


@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_figures_of_a_matrix_are_scikit_learns(confusion: np.ndarray) -> None:
    cells = np.repeat(np.arange(confusion.size), confusion.ravel())
    truth, predicted = np.divmod(cells, len(confusion))
    got = figures(confusion)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, predicted, labels=range(len(confusion)), zero_division=np.nan
    )
    np.testing.assert_allclose(got.precision, precision, atol=1e-12)
    np.testing.assert_allclose(got.recall, recall, atol=1e-12)
    np.testing.assert_allclose(got.f1, f1, atol=1e-12)
    held = np.unique(truth)
    assert got.accuracy == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-12)
    assert got.macro_f1 == pytest.approx(sk.f1_score(truth, predicted, labels=held, average="macro"), abs=1e-12)
    assert got.balanced_accuracy == pytest.approx(np.mean(recall[held]), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(0, 2**32))
def test_bounds_are_shares_in_order(confusion: np.ndarray, seed: int) -> None:
    bounds = bootstrap(confusion, 100, seed)
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        low, high = getattr(bounds, name)
        assert 0 <= low <= high <= 1


def test_accuracy_bounds_are_the_binomials() -> None:
    """Resampling tracks makes the number of right ones binomial, so its quantiles are known in closed form."""
    low, high = bootstrap(np.array([[160, 10], [10, 20]]), 20_000, 1).accuracy
    want = stats.binom.ppf([0.025, 0.975], 200, 0.9) / 200
    np.testing.assert_allclose([low, high], want, atol=1 / 200)


def test_resampled_matrices_are_those_of_resampled_tracks() -> None:
    """The multinomial shortcut against drawing tracks one by one: the same bounds of macro-F1."""
    confusion = np.array([[30, 5, 1], [4, 20, 2], [0, 3, 8]])
    cells = np.repeat(np.arange(9), confusion.ravel())
    rng = np.random.default_rng(3)
    drawn = rng.choice(cells, (4000, len(cells)))
    one_by_one = [sk.f1_score(*np.divmod(row, 3), average="macro") for row in drawn[:1500]]
    np.testing.assert_allclose(
        bootstrap(confusion, 20_000, 4).macro_f1, np.percentile(one_by_one, [2.5, 97.5]), atol=0.012
    )


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "balanced_accuracy"])
def test_coverage(name: str) -> None:
    """Of 200 test sets drawn from a known confusion, 95 % intervals hold the true figure in 90 to 99 %."""
    shares = np.array([[0.24, 0.05, 0.01], [0.06, 0.25, 0.04], [0.02, 0.05, 0.28]])
    true = float(getattr(figures(shares), name))
    sets = np.random.default_rng(5).multinomial(150, shares.ravel(), 200).reshape(200, 3, 3)
    bounds = [getattr(bootstrap(confusion, 400, seed), name) for seed, confusion in enumerate(sets)]
    covered = np.mean([low <= true <= high for low, high in bounds])
    assert 0.90 <= covered <= 0.99


def test_seeded() -> None:
    confusion = np.array([[9, 1], [2, 8]])
    first, again, other = (bootstrap(confusion, 200, seed).macro_f1 for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_no_errors_give_no_width_and_a_class_without_tracks_no_bounds() -> None:
    bounds = bootstrap(np.diag([7, 3, 0]))
    assert bounds.accuracy.tolist() == [1.0, 1.0]
    assert np.isnan(bounds.recall[:, 2]).all() and np.isnan(bounds.precision[:, 2]).all()
    assert bounds.recall[:, 0].tolist() == [1.0, 1.0]


def test_no_tracks() -> None:
    with pytest.raises(ValueError, match="no tracks"):
        bootstrap(np.zeros((2, 2), int))
