"""Two models on the same tracks: differences, their intervals, p-values that keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.statistics.metrics import single_label
from evaluation.statistics.paired import holm, paired_bootstrap


def test_the_p_value_is_mcnemars_exact_test() -> None:
    """Only tracks on which the models differ count, and each is a fair coin under the null."""
    a, b = np.repeat([1, 1, 0, 0], [60, 14, 4, 22]), np.repeat([1, 0, 1, 0], [60, 14, 4, 22])
    found = paired_bootstrap(a, b, resamples=20_000)["mean"]
    assert found.p == pytest.approx(stats.binomtest(14, 18).pvalue, abs=0.005)
    assert (found.a, found.b, found.difference) == pytest.approx((0.74, 0.64, 0.1))
    assert found.low > 0 and found.high < 0.2 and (found.n, found.groups) == (100, 100)


def test_pairing_sees_what_two_intervals_do_not() -> None:
    """Errors that both make cancel out: the interval is that of the differences alone."""
    rng = np.random.default_rng(0)
    b = rng.normal(0, 10, 80)
    a = b + rng.normal(0.5, 1, 80)
    found = paired_bootstrap(a, b, resamples=4000, method="percentile")["mean"]
    width = 2 * 1.96 * np.std(a - b) / np.sqrt(80)
    assert found.high - found.low == pytest.approx(width, rel=0.05)
    assert found.p < 0.01


def test_under_the_null_one_in_twenty_is_under_five_per_cent() -> None:
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
    true = 0.8 - 0.2 * (below[0] - below[1])  # the second model's errors, averaged over how hard a track is
    held = 0
    for seed in range(1000):
        hard = rng.random(120)
        a, b = (hard < 0.8).astype(float), (hard + rng.normal(0, 0.2, 120) < 0.7).astype(float)
        found = paired_bootstrap(a, b, resamples=300, seed=seed)["mean"]
        held += found.low <= true <= found.high
    assert 0.93 <= held / 1000 <= 0.97


def test_other_figures_and_artists() -> None:
    truth = np.arange(90) % 3
    good, bad = truth.copy(), truth.copy()
    good[:9], bad[:40] = 0, 0
    artists = [f"artist {index // 3}" for index in range(90)]
    found = paired_bootstrap(
        *(np.stack([truth, predicted], axis=1) for predicted in (good, bad)),
        figure=lambda rows: single_label(*rows.T, 3),
        groups=artists,
    )
    assert set(found) == {"accuracy", "macro_f1", "balanced_accuracy"}
    assert found["macro_f1"].difference > 0.1 and found["macro_f1"].p < 0.01
    assert found["accuracy"].a == np.mean(good == truth) and found["accuracy"].groups == 30


def test_a_model_does_not_differ_from_itself() -> None:
    a = np.random.default_rng(0).random(30)
    found = paired_bootstrap(a, a)["mean"]
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_models_that_answer_alike_may_still_differ() -> None:
    """Alike on 30 tracks: they differ on less than 1 - 0.025 ** (1 / 30) of all, so in accuracy by no more."""
    truth = np.arange(30) % 3
    rows = np.stack([truth, np.where(np.arange(30) < 6, 0, truth)], axis=1)
    reach = 1 - 0.025 ** (1 / 30)
    found = paired_bootstrap(rows, rows, figure=lambda cells: single_label(*cells.T, 3), resamples=100)
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert (found[name].difference, found[name].p, found[name].n) == (0.0, 1.0, 30)
        assert (found[name].low, found[name].high) == pytest.approx((-reach, reach))
    artists = [index // 10 for index in range(30)]
    found = paired_bootstrap(rows, rows, lambda cells: single_label(*cells.T, 3), artists, resamples=100)
    assert found["accuracy"].high == pytest.approx(1 - 0.025 ** (1 / 3)) and found["accuracy"].groups == 3


def test_one_model_right_on_all_that_the_other_has_wrong() -> None:
    truth = np.zeros(8, np.int64)
    right, wrong = np.stack([truth, truth], axis=1), np.stack([truth, truth + 1], axis=1)
    found = paired_bootstrap(right, wrong, figure=lambda cells: single_label(*cells.T, 2), resamples=100)["accuracy"]
    assert (found.difference, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(
        2 * 0.025 ** (1 / 8) - 1
    )  # the share s of such tracks gives at least s - (1 - s)


def test_other_tracks_are_refused() -> None:
    with pytest.raises(ValueError, match="3 tracks of one model and 2 of the other"):
        paired_bootstrap(np.zeros(3), np.zeros(2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm(p: list[float]) -> None:
    """By its definition: the largest of (m - rank) p over those as small or smaller, at most one."""
    want = []
    ranked = sorted(range(len(p)), key=lambda index: p[index])
    for index in range(len(p)):
        upto = ranked[: ranked.index(index) + 1]
        want.append(min(1.0, max((len(p) - rank) * p[other] for rank, other in enumerate(upto))))
    assert holm(p) == pytest.approx(want)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
