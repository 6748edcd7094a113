"""Compare the strategies of training on a synthetic corpus and real music, on the test part of the real music."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from builder.errors import RecipeError
from builder.records import record_run
from builder.settings import EmbedderSettings, EvaluationSettings, SplitSettings, TrainingSettings
from builder.validation import suggest
from training.models.classifier import REGRESSION, SynthmirClassifier, load_model
from training.seeds import train_seeds
from training.strategies import lacks_network
from training.trainer import RECORD, load_training_data

from .inference.held_out import read_test
from .inference.predict import HOP, Aggregate, check_aggregate, predict_probabilities, predict_windows
from .inference.target_windows import TargetWindows, embed_target_windows
from .results.predictions import Predictions
from .results.strategies import FILE, StrategyComparison, StrategyDifference, StrategyScores
from .statistics.across_seeds import check_metric, choose_metric, score_seeds
from .statistics.compare import compare_seeds, to_quantity
from .statistics.paired import adjust_holm
from .statistics.summary import describe_sampling

STRATEGIES = ("synthetic", "adapt", "transfer", "joint", "finetune", "real")
ALL_LABELS = "real, all labels"  # trained beside strategies that get a few shots
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
    metric: str | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> StrategyComparison:
    """Train a model by each strategy and seed, score all on the target's test part, and write `out`/strategies.json.

    No training reads the test part, and every strategy is scored on the same rows of it. A score is the one that
    `evaluate_model` gives a model on the same tracks: each recording is cut into windows that overlap by half, and
    `settings.aggregate` makes one prediction of them. Where the recordings are no longer there, the stored embedding
    of each track is its one window, and a note says so. With `shots`, `real` on all labels is trained as well, as the
    line to compare with. Models are in `out`/models; finished ones are kept.

    Args:
        corpus: The synthetic corpus.
        out: The folder of results.
        training: Settings of the trainings. A head that is no network is replaced by `mlp` where one of the strategies
            needs a network. `training.target` is the real music: a corpus, a data set of embeddings,
            or what `embed_target` made of a benchmark.
        strategies: Names from `STRATEGIES`.
        seeds: Seeds of the trainings of each strategy.
        embedder: The embedder whose embeddings are trained on.
        split: How a data set without a validation split is divided.
        settings: How the models are scored. Intervals and differences are over artists where they are known, else over
            tracks.
        metric: The metric that orders the strategies and is tested, such as "balanced_accuracy". None: the first of
            the problem.
        progress: Called with the trainings that are done, and all of them.

    Raises:
        RecipeError: The settings are not valid.
        DataError: The corpus or the target cannot be read, or the target has no test part.
    """
    settings, out = settings or EvaluationSettings(), Path(out)
    check_metric(metric)
    chosen = _settings(training, strategies)
    with record_run("compare") as record:
        data = load_training_data(Path(corpus), training.model_copy(update={"strategy": "synthetic"}), embedder, split)
        columns = training.label_column, training.embedding_column
        test, stored = read_test(str(training.target), data.features, *columns)
        check_aggregate(settings.aggregate, test.problem)
        records: dict[str, dict[str, Any]] = {}
        models: dict[str, list[SynthmirClassifier]] = {}
        done = itertools.count(1)
        for name, each in chosen.items():
            folder = out / "models" / name.replace(", ", "-").replace(" ", "-")
            tick = lambda *_: progress(next(done), len(chosen) * len(seeds))  # noqa: E731
            train_seeds(Path(corpus), folder, each, seeds, embedder, tick, split=split)
            models[name] = [load_model(folder / f"seed-{seed}") for seed in seeds]
            details = json.loads((folder / f"seed-{seeds[0]}" / RECORD).read_text(encoding="utf-8"))["details"]
            records[name] = {"models": folder.relative_to(out).as_posix(), "rows": details["rows"]} | {
                "selected_on": details["strategy"]["selected_on"]
            }
        windows = embed_target_windows(str(training.target), test, stored, models[name][0], out / "windows")
        predictions = {
            name: [_predict(model, windows, settings.aggregate) for model in of_strategy]
            for name, of_strategy in models.items()
        }
        test = windows.test
        record.rows = len(test)
        record.fingerprint = data.build_record.get("fingerprint")
        record.details = {
            "corpus": Path(corpus).name,
            "settings": training.model_dump(mode="json", exclude={"target"}),
            "window_seconds": windows.seconds,
            "hop_seconds": windows.seconds and HOP * windows.seconds,
            "aggregate": settings.aggregate,
        }
        task = data.features.task
        scores = [
            StrategyScores(name=name, figures=score_seeds(predictions[name], task, settings), **records[name])
            for name in chosen
        ]
        metric = choose_metric(metric, test.problem, scores[0].figures)
        scores.sort(key=lambda one: (1 if metric in LOWER_IS_BETTER else -1) * one.figures[metric].mean.value)
        differences = _differences([one.name for one in scores], predictions, task, metric, settings)
    comparison = StrategyComparison(
        schema=1,
        task=task,
        problem=test.problem,  # type: ignore[arg-type]
        target=Path(str(training.target)).name,
        n=len(test),
        metric=metric,
        shots=training.shots,
        seeds=list(seeds),
        upper=next((name for name in (ALL_LABELS, "real") if name in chosen), None),
        notes=list(test.notes),
        sampling=describe_sampling(test, settings),
        strategies=scores,
        differences=differences,
        record=asdict(record),
    )
    comparison.write(out / FILE)
    return comparison


def _settings(training: TrainingSettings, strategies: Sequence[str]) -> dict[str, TrainingSettings]:
    """Return the settings of each strategy's training, by name."""
    if training.target is None:
        raise RecipeError("training.target: names no real music to compare on", "name it: --target DIR")
    for name in strategies:
        if name not in STRATEGIES:
            raise RecipeError(
                f"--strategies: there is no strategy {name!r}{suggest(name, STRATEGIES)}",
                f"known: {', '.join(STRATEGIES)}",
            )
    chosen = {name: training.model_copy(update={"strategy": name}) for name in strategies}
    if any(map(lacks_network, chosen.values())):  # one head for all, or they could not be compared
        chosen = {name: each.model_copy(update={"head": "mlp"}) for name, each in chosen.items()}
    if "synthetic" in chosen:  # uses no target
        chosen["synthetic"] = chosen["synthetic"].model_copy(update={"target": None, "shots": None})
    if training.shots is not None and "real" in chosen:
        chosen[ALL_LABELS] = chosen["real"].model_copy(update={"shots": None})
    return chosen


