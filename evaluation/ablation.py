"""Ablations: vary keys of one recipe, hold all others, train and score each combination, test the differences."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from builder.embedders.augment import check_damages
from builder.embedders.base import config_name
from builder.embedders.embed_corpus import embed_corpus
from builder.embedders.embedded_dataset import open_dataset
from builder.errors import RecipeError
from builder.estimators.annotate_corpus import annotate_corpus
from builder.estimators.build_selected import build_recipe
from builder.executors import ExecutorSettings, count_embedding_workers
from builder.io.safe_files import parse_yaml
from builder.recipe import Recipe
from builder.records import record_run
from builder.validation import suggest
from training.seeds import train_seeds

from .benchmarks.base import Benchmark, load_benchmark
from .benchmarks.text import printable
from .inference.embedding_cache import EmbeddedBenchmark
from .inference.evaluated_model import OWN as CALIBRATE_OWN
from .inference.evaluated_model import VALIDATION, EvaluatedModel, predict_validation
from .results.ablation import COMMON, FILE, OWN, Ablation, BenchmarkProbes, CellDifference, CellScores
from .results.predictions import Predictions
from .results.scores import HEADLINES, SINGLE, LinearProbes
from .statistics.across_seeds import check_metric, score_seeds
from .statistics.compare import adjust_p_values, compare_seeds, describe_difference
from .statistics.probe_scores import score_probes
from .statistics.summary import describe_sampling

MAX_CELLS = 1_000
EVALUATION_KEYS = ("evaluation.aggregate", "evaluation.calibrate")  # the others are those of the whole ablation
Bars = Callable[..., AbstractContextManager[Callable[[int, int | None], None]]]  # makes a progress bar: stage, unit


@dataclass(frozen=True)
class Cell:
    """One combination of the varied values."""

    values: dict[str, Any]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The varied values as text: "prompts.vocals=instrumental, training.clips=100"."""
        return _name_values(self.values)

    @property
    def folder(self) -> str:
        """The name of its folder of models, which cells share that differ in how models are evaluated."""
        name = _name_values({key: value for key, value in self.values.items() if not key.startswith("evaluation.")})
        slug = re.sub(r"[^\w.=-]+", "-", name)[:80].strip("-.")
        return f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Parse options such as `training.hidden=[],[128]`; values are YAML.

    Returns:
        The values by key: {"training.hidden": [[], [128]]}.

    Raises:
        RecipeError: An option is not of that form, or a key is given twice.
    """
    vary: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        try:
            parsed = parse_yaml(f"[{values}]") if equals and values else None
        except (yaml.YAMLError, RecursionError, ValueError):
            parsed = None
        if not parsed:
            raise RecipeError(f"--vary {text!r}: is not KEY=VALUE,VALUE,...", "write prompts.strategy=template,tags")
        if key in vary:
            raise RecipeError(f"--vary {key}: given twice", "put its values in one list")
        vary[key] = parsed
    return vary


def make_cells(recipe: Recipe, vary: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Return every combination of the values. Raises RecipeError for an unknown key or a value that is not valid."""
    for key, values in vary.items():
        _check_key(recipe, key)
        if len({json.dumps(value) for value in values}) < len(values):
            raise RecipeError(f"--vary {key}: a value is given twice", "give each value once")
    combinations = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    if len(combinations) > MAX_CELLS:
        raise RecipeError(f"{len(combinations)} combinations are more than {MAX_CELLS}", "vary fewer keys at once")
    return [Cell(values, recipe.with_values(values)) for values in combinations]


