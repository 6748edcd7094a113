"""The settings of a training: a recipe's, the corpus's own, or the defaults, with the options on top."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.corpus.corpus import RECIPE, STATE, SUMS, Corpus
from builder.corpus.shards import WORK
from builder.embedders.augment import settings_of_config
from builder.errors import RecipeError
from builder.recipe import Recipe
from builder.settings import EmbedderSettings, SplitSettings, TrainingSettings
from builder.validation import validate


@dataclass(frozen=True, slots=True)
class ChosenSettings:
    """The settings that `train` is called with."""

    training: TrainingSettings
    embedder: EmbedderSettings | None
    split: SplitSettings | None


def choose_settings(path: Path, recipe: str | None, embedder: str | None, options: dict[str, Any]) -> ChosenSettings:
    """Choose the settings to train with.

    Args:
        path: A corpus, or another data set of embeddings.
        recipe: A recipe file; by default the corpus's own recipe.
        embedder: The name of an embedder, or of a config of the corpus.
        options: Keys of the recipe's `training` section; None for those that are not given.

    Raises:
        RecipeError: The options or the recipe are not valid.
        DataError: The corpus is not finished, or the folder only holds one.
    """
    corpus = (path / RECIPE).exists() or (path / WORK / STATE).exists() or any(path.glob(f"*/{SUMS}"))
    if corpus:
        Corpus.open(path)
    if recipe is None and not corpus:
        _need_target(options, None)
        given = {key: value for key, value in options.items() if value is not None}
        training = validate(TrainingSettings, given, "options")
        named = validate(EmbedderSettings, {"name": embedder}, "options") if embedder else None
        return ChosenSettings(training, named, None)
    loaded = Recipe.load(recipe or str(path / RECIPE), kept=recipe is None)
    _need_target(options, loaded.training.target)
    dotted = {f"training.{key}": value for key, value in options.items()}
    loaded = loaded.with_options(dotted)
    chosen = settings_of_config(embedder, loaded.embedder, path) if embedder else loaded.embedder if corpus else None
    return ChosenSettings(loaded.training, chosen, loaded.split)


def _need_target(options: dict[str, Any], target: str | None) -> None:
    """Raise RecipeError if a strategy is asked for without the target that it needs."""
    strategy = options.get("strategy")
    if strategy not in (None, "synthetic") and (options.get("target") or target) is None:
        raise RecipeError(
            f"--strategy {strategy}: needs a target, real music to learn from",
            "name it: --target gtzan:PATH, say, or the folder that `synthmir embed SOURCE --out DIR` wrote",
        )
