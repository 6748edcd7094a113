"""Clips from typed prompts: which labels a text names, and what the generator gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builder.errors import BackendError, RecipeError
from builder.recipe import Recipe
from evaluation.explorer.prompt_generator import PromptGenerator

from .explored import RECIPE


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> PromptGenerator:
    file = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    file.write_text(RECIPE, encoding="utf-8")
    return PromptGenerator(Recipe.load(file))


def test_labels_come_from_the_text_and_chosen_ones_take_precedence(generator: PromptGenerator):
    text = "Dark hard rock with drum machine and pianos in F# minor at 96 bpm, no vocals"
    prompt, settings = generator.parse(text, "", {})
    assert (prompt.genre, prompt.subgenre, prompt.tempo_bpm, prompt.key) == ("rock", "hard rock", 96, "F# minor")
    assert set(prompt.instruments) == {"drum machine", "piano"} and prompt.vocals == "instrumental"
    prompt, settings = generator.parse("rock at 96 bpm", "funk", {"tempo_bpm": 120, "instruments": ["piano"]})
    assert (prompt.genre, prompt.tempo_bpm, prompt.instruments) == ("funk", 120, ("piano",))
    assert ("tempo", "120", "chosen") in settings and ("key", "not set", "drawn by the seed") in settings
    with pytest.raises(RecipeError, match="no genre 'polka'"):
        generator.parse("a polka", "polka", {})
    with pytest.raises(RecipeError, match="characters"):
        generator.parse("rock " * 1000, "rock", {})


def test_the_seed_determines_the_clip(generator: PromptGenerator):
    first, same, other = (generator.generate("a rock song", "", seed, {}).samples for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_a_text_generator_gets_the_text_and_missing_weights_are_an_error(tmp_path: Path):
    recipe = Recipe.load("demo").with_options(
        {"generator.name": "musicgen", "generator.model": str(tmp_path / "none")}
    )
    generator = PromptGenerator(recipe)
    text = "any words at all"
    prompt, settings = generator.parse(text, "", {"tempo_bpm": 120})
    assert (prompt.text, prompt.tempo_bpm, settings) == (text, None, [("text", text, "as typed")])
    with pytest.raises(BackendError):
        generator.generate(text, "", 0, {})
