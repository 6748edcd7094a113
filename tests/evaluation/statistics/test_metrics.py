"""Weighted metrics equal scikit-learn's over tracks that are repeated as often as their weight says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from evaluation.statistics.metrics import count_octaves, multi_label, number, single_label, tempo

SIZES = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 5), SIZES)
def test_single_label(data: st.DataObject, classes: int, n: int) -> None:
    truth, predicted = (data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1))) for _ in range(2))
    weights = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)).filter(np.any))
    got = single_label(truth, predicted, classes)(weights[None].astype(float))
    t, p = np.repeat(truth, weights), np.repeat(predicted, weights)
    want = sk.precision_recall_fscore_support(t, p, labels=range(classes), zero_division=np.nan)
    for name, column in zip(("precision", "recall", "f1"), want, strict=False):
        np.testing.assert_allclose(got[name][0], column, atol=1e-12)
    held = np.unique(t)
    assert got["accuracy"][0] == pytest.approx(sk.accuracy_score(t, p), abs=1e-12)
    assert got["macro_f1"][0] == pytest.approx(sk.f1_score(t, p, labels=held, average="macro"), abs=1e-12)
    assert got["balanced_accuracy"][0] == pytest.approx(np.mean(want[1][held]), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), SIZES, st.floats(0, 1))
def test_multi_label(seed: int, tags: int, n: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = rng.random((n, tags)) < density, rng.integers(0, 10, (n, tags)) / 9  # with ties
    weights = rng.integers(0, 4, n)
    weights[0] += 1
    got = multi_label(truth, scores, scores >= 0.5)(weights[None].astype(float))
    t, s = np.repeat(truth, weights, axis=0), np.repeat(scores, weights, axis=0)
    held = truth.any(axis=0)
    precision, area = [], []
    for tag in range(tags):
        if t[:, tag].any():
            precision.append(sk.average_precision_score(t[:, tag], s[:, tag]))
            assert got["average_precision"][0, tag] == pytest.approx(precision[-1], abs=1e-9)
        else:
            assert np.isnan(got["average_precision"][0, tag])
        if t[:, tag].any() and not t[:, tag].all():
            area.append(sk.roc_auc_score(t[:, tag], s[:, tag]))
            assert got["roc_auc"][0, tag] == pytest.approx(area[-1], abs=1e-9)
        else:
            assert np.isnan(got["roc_auc"][0, tag])
    for name, values in (("map", precision), ("macro_roc_auc", area)):
        assert got[name][0] == pytest.approx(np.mean(values) if values else np.nan, abs=1e-9, nan_ok=True)
    flat = t[:, held].ravel()
    if flat.any() and not flat.all():
        assert got["micro_roc_auc"][0] == pytest.approx(sk.roc_auc_score(flat, s[:, held].ravel()), abs=1e-9)
        micro = sk.f1_score(flat, s[:, held].ravel() >= 0.5, zero_division=0)
        assert got["micro_f1"][0] == pytest.approx(micro, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(30, 300), st.floats(0, 400), st.integers(1, 3)), min_size=1, max_size=40))
def test_tempo(rows: list[tuple[float, float, int]]) -> None:
    truth, estimate, weights = (np.array(column) for column in zip(*rows, strict=True))
    got = tempo(truth, estimate)(weights[None].astype(float))
    one, two, errors, octaves = [], [], [], []
    for true, estimated, weight in rows:
        hits = [abs(estimated - k * true) <= 0.04 * k * true for k in (1, 2, 1 / 2, 3, 1 / 3)]
        one += [hits[0]] * weight
        two += [any(hits)] * weight
        errors += [abs(estimated - true)] * weight
        octaves += [abs(np.log2(max(estimated, 1.0) / true))] * weight
    for name, values in (("accuracy_1", one), ("accuracy_2", two), ("mae", errors), ("octave_error", octaves)):
        assert got[name][0] == pytest.approx(np.mean(values), abs=1e-9)
    assert number(truth, estimate)(weights[None].astype(float))["mae"][0] == pytest.approx(np.mean(errors), abs=1e-9)


def test_octaves_are_counted_once_each() -> None:
    truth = np.full(7, 120.0)
    estimate = np.array([123.0, 240.0, 60.0, 360.0, 40.0, 90.0, -3.0])
    assert count_octaves(truth, estimate) == {"right": 1, "double": 1, "half": 1, "triple": 1, "third": 1, "other": 2}


def test_many_weightings_at_once_equal_one_at_a_time() -> None:
    rng = np.random.default_rng(0)
    metrics = multi_label(rng.random((30, 3)) < 0.4, rng.random((30, 3)), rng.random((30, 3)) < 0.5)
    weights = rng.integers(0, 3, (6, 30)).astype(float)
    together, alone = metrics(weights), [metrics(row[None]) for row in weights]
    for name, values in together.items():
        np.testing.assert_allclose(values, np.concatenate([one[name] for one in alone]), atol=1e-12)