def ablate(
    recipe: Recipe,
    out: Path,
    vary: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    bars: Bars | None = None,
    scale: ExecutorSettings | None = None,
    metric: str | None = None,
) -> Ablation:
    """Build, embed, train and score every cell of an ablation, and write `out`/ablation.json.

    Each cell is scored on its own validation split, on the baseline's validation split (without clips whose
    description any cell was trained on), and on the recipe's benchmarks. Its difference to the baseline on the same
    tracks has an interval from paired resamples, and p-values adjusted by Holm over all comparisons of one metric.
    Corpora are in `out`/corpora by fingerprint, so that cells share them; models are in `out`/models, one for each
    cell and seed. Finished work is kept, so that the same call resumes a run that was stopped.

    Args:
        recipe: The recipe of the baseline.
        out: The folder of results.
        vary: Values by key; by default the recipe's `ablation.vary`. The first value of each key is the baseline's.
        seeds: Trainings of each cell; by default the recipe's `ablation.seeds`.
        workers: Of building and embedding.
        bars: Makes a progress bar for each stage.
        scale: Where the workers run.
        metric: The metric that tables and pictures show, such as "balanced_accuracy". None: the first of the problem.

    Raises:
        RecipeError: A key or a value is not valid.
        DataError: A corpus or a benchmark cannot be used.
        BackendError: A generator or an embedder cannot be loaded.
    """
    varied = {key: list(values) for key, values in (vary or recipe.ablation.vary).items()}
    if not varied:
        raise RecipeError("nothing is varied", "add --vary KEY=VALUE,VALUE or an `ablation:` section to the recipe")
    cells, out = make_cells(recipe, varied), Path(out)
    numbers = list(range(seeds or recipe.ablation.seeds))
    names = [name for name in recipe.evaluation.benchmarks if name != VALIDATION]
    check_metric(metric)
    for name in names:  # a missing benchmark is reported before the work
        load_benchmark(name, None, recipe.training.task)
    for cell in cells:
        check_damages(cell.recipe.embedder.augment)
        if cell.recipe.evaluation.calibrate not in (None, CALIBRATE_OWN):
            raise RecipeError(
                f"evaluation.calibrate: {cell.recipe.evaluation.calibrate!r} is not each benchmark's own recordings",
                f"write {CALIBRATE_OWN!r}, the one that an ablation can do",
            )
    bars = bars or _no_bars

    with record_run("ablate", recipe.fingerprint()) as record:
        for cell in cells:
            _make(cell, out, workers, bars, scale)
        for settings in {config_name(cell.recipe.embedder): cell.recipe.embedder for cell in cells}.values():
            with bars("embed the baseline") as bar:
                embed_corpus(
                    _corpus(out, cells[0]),
                    settings,
                    workers=count_embedding_workers(workers, scale),
                    scale=scale,
                    progress=bar,
                )
        models = {}
        for number, cell in enumerate(cells, 1):
            with bars(f"train {number} of {len(cells)}", " trainings") as bar:
                train_seeds(
                    _corpus(out, cell),
                    _models(out, cell),
                    cell.recipe.training,
                    numbers,
                    cell.recipe.embedder,
                    lambda seed, _, bar=bar: bar(seed + 1, len(numbers)),  # type: ignore[misc]
                    split=cell.recipe.split,
                )
            models[cell.name] = [
                EvaluatedModel.load(_models(out, cell) / f"seed-{seed}", cell.recipe.evaluation) for seed in numbers
            ]
        predictions, probes, notes = _predict(cells, models, names, out, bars)
        record.rows = len(cells) * len(numbers)
        record.details = {"cells": len(cells), "seeds": numbers, "benchmarks": [printable(name) for name in names]}
    baseline = models[cells[0].name][0]
    ablation = Ablation(
        schema=1,
        recipe=recipe.name,
        task=recipe.training.task,
        problem=baseline.problem,  # type: ignore[arg-type]
        vary=varied,
        seeds=len(numbers),
        places=list(predictions[cells[0].name]),
        metric=metric,
        sampling={
            place: describe_sampling(first, cells[0].recipe.evaluation)
            for place, (first, *_) in predictions[cells[0].name].items()
        },
        notes=notes,
        cells=[_scores(cell, predictions[cell.name], models[cell.name], out) for cell in cells],
        differences=_differences(cells, predictions),
        probes=probes,
        record=asdict(record),
    )
    ablation.write(out / FILE)
    return ablation


