"""Metrics by classifiers: the two-sample test, prompt adherence, similarity of prompts and clips by CLAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from builder.audio import encode_flac
from builder.errors import BackendError
from builder.estimators.clap_model import ClapEncoder
from evaluation.fidelity import adherence
from evaluation.fidelity.clap import compute_cosines
from evaluation.fidelity.intervals import mean_with_interval
from evaluation.fidelity.two_sample import assign_folds, design_effect, two_sample_test

from ...builder.estimators.clap_checkpoint import clap_checkpoint
from ..conftest import sound


def single_groups(n: int, prefix: str = "") -> list[str]:
    """A group for each row."""
    return [f"{prefix}{i}" for i in range(n)]


def test_the_accuracy_between_two_normals_is_bayes_optimal() -> None:
    """The optimal accuracy for means `gap` apart is Phi(gap / 2), which a linear classifier reaches."""
    rng = np.random.default_rng(0)
    for gap in (1.0, 3.0):
        x, y = rng.normal(size=(1_500, 4)), rng.normal(size=(1_500, 4)) + gap * np.eye(4)[0]
        result = two_sample_test(x, y, single_groups(1_500), single_groups(1_500))
        assert result is not None and result.n == 3_000
        best = norm.cdf(gap / 2)
        assert result.accuracy == pytest.approx(best, abs=0.03) and result.low < best < result.high
        assert result.auc == pytest.approx(norm.cdf(gap / np.sqrt(2)), abs=0.03)
        assert result.p_value < 1e-6


def test_the_two_sample_tests_false_positive_rate() -> None:
    """Of 60 tests at 5 %, more than 7 are false positives with a probability of one in a hundred."""
    false = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        result = two_sample_test(
            rng.normal(size=(60, 30)), rng.normal(size=(60, 30)), single_groups(60), single_groups(60), seed
        )
        assert result is not None and result.low <= result.accuracy <= result.high
        false += result.p_value < 0.05
    assert false <= 7


def test_groups_are_kept_in_one_fold() -> None:
    """Ten nearly equal clips in each group: across folds they would be recognised."""
    groups = [f"g{i // 10}" for i in range(300)]
    fold = assign_folds(groups, 5, 0)
    assert all(len(set(fold[i : i + 10])) == 1 for i in range(0, 300, 10))
    assert np.bincount(fold).tolist() == [60] * 5
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(30, 40)), 10, axis=0) + 1e-3 * rng.normal(size=(300, 40))
    y = np.repeat(rng.normal(size=(30, 40)), 10, axis=0) + 1e-3 * rng.normal(size=(300, 40))
    grouped, ungrouped = (
        two_sample_test(x, y, groups, groups),
        two_sample_test(x, y, single_groups(300), single_groups(300)),
    )
    assert grouped is not None and ungrouped is not None
    assert ungrouped.accuracy > 0.8 and grouped.accuracy < 0.75 and grouped.p_value > 0.001
    assert two_sample_test(x, y, ["one"] * 300, groups) is None
    with pytest.raises(ValueError, match="equally many rows"):
        two_sample_test(x, y[1:], groups, groups[1:])


def test_the_design_effect_of_groups_that_agree_is_their_size() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random(200) < 0.7
    assert design_effect(correct, single_groups(200)) == pytest.approx(1)
    assert design_effect(np.repeat(correct, 5), [f"g{i // 5}" for i in range(1_000)]) == pytest.approx(5)
    assert design_effect(np.ones(4, bool), single_groups(4)) == 1
    assert design_effect(np.ones(40, bool), [f"g{i // 10}" for i in range(40)]) == 10


def test_the_interval_of_a_mean_of_equal_values() -> None:
    assert (mean_with_interval([2.0, 2.0, 2.0]).low, mean_with_interval([2.0, 2.0, 2.0]).high) == (None, None)
    result, q = mean_with_interval([0.5] * 4, limits=(-1.0, 1.0)), 0.025 ** (1 / 4)
    assert (result.value, result.low, result.high) == pytest.approx((0.5, 0.5 * q - (1 - q), 0.5 * q + 1 - q))
    spread = mean_with_interval([0.0, 1.0, 2.0], limits=(0.0, 2.0))
    assert spread.high - spread.low == pytest.approx(2 * 1.96 / np.sqrt(3))


def genres(n: int, seed: int, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    return rng.normal(size=(n, 12)) + gap * np.eye(12)[label], label


def test_prompt_adherence_by_a_probe_of_real_music(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the clips whose prompt has genre 0 are of genre 1."""
    y, labels = genres(600, 1, 6.0)
    x, true = genres(300, 2, 6.0)
    prompted = true.copy()
    wrong = np.flatnonzero(true == 1)[:50]
    prompted[wrong] = 0
    predictions = adherence.predict_by_reference(x, prompted, y, labels, single_groups(600), ["a", "b", "c"])
    assert predictions is not None and predictions.probe_n == 600 and predictions.probe_correct >= 590
    assert (predictions.predicted == true).mean() > 0.98
    assert np.mean((predictions.predicted == prompted)[prompted == 0]) == pytest.approx(2 / 3, abs=0.03)
    monkeypatch.setattr(adherence, "PROBE_SAMPLE", 90)
    small = adherence.predict_by_reference(x, prompted, y, labels, single_groups(600), ["a", "b", "c"])
    assert small is not None and small.probe_n == 90


