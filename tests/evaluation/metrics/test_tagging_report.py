"""The tagging metric equals scikit-learn, whatever tags are missing, and combines as `evaluate` modules do."""

from __future__ import annotations

import socket
from typing import Any

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evaluation.metrics import FOLDER, load_metric

REPORT = load_metric("tagging_report")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 5), st.floats(0, 1), st.floats(0.05, 1))
def test_equals_scikit_learn(seed: int, n: int, tags: int, threshold: float, density: float) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, tags)) < density).astype(int)
    truth[0, 0] = 1
    scores = rng.integers(0, 9, (n, tags)) / 8  # with ties
    names = [f"tag {index}" for index in range(tags)]
    got = REPORT.compute(predictions=scores, references=truth, labels=names, threshold=threshold)

    held = truth.any(axis=0)
    scored = truth[:, held], scores[:, held]
    assert got["map"] == pytest.approx(sk.average_precision_score(*scored, average="macro"), abs=1e-9)
    assert got["untested"] == [name for name, there in zip(names, held, strict=True) if not there]
    assert [row["label"] for row in got["per_tag"]] == [name for name, there in zip(names, held, strict=True) if there]
    assert got["tags"] == held.sum() and [row["support"] for row in got["per_tag"]] == scored[0].sum(axis=0).tolist()
    ranked = ~scored[0].all(axis=0)
    if ranked.any():
        area = sk.roc_auc_score(scored[0][:, ranked], scored[1][:, ranked], average="macro")
        assert got["macro_roc_auc"] == pytest.approx(area, abs=1e-9)
        assert got["micro_roc_auc"] == pytest.approx(sk.roc_auc_score(*scored, average="micro"), abs=1e-9)
    else:
        assert got["macro_roc_auc"] is None and got["micro_roc_auc"] is None
    predicted = scored[1] >= threshold
    columns = [
        sk.precision_recall_fscore_support(true, chosen, average="binary", zero_division=0)[:3]
        for true, chosen in zip(scored[0].T, predicted.T, strict=True)
    ]
    np.testing.assert_allclose(
        [[row[key] for key in ("precision", "recall", "f1")] for row in got["per_tag"]], columns
    )
    assert got["macro_f1"] == pytest.approx(np.mean([f1 for *_, f1 in columns]), abs=1e-9)
    micro = sk.f1_score(scored[0].ravel(), predicted.ravel(), zero_division=0)
    assert got["micro_f1"] == pytest.approx(micro, abs=1e-9)


def test_without_a_threshold_there_are_no_decisions() -> None:
    got = REPORT.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[[1, 0], [0, 1]])
    assert got["macro_f1"] is got["micro_f1"] is got["threshold"] is None
    assert "f1" not in got["per_tag"][0] and got["map"] == 1.0


@pytest.mark.parametrize(("n", "classes"), [(1, 1), (1, 4), (20, 4)])
def test_classes_are_scored_one_against_the_rest(n: int, classes: int) -> None:
    rng = np.random.default_rng(n)
    truth, scores = rng.integers(0, classes, n), rng.random((n, classes))
    by_class = REPORT.compute(predictions=scores, references=truth)
    assert by_class == REPORT.compute(predictions=scores, references=np.eye(classes, dtype=int)[truth])


def test_loads_by_path_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    module = evaluate.load(str(FOLDER / "tagging_report"))
    module.add_batch(predictions=[[0.9, 0.1], [0.8, 0.6]], references=[[1, 0], [1, 1]])
    module.add(prediction=[0.1, 0.2], reference=[0, 0])
    assert module.compute()["map"] == 1.0


def test_combine_with_genre_report() -> None:
    """Each module gets the same predictions, references and options: scores and class indices suit both."""
    modules = [load_metric("genre_report"), load_metric("tagging_report")]
    scores, truth = np.array([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]]), [0, 1, 1]
    got = evaluate.combine(modules).compute(predictions=scores, references=truth, labels=["funk", "rock"])
    assert got["accuracy"] == pytest.approx(2 / 3)
    assert got["map"] == pytest.approx(sk.average_precision_score(np.eye(2)[truth], scores))
    assert got["genre_report_macro_f1"] == pytest.approx(2 / 3) and got["tagging_report_macro_f1"] is None
    again = evaluate.combine(modules)
    again.add_batch(predictions=scores[:2], references=truth[:2])
    again.add(prediction=scores[2].tolist(), reference=truth[2])
    assert again.compute()["map"] == got["map"]
    with pytest.raises(TypeError, match="threshold"):  # an option goes to all, and one has no such option
        evaluate.combine(modules).compute(predictions=scores, references=truth, threshold=0.5)


def test_combine_with_itself_and_an_option() -> None:
    both = evaluate.combine({"first": REPORT, "second": load_metric("tagging_report")}, force_prefix=True)
    got = both.compute(predictions=[[0.9, 0.1], [0.8, 0.6]], references=[[1, 0], [0, 1]], threshold=0.5)
    assert got["first_map"] == got["second_map"] == 1.0 and got["second_macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_the_example_of_the_card() -> None:
    card = (FOLDER / "tagging_report/README.md").read_text(encoding="utf-8")
    shown = card.split("```text\n")[1].split("```")[0]
    scores = [[0.9, 0.2, 0.1], [0.6, 0.7, 0.1], [0.1, 0.4, 0.1]]
    truth = [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert repr(scores) in card and repr(truth) in card
    got = REPORT.compute(predictions=scores, references=truth, labels=["drums", "flute", "harp"], threshold=0.5)
    assert "".join(repr(got).split()) == "".join(shown.split())


@pytest.mark.parametrize(
    ("predictions", "references", "options", "says"),
    [
        ([], [], {}, "at least one"),
        ([[0.5], [0.5, 0.1]], [[1], [1]], {}, "rows of different lengths"),
        ([[0.5, 0.2]], [[1]], {}, "the shapes differ"),
        ([[0.5, 0.2]], [[2, 0]], {}, "other numbers than 0 and 1"),
        ([[0.5, 0.2]], [2], {}, r"classes \[2\] have no score"),
        ([[0.5, 0.2]], [[0, 0]], {}, "no item has any tag"),
        ([[0.5, 0.2]], [[0, 1]], {"labels": ["one"]}, "names 1 tags"),
        ([[float("nan"), 0.2]], [[0, 1]], {}, "not finite"),
    ],
)
def test_invalid_input(predictions: Any, references: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_metric("tagging_report").compute(predictions=predictions, references=references, **options)
