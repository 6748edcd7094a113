"""The `evaluate` modules are single files for the Hub. They give the same scores as `training.metrics`."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics import load_metric
from evaluation.statistics.metrics import count_octaves
from training.metrics import compute, multi_label_metrics, single_label_metrics, tempo_metrics


@pytest.mark.parametrize("seed", range(3))
def test_genre_report(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 4, 30), rng.integers(0, 6, 30)  # two classes are predicted and never true
    expected = compute(single_label_metrics(truth, predicted, 6), 30)
    report = load_metric("genre_report").compute(
        predictions=predicted, references=truth, labels=list("abcdef"), zero_division=np.nan
    )
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert report[name] == pytest.approx(expected[name], abs=1e-12)
    for name in ("precision", "recall", "f1"):
        np.testing.assert_allclose([row[name] for row in report["per_class"]], expected[name], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_tagging_report(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = rng.random((30, 4)) < (0.3, 0.5, 0.0, 0.1), rng.integers(0, 10, (30, 4)) / 9  # with ties
    expected = compute(multi_label_metrics(truth, scores, scores >= 0.5), 30)
    report = load_metric("tagging_report").compute(predictions=scores, references=truth.astype(int), threshold=0.5)
    for name in ("map", "macro_roc_auc", "micro_roc_auc", "macro_f1", "micro_f1"):
        assert report[name] == pytest.approx(expected[name], abs=1e-12)
    for row in report["per_tag"]:
        for name in ("average_precision", "roc_auc", "recall", "f1"):
            assert row[name] == pytest.approx(expected[name][int(row["label"])], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_tempo_report(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(40, 240, 50)
    estimate = truth * rng.choice([1, 2, 0.5, 3, 1 / 3, 1.3], 50) * rng.uniform(0.95, 1.05, 50)
    expected = compute(tempo_metrics(truth, estimate), 50)
    report = load_metric("tempo_report").compute(predictions=estimate, references=truth)
    for name, value in expected.items():
        assert report[name] == pytest.approx(value, abs=1e-12)
    assert report["octaves"] == count_octaves(truth, estimate)
