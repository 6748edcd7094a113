"""Prompts: from the grammar, from a file of descriptions, or from a chat model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..clip import Prompt
    from ..recipe import Recipe

__all__ = ["make_prompts"]


def make_prompts(recipe: Recipe) -> list[Prompt]:
    """Make the prompts of a recipe, genre by genre in the taxonomy's order.

    Args:
        recipe: Its `prompts.source` says where descriptions come from.

    Raises:
        RecipeError: If the source is missing or invalid, or has too few words or descriptions.
    """
    from . import grammar, sources

    if recipe.prompts.source.kind == "grammar":
        return list(grammar.generate_prompts(recipe))
    return list(sources.read_prompts(recipe))
