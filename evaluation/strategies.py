"""The strategies of training on a synthetic corpus and real music, scored side by side on its test part."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from builder.errors import RecipeError
from builder.recipe import EmbedderSettings, EvaluationSettings, SplitSettings, TrainingSettings
from builder.records import record_run
from builder.validation import suggest
from training.models.classifier import REGRESSION, SynthmirClassifier, load_model
from training.seeds import train_seeds
from training.trainer import RECORD, load_data

from .inference.held_out import read_test
from .inference.predict import probabilities
from .results.predictions import Predictions
from .results.scores import HEADLINES
from .results.strategies import FILE, StrategyComparison, StrategyDifference, StrategyScores
from .statistics.across_seeds import score_seeds
from .statistics.compare import compare_seeds, to_quantity
from .statistics.paired import adjust_holm

STRATEGIES = ("synthetic", "adapt", "transfer", "joint", "finetune", "real")
ALL_OF_IT = "real, all labels"  # beside strategies that see a few shots only
LOWER_IS_BETTER = frozenset({"mae", "octave_error"})


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
    """Train each strategy with each seed, score all on its test part; write `out`/strategies.json.

    No training reads the test part, and every strategy is judged on the same rows of it. Intervals and differences are
    over its tracks, or artists where they are known. With `shots`, `real` on all labels is trained as well: it is the
    line that the others are seen against. Models lie in `out`/models; those that are finished are kept. Raises
    RecipeError, DataError.
    """
    settings, out = settings or EvaluationSettings(), Path(out)
    chosen = _settings(training, strategies)
    with record_run("compare") as record:
        data = load_data(Path(corpus), training.model_copy(update={"strategy": "synthetic"}), embedder, split)
        columns = training.label_column, training.embedding_column
        test, x = read_test(str(training.target), data.features, *columns)
        judged: dict[str, list[Predictions]] = {}
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
        scores = [StrategyScores(name=name, figures=score_seeds(judged[name], task, settings), **records[name])
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
    return found


def _settings(training: TrainingSettings, strategies: Sequence[str]) -> dict[str, TrainingSettings]:
    """What each strategy is trained with, by name."""
    if training.target is None:
        raise RecipeError("training.target: there is no real music to compare on", "name it: --target DIR")
    for name in strategies:
        if name not in STRATEGIES:
            raise RecipeError(
                f"--strategies: there is no strategy {name!r}{suggest(name, STRATEGIES)}",
                f"known: {', '.join(STRATEGIES)}",
            )
    chosen = {name: training.model_copy(update={"strategy": name}) for name in strategies}
    if "synthetic" in chosen:  # which has no use for the rest
        chosen["synthetic"] = chosen["synthetic"].model_copy(update={"target": None, "shots": None})
    if training.shots is not None and "real" in chosen:
        chosen[ALL_OF_IT] = chosen["real"].model_copy(update={"shots": None})
    return chosen


def _said(model: SynthmirClassifier, test: Predictions, x: np.ndarray) -> Predictions:
    """What a model says of the test part, in the corpus's labels: of those that it has not learnt, nothing."""
    found = probabilities(model, x)
    if test.problem == REGRESSION:
        return replace(test, outputs=found[:, 0])
    outputs = np.zeros((len(test), len(test.labels)))
    outputs[:, [list(test.labels).index(name) for name in model.config.labels]] = found
    return replace(test, outputs=outputs, threshold=model.config.threshold)


def _differences(
    order: Sequence[str], judged: dict[str, list[Predictions]], task: str, metric: str, settings: EvaluationSettings
) -> list[StrategyDifference]:
    """Every pair, the better first, by the figure that the order is by."""
    pairs = list(itertools.combinations(order, 2))
    tested = [compare_seeds(judged[a], judged[b], task, settings) for a, b in pairs]
    known = [(pair, found[metric]) for pair, found in zip(pairs, tested, strict=True) if metric in found]
    adjusted = adjust_holm([found.p for _, found in known]) if known else []
    return [
        StrategyDifference(
            strategy=a,
            other=b,
            metric=metric,
            difference=to_quantity(found),
            p=found.p,
            p_holm=p,
        )
        for ((a, b), found), p in zip(known, adjusted, strict=True)
    ]
