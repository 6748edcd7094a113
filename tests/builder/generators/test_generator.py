"""The class `Generator`: the sound of a corpus, clip by clip."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from builder.clip import Prompt
from builder.corpus.building.build import build
from builder.corpus.building.plan import plan_clips
from builder.corpus.load import load_corpus
from builder.errors import BackendError, RecipeError
from builder.generators.generator import Generator
from builder.prompts import make_prompts
from builder.recipe import Recipe

ROCK = Prompt("A rock track.", "rock", genre="rock", tempo_bpm=120)
SAMPLE = 2**-15  # of FLAC with 16 bits


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    file = tmp_path_factory.mktemp("recipe") / "two.yaml"
    file.write_text(
        "name: two\ntaxonomy: paper\nprompts: {total: 10}\n"
        "generator: {name: arranger, seconds: 1, batch_size: 3}\nembedder: {name: levels}\n"
    )
    return Recipe.load(file)


def test_a_corpus_has_the_same_sound(recipe: Recipe, tmp_path: Path) -> None:
    build(recipe, tmp_path / "corpus", workers=1)
    rows = {row["id"]: row for split in load_corpus(tmp_path / "corpus").values() for row in split}
    clips = plan_clips(recipe)
    made = list(Generator.from_recipe(recipe).generate(clips))
    assert len(made) == len(clips) == len(rows)
    for clip, one in zip(clips, made, strict=True):
        row = rows[clip.id]
        assert (one.seed, one.prompt.text, one.sampling_rate) == (row["seed"], row["prompt"], 32_000)
        assert one.audio.dtype == np.float32 and one.audio.shape == (32_000,)
        np.testing.assert_allclose(one.audio, row["audio"]["array"], atol=SAMPLE)


def test_one_clip_and_many_are_the_same(recipe: Recipe) -> None:
    generator = Generator("arranger", seconds=1, batch_size=2)
    prompts = make_prompts(recipe)[:3]
    made = list(generator.generate(iter(prompts), seed=5))
    assert [clip.seed for clip in made] == [5, 6, 7] and [clip.prompt for clip in made] == prompts
    with generator:
        for clip in made:
            np.testing.assert_array_equal(generator(clip.prompt, seed=clip.seed).audio, clip.audio)
    assert list(generator.generate([])) == []


def test_a_clip_says_how_it_was_made() -> None:
    clip = Generator("arranger", seconds=1, soundfont="TimGM6mb")(ROCK)
    assert clip.soundfont == "TimGM6mb" and json.loads(clip.production or "")["tracks"]
    with pytest.raises(RecipeError, match="no sound font called 'Nothing'"):
        Generator("arranger", seconds=1, soundfont=["Nothing"])(ROCK)
    tone = Generator("tone", seconds=1)(ROCK)
    assert tone.soundfont is None and tone.production is None


def test_options_of_the_recipe_apply() -> None:
    generator = Generator("tone", seconds=2, taxonomy="gtzan")
    assert generator("any text").audio.shape == (64_000,)
    assert (generator.sampling_rate, generator.revision, generator.license) == (32_000, "1", "cc-by-4.0")


def test_it_is_pickled_without_its_back_end() -> None:
    with Generator("tone", seconds=1) as generator:
        copy = pickle.loads(pickle.dumps(generator))  # noqa: S301
        np.testing.assert_array_equal(copy("a", seed=3).audio, generator("a", seed=3).audio)


def test_what_is_refused() -> None:
    with pytest.raises(BackendError, match="no generator called 'lyria'"):
        Generator("lyria")
    with pytest.raises(RecipeError, match=r"Generator\('tone'\): 1 problem.*\n.*seconds"):
        Generator("tone", seconds=99)
    with pytest.raises(RecipeError, match="seed: -1"):
        Generator("tone")(ROCK, seed=-1)
    with pytest.raises(RecipeError, match="top_k"):
        Generator("arranger", top_k=3)(ROCK)
