"""Which settings a training takes: a recipe's, the corpus's own, or the defaults, with what was asked on top."""

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
class Chosen:
    """What `train` is called with."""

    training: TrainingSettings
    embedder: EmbedderSettings | None
    split: SplitSettings | None


def choose(path: Path, recipe: str | None, embedder: str | None, options: dict[str, Any]) -> Chosen:
    """The settings to train on `path` with; `options` are keys of `training`, None for those nobody gave.

    Raises RecipeError, and DataError for a corpus that is not finished, or a folder that only holds one.
    """
    ours = (path / RECIPE).exists() or (path / WORK / STATE).exists() or any(path.glob(f"*/{SUMS}"))
    if ours:
        Corpus.open(path)
    if recipe is None and not ours:
        _need_target(options, None)
        given = {key: value for key, value in options.items() if value is not None}
        training = validate(TrainingSettings, given, "options")
        return Chosen(training, validate(EmbedderSettings, {"name": embedder}, "options") if embedder else None, None)
    loaded = Recipe.load(recipe or str(path / RECIPE), kept=recipe is None)
    _need_target(options, loaded.training.target)
    dotted = {f"training.{key}": value for key, value in options.items()}
    loaded = loaded.with_options(dotted)
    chosen = settings_of_config(embedder, loaded.embedder, path) if embedder else loaded.embedder if ours else None
    return Chosen(loaded.training, chosen, loaded.split)


def _need_target(options: dict[str, Any], target: str | None) -> None:
    """Raise RecipeError for a strategy that was asked for without the real music that it learns from."""
    strategy = options.get("strategy")
    if strategy not in (None, "synthetic") and (options.get("target") or target) is None:
        raise RecipeError(
            f"--strategy {strategy}: needs a target, real music to learn from",
            "name it: --target gtzan:PATH, say, or the folder that `synthmir embed SOURCE --out DIR` wrote",
        )
