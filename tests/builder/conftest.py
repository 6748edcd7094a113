from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.recipe import Recipe

from . import fakes

fakes.register()

RECIPE = """
name: small
taxonomy: paper
prompts: {{per_genre: {per_genre}, seed: {seed}}}
generator: {{name: tone, seconds: 1, batch_size: {batch_size}}}
quality: {{max_rejected: {max_rejected}, attempts: {attempts}}}
split: {{validation: 0.2}}
embedder: {{name: levels}}
"""


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures in cards, where they are not the question: hundreds of tests build a corpus."""
    if request.path.stem not in ("test_card", "test_build"):
        monkeypatch.setattr("builder.corpus.pictures.draw", lambda *_: [])


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Makes a small recipe: one-second tones, `per_genre` of each of five genres."""

    def make(
        per_genre: int = 6, seed: int = 0, batch_size: int = 4, max_rejected: float = 0.01, attempts: int = 4
    ) -> Recipe:
        path = tmp_path / "small.yaml"
        path.write_text(
            RECIPE.format(
                per_genre=per_genre, seed=seed, batch_size=batch_size, max_rejected=max_rejected, attempts=attempts
            )
        )
        return Recipe.load(path)

    return make