def _check_key(recipe: Recipe, key: str) -> None:
    part: Any = recipe.model_dump(mode="json")
    path = key.split(".")
    for number, name in enumerate(path):
        if not isinstance(part, dict) or name not in part:
            at = ".".join(path[:number])
            known = ", ".join(part) if isinstance(part, dict) else ""
            raise RecipeError(
                f"--vary {key}: the recipe has no key {key!r}{suggest(name, part) if known else ''}",
                f"known {f'in {at}' if at else 'here'}: {known}" if known else f"{at} is no section",
            )
        part = part[name]
    kept = path[0] in ("evaluation", "ablation", "name") and key not in EVALUATION_KEYS
    if isinstance(part, dict) or kept or key == "training.seed":
        raise RecipeError(f"--vary {key}: cannot be varied", "vary a single setting, such as prompts.strategy")


def _make(cell: Cell, out: Path, workers: int | None, bars: Bars, scale: ExecutorSettings | None) -> None:
    corpus = _corpus(out, cell)
    with bars(f"build {corpus.name}") as bar:
        build_recipe(
            cell.recipe, corpus, workers=workers, scale=scale, progress=lambda stage, done, total: bar(done, total)
        )
    with bars("embed") as bar:
        embed_corpus(
            corpus, cell.recipe.embedder, workers=count_embedding_workers(workers, scale), scale=scale, progress=bar
        )
    if cell.recipe.training.where is not None or cell.recipe.training.weight is not None:
        with bars("annotate") as bar:
            annotate_corpus(corpus, cell.recipe.estimates, workers=workers, scale=scale, progress=bar)


def _corpus(out: Path, cell: Cell) -> Path:
    split = cell.recipe.split
    return out / "corpora" / f"{cell.recipe.fingerprint()}-{split.validation:g}-{split.seed}"


def _models(out: Path, cell: Cell) -> Path:
    return out / "models" / cell.folder


PredictionsByPlace = dict[str, list[Predictions]]  # one a seed


def _predict(
    cells: list[Cell], models: dict[str, list[EvaluatedModel]], names: list[str], out: Path, bars: Bars
) -> tuple[dict[str, PredictionsByPlace], list[BenchmarkProbes], list[str]]:
    """Return the predictions of every model by cell and place, linear probes of benchmarks, and notes about them."""
    trained_groups: set[str | None] = set()
    for corpus, embedder in {(_corpus(out, cell), config_name(cell.recipe.embedder)) for cell in cells}:
        trained_groups |= set(open_dataset(corpus, embedder).groups("train"))
    baseline = _corpus(out, cells[0])
    free = _untrained_ids(baseline, config_name(cells[0].recipe.embedder), trained_groups)
    notes: list[str] = []
    probes: list[BenchmarkProbes] = []
    embedded: dict[tuple[str, str, tuple[str, ...]], EmbeddedBenchmark] = {}
    predictions: dict[str, PredictionsByPlace] = {}
    for cell in cells:
        by_place: PredictionsByPlace = {}
        corpus = _corpus(out, cell)
        by_place[OWN] = [_on(one, corpus) for one in models[cell.name]]
        if free:
            by_place[COMMON] = [_take_ids(_on(one, baseline), free) for one in models[cell.name]]
        for name in names:
            first = models[cell.name][0]
            key = (name, config_name(cell.recipe.embedder), tuple(first.labels))
            if key not in embedded:
                bench = load_benchmark(name, first.labels, cell.recipe.training.task, first.problem)  # type: ignore[arg-type]
                with bars(f"embed {printable(name)}") as bar:
                    embedded[key] = EmbeddedBenchmark(bench, first.embedder, out / "benchmarks", _counted(bar, bench))
                made = _probe(cell, embedded[key], first)
                if isinstance(made, str):
                    notes.append(f"{printable(name)}: {made}")
                elif made is not None:
                    probes.append(BenchmarkProbes(benchmark=printable(name), embedder=key[1], probes=made))
            by_place[printable(name)] = [embedded[key].predict(one) for one in models[cell.name]]
        predictions[cell.name] = by_place
    if not free:
        notes.append(
            "every clip of the baseline's validation split has a description that some cell was trained on: "
            "differences are not tested on it"
        )
    return predictions, probes, notes


