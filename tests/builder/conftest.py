from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.recipe import Recipe

from . import fakes

fakes.register()


@pytest.fixture(autouse=True)
def without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no plots in cards, except in the tests of cards: hundreds of tests build a corpus."""
    if request.path.stem not in ("test_card", "test_build"):
        monkeypatch.setattr("builder.corpus.card.plots.draw_plots", lambda *_: [])


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """A function that makes a small recipe: tones of one second, `per_genre` of each of five genres."""
    return partial(fakes.small_recipe, tmp_path)
