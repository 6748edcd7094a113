from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

from training.data.features import Features, Split
from training.models.classifier import MULTI, REGRESSION, SINGLE
from training.optim.objectives import Objective, best_threshold, multi_scores, number_scores, objective, single_scores


def features(labels: torch.Tensor, problem: str, names: tuple[str, ...]) -> Features:
    split = Split(tuple(map(str, range(len(labels)))), torch.zeros(len(labels), 1), labels)
    return Features("task", "melstats", names, split, split, {}, problem)


@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 999))
def test_single_scores_match_sklearn(labels: int, n: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits, truth = torch.randn(n, labels, generator=draw), torch.randint(labels, (n,), generator=draw)
    metrics, predicted = single_scores(logits, truth), logits.argmax(1)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert metrics["macro_f1"] == pytest.approx(
        f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    )


@settings(deadline=None)
@given(st.integers(2, 4), st.integers(2, 12), st.integers(0, 999), st.booleans())
def test_the_threshold_is_the_best_of_all(labels: int, n: int, seed: int, coarse: bool) -> None:
    """Every threshold between two probabilities is tried with scikit-learn; coarse probabilities have ties."""
    rng = np.random.default_rng(seed)
    probabilities = rng.random((n, labels))
    probabilities = probabilities.round(1) if coarse else probabilities
    truth = rng.random((n, labels)) < 0.4
    truth[0] = True
    threshold, reached = best_threshold(probabilities, truth)
    tried = [f1_score(truth, probabilities >= t, average="macro", zero_division=0) for t in np.unique(probabilities)]
    assert reached == pytest.approx(max(tried))
    assert f1_score(truth, probabilities >= threshold, average="macro", zero_division=0) == pytest.approx(reached)


def test_multi_scores_leave_out_labels_that_no_row_has() -> None:
    draw = torch.Generator().manual_seed(1)
    logits, truth = torch.randn(40, 4, generator=draw), (torch.rand(40, 4, generator=draw) < 0.3).float()
    truth[:, 2] = 0
    present = [0, 1, 3]
    metrics = multi_scores(logits, truth)
    expected = average_precision_score(truth[:, present], logits[:, present].sigmoid(), average="macro")
    assert metrics["map"] == pytest.approx(expected)
    named = (logits.double().sigmoid() >= metrics["threshold"])[:, present]
    assert metrics["macro_f1"] == pytest.approx(f1_score(truth[:, present], named, average="macro"))


def test_number_scores_by_hand() -> None:
    metrics = number_scores(
        torch.tensor([[100.0], [104.0], [104.1], [50.0]]), torch.tensor([100.0, 100.0, 100.0, 100.0])
    )
    assert metrics["mae"] == pytest.approx((0 + 4 + 4.1 + 50) / 4, rel=1e-6)
    assert metrics["within_4_percent"] == 0.5


def test_single_label_loss_matches_torch() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    goal = objective(features(labels, SINGLE, ("a", "b", "c")), balanced=True)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    weights = goal.weights(labels)
    loss = (goal.losses(logits, labels) * weights).sum() / weights.sum()
    torch.testing.assert_close(loss, torch.nn.CrossEntropyLoss(weight=goal.balance)(logits, labels))


def test_multi_label_loss_matches_sklearn_with_balanced_weights() -> None:
    """pos_weight p: a row with the label counts p times, as p copies of the row would."""
    labels = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    goal = objective(features(labels, MULTI, ("a",)), balanced=True)
    assert goal.balance is not None and goal.balance.tolist() == [3.0]
    logits = torch.tensor([[0.3], [-1.0], [0.2], [2.0]])
    p = logits[:, 0].double().sigmoid().numpy()
    repeated = log_loss([1, 1, 1, 0, 0, 0], [p[0]] * 3 + list(p[1:]), labels=[0, 1]) * 6 / 4
    assert float(goal.losses(logits, labels).mean()) == pytest.approx(repeated, rel=1e-6)
    plain = objective(features(labels, MULTI, ("a",)), balanced=False)
    assert float(plain.losses(logits, labels).mean()) == pytest.approx(log_loss([1, 0, 0, 0], p), rel=1e-6)


def test_the_loss_of_a_number_is_in_standard_deviations() -> None:
    labels = torch.tensor([90.0, 120.0, 150.0])
    goal = objective(features(labels, REGRESSION, ("tempo_bpm",)), balanced=True)
    assert goal.scale == pytest.approx(np.std([90, 120, 150]))
    assert float(goal.losses(labels.mean() * torch.ones(3, 1), labels).mean()) == pytest.approx(1.0)


@pytest.mark.parametrize("problem", [SINGLE, MULTI, REGRESSION])
def test_rows_have_weights_of_their_own(problem: str) -> None:
    labels = {SINGLE: torch.tensor([0, 1]), MULTI: torch.ones(2, 2), REGRESSION: torch.ones(2)}[problem]
    goal = Objective(problem, torch.tensor([2.0, 3.0]) if problem != REGRESSION else None)
    assert goal.weights(labels, torch.tensor([0.5, 0.0])).tolist() == ([1.0, 0.0] if problem == SINGLE else [0.5, 0.0])
