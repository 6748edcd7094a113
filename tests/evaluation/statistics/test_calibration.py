"""Calibration: by hand, by scikit-learn, and on a model that is as sure as it is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.calibration import calibration_curve

from evaluation.statistics.calibration import Confidences


def ece(claims: Confidences, edges: np.ndarray) -> float:
    return float(claims.judge("ece", edges)(np.ones((1, len(claims.confidence))))["ece"][0])


def test_by_hand() -> None:
    """Two bins: claims of 0.6 and 0.8 come true half the time, those of 0.3 always."""
    claims = Confidences(np.array([[0.6], [0.8], [0.3], [0.3]]), np.array([[True], [False], [True], [True]]))
    [low, high] = claims.reliability(claims.equal_width(2))
    assert (low.n, low.confidence, low.share) == (2, pytest.approx(0.3), 1.0)
    assert (high.n, high.confidence, high.share) == (2, pytest.approx(0.7), 0.5)
    assert ece(claims, claims.equal_width(2)) == pytest.approx((2 * 0.7 + 2 * 0.2) / 4)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 80), st.integers(1, 20), st.booleans())
def test_bins_are_scikit_learns(data: st.DataObject, n: int, bins: int, mass: bool) -> None:
    confidence = data.draw(hnp.arrays(np.float64, n, elements=st.floats(0, 1)))
    # scikit-learn puts what lies on an edge into the bin above, we into the one below.
    right = data.draw(hnp.arrays(bool, n))
    claims = Confidences(confidence[:, None], right[:, None])
    edges = claims.equal_mass(bins) if mass else claims.equal_width(bins)
    found = claims.reliability(edges)
    assert sum(one.n for one in found) == n
    assert all(one.low - 1e-12 <= one.confidence <= one.high + 1e-12 for one in found)
    assert ece(claims, edges) == pytest.approx(sum(one.n * abs(one.share - one.confidence) for one in found) / n)
    if not mass and not np.isin(confidence, edges).any():
        share, mean = calibration_curve(right, confidence, n_bins=bins)
        np.testing.assert_allclose([one.share for one in found], share, atol=1e-12)
        np.testing.assert_allclose([one.confidence for one in found], mean, atol=1e-12)


def test_equal_mass_bins_hold_as_many() -> None:
    claims = Confidences(np.random.default_rng(0).random((150, 1)) ** 3, np.zeros((150, 1), bool))
    assert {one.n for one in claims.reliability(claims.equal_mass(15))} == {10}


def test_a_model_that_knows_how_sure_to_be_has_little_error_and_one_that_does_not_has_much() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.4), 20_000)
    truth = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=3)
    honest = Confidences.from_top_class(truth, probabilities)
    assert ece(honest, honest.equal_width()) < 0.01
    boast = Confidences.from_top_class(truth, np.eye(4)[probabilities.argmax(axis=1)])
    assert ece(boast, boast.equal_width()) == pytest.approx(1 - np.mean(truth == probabilities.argmax(axis=1)))


def test_every_tag_is_a_claim() -> None:
    claims = Confidences.from_tags(np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.2], [0.7, 0.6]]))
    assert ece(claims, claims.equal_width(1)) == pytest.approx(abs(0.75 - 0.6))
    weighed = claims.judge("ece", claims.equal_width(1))(np.array([[0.0, 2.0]]))
    assert weighed["ece"][0] == pytest.approx(1 - 0.65)
