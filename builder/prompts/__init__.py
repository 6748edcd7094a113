"""Taxonomy and seed -> prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..clip import Prompt
    from ..recipe import Recipe

__all__ = ["make_prompts"]


def make_prompts(recipe: Recipe) -> list[Prompt]:
    """Every prompt of a recipe, genre by genre in the taxonomy's order, whatever its source of descriptions.

    Raises RecipeError: words or descriptions that do not suffice, a source that is missing or at fault.
    """
    from .sources import read_prompts

    return list(read_prompts(recipe))
