"""Checks before a run: what a later step would refuse is found before hours of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import DataError, RecipeError
from builder.validation import suggest

if TYPE_CHECKING:
    from builder.recipe import Recipe

FOLDERS = ("corpus", "model", "report")  # what `run` writes
SINGLE_LABELS = ("genre", "subgenre", "mood", "key", "vocals")
MAX_PLANNED = 5_000  # clips; larger recipes have enough of each label, and planning them takes seconds


def check_recipe(recipe: Recipe) -> None:
    """Check what a recipe names: files, the task, benchmarks and damages.

    Nothing is written, and nothing is downloaded: a data set on the Hub is not opened.

    Raises:
        RecipeError: With the key and the fix of each problem.
        BackendError: A damage needs a package that is not installed.
    """
    problems = list(_find_problems(recipe))
    if len(problems) == 1:
        raise RecipeError(*problems[0])
    if problems:
        lines = [f"  - {message}" + (f"\n    fix: {fix}" if fix else "") for message, fix in problems]
        raise RecipeError("\n".join([f"recipe {recipe.name}: {len(problems)} problems", *lines]))


def check_label_counts(recipe: Recipe) -> None:
    """Check that a classifier can be trained: at least two labels, each with two training clips or more.

    Recipes that are only built, to listen to a few clips, may have fewer. Recipes of many clips, and those whose
    descriptions a chat model writes or that train on real music alone, are not checked here.

    Raises:
        RecipeError: With the recipe's key.
    """
    from builder.corpus.building.plan import plan_clips
    from builder.prompts.grammar import count_clips

    settings = recipe.training
    if settings.frame_tasks or settings.strategy == "real" or recipe.prompts.source.kind == "chat":
        return
    if sum(count_clips(recipe).values()) > MAX_PLANNED:
        return
    clips = plan_clips(recipe)
    task = settings.label_column or settings.task
    if task not in SINGLE_LABELS or settings.problem not in (None, "single_label_classification"):
        return
    labels = [getattr(clip.prompt, task) for clip in clips if clip.split == "train"]
    counts = Counter(label for label in labels if label is not None)
    if len(counts) < 2:
        raise RecipeError(
            f"training.task: no two training clips have different labels of {task}: there is nothing to learn",
            "choose another training.task",
        )
    if alone := [label for label, count in counts.items() if count == 1]:
        key = "prompts.total" if recipe.prompts.per_genre is None else "prompts.per_genre"
        more = f", and so have {len(alone) - 1} other labels" if len(alone) > 1 else ""
        raise RecipeError(
            f"{key}: {task} {alone[0]!r} has a single training clip{more}: nothing can be learnt from it",
            f"raise {key}",
        )


def check_embedder(recipe: Recipe) -> None:
    """Check that the embedder can be loaded, on the CPU. Weights that are missing are downloaded.

    Raises:
        BackendError: Weights or a package that are missing.
        RecipeError: A setting that the embedder has no use for.
    """
    from builder.embedders.base import load_embedder

    load_embedder(recipe.embedder.model_copy(update={"device": "cpu"}))


def check_estimators(recipe: Recipe) -> None:
    """Check that the recipe's estimators can be loaded, on the CPU, and have the columns that `select` names.

    Raises:
        BackendError: Weights or a package that are missing.
        RecipeError: An estimator that is unknown, named twice, or needs a checkpoint; an unknown column.
    """
    from builder.estimators.build_selected import check_where, load_estimators

    check_where(recipe, load_estimators(recipe))


def check_run_folder(out: Path) -> None:
    """Refuse a folder that holds something other than a run. Hidden files do not count.

    Raises:
        DataError: It is a file, or a folder of something else.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder", "choose another --out")
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.is_dir() else set()
    if not (out / FOLDERS[0]).is_dir() and not names <= set(FOLDERS):
        raise DataError(f"{out}: is not empty, and not a run", "choose an empty or a new folder: --out DIR")


def _find_problems(recipe: Recipe) -> Iterator[tuple[str, str | None]]:
    """Yield the message, which starts with the key, and the fix of each problem."""
    training = recipe.training
    yield from _catch(next(iter(recipe.generated_configs), ""), lambda: _check_generated_configs(recipe))
    yield from _catch("training", lambda: _check_task(recipe))
    yield from _catch("embedder.augment", lambda: _check_damages(recipe.embedder.augment))
    yield from _find_frame_problems(recipe) if training.frame_tasks else _find_evaluation_problems(recipe)
    if recipe.select is not None and recipe.select.where is not None:
        from builder.estimators.where import Where

        yield from _catch("select.where", partial(Where.parse, recipe.select.where))
    yield from _catch("taxonomy", lambda: recipe.labels)
    yield from _catch("prompts.source.path", recipe.source_file)