def _predict(model: SynthmirClassifier, windows: TargetWindows, aggregate: Aggregate) -> Predictions:
    """Predict the test part. A label of the corpus that the model has not learnt gets the probability 0."""
    test = windows.test
    rows = (
        predict_probabilities(model, np.concatenate(windows.embeddings))
        if windows.seconds is None
        else np.stack([predict_windows(model, vectors, aggregate) for vectors in windows.embeddings])
    )
    if test.problem == REGRESSION:
        return replace(test, outputs=rows[:, 0])
    outputs = np.zeros((len(test), len(test.labels)))
    outputs[:, [list(test.labels).index(name) for name in model.config.labels]] = rows
    return replace(test, outputs=outputs, threshold=model.config.threshold)


def _differences(
    order: Sequence[str],
    predictions: dict[str, list[Predictions]],
    task: str,
    metric: str,
    settings: EvaluationSettings,
) -> list[StrategyDifference]:
    """Compare every pair of strategies, the better first, by the metric that orders them."""
    pairs = list(itertools.combinations(order, 2))
    tested = [compare_seeds(predictions[a], predictions[b], task, settings) for a, b in pairs]
    defined = [
        (pair, differences[metric]) for pair, differences in zip(pairs, tested, strict=True) if metric in differences
    ]
    adjusted = adjust_holm([difference.p for _, difference in defined]) if defined else []
    return [
        StrategyDifference(
            strategy=a, other=b, metric=metric, difference=to_quantity(difference), p=difference.p, p_holm=p
        )
        for ((a, b), difference), p in zip(defined, adjusted, strict=True)
    ]
