"""One recipe, some of its keys varied and all else held: what differs is made once, trained, scored, and tested."""

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

import yaml

from builder.corpus.building.build import build
from builder.embedders.augment import check_damages
from builder.embedders.base import config_name
from builder.embedders.embed_corpus import embed_corpus
from builder.embedders.embedded_dataset import open_dataset
from builder.errors import RecipeError
from builder.executors import ExecutorSettings, count_embedding_workers
from builder.io.safe_files import parse_yaml
from builder.recipe import Recipe
from builder.records import record_run
from builder.validation import suggest
from training.seeds import train_seeds

from .benchmarks.base import Benchmark, load_benchmark
from .benchmarks.text import printable
from .inference.embedding_cache import EmbeddedBenchmark
from .inference.evaluated_model import VALIDATION, EvaluatedModel, predict_validation
from .results.ablation import COMMON, FILE, OWN, Ablation, CellDifference, CellScores
from .results.predictions import Predictions
from .results.scores import HEADLINES
from .statistics.across_seeds import score_seeds
from .statistics.compare import adjust_p_values, compare_seeds, to_quantity

MAX_CELLS = 1_000
Bars = Callable[..., AbstractContextManager[Callable[[int, int | None], None]]]  # of a stage and a unit


@dataclass(frozen=True)
class Cell:
    """One combination of the varied values."""

    values: dict[str, Any]
    recipe: Recipe

    @property
    def name(self) -> str:
        """ "prompts.vocals=instrumental, training.clips=100"."""
        return ", ".join(f"{key}={_shown(value)}" for key, value in self.values.items()) or "as it stands"

    @property
    def folder(self) -> str:
        """A folder name of its own."""
        slug = re.sub(r"[^\w.=-]+", "-", self.name)[:80].strip("-.")
        return f"{slug}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`training.hidden=[],[128]` -> {"training.hidden": [[], [128]]}; values are YAML. Raises RecipeError."""
    vary: dict[str, list[Any]] = {}
    for text in texts:
        key, found, values = text.partition("=")
        try:
            told = parse_yaml(f"[{values}]") if found and values else None
        except (yaml.YAMLError, RecursionError, ValueError):
            told = None
        if not told:
            raise RecipeError(f"--vary {text!r}: is not KEY=VALUE,VALUE,...", "write prompts.strategy=template,tags")
        if key in vary:
            raise RecipeError(f"--vary {key}: given twice", "put its values in one list")
        vary[key] = told
    return vary