def _find_evaluation_problems(recipe: Recipe) -> Iterator[tuple[str, str | None]]:
    """Yield the problems of the evaluation of a classifier of embeddings, and of its real music."""
    evaluation, training = recipe.evaluation, recipe.training
    for benchmark in evaluation.benchmarks:
        check = partial(_check_benchmark, benchmark, training.task, _list_genres(recipe))
        yield from _catch("evaluation.benchmarks", check)
    if (settings := evaluation.robustness) is not None:
        from builder.degradations import parse_damages

        yield from _catch(
            "evaluation.robustness.benchmark", lambda: _check_benchmark(settings.benchmark, training.task)
        )
        yield from _catch(
            "evaluation.robustness.damages",
            lambda: _check_damages([str(one) for one in parse_damages(settings.damages)]),
        )
    if evaluation.probe:
        yield from _catch("evaluation.probe", lambda: _check_single_label(training.task))
    for key, name in (
        ("evaluation.fidelity.against", evaluation.fidelity.against if evaluation.fidelity else None),
        ("training.target", training.target),
    ):
        if name is not None and _is_benchmark(name):
            yield from _catch(key, partial(_check_benchmark, name, training.task))


def _find_frame_problems(recipe: Recipe) -> Iterator[tuple[str, str | None]]:
    """Yield the problems of the evaluation of a network that is trained on audio and annotations."""
    from evaluation.benchmarks.annotated import VALIDATION, load_annotated

    evaluation, task = recipe.evaluation, recipe.training.task
    for name in evaluation.benchmarks:
        if name != VALIDATION:
            yield from _catch("evaluation.benchmarks", partial(load_annotated, name, recipe.training.frame_tasks))
    for key in ("robustness", "fidelity", "probe", "calibrate"):
        if getattr(evaluation, key):
            yield f"evaluation.{key}: is of classifiers of embeddings, and {task} is learnt from audio", "leave it out"


def _catch(key: str, check: Callable[[], Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the problem that a check raises, with the recipe's key in front."""
    try:
        check()
    except (RecipeError, DataError) as error:
        yield (error.message if error.message.startswith(key) else f"{key}: {error.message}"), error.fix


def _check_generated_configs(recipe: Recipe) -> None:
    """Raise RecipeError if the generator has no score, and annotations or stems are asked for."""
    if recipe.generated_configs:
        from builder.generators.base import check_generated_configs

        check_generated_configs(recipe)


def _check_task(recipe: Recipe) -> None:
    """Raise RecipeError for a task that no column of a corpus holds."""
    from builder.corpus.schema import LABELS

    settings = recipe.training
    if settings.frame_tasks:
        if not recipe.annotations:
            raise RecipeError(
                f"training.task: {settings.task} is learnt from annotations, which the corpus would not have",
                "set `annotations: true` at the top of the recipe",
            )
        return
    key = "task" if settings.label_column is None else "label_column"
    column, known = settings.label_column or settings.task, [name for name in LABELS if name != "prompt_group"]
    if column not in known:
        raise RecipeError(
            f"training.{key}: a corpus has no labels {column!r}{suggest(column, known)}",
            f"use one of {', '.join(known)}",
        )


def _check_single_label(task: str) -> None:
    from evaluation.benchmarks.base import MULTI_TASKS, NUMBER_TASKS

    if task in (*MULTI_TASKS, *NUMBER_TASKS):
        raise RecipeError(f"needs a task with one label a track, and {task} is none", "leave it out")


def _check_damages(damages: Sequence[str]) -> None:
    if damages:
        from builder.embedders.augment import check_damages

        check_damages(damages)


def _is_benchmark(name: str) -> bool:
    if ":" not in name:
        return False
    from evaluation.inference.embed_target import is_benchmark

    return is_benchmark(name)


def _check_benchmark(name: str, task: str, genres: Sequence[str] = ()) -> None:
    """Check that there is such a benchmark, that its folder is there, and a folder of recordings for a genre in it."""
    if name == "validation":
        return
    from evaluation.benchmarks.base import find_benchmark

    spec, kind = find_benchmark(name)
    if spec.name == "hub":  # opening it would need the network
        spec.only(kind.options)
        return
    benchmark = kind(spec, None, task)
    if genres and spec.name == "folder":
        benchmark.find_mapping(genres)


def _list_genres(recipe: Recipe) -> list[str]:
    """The genres that folders of recordings are named after; none where the labels are not the recipe's genres."""
    training = recipe.training
    if training.task != "genre" or training.label_column is not None or training.strategy == "real":
        return []
    try:
        return list(recipe.labels.genres)
    except (RecipeError, DataError):
        return []  # another check reports it
