"""Calibration errors against hand-computed values, scikit-learn, and a perfectly calibrated model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.calibration import calibration_curve

from evaluation.statistics.calibration import Confidences


def ece(predictions: Confidences, edges: np.ndarray) -> float:
    return float(predictions.calibration_error("ece", edges)(np.ones((1, len(predictions.confidence))))["ece"][0])


def test_two_bins_by_hand() -> None:
    """Predictions of confidence 0.6 and 0.8 are correct half the time, those of 0.3 always."""
    predictions = Confidences(np.array([[0.6], [0.8], [0.3], [0.3]]), np.array([[True], [False], [True], [True]]))
    [low, high] = predictions.reliability_bins(predictions.equal_width(2))
    assert (low.n, low.confidence, low.share) == (2, pytest.approx(0.3), 1.0)
    assert (high.n, high.confidence, high.share) == (2, pytest.approx(0.7), 0.5)
    assert ece(predictions, predictions.equal_width(2)) == pytest.approx((2 * 0.7 + 2 * 0.2) / 4)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 80), st.integers(1, 20), st.booleans())
def test_bins_equal_scikit_learns(data: st.DataObject, n: int, bins: int, mass: bool) -> None:
    confidence = data.draw(hnp.arrays(np.float64, n, elements=st.floats(0, 1)))
    # scikit-learn puts a value on an edge into the bin above, synthmir into the one below.
    correct = data.draw(hnp.arrays(bool, n))
    predictions = Confidences(confidence[:, None], correct[:, None])
    edges = predictions.equal_mass(bins) if mass else predictions.equal_width(bins)
    reliability = predictions.reliability_bins(edges)
    assert sum(one.n for one in reliability) == n
    assert all(one.low - 1e-12 <= one.confidence <= one.high + 1e-12 for one in reliability)
    assert ece(predictions, edges) == pytest.approx(
        sum(one.n * abs(one.share - one.confidence) for one in reliability) / n
    )
    if not mass and not np.isin(confidence, edges).any():
        share, mean = calibration_curve(correct, confidence, n_bins=bins)
        np.testing.assert_allclose([one.share for one in reliability], share, atol=1e-12)
        np.testing.assert_allclose([one.confidence for one in reliability], mean, atol=1e-12)


def test_equal_mass_bins_hold_equally_many() -> None:
    predictions = Confidences(np.random.default_rng(0).random((150, 1)) ** 3, np.zeros((150, 1), bool))
    assert {one.n for one in predictions.reliability_bins(predictions.equal_mass(15))} == {10}


def test_a_calibrated_model_has_little_error_and_an_overconfident_one_has_much() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.4), 20_000)
    truth = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=3)
    calibrated = Confidences.from_top_class(truth, probabilities)
    assert ece(calibrated, calibrated.equal_width()) < 0.01
    overconfident = Confidences.from_top_class(truth, np.eye(4)[probabilities.argmax(axis=1)])
    assert ece(overconfident, overconfident.equal_width()) == pytest.approx(
        1 - np.mean(truth == probabilities.argmax(axis=1))
    )


def test_every_tag_is_a_prediction() -> None:
    predictions = Confidences.from_tags(np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.2], [0.7, 0.6]]))
    assert ece(predictions, predictions.equal_width(1)) == pytest.approx(abs(0.75 - 0.6))
    weighted = predictions.calibration_error("ece", predictions.equal_width(1))(np.array([[0.0, 2.0]]))
    assert weighted["ece"][0] == pytest.approx(1 - 0.65)
