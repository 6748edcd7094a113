"""Differences of two models on the same tracks: intervals with the right coverage, p-values with the right level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.statistics.metrics import single_label
from evaluation.statistics.paired import adjust_holm, paired_bootstrap


def test_p_value_equals_mcnemars_exact_test() -> None:
    """Only tracks on which the models differ count, and each is a fair coin under the null."""
    a, b = np.repeat([1, 1, 0, 0], [60, 14, 4, 22]), np.repeat([1, 0, 1, 0], [60, 14, 4, 22])
    differences = paired_bootstrap(a, b, resamples=20_000)["mean"]
    assert differences.p == pytest.approx(stats.binomtest(14, 18).pvalue, abs=0.005)
    assert (differences.a, differences.b, differences.difference) == pytest.approx((0.74, 0.64, 0.1))
    assert differences.low > 0 and differences.high < 0.2 and (differences.n, differences.groups) == (100, 100)


def test_paired_interval_is_that_of_the_differences() -> None:
    """Errors that both models make cancel out."""
    rng = np.random.default_rng(0)
    b = rng.normal(0, 10, 80)
    a = b + rng.normal(0.5, 1, 80)
    differences = paired_bootstrap(a, b, resamples=4000, method="percentile")["mean"]
    width = 2 * 1.96 * np.std(a - b) / np.sqrt(80)
    assert differences.high - differences.low == pytest.approx(width, rel=0.05)
    assert differences.p < 0.01


def test_p_values_are_uniform_under_the_null() -> None:
    rng = np.random.default_rng(1)
    p = []
    for seed in range(400):
        a, b = rng.gamma(2.0, 1.0, (2, 60))
        p.append(paired_bootstrap(a, b, resamples=200, seed=seed, method="percentile")["mean"].p)
    assert np.mean(np.array(p) <= 0.05) <= 0.08
    assert 0.4 < np.mean(np.array(p) <= 0.5) < 0.6


def test_coverage() -> None:
    """The interval holds the true difference of two correlated models in 93 to 97 % of 1,000 sets."""
    rng = np.random.default_rng(2)
    below = [x * stats.norm.cdf(x) + stats.norm.pdf(x) for x in (0.7 / 0.2, -0.3 / 0.2)]
    true = 0.8 - 0.2 * (below[0] - below[1])  # the second model's errors, averaged over the difficulty of a track
    held = 0
    for seed in range(1000):
        difficulty = rng.random(120)
        a, b = (difficulty < 0.8).astype(float), (difficulty + rng.normal(0, 0.2, 120) < 0.7).astype(float)
        differences = paired_bootstrap(a, b, resamples=300, seed=seed)["mean"]
        held += differences.low <= true <= differences.high
    assert 0.93 <= held / 1000 <= 0.97


def test_other_metrics_and_artists() -> None:
    truth = np.arange(90) % 3
    good, bad = truth.copy(), truth.copy()
    good[:9], bad[:40] = 0, 0
    artists = [f"artist {index // 3}" for index in range(90)]
    differences = paired_bootstrap(
        *(np.stack([truth, predicted], axis=1) for predicted in (good, bad)),
        metrics_of=lambda rows: single_label(*rows.T, 3),
        groups=artists,
    )
    assert set(differences) == {"accuracy", "macro_f1", "balanced_accuracy"}
    assert differences["macro_f1"].difference > 0.1 and differences["macro_f1"].p < 0.01
    assert differences["accuracy"].a == np.mean(good == truth) and differences["accuracy"].groups == 30


def test_a_model_does_not_differ_from_itself() -> None:
    a = np.random.default_rng(0).random(30)
    differences = paired_bootstrap(a, a)["mean"]
    assert (differences.difference, differences.low, differences.high, differences.p) == (0.0, 0.0, 0.0, 1.0)


def test_equal_predictions_give_an_exact_interval() -> None:
    """Equal on 30 tracks: the models differ on less than 1 - 0.025 ** (1 / 30) of all tracks."""
    truth = np.arange(30) % 3
    rows = np.stack([truth, np.where(np.arange(30) < 6, 0, truth)], axis=1)
    reach = 1 - 0.025 ** (1 / 30)
    differences = paired_bootstrap(rows, rows, metrics_of=lambda cells: single_label(*cells.T, 3), resamples=100)
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert (differences[name].difference, differences[name].p, differences[name].n) == (0.0, 1.0, 30)
        assert (differences[name].low, differences[name].high) == pytest.approx((-reach, reach))
    artists = [index // 10 for index in range(30)]
    differences = paired_bootstrap(rows, rows, lambda cells: single_label(*cells.T, 3), artists, resamples=100)
    assert differences["accuracy"].high == pytest.approx(1 - 0.025 ** (1 / 3)) and differences["accuracy"].groups == 3


def test_one_model_correct_where_the_other_is_wrong() -> None:
    truth = np.zeros(8, np.int64)
    right, wrong = np.stack([truth, truth], axis=1), np.stack([truth, truth + 1], axis=1)
    differences = paired_bootstrap(right, wrong, lambda cells: single_label(*cells.T, 2), resamples=100)
    accuracy = differences["accuracy"]
    assert (accuracy.difference, accuracy.high) == (1.0, 1.0)
    # If a share s of all tracks is like these, the difference is s - (1 - s) at least.
    assert accuracy.low == pytest.approx(2 * 0.025 ** (1 / 8) - 1)


def test_different_tracks_are_refused() -> None:
    with pytest.raises(ValueError, match="3 tracks of one model and 2 of the other"):
        paired_bootstrap(np.zeros(3), np.zeros(2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm(p: list[float]) -> None:
    """By definition: the largest of (m - rank) p over the p-values as small or smaller, at most one."""
    want = []
    ranked = sorted(range(len(p)), key=lambda index: p[index])
    for index in range(len(p)):
        upto = ranked[: ranked.index(index) + 1]
        want.append(min(1.0, max((len(p) - rank) * p[other] for rank, other in enumerate(upto))))
    assert adjust_holm(p) == pytest.approx(want)
    assert adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
