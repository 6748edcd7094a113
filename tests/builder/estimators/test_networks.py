"""Estimators that are networks, against their models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.embedders.musicnn import Musicnn
from builder.embedders.windows import embed_clips
from builder.errors import BackendError, RecipeError
from builder.estimators.base import EstimatorSettings, LabelSet, load_estimator
from builder.estimators.sound import Sound
from builder.settings import EmbedderSettings

from ..embedders.tf_writer import random_musicnn, save
from .clap_checkpoint import clap_checkpoint

RATE = 32_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(clap_checkpoint(tmp_path_factory.mktemp("clap")))


def load_clap(checkpoint: str, **labels: tuple[str, ...]) -> Any:
    return load_estimator(EstimatorSettings("clap", checkpoint, "cpu", LabelSet(**labels)))


def test_clap_equals_the_models_forward_pass(checkpoint: str) -> None:
    import torch
    from transformers import ClapModel, ClapProcessor

    estimator = load_clap(checkpoint, genre=("rock", "jazz"))
    (estimate,) = estimator.estimate([Sound(noise(2.0), "a", "quiet noise")])
    model, processor = ClapModel.from_pretrained(checkpoint).eval(), ClapProcessor.from_pretrained(checkpoint)
    text = processor(text=["quiet noise", "A rock track.", "A jazz track."], return_tensors="pt", padding=True)
    audio = processor(audio=[Sound(noise(2.0)).at(48_000)], return_tensors="pt", sampling_rate=48_000)
    with torch.inference_mode():
        out = model(
            input_ids=text["input_ids"], attention_mask=text["attention_mask"],
            input_features=audio["input_features"], is_longer=torch.zeros(1, 1, dtype=torch.bool),
        )  # fmt: skip
    cosines = (out.audio_embeds @ out.text_embeds.T)[0]
    assert estimate["clap"] == pytest.approx(float(cosines[0]), abs=1e-3)
    shares = out.logits_per_audio[0, 1:].softmax(0).tolist()
    assert list(estimate["clap_genre"].values()) == pytest.approx(shares, abs=1e-3)
    assert set(estimate) == {
        "clap",
        "clap_genre",
        "clap_vocals",
    }  # no columns for labels that the corpus does not have


def test_clap_without_a_prompt_has_no_similarity(checkpoint: str) -> None:
    (estimate,) = load_clap(checkpoint, mood=("calm",)).estimate([Sound(noise(1.0))])
    assert estimate["clap"] is None and estimate["clap_mood"] == {"calm": 1.0}


def test_other_labels_are_another_version_of_the_same_revision(checkpoint: str) -> None:
    one, other = load_clap(checkpoint, genre=("rock",)), load_clap(checkpoint, genre=("rock", "jazz"))
    assert one.revision == other.revision and one.variant != other.variant


def test_clap_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="clap needs a checkpoint"):
        load_estimator(EstimatorSettings.parse("clap"))
    (tmp_path / "config.json").write_text('{"model_type": "clap"}')
    with pytest.raises(BackendError, match=r"estimates: clap .*cannot be loaded as a CLAP checkpoint"):
        load_estimator(EstimatorSettings.parse(f"clap:{tmp_path}"))


def test_tags_are_those_of_the_mean_embedding(tmp_path: Path) -> None:
    folder = str(save(tmp_path / "a", random_musicnn("MSD_musicnn")))
    estimator = load_estimator(EstimatorSettings("tags", folder, "cpu"))
    tagger = Musicnn(EmbedderSettings(name="musicnn", weights=folder, device="cpu"))
    sounds = [Sound(noise(7.0)), Sound(noise(1.0, 1))]
    vectors = embed_clips(tagger, [sound.at(16_000) for sound in sounds])
    estimates = estimator.estimate(sounds)
    for estimate, tags in zip(estimates, tagger.predict_tags(vectors), strict=True):
        assert list(estimate["tags"]) == list(tagger.tag_names)
        np.testing.assert_allclose(list(estimate["tags"].values()), tags, atol=1e-4)
        vocal = ("female vocalists", "female vocalist", "male vocalists")
        assert estimate["voice"] == max(estimate["tags"][name] for name in vocal)
    assert [len(one["voice_activity"]) for one in estimates] == [3, 1]


def test_aesthetics_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics.infer", None)
    with pytest.raises(BackendError, match="needs the package audiobox-aesthetics") as caught:
        load_estimator(EstimatorSettings("aesthetics"))
    assert caught.value.fix == "pip install audiobox-aesthetics"
