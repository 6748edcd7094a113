from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.recipe import Recipe

from . import fakes

fakes.register()


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """A function that makes a small recipe: tones of one second, `per_genre` of each of five genres."""
    return partial(fakes.small_recipe, tmp_path)