def test_a_probe_of_the_corpus_is_cross_validated() -> None:
    x, prompted = genres(300, 3, 6.0)
    predictions = adherence.predict_by_corpus(x, prompted, single_groups(300), ["a", "b", "c"])
    assert predictions is not None and (predictions.predicted == prompted).mean() > 0.98
    random = np.repeat(np.random.default_rng(0).normal(size=(30, 12)), 10, axis=0)
    prompted = np.repeat(np.arange(30) % 3, 10)
    groups = [f"g{i // 10}" for i in range(300)]
    by_chance = adherence.predict_by_corpus(random, prompted, groups, ["a", "b", "c"])
    assert by_chance is not None and (by_chance.predicted == prompted).mean() < 0.65
    assert adherence.predict_by_corpus(x, np.zeros(300, int), single_groups(300), ["a"]) is None
    assert adherence.predict_by_corpus(x[:3], np.arange(3), single_groups(3), ["a", "b", "c"]) is None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLAP with tokenizer and feature extractor."""
    return clap_checkpoint(tmp_path_factory.mktemp("clap"))


def test_cosines_equal_the_models_forward_pass(checkpoint: Path) -> None:
    from transformers import ClapModel, ClapProcessor

    clap = ClapEncoder(str(checkpoint))
    clips = [sound(genre, 0, 1.0, clap.sampling_rate) for genre in range(3)]
    prompts = ["a rock track", "quiet jazz", "loud noise tones a track"]
    files: list[Any] = [encode_flac(clip, clap.sampling_rate) for clip in clips]
    own, other = compute_cosines(clap, prompts, prompts[1:] + prompts[:1], files)

    model, processor = ClapModel.from_pretrained(checkpoint).eval(), ClapProcessor.from_pretrained(checkpoint)
    with torch.inference_mode():
        text = processor(text=prompts, return_tensors="pt", padding=True)
        audio = processor(audio=clips, return_tensors="pt", sampling_rate=clap.sampling_rate)
        out = model(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            input_features=audio["input_features"],
            is_longer=torch.zeros(3, 1, dtype=torch.bool),
        )
    cosines = (out.audio_embeds @ out.text_embeds.T).numpy()
    assert own == pytest.approx(np.diagonal(cosines), abs=1e-4)  # FLAC is quantised to 16 bits
    assert other == pytest.approx(cosines[[0, 1, 2], [1, 2, 0]], abs=1e-4)
    assert np.ptp(cosines) > 1e-3


def test_long_clips_are_cut_at_the_same_place_and_damaged_ones_are_nan(checkpoint: Path) -> None:
    clap = ClapEncoder(str(checkpoint))
    long = sound(0, 0, 11.0, clap.sampling_rate)
    twice = clap.embed_audio([long, long, long[: clap.max_samples]])
    assert (twice[0] == twice[1]).all() and (twice[0] == twice[2]).all()
    own, _ = compute_cosines(clap, ["a", "a"], ["rock", "rock"], [b"no audio", encode_flac(long, clap.sampling_rate)])
    assert np.isnan(own[0]) and np.isfinite(own[1])


def test_what_is_not_a_checkpoint_is_an_error(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clap"}')
    with pytest.raises(BackendError, match=r"--clap .*cannot be loaded"):
        ClapEncoder(str(tmp_path))
    with pytest.raises(BackendError, match=r"nobody/nothing.*cannot be loaded"):
        ClapEncoder("nobody/nothing")
