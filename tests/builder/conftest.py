from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from builder.corpus.card import card, plots
from builder.recipe import Recipe

from . import fakes

fakes.register()


@pytest.fixture(scope="module", autouse=True)
def without_plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Draw no plots in cards, except in the tests of cards: hundreds of tests build a corpus."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem != "test_card":
            patch.setattr(card, "draw_plots", lambda *_: [])
        yield


@pytest.fixture
def with_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the plots of cards in this test."""
    monkeypatch.setattr(card, "draw_plots", plots.draw_plots)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """A function that makes a small recipe: tones of one second, `per_genre` of each of five genres."""
    return partial(fakes.small_recipe, tmp_path)
