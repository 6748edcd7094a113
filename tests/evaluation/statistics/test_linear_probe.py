"""Linear probes: who learns from whom, and what a model is worth in real recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from builder.settings import EvaluationSettings
from evaluation.results.predictions import Predictions
from evaluation.results.scores import SINGLE, ProbeScores, Quantity, SeedScores
from evaluation.statistics import linear_probe, probe_scores
from evaluation.statistics.linear_probe import run_probes
from evaluation.statistics.probe_scores import compare_with_probes, describe_shots, estimate_worth, score_probes

LABELS = ("rock", "pop", "funk")
ARTISTS = (*(f"rock {i // 4}" for i in range(20)), *(f"pop {i // 2}" for i in range(20)), None, None, "f", "f")
TRUTH = np.repeat([0, 1, 2], [20, 20, 4])
QUICK = EvaluationSettings(bootstrap=100, seed=1)


def recordings(right: float = 1.0) -> tuple[np.ndarray, Predictions]:
    """Separable embeddings, and predictions of which a share is right."""
    rng = np.random.default_rng(0)
    x = 5 * np.eye(3)[TRUTH] + 0.1 * rng.standard_normal((len(TRUTH), 3))
    predicted = np.where(rng.random(len(TRUTH)) < right, TRUTH, (TRUTH + 1) % 3)
    ids = [str(number) for number in range(len(TRUTH))]
    return x, Predictions(SINGLE, LABELS, ids, TRUTH, np.eye(3)[predicted], artists=ARTISTS)


@pytest.mark.parametrize("shots", [1, 3, "all"])
def test_no_artist_is_in_both_parts_and_artists_take_turns(monkeypatch: pytest.MonkeyPatch, shots: Any) -> None:
    """The embedding is the row's number, so that a probe's data say which rows they are."""
    fits: list[np.ndarray] = []

    class Spy:
        def fit(self, x: np.ndarray, y: np.ndarray) -> Spy:
            fits.append(x[:, 0].astype(int))
            np.testing.assert_array_equal(y, TRUTH[fits[-1]])
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            tested.append(x[:, 0].astype(int))
            return np.full((len(x), len(np.unique(TRUTH[fits[-1]]))), 0.3)

    tested: list[np.ndarray] = []
    monkeypatch.setattr(linear_probe, "create_probe", lambda balanced: Spy())
    run = run_probes(np.arange(len(TRUTH))[:, None], recordings()[1], shots, draws=2)
    names = [artist or f"alone {number}" for number, artist in enumerate(ARTISTS)]
    assert len(fits) == 10 and len(run.predictions) == 2
    assert sorted(np.concatenate(tested[:5])) == list(range(len(TRUTH)))  # each once a draw
    for fit, test in zip(fits, tested, strict=True):
        assert not {names[row] for row in fit} & {names[row] for row in test}
        if shots == "all":
            assert len(fit) + len(test) == len(TRUTH)
            continue
        for label in (0, 1):
            mine = [names[row] for row in fit if TRUTH[row] == label]
            assert len(mine) == shots == len(set(mine))  # there are more artists than that
    assert run.rows == np.mean([len(fit) for fit in fits])
    assert set(run.fewer) == ({"funk"} if shots == 3 else set())
    assert fits[0].tolist() != fits[5].tolist()
    first, *_ = fits.copy()
    run_probes(np.arange(len(TRUTH))[:, None], recordings()[1], shots, draws=1)
    assert fits[10].tolist() == first.tolist()  # by the seed alone


def test_scores_and_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_scores, "DRAWS", 3)
    x, model = recordings(right=0.5)
    found = score_probes(x, model, ["all", 2, 2], "genre", QUICK)
    assert not isinstance(found, str)
    probes, runs = found
    assert [point.shots for point in probes.points] == [2, "all"]
    assert (
        probes.points[0].scores["accuracy"].mean.value == 1.0 and len(probes.points[0].scores["accuracy"].seeds) == 3
    )
    assert probes.worth is not None and probes.worth.describe() == "fewer than 2.0"
    tested = compare_with_probes(model, runs[:1], "genre", QUICK, "folder:x")
    assert {one.against for one in tested} == {"linear probe, 2 real tracks of each label"}
    accuracy = next(one for one in tested if one.metric == "accuracy")
    assert accuracy.other == 1.0 and accuracy.value < 0.7 and accuracy.difference.high < 0 and accuracy.p < 0.05  # type: ignore[operator]
    assert describe_shots("all") == "linear probe, all real tracks"


def test_a_label_of_one_artist_alone() -> None:
    """Where its artist is tested there is nothing to learn it from."""
    truth = np.repeat([0, 1], [6, 3])
    ids, artists = [str(i) for i in range(9)], ["a", "b", "c", "d", "e", "f", "g", "g", "g"]
    model = Predictions(SINGLE, LABELS[:2], ids, truth, np.eye(2)[truth], artists=artists)
    (drawn,) = run_probes(5.0 * np.eye(2)[truth], model, "all", draws=1).predictions
    assert drawn.predicted[6:].tolist() == [0, 0, 0] and drawn.predicted[:6].tolist() == [0] * 6
    assert score_probes(np.eye(2)[truth], model.take(range(6)), [8], "genre", QUICK) == (
        "no linear probe: the tracks have only one label"
    )
    assert score_probes(np.eye(2)[truth], model.take([0, 6]), [8], "genre", QUICK) == (
        "no linear probe: the tracks cannot be divided by artist"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "about 2.8"), (0.2, "about 1.0"), (0.1, "fewer than 1.0"), (0.7, "more than 4.0"), (0.6, "about 4.0")],
)
def test_worth(value: float, expected: str) -> None:
    scores = [Quantity(value=one, low=None, high=None, n=9) for one in (0.2, 0.4, 0.6)]
    points = [
        ProbeScores(shots=1, rows=1, fewer={}, scores={"balanced_accuracy": SeedScores(mean=one, seeds=[])})
        for one in scores
    ]
    assert estimate_worth([1, 2, 4], points, value).describe() == expected
