"""The tempo metric equals mir_eval and the formulas, and loads and combines as `evaluate` modules do."""

from __future__ import annotations

import socket
from typing import Any

import evaluate
import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error

from evaluation.metrics import FOLDER, load_metric

REPORT = load_metric("tempo_report")
FACTORS = (1, 2, 1 / 2, 3, 1 / 3)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[float, float]:
    """A true tempo, and an estimate that is often near it or a multiple."""
    truth = draw(st.floats(30, 300))
    near = truth * draw(st.sampled_from(FACTORS)) * draw(st.floats(0.93, 1.07))
    return truth, draw(st.one_of(st.just(near), st.floats(0, 400)))


@settings(max_examples=80, deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=40))
def test_equals_mir_eval(rows: list[tuple[float, float]]) -> None:
    """`mir_eval.tempo.detection` with one reference tempo, all the weight on it, and a tolerance of 4 %."""
    truth, estimate = (np.array(column) for column in zip(*rows, strict=True))
    got = REPORT.compute(predictions=estimate, references=truth)

    def hit(true: float, estimated: float) -> float:
        if min(abs(abs(estimated - true) / true - 0.04), 1) < 1e-9:
            return float(abs(estimated - true) <= 0.04 * true)  # mir_eval divides, which rounds differently
        return float(
            mir_eval.tempo.detection(np.array([true, 0.0]), 1.0, np.array([estimated, estimated]), tol=0.04)[0]
        )

    one = [hit(true, estimated) for true, estimated in rows]
    two = [max(hit(factor * true, estimated) for factor in FACTORS) for true, estimated in rows]
    assert got["accuracy_1"] == pytest.approx(np.mean(one), abs=1e-9)
    assert got["accuracy_2"] == pytest.approx(np.mean(two), abs=1e-9)
    assert got["mae"] == pytest.approx(mean_absolute_error(truth, estimate), abs=1e-9)
    octaves = [abs(np.log2(max(estimated, 1.0)) - np.log2(true)) for true, estimated in rows]
    assert got["octave_error"] == pytest.approx(np.mean(octaves), abs=1e-9)
    assert sum(got["octaves"].values()) == got["n"] == len(rows)
    assert got["octaves"]["right"] == sum(one) and got["n"] - got["octaves"]["other"] == sum(two)


def test_the_tolerance_is_an_option() -> None:
    got = REPORT.compute(predictions=[110.0], references=[100.0], tolerance=0.1)
    assert got["accuracy_1"] == 1.0
    assert REPORT.compute(predictions=[110.0], references=[100.0], tolerance=0.09)["accuracy_1"] == 0.0


def test_loads_by_path_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    module = evaluate.load(str(FOLDER / "tempo_report"))
    module.add_batch(predictions=[120, 60.5], references=[120, 121])
    module.add(prediction=90.0, reference=120.0)
    assert module.compute()["accuracy_2"] == pytest.approx(2 / 3)


def test_takes_part_in_combine() -> None:
    both = evaluate.combine({"ours": REPORT, "again": load_metric("tempo_report")}, force_prefix=True)
    got = both.compute(predictions=[120.0, 60.0], references=[120.0, 120.0], tolerance=0.02)
    assert got["ours_accuracy_1"] == got["again_accuracy_1"] == 0.5


def test_the_cards_example_is_what_comes_out() -> None:
    card = (FOLDER / "tempo_report/README.md").read_text(encoding="utf-8")
    shown = card.split("```text\n")[1].split("```")[0]
    got = REPORT.compute(predictions=[120.0, 60.0, 100.0, 180.0], references=[120.0, 120.0, 125.0, 60.0])
    assert "".join(repr(got).split()) == "".join(shown.split())


@pytest.mark.parametrize(
    ("predictions", "references", "options", "says"),
    [
        ([], [], {}, "at least one"),
        ([120.0], [0.0], {}, "not above 0"),
        ([120.0], [float("nan")], {}, "not above 0"),
        ([float("inf")], [120.0], {}, "not finite"),
        ([120.0], [120.0], {"tolerance": 4}, "share of the true tempo"),
    ],
)
def test_bad_input(predictions: Any, references: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_metric("tempo_report").compute(predictions=predictions, references=references, **options)
