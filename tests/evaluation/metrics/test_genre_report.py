"""The metric equals scikit-learn, whatever classes are missing."""

from __future__ import annotations

import math
import socket

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from builder.errors import BackendError
from evaluation.metrics import FOLDER, load_metric

REPORT = load_metric("genre_report")
PAIRS = st.integers(2, 7).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=60),
    )
)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.sampled_from([0.0, 1.0, math.nan]))
def test_equals_scikit_learn(case: tuple[int, list[tuple[int, int]]], zero_division: float) -> None:
    k, pairs = case
    predicted, truth = (np.array(column) for column in zip(*pairs, strict=True))
    names = [f"genre {index}" for index in range(k)]
    got = REPORT.compute(predictions=predicted, references=truth, labels=names, zero_division=zero_division)

    want = sk.precision_recall_fscore_support(truth, predicted, labels=range(k), zero_division=zero_division)
    for key, column in zip(("precision", "recall", "f1", "support"), want, strict=True):
        np.testing.assert_allclose([row[key] for row in got["per_class"]], column, atol=1e-12, rtol=0)
    assert [row["label"] for row in got["per_class"]] == got["labels"] == names
    assert got["confusion_matrix"] == sk.confusion_matrix(truth, predicted, labels=range(k)).tolist()
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-12)
    held = np.unique(truth)
    macro = sk.f1_score(truth, predicted, labels=held, average="macro")
    balanced = sk.recall_score(truth, predicted, labels=held, average="macro")  # balanced_accuracy_score, unwarned
    assert got["macro_f1"] == pytest.approx(macro, abs=1e-12)
    assert got["balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)


def test_equals_scikit_learns_defaults_where_every_class_is_held() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = np.arange(200) % 5, rng.integers(0, 5, 200)
    got = REPORT.compute(predictions=predicted, references=truth)
    assert got["macro_f1"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"), abs=1e-12)
    assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted), abs=1e-12)
    assert got["labels"] == ["0", "1", "2", "3", "4"]


def test_a_class_that_the_references_lack_does_not_enter_the_means() -> None:
    got = REPORT.compute(predictions=[0, 1, 3], references=[0, 1, 1], labels=list("abcd"))
    assert got["per_class"][3] == {"label": "d", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert got["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert got["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)


def test_the_highest_score_is_the_prediction() -> None:
    scores = [[0.1, 0.9], [0.5, 0.5], [0.7, 0.3]]
    assert REPORT.compute(predictions=scores, references=[1, 1, 0]) == REPORT.compute(
        predictions=[1, 0, 0], references=[1, 1, 0]
    )
    with pytest.raises(ValueError, match="rows of different lengths"):
        REPORT.compute(predictions=[[0.1, 0.9], [0.5]], references=[1, 0])


def test_loads_by_path_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    module = evaluate.load(str(FOLDER / "genre_report"))
    module.add_batch(predictions=[0, 1], references=[0, 1])
    module.add(prediction=1, reference=0)
    assert module.compute()["accuracy"] == pytest.approx(2 / 3)


def test_takes_part_in_combine() -> None:
    both = evaluate.combine({"first": REPORT, "second": load_metric("genre_report")}, force_prefix=True)
    got = both.compute(predictions=[0, 1, 1], references=[0, 1, 0])
    assert got["first_accuracy"] == got["second_accuracy"] == pytest.approx(2 / 3)


def test_the_cards_example_is_what_comes_out() -> None:
    card = (FOLDER / "genre_report/README.md").read_text(encoding="utf-8")
    shown = card.split("```text\n")[1].split("```")[0]
    got = REPORT.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0], labels=["funk", "rock"])
    assert "".join(repr(got).split()) == "".join(shown.split())


@pytest.mark.parametrize(
    ("predictions", "references", "labels", "says"),
    [([], [], None, "at least one"), ([2], [0], ["a", "b"], r"\[2\]"), ([0], [-1], ["a"], r"\[-1\]")],
)
def test_bad_input(predictions: list[int], references: list[int], labels: list[str] | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_metric("genre_report").compute(predictions=predictions, references=references, labels=labels)


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(BackendError, match="genre_report"):
        load_metric("genre_raport")
