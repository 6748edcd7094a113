"""The strategies of training on a synthetic corpus and real music, scored side by side on its test part."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field

from builder.errors import RecipeError
from builder.io.atomic import write_bytes, write_text
from builder.recipe import EmbedderSettings, EvaluationSettings, SplitSettings, TrainingSettings
from builder.records import recording
from builder.validation import near
from training.models.classifier import REGRESSION, SynthmirClassifier, load_model
from training.seeds import train_seeds
from training.trainer import RECORD, load_data

from .inference.held_out import read_test
from .inference.predict import probabilities
from .rendering.text_table import align_columns
from .reporting.strategy_plot import strategy_picture
from .results.json_document import Document, Part
from .results.predictions import Judged
from .results.scores import HEADLINES, Amount, Problem
from .statistics.across_seeds import Seeded, cells, seeded_difference, seeded_figures
from .statistics.compare import amount_of
from .statistics.paired import holm

FILE, PICTURE, TABLE = "strategies.json", "strategies.svg", "strategies.txt"
STRATEGIES = ("synthetic", "adapt", "transfer", "joint", "finetune", "real")
ALL_OF_IT = "real, all labels"  # beside strategies that see a few shots only
LOWER_IS_BETTER = frozenset({"mae", "octave_error"})


class StrategyScores(Part):
    """One strategy: its figures on the target's test part, and what its first training says of itself."""

    name: str
    models: str  # folder of one model a seed
    rows: dict[str, int]  # that the last stage learnt from and was stopped by
    selected_on: str
    figures: dict[str, Seeded]


class StrategyDifference(Part):
    """A strategy less another, on the same tracks, the mean over trainings on both sides; p-values as they are, and by
    Holm over all pairs of one figure."""

    strategy: str
    other: str
    metric: str
    difference: Amount
    p: Annotated[float, Field(ge=0.0, le=1.0)]
    p_holm: Annotated[float, Field(ge=0.0, le=1.0)]


class StrategyComparison(Document):
    """The whole file. Strategies stand in order, the best first, by the first figure."""

    model_config = ConfigDict(title="synthmir strategies")
    holds, command = "strategies", "synthmir compare"

    version: Literal[1] = Field(default=1, alias="schema")
    task: str
    problem: Problem
    target: str
    n: Annotated[int, Field(ge=1)]
    metric: str  # the first figure: what the order is by
    shots: int | None
    seeds: list[int]
    upper: str | None  # the strategy that learns from all of the real music
    notes: list[str]
    strategies: list[StrategyScores]
    differences: list[StrategyDifference]
    record: dict[str, Any]


