"""Classifiers as measures: two sets told apart, genres heard as asked, prompts beside clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from builder.audio import encode_flac
from builder.errors import BackendError
from evaluation.fidelity import adherence
from evaluation.fidelity.clap import Clap
from evaluation.fidelity.intervals import mean
from evaluation.fidelity.two_sample import design_effect, folds_of, two_sample

from ..conftest import sound


def alone(n: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def test_the_accuracy_of_two_normals_is_the_best_possible() -> None:
    """Means `gap` apart: no classifier beats Phi(gap / 2), and a linear one reaches it."""
    rng = np.random.default_rng(0)
    for gap in (1.0, 3.0):
        x, y = rng.normal(size=(1_500, 4)), rng.normal(size=(1_500, 4)) + gap * np.eye(4)[0]
        found = two_sample(x, y, alone(1_500), alone(1_500))
        assert found is not None and found.n == 3_000
        best = norm.cdf(gap / 2)
        assert found.accuracy == pytest.approx(best, abs=0.03) and found.low < best < found.high
        assert found.auc == pytest.approx(norm.cdf(gap / np.sqrt(2)), abs=0.03)
        assert found.p_value < 1e-6


def test_sets_of_one_distribution_are_not_told_apart_too_often() -> None:
    """Of 60 tests at 5 %, more than 7 come out false one time in a hundred."""
    false = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = two_sample(rng.normal(size=(60, 30)), rng.normal(size=(60, 30)), alone(60), alone(60), seed)
        assert found is not None and found.low <= found.accuracy <= found.high
        false += found.p_value < 0.05
    assert false <= 7


def test_a_group_stays_in_one_fold() -> None:
    """Ten clips a description, alike to the last digit: split apart, they would be recognised."""
    groups = [f"g{i // 10}" for i in range(300)]
    fold = folds_of(groups, 5, 0)
    assert all(len(set(fold[i : i + 10])) == 1 for i in range(0, 300, 10))
    assert np.bincount(fold).tolist() == [60] * 5
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(30, 40)), 10, axis=0) + 1e-3 * rng.normal(size=(300, 40))
    y = np.repeat(rng.normal(size=(30, 40)), 10, axis=0) + 1e-3 * rng.normal(size=(300, 40))
    kept, torn = two_sample(x, y, groups, groups), two_sample(x, y, alone(300), alone(300))
    assert kept is not None and torn is not None
    assert torn.accuracy > 0.8 and kept.accuracy < 0.75 and kept.p_value > 0.001
    assert two_sample(x, y, ["one"] * 300, groups) is None
    with pytest.raises(ValueError, match="as many"):
        two_sample(x, y[1:], groups, groups[1:])


def test_the_design_effect_is_the_groups_size_where_they_go_together() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.7
    assert design_effect(right, alone(200)) == pytest.approx(1)
    assert design_effect(np.repeat(right, 5), [f"g{i // 5}" for i in range(1_000)]) == pytest.approx(5)
    assert design_effect(np.ones(4, bool), alone(4)) == 1
    assert design_effect(np.ones(40, bool), [f"g{i // 10}" for i in range(40)]) == 10


def test_equal_values_do_not_make_a_mean_certain() -> None:
    assert (mean([2.0, 2.0, 2.0]).low, mean([2.0, 2.0, 2.0]).high) == (None, None)
    found, q = mean([0.5] * 4, limits=(-1.0, 1.0)), 0.025 ** (1 / 4)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 * q - (1 - q), 0.5 * q + 1 - q))
    spread = mean([0.0, 1.0, 2.0], limits=(0.0, 2.0))
    assert spread.high - spread.low == pytest.approx(2 * 1.96 / np.sqrt(3))


def genres(n: int, seed: int, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    return rng.normal(size=(n, 12)) + gap * np.eye(12)[label], label


def test_a_probe_of_real_music_hears_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the clips that ask for genre 0 are of genre 1: adherence is what is left."""
    y, labels = genres(600, 1, 6.0)
    x, made = genres(300, 2, 6.0)
    asked = made.copy()
    wrong = np.flatnonzero(made == 1)[:50]
    asked[wrong] = 0
    found = adherence.by_reference(x, asked, y, labels, alone(600), ["a", "b", "c"])
    assert found is not None and found.probe_n == 600 and found.probe_correct >= 590
    assert (found.heard == made).mean() > 0.98
    assert np.mean((found.heard == asked)[asked == 0]) == pytest.approx(2 / 3, abs=0.03)
    monkeypatch.setattr(adherence, "PROBE_SAMPLE", 90)
    small = adherence.by_reference(x, asked, y, labels, alone(600), ["a", "b", "c"])
    assert small is not None and small.probe_n == 90