def _probe(cell: Cell, benchmark: EmbeddedBenchmark, model: EvaluatedModel) -> LinearProbes | str | None:
    """Return the scores of linear probes on a benchmark; the reason why there are none; None if none is asked for."""
    settings, task = cell.recipe.evaluation, cell.recipe.training.task
    if not settings.probe:
        return None
    if model.problem != SINGLE:
        return f"no linear probe: a {task} model has no single label a track"
    means = np.stack([vectors.mean(axis=0) for vectors in benchmark.readable])
    found = score_probes(means, benchmark.predict(model), settings.probe, task, settings)
    return found if isinstance(found, str) else found[0]


def _on(model: EvaluatedModel, corpus: Path) -> Predictions:
    return predict_validation(model.model, corpus, model.model.config.threshold, model.trained.details)


def _untrained_ids(corpus: Path, embedder: str, trained_groups: set[str | None]) -> set[str]:
    """Return the ids of the validation clips whose description no cell was trained on."""
    dataset = open_dataset(corpus, embedder)
    pairs = zip(dataset.ids("validation"), dataset.groups("validation"), strict=True)
    return {identity for identity, group in pairs if group not in trained_groups}


def _take_ids(predictions: Predictions, ids: set[str]) -> Predictions:
    return predictions.take([row for row, identity in enumerate(predictions.ids) if identity in ids])


def _scores(cell: Cell, places: PredictionsByPlace, models: list[EvaluatedModel], out: Path) -> CellScores:
    task, settings = cell.recipe.training.task, cell.recipe.evaluation
    scores = {place: score_seeds(predictions, task, settings) for place, predictions in places.items()}
    rows = models[0].trained.details.get("rows", {}).get("train", 0)
    where = str(_corpus(out, cell).relative_to(out)), str(_models(out, cell).relative_to(out))
    return CellScores(
        name=cell.name, values=cell.values, corpus=where[0], models=where[1], train_rows=rows, scores=scores
    )


def _differences(cells: list[Cell], predictions: dict[str, PredictionsByPlace]) -> list[CellDifference]:
    first, *others = cells
    task, settings = first.recipe.training.task, first.recipe.evaluation
    differences = []
    for cell in others:
        for place, varied in predictions[cell.name].items():
            base = predictions[first.name].get(place)
            if place == OWN or base is None or list(base[0].ids) != list(varied[0].ids):
                continue
            tested = compare_seeds(varied, base, task, settings)
            differences += [
                CellDifference(
                    cell=cell.name,
                    benchmark=place,
                    against=first.name,
                    metric=key,
                    **describe_difference(tested[key]),
                )
                for key in HEADLINES[varied[0].problem]
                if key in tested
            ]
    return adjust_p_values(differences)  # type: ignore[return-value]


def _name_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_format_value(value)}" for key, value in values.items()) or "as it is"


def _format_value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | bool) or value is None else str(value)


def _counted(bar: Callable[[int, int | None], None], bench: Benchmark) -> Callable[[int], None]:
    done = itertools.count(1)
    return lambda _: bar(next(done), len(bench.tracks))


class _no_bars(AbstractContextManager[Callable[[int, int | None], None]]):
    def __init__(self, stage: str, unit: str = "") -> None:
        pass

    def __enter__(self) -> Callable[[int, int | None], None]:
        return lambda done, total: None

    def __exit__(self, *_: object) -> None:
        pass