def compare_strategies(
    corpus: Path,
    out: Path,
    training: TrainingSettings,
    *,
    strategies: Sequence[str] = STRATEGIES,
    seeds: Sequence[int] = tuple(range(5)),
    embedder: EmbedderSettings | None = None,
    split: SplitSettings | None = None,
    settings: EvaluationSettings | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> StrategyComparison:
    """Train each strategy with each seed, score all on the test part of `training.target`; write `out`/strategies.*.

    No training reads the test part, and every strategy is judged on the same rows of it. Intervals and differences are
    over its tracks, or artists where they are known. With `shots`, `real` on all labels is trained as well: it is the
    line that the others are seen against. Models lie in `out`/models; those that are finished are kept. Raises
    RecipeError, DataError.
    """
    settings, out = settings or EvaluationSettings(), Path(out)
    chosen = _settings(training, strategies)
    with recording("compare") as record:
        data = load_data(Path(corpus), training.model_copy(update={"strategy": "synthetic"}), embedder, split)
        columns = training.label_column, training.embedding_column
        test, x = read_test(str(training.target), data.features, *columns)
        judged: dict[str, list[Judged]] = {}
        records: dict[str, dict[str, Any]] = {}
        done = itertools.count(1)
        for name, each in chosen.items():
            folder = out / "models" / name.replace(", ", "-").replace(" ", "-")
            tell = lambda *_: progress(next(done), len(chosen) * len(seeds))  # noqa: E731
            train_seeds(Path(corpus), folder, each, seeds, embedder, tell, split=split)
            judged[name] = [_said(load_model(folder / f"seed-{seed}"), test, x) for seed in seeds]
            told = json.loads((folder / f"seed-{seeds[0]}" / RECORD).read_text(encoding="utf-8"))["details"]
            records[name] = {"models": folder.relative_to(out).as_posix(), "rows": told["rows"]} | {
                "selected_on": told["strategy"]["selected_on"]
            }
        record.rows = len(test)
        record.fingerprint = data.made.get("fingerprint")
        record.details = {
            "corpus": Path(corpus).name,
            "settings": training.model_dump(mode="json", exclude={"target"}),
        }
        task = data.features.task
        scores = [StrategyScores(name=name, figures=seeded_figures(judged[name], task, settings), **records[name])
                  for name in chosen]  # fmt: skip
        metric = next(key for key in HEADLINES[test.problem] if key in scores[0].figures)
        scores.sort(key=lambda one: (1 if metric in LOWER_IS_BETTER else -1) * one.figures[metric].mean.value)
        differences = _differences([one.name for one in scores], judged, task, metric, settings)
    found = StrategyComparison(
        schema=1,
        task=task,
        problem=test.problem,  # type: ignore[arg-type]
        target=Path(str(training.target)).name,
        n=len(test),
        metric=metric,
        shots=training.shots,
        seeds=list(seeds),
        upper=next((name for name in (ALL_OF_IT, "real") if name in chosen), None),
        notes=list(test.notes),
        strategies=scores,
        differences=differences,
        record=asdict(record),
    )
    found.write(out / FILE)
    write_bytes(out / PICTURE, strategy_picture(found.model_dump(mode="json")))
    write_text(out / TABLE, strategy_table(found) + "\n")
    return found


def strategy_table(found: StrategyComparison) -> str:
    """Lines for a terminal: the strategies in order, the first figure with its interval, and the step to the next."""
    name = HEADLINES[found.problem][found.metric]
    rows = [("strategy", name, "95 % interval", "sd of seeds", "less the next", "p (Holm)")]
    steps = {(one.strategy, one.other): one for one in found.differences}
    for place, one in enumerate(found.strategies):
        following = found.strategies[place + 1].name if place + 1 < len(found.strategies) else ""
        step = steps.get((one.name, following))
        told = ("", "") if step is None else (f"{step.difference.value:+.3f}", f"{step.p_holm:.3f}")
        rows.append((one.name, *cells(one.figures[found.metric]), *told))
    shots = "" if found.shots is None else f", {found.shots} real track(s) a label"
    head = f"test part of {found.target}, n = {found.n}, {len(found.seeds)} training(s) each{shots}"
    return "\n".join([head, *align_columns(rows), *found.notes])


def _settings(training: TrainingSettings, strategies: Sequence[str]) -> dict[str, TrainingSettings]:
    """What each strategy is trained with, by name."""
    if training.target is None:
        raise RecipeError("training.target: there is no real music to compare on", "name it: --target DIR")
    for name in strategies:
        if name not in STRATEGIES:
            raise RecipeError(
                f"--strategies: there is no strategy {name!r}{near(name, STRATEGIES)}",
                f"known: {', '.join(STRATEGIES)}",
            )
    chosen = {name: training.model_copy(update={"strategy": name}) for name in strategies}
    if "synthetic" in chosen:  # which has no use for the rest
        chosen["synthetic"] = chosen["synthetic"].model_copy(update={"target": None, "shots": None})
    if training.shots is not None and "real" in chosen:
        chosen[ALL_OF_IT] = chosen["real"].model_copy(update={"shots": None})
    return chosen


def _said(model: SynthmirClassifier, test: Judged, x: np.ndarray) -> Judged:
    """What a model says of the test part, in the corpus's labels: of those that it has not learnt, nothing."""
    found = probabilities(model, x)
    if test.problem == REGRESSION:
        return replace(test, outputs=found[:, 0])
    outputs = np.zeros((len(test), len(test.labels)))
    outputs[:, [list(test.labels).index(name) for name in model.config.labels]] = found
    return replace(test, outputs=outputs, threshold=model.config.threshold)


def _differences(
    order: Sequence[str], judged: dict[str, list[Judged]], task: str, metric: str, settings: EvaluationSettings
) -> list[StrategyDifference]:
    """Every pair, the better first, by the figure that the order is by."""
    pairs = list(itertools.combinations(order, 2))
    tested = [seeded_difference(judged[a], judged[b], task, settings) for a, b in pairs]
    known = [(pair, found[metric]) for pair, found in zip(pairs, tested, strict=True) if metric in found]
    adjusted = holm([found.p for _, found in known]) if known else []
    return [
        StrategyDifference(
            strategy=a,
            other=b,
            metric=metric,
            difference=amount_of(found),
            p=found.p,
            p_holm=p,
        )
        for ((a, b), found), p in zip(known, adjusted, strict=True)
    ]