def make_cells(recipe: Recipe, vary: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Every combination of the values. Raises RecipeError that names a key that there is not or a value that fails."""
    for key, values in vary.items():
        _check_key(recipe, key)
        if len({json.dumps(value) for value in values}) < len(values):
            raise RecipeError(f"--vary {key}: a value stands there twice", "give each value once")
    combinations = [dict(zip(vary, some, strict=True)) for some in itertools.product(*vary.values())]
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
) -> Ablation:
    """Build, embed, train and score every cell of an ablation; write `out`/ablation.json.

    Corpora lie in `out`/corpora by fingerprint, so that cells that share one share it; each cell has a model a seed
    in `out`/models. Everything that is finished is kept: stopped anywhere, the same call goes on. Each cell is scored
    on its own validation split, on the baseline's (less what any cell learnt from), and on the recipe's benchmarks;
    each difference to the baseline on the same tracks is tested by paired resamples, with p-values by Holm over all
    of one metric. Raises RecipeError, DataError, BackendError.
    """
    varied = {key: list(values) for key, values in (vary or recipe.ablation.vary).items()}
    if not varied:
        raise RecipeError("nothing is varied", "add --vary KEY=VALUE,VALUE or an `ablation:` section to the recipe")
    cells, out = make_cells(recipe, varied), Path(out)
    numbers = list(range(seeds or recipe.ablation.seeds))
    names = [name for name in recipe.evaluation.benchmarks if name != VALIDATION]
    for name in names:  # one that is missing is told before the work
        load_benchmark(name, None, recipe.training.task)
    for cell in cells:
        check_damages(cell.recipe.embedder.augment)
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
        judged, notes = _judge(cells, models, names, out, bars)
        record.rows = len(cells) * len(numbers)
        record.details = {"cells": len(cells), "seeds": numbers, "benchmarks": [printable(name) for name in names]}
    baseline = models[cells[0].name][0]
    found = Ablation(
        schema=1,
        recipe=recipe.name,
        task=recipe.training.task,
        problem=baseline.problem,  # type: ignore[arg-type]
        vary=varied,
        seeds=len(numbers),
        places=list(judged[cells[0].name]),
        notes=notes,
        cells=[_scores(cell, judged[cell.name], models[cell.name], out) for cell in cells],
        differences=_differences(cells, judged),
        record=asdict(record),
    )
    found.write(out / FILE)
    return found


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
    if isinstance(part, dict) or path[0] in ("evaluation", "ablation", "name") or key == "training.seed":
        raise RecipeError(f"--vary {key}: cannot be varied", "vary a single setting, such as prompts.strategy")


def _make(cell: Cell, out: Path, workers: int | None, bars: Bars, scale: ExecutorSettings | None) -> None:
    corpus = _corpus(out, cell)
    with bars(f"build {corpus.name}") as bar:
        build(cell.recipe, corpus, workers=workers, scale=scale, progress=bar)
    with bars("embed") as bar:
        embed_corpus(
            corpus, cell.recipe.embedder, workers=count_embedding_workers(workers, scale), scale=scale, progress=bar
        )


def _corpus(out: Path, cell: Cell) -> Path:
    split = cell.recipe.split
    return out / "corpora" / f"{cell.recipe.fingerprint()}-{split.validation:g}-{split.seed}"


def _models(out: Path, cell: Cell) -> Path:
    return out / "models" / cell.folder


PredictionsByPlace = dict[str, list[Predictions]]  # one a seed


def _judge(
    cells: list[Cell], models: dict[str, list[EvaluatedModel]], names: list[str], out: Path, bars: Bars
) -> tuple[dict[str, PredictionsByPlace], list[str]]:
    """What every model says everywhere, and what is to be told of it."""
    taught: set[str | None] = set()
    for corpus, embedder in {(_corpus(out, cell), config_name(cell.recipe.embedder)) for cell in cells}:
        taught |= set(open_dataset(corpus, embedder).groups("train"))
    baseline = _corpus(out, cells[0])
    free = _untaught(baseline, config_name(cells[0].recipe.embedder), taught)
    notes, hearings = [], dict[tuple[str, str, tuple[str, ...]], EmbeddedBenchmark]()
    judged: dict[str, PredictionsByPlace] = {}
    for cell in cells:
        by_place: PredictionsByPlace = {}
        corpus = _corpus(out, cell)
        by_place[OWN] = [_on(one, corpus) for one in models[cell.name]]
        if free:
            by_place[COMMON] = [_take_ids(_on(one, baseline), free) for one in models[cell.name]]
        for name in names:
            first = models[cell.name][0]
            key = (name, config_name(cell.recipe.embedder), tuple(first.labels))
            if key not in hearings:
                bench = load_benchmark(name, first.labels, cell.recipe.training.task, first.problem)  # type: ignore[arg-type]
                with bars(f"listen to {printable(name)}") as bar:
                    hearings[key] = EmbeddedBenchmark(bench, first.embedder, out / "benchmarks", _counted(bar, bench))
            by_place[printable(name)] = [hearings[key].predict(one) for one in models[cell.name]]
        judged[cell.name] = by_place
    if not free:
        notes.append(
            "no clip of the baseline's validation split is new to every cell: differences are not tested on it"
        )
    return judged, notes


def _on(candidate: EvaluatedModel, corpus: Path) -> Predictions:
    return predict_validation(candidate.model, corpus, candidate.model.config.threshold, candidate.trained.details)


def _untaught(corpus: Path, embedder: str, taught: set[str | None]) -> set[str]:
    """Ids of the validation split whose description no cell learnt from."""
    dataset = open_dataset(corpus, embedder)
    pairs = zip(dataset.ids("validation"), dataset.groups("validation"), strict=True)
    return {identity for identity, group in pairs if group not in taught}


def _take_ids(predictions: Predictions, ids: set[str]) -> Predictions:
    return predictions.take([row for row, identity in enumerate(predictions.ids) if identity in ids])


def _scores(cell: Cell, places: PredictionsByPlace, models: list[EvaluatedModel], out: Path) -> CellScores:
    task, settings = cell.recipe.training.task, cell.recipe.evaluation
    scores = {place: score_seeds(judged, task, settings) for place, judged in places.items()}
    rows = models[0].trained.details.get("rows", {}).get("train", 0)
    where = str(_corpus(out, cell).relative_to(out)), str(_models(out, cell).relative_to(out))
    return CellScores(
        name=cell.name, values=cell.values, corpus=where[0], models=where[1], train_rows=rows, scores=scores
    )


def _differences(cells: list[Cell], judged: dict[str, PredictionsByPlace]) -> list[CellDifference]:
    first, *others = cells
    task, settings = first.recipe.training.task, first.recipe.evaluation
    found = []
    for cell in others:
        for place, ours in judged[cell.name].items():
            base = judged[first.name].get(place)
            if place == OWN or base is None or list(base[0].ids) != list(ours[0].ids):
                continue
            tested = compare_seeds(ours, base, task, settings)
            found += [
                CellDifference(
                    cell=cell.name,
                    benchmark=place,
                    against=first.name,
                    metric=key,
                    value=tested[key].a,
                    other=tested[key].b,
                    difference=to_quantity(tested[key]),
                    p=tested[key].p,
                    p_holm=tested[key].p,
                )
                for key in HEADLINES[ours[0].problem]
                if key in tested
            ]
    return adjust_p_values(found)  # type: ignore[return-value]


def _shown(value: Any) -> str:
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
