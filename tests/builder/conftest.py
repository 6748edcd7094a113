from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.recipe import Recipe

from . import fakes

fakes.register()


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures in cards, where they are not the question: hundreds of tests build a corpus."""
    if request.path.stem not in ("test_card", "test_build"):
        monkeypatch.setattr("builder.corpus.card.plots.draw_plots", lambda *_: [])


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Makes a small recipe: one-second tones, `per_genre` of each of five genres."""
    return partial(fakes.small_recipe, tmp_path)
