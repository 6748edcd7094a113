"""Build a corpus of the best of more clips, by their estimates: the recipe's key `select`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..corpus.building.build import build
from ..corpus.corpus import SUMS, Corpus
from ..corpus.schema import LABELS
from ..errors import DataError, RecipeError
from ..executors import ExecutorSettings, count_embedding_workers
from ..io.storage import delete_folder, is_remote, to_path
from ..progress import ProgressOption, show_progress
from ..recipe import Recipe
from ..validation import suggest
from .annotate_corpus import annotate_corpus
from .base import Estimator, load_estimator, parse_estimators
from .select_corpus import select_corpus
from .where import Where


def build_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    workers: int | None = None,
    scale: ExecutorSettings | None = None,
    clips_per_shard: int | None = None,
    extend: bool = False,
    progress: ProgressOption = True,
) -> Corpus:
    """Build the corpus of a recipe; where it has `select`, of the best of more clips. Resumes when it was stopped.

    With `select` all clips are made in a hidden folder beside `out`, `.NAME.candidates`, and measured there. The
    chosen ones are written to `out`, and the folder is deleted.

    Args:
        recipe: The recipe.
        out: The corpus folder, or its address.
        workers: As in `build`, with `scale`, `clips_per_shard` and `extend`.
        progress: See `builder.progress.show_progress`.

    Raises:
        RecipeError: As `build`; or `select.where` does not parse or names no column, which is found before anything is
            made; or it is true of too few clips of a genre.
        BackendError: A generator or an estimator cannot be loaded.
        DataError: As `build`; or a corpus with `select` is to be extended or is in a store.
    """
    root = to_path(out)
    if recipe.select is None:
        with show_progress(progress, "build") as update:
            build(recipe, root, workers=workers, scale=scale, clips_per_shard=clips_per_shard, extend=extend,
                  progress=update)  # fmt: skip
        return Corpus.open(root)
    if extend or is_remote(root):
        what = "extended" if extend else "built in a store"
        raise DataError(f"{root}: a corpus of selected clips cannot be {what}", "build into a new folder")
    candidates = root.with_name(f".{root.name}.candidates")
    if (root / SUMS).exists() and _find_identity(Corpus(root)) == recipe.fingerprint():
        delete_folder(candidates)  # of a run that was stopped at the end
        return Corpus.open(root)
    check_where(recipe, load_estimators(recipe))
    with show_progress(progress, "build") as update:
        build(recipe.enlarged(), candidates, workers=workers, scale=scale, clips_per_shard=clips_per_shard,
              progress=update)  # fmt: skip
    with show_progress(progress, "annotate") as update:
        annotate_corpus(candidates, recipe.estimates, workers=count_embedding_workers(workers, scale), scale=scale,
                        progress=update)  # fmt: skip
    with show_progress(progress, "select", " shards") as update:
        selection = select_corpus(candidates, root, recipe.select.where, None, update, recipe)
    delete_folder(candidates)
    return selection.corpus


def load_estimators(recipe: Recipe) -> list[Estimator]:
    """Load the estimators of a recipe, on the CPU. Weights that are missing are downloaded.

    Raises:
        RecipeError: An estimator that is unknown, named twice, or needs a checkpoint.
        BackendError: Weights or a package that are missing.
    """
    return [load_estimator(settings) for settings in parse_estimators(recipe.estimates, "cpu")]


def check_where(recipe: Recipe, estimators: Sequence[Estimator]) -> None:
    """Check the expression of a recipe's `select` before anything is made.

    Args:
        recipe: The recipe.
        estimators: Its estimators.

    Raises:
        RecipeError: It does not parse, or names a column that neither the labels nor the estimators have.
    """
    if recipe.select is None or recipe.select.where is None:
        return
    expression = Where.parse(recipe.select.where)
    known = {"id", "split", "agrees", "asked", *LABELS}
    for estimator in estimators:
        known |= set(estimator.columns())
    for name in expression.columns:
        if name.partition(".")[0] not in known:
            raise RecipeError(
                f"select.where: there is no column {name!r}{suggest(name, sorted(known))}",
                f"name one of {', '.join(sorted(known))}, or add its estimator to `estimates`",
            )


def _find_identity(corpus: Corpus) -> Any:
    return corpus.record().get("details", {}).get("select", {}).get("identity", {}).get("recipe")
