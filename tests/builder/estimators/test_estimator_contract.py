"""The contract of estimators, tested for all that are registered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Features

from builder.errors import BackendError, RecipeError
from builder.estimators.base import Estimator, EstimatorSettings, LabelSet, load_estimator, parse_estimators
from builder.estimators.measure import find_non_finite
from builder.estimators.sound import Sound
from builder.registry import ESTIMATORS

from ..embedders.tf_writer import random_musicnn, save
from .clap_checkpoint import clap_checkpoint

RATE = 32_000
LABELS = LabelSet(("funk", "rock"), ("calm",), ("piano", "bass"))


class FakePredictor:
    """The interface of the package `audiobox-aesthetics`, with levels as scores."""

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, float]]:
        assert all(clip["path"].ndim == 2 and clip["sample_rate"] == RATE for clip in batch)
        return [dict.fromkeys(("CE", "CU", "PC", "PQ"), 1 + float(clip["path"].abs().mean())) for clip in batch]


@pytest.fixture(scope="module", params=sorted(ESTIMATORS))
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstimatorSettings]:
    """Settings that load it, with small random weights where it needs some."""
    source = None
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "clap":
            source = str(clap_checkpoint(tmp_path_factory.mktemp("clap")))
        elif request.param == "copies":
            source = str(tmp_path_factory.mktemp("recordings"))
            soundfile.write(f"{source}/a.wav", clicks(6.0, 5), RATE)
        elif request.param == "tags":
            source = str(save(tmp_path_factory.mktemp("tags") / "a", random_musicnn("MSD_musicnn")))
        elif request.param == "aesthetics":
            module = ModuleType("audiobox_aesthetics.infer")
            module.initialize_predictor = lambda checkpoint: FakePredictor()  # type: ignore[attr-defined]
            patch.setitem(sys.modules, "audiobox_aesthetics", ModuleType("audiobox_aesthetics"))
            patch.setitem(sys.modules, "audiobox_aesthetics.infer", module)
            patch.setattr("builder.estimators.aesthetics.metadata.version", lambda package: "0.0.4")
        yield EstimatorSettings(request.param, source, device="cpu", labels=LABELS)


@pytest.fixture(scope="module")
def estimator(settings: EstimatorSettings) -> Estimator:
    return load_estimator(settings)


def clicks(seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """float32 [samples]: decaying chords, two a second, over a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220.0, 261.6, 329.6))
    sound = 0.2 * tones * np.exp(-6 * (t % 0.5)) + 0.001 * rng.standard_normal(len(t))
    return np.asarray(sound, np.float32)


def test_attributes(estimator: Estimator, settings: EstimatorSettings) -> None:
    assert estimator.name == settings.name
    assert estimator.revision and " " not in estimator.revision
    assert estimator.about.endswith(".") and len(estimator.about) < 400
    assert isinstance(estimator.light, bool)


def test_columns_are_features_that_hold_the_estimates(estimator: Estimator) -> None:
    features = Features(estimator.columns())
    (estimate,) = estimator.estimate([Sound(clicks(), "a", "a prompt")])
    assert set(estimate) == set(features) and "id" not in features
    assert find_non_finite(estimate) is None
    features.encode_example(estimate)


def test_estimates_do_not_depend_on_the_batch(estimator: Estimator) -> None:
    sounds = [Sound(clicks(3.5 + seed, seed), str(seed), f"prompt {seed}") for seed in range(3)]
    whole = estimator.estimate(sounds)
    for place in (0, 2):
        (alone,) = estimator.estimate([Sound(sounds[place].samples, "x", sounds[place].prompt)])
        assert_close(alone, whole[place])


def test_input_is_left_as_it_was(estimator: Estimator) -> None:
    samples = clicks()
    before = samples.copy()
    estimator.estimate([Sound(samples)])
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("kind", ["silence", "one sample", "short", "full scale", "no prompt"])
def test_odd_clips_have_finite_estimates_or_none(estimator: Estimator, kind: str) -> None:
    samples = {
        "silence": np.zeros(4 * RATE, np.float32),
        "one sample": np.full(1, 0.5, np.float32),
        "short": clicks(0.3),
        "full scale": np.where(np.arange(4 * RATE) % 100 < 50, 1.0, -1.0).astype(np.float32),
        "no prompt": clicks(),
    }[kind]
    (estimate,) = estimator.estimate([Sound(samples, "a", None if kind == "no prompt" else "a prompt")])
    assert set(estimate) == set(estimator.columns()) and find_non_finite(estimate) is None


def test_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(RecipeError, match=r"no estimator called 'tepmo' \(did you mean 'tempo'\?\)") as caught:
        parse_estimators(["tepmo"])
    assert "loudness_range" in (caught.value.fix or "")


def test_a_name_is_given_once() -> None:
    with pytest.raises(RecipeError, match="key is given twice"):
        parse_estimators(["key", "tempo", "key"])


def test_checkpoint_of_an_estimator_without_one_is_refused() -> None:
    with pytest.raises(RecipeError, match="tempo has no checkpoints"):
        load_estimator(EstimatorSettings.parse("tempo:large"))


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ESTIMATORS, "lost", "a_missing_package:Lost")
    with pytest.raises(BackendError, match=r"estimator 'lost' needs the package 'a_missing_package'"):
        load_estimator(EstimatorSettings("lost"))


def assert_close(one: object, other: object) -> None:
    """Equal but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key])
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)
    elif isinstance(one, list) and isinstance(other, list):
        for a, b in zip(one, other, strict=True):
            assert_close(a, b)
    else:
        assert one == other