def test_a_probe_of_the_corpus_itself_never_hears_what_it_learnt() -> None:
    x, asked = genres(300, 3, 6.0)
    found = adherence.by_itself(x, asked, alone(300), ["a", "b", "c"])
    assert found is not None and (found.heard == asked).mean() > 0.98
    noise = np.repeat(np.random.default_rng(0).normal(size=(30, 12)), 10, axis=0)
    asked = np.repeat(np.arange(30) % 3, 10)
    groups = [f"g{i // 10}" for i in range(300)]
    fair = adherence.by_itself(noise, asked, groups, ["a", "b", "c"])
    assert fair is not None and (fair.heard == asked).mean() < 0.65
    assert adherence.by_itself(x, np.zeros(300, int), alone(300), ["a"]) is None
    assert adherence.by_itself(x[:3], np.arange(3), alone(3), ["a", "b", "c"]) is None


WORDS = ("<s>", "<pad>", "</s>", "<unk>", "a", "rock", "jazz", "track", "loud", "quiet", "noise", "tones")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLAP with tokenizer and extractor, as save_pretrained writes it."""
    return clap_checkpoint(tmp_path_factory.mktemp("clap"))


def clap_checkpoint(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=64,
    )  # fmt: skip
    sound = {"hidden_size": 64, "patch_embeds_hidden_size": 8, "depths": [1] * 4, "num_attention_heads": [1, 2, 2, 2]}
    text = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text |= {"vocab_size": len(WORDS), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        model = ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=16))
    model.save_pretrained(folder)
    ClapProcessor(ClapFeatureExtractor(truncation="rand_trunc"), tokenizer).save_pretrained(folder)
    return folder


def test_cosines_are_those_of_the_models_own_forward(checkpoint: Path) -> None:
    from transformers import ClapModel, ClapProcessor

    clap = Clap(str(checkpoint))
    clips = [sound(genre, 0, 1.0, clap.sampling_rate) for genre in range(3)]
    prompts = ["a rock track", "quiet jazz", "loud noise tones a track"]
    files: list[Any] = [encode_flac(clip, clap.sampling_rate) for clip in clips]
    own, foreign = clap.cosines(prompts, prompts[1:] + prompts[:1], files)

    model, processor = ClapModel.from_pretrained(checkpoint).eval(), ClapProcessor.from_pretrained(checkpoint)
    with torch.inference_mode():
        text = processor(text=prompts, return_tensors="pt", padding=True)
        heard = processor(audio=clips, return_tensors="pt", sampling_rate=clap.sampling_rate)
        out = model(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            input_features=heard["input_features"],
            is_longer=torch.zeros(3, 1, dtype=torch.bool),
        )
    cosines = (out.audio_embeds @ out.text_embeds.T).numpy()
    assert own == pytest.approx(np.diagonal(cosines), abs=1e-4)  # FLAC has 16 bits
    assert foreign == pytest.approx(cosines[[0, 1, 2], [1, 2, 0]], abs=1e-4)
    assert np.ptp(cosines) > 1e-3


def test_long_clips_are_cut_the_same_twice_and_damaged_ones_left_out(checkpoint: Path) -> None:
    clap = Clap(str(checkpoint))
    long = sound(0, 0, 11.0, clap.sampling_rate)
    twice = clap.audio([long, long, long[: clap.longest]])
    assert (twice[0] == twice[1]).all() and (twice[0] == twice[2]).all()
    own, _ = clap.cosines(["a", "a"], ["rock", "rock"], [b"no audio", encode_flac(long, clap.sampling_rate)])
    assert np.isnan(own[0]) and np.isfinite(own[1])


def test_what_is_no_checkpoint_is_told(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clap"}')
    with pytest.raises(BackendError, match=r"--clap .*cannot be loaded"):
        Clap(str(tmp_path))
    with pytest.raises(BackendError, match=r"nobody/nothing.*cannot be loaded"):
        Clap("nobody/nothing")
