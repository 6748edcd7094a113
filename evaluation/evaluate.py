"""Evaluate a model on its validation split and on benchmarks, compare it with others, and write scores.json."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from builder.errors import DataError, RecipeError
from builder.executors import Executor
from builder.names import format_count
from builder.records import record_run
from builder.settings import EvaluationSettings
from training.models.calibration import STATISTICS

from .benchmarks.base import Benchmark, load_benchmark
from .benchmarks.text import printable
from .inference.calibrate import calibrate_model
from .inference.evaluated_model import (
    OWN,
    VALIDATION,
    EvaluatedModel,
    Tick,
    corpus_of,
    predict_validation,
    predict_with_models,
)
from .inference.predict import HOP
from .results.scores import MULTI, SINGLE, BenchmarkScores, Comparison, ScoredModel, Scores
from .statistics.compare import adjust_p_values, compare_predictions
from .statistics.probe_scores import compare_with_probes, score_probes
from .statistics.summary import score_predictions

SCORES = "scores.json"


def evaluate_model(
    model_folder: Path,
    on: Sequence[str],
    out: Path,
    corpus: Path | None = None,
    settings: EvaluationSettings | None = None,
    workers: int | None = None,
    tick: Tick = lambda _: None,
    against: Sequence[Path] = (),
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Evaluate a model and write `out/scores.json` and `out/predictions-<benchmark>.jsonl`.

    Recordings are cut into windows of the embedder's length that overlap by half, and `settings.aggregate` makes one
    prediction of a track's windows. Everything that is named is looked up before anything is predicted.

    Args:
        model_folder: The model.
        on: What to evaluate it on: "validation", or benchmarks such as "gtzan:PATH" and "folder:PATH".
        out: The folder of results.
        corpus: What holds the validation split; by default the corpus that the model was trained on.
        settings: Bootstrap, aggregation, calibration, seed, and the linear probes to compare with.
        workers: Threads that decode. They do not change the scores.
        tick: Called with the number of tracks that were just predicted.
        against: Other models, of the same task and labels, to compare the model with on the same tracks.
        executor: Whose workers embed the tracks; by default this process. It does not change the scores.

    Returns:
        The contents of scores.json.

    Raises:
        DataError: A model, a corpus or a benchmark cannot be used.
        RecipeError: A setting is not valid.
        BackendError: The embedder cannot be loaded.

    Example:
        >>> scores = evaluate_model(Path("model"), ["folder:music"], Path("report"))
        >>> scores["benchmarks"][0]["accuracy"]["value"]
        0.92
    """
    settings = settings or EvaluationSettings()
    out = Path(out)
    evaluated = EvaluatedModel.load(Path(model_folder), settings)
    others = [_check_comparable(evaluated, EvaluatedModel.load(Path(folder), settings)) for folder in against]
    names = list(dict.fromkeys(on))
    config = evaluated.model.config
    if settings.probe and evaluated.problem != SINGLE:
        raise RecipeError(
            f"evaluation.probe: needs a task with one label a track, and {config.task} is none", "leave out --probe"
        )
    places: dict[str, Benchmark | Path] = {
        name: corpus_of(evaluated.trained, evaluated.folder, corpus)
        if name == VALIDATION
        else load_benchmark(name, evaluated.labels, config.task, evaluated.problem)  # type: ignore[arg-type]
        for name in names
    }
    for other in others if VALIDATION in names else ():
        corpus_of(other.trained, other.folder, places[VALIDATION])  # type: ignore[arg-type]

    with record_run("evaluate", evaluated.trained.fingerprint) as record:
        if settings.calibrate not in (None, OWN):
            evaluated, *others = (
                replace(one, model=calibrate_model(one.model, str(settings.calibrate), workers))
                for one in (evaluated, *others)
            )
            config = evaluated.model.config
        thresholds, (why, *_) = zip(*(_threshold(one, corpus) for one in (evaluated, *others)), strict=True)
        scored: list[BenchmarkScores] = []
        compared: list[Comparison] = []
        for name, place in places.items():
            if isinstance(place, Benchmark):
                _leave_out_training_tracks(place, [evaluated, *others])
            means: list[np.ndarray] = []  # of each track, for linear probes
            predictions, *of_others = predict_with_models(
                [evaluated, *others], place, workers, tick, thresholds, executor, settings.calibrate == OWN,
                lambda vectors: means.append(vectors.mean(axis=0)),  # noqa: B023 - called before the next round
            )  # fmt: skip
            if why:
                predictions = replace(predictions, notes=[*predictions.notes, why])
            file = _predictions_file(name, [entry.predictions for entry in scored])
            predictions.write(out / file)
            about = _about(name, place) | {"predictions": file}
            if settings.probe and isinstance(place, Benchmark):
                probed = score_probes(np.stack(means), predictions, settings.probe, config.task, settings)
                if isinstance(probed, str):
                    predictions = replace(predictions, notes=[*predictions.notes, probed])
                else:
                    about["probes"] = probed[0]
                    compared += compare_with_probes(predictions, probed[1], config.task, settings, printable(name))
            scored.append(score_predictions(predictions, settings, config.task, **about))
            for other, theirs in zip(others, of_others, strict=True):
                compared += compare_predictions(
                    predictions, theirs, settings, config.task, printable(name), str(other.folder)
                )
        window = evaluated.embedder.window_seconds if any(name != VALIDATION for name in names) else None
        record.rows = sum(len(entry.skips) + entry.n for entry in scored)
        record.details = {
            "on": [printable(name) for name in names],
            "against": [str(other.folder) for other in others],
            "settings": settings.model_dump(mode="json", exclude={"benchmarks"}),
            "window_seconds": window,
            "hop_seconds": window and HOP * window,
            "skipped": sum(entry.skipped for entry in scored),
        }

    scores = Scores(
        schema=2,
        model=ScoredModel(
            path=str(evaluated.folder),
            task=config.task,
            problem=evaluated.problem,  # type: ignore[arg-type]
            embedder=dict(config.embedder),
            fingerprint=evaluated.trained.fingerprint,
            labels=evaluated.labels,
            aggregate=settings.aggregate,
            calibration={"method": STATISTICS, "source": OWN} if settings.calibrate == OWN else config.calibration,
        ),
        benchmarks=scored,  # type: ignore[arg-type]
        comparisons=adjust_p_values(compared),
        record=asdict(record),
    )
    scores.write(out / SCORES)
    return scores.model_dump(mode="json", by_alias=True)


def _leave_out_training_tracks(benchmark: Benchmark, candidates: Sequence[EvaluatedModel]) -> None:
    """Keep only the target's test part where a model was trained on these recordings as its target.

    The training record names the test part of a target that had none of its own.
    """
    for one in candidates:
        target = (one.trained.details.get("strategy") or {}).get("target") or {}
        unseen = set(target.get("test_ids") or ())
        if not unseen:
            continue
        kept = [track for track in benchmark.tracks if track.id in unseen]
        if left_out := len(benchmark.tracks) - len(kept) if kept else 0:
            benchmark.tracks = kept
            benchmark.notes.append(
                f"left out {format_count(left_out, 'track')} that {one.folder.name} was trained or selected on"
            )


def _about(name: str, place: Benchmark | Path) -> dict[str, Any]:
    if not isinstance(place, Benchmark):
        return {"name": name, "source": str(place), "protocol": "The corpus's own split, by its stored embeddings."}
    return {
        "name": printable(name),
        "source": place.source,
        "licence": place.licence,
        "citation": place.citation,
        "protocol": place.protocol,
        "left_out": place.left_out,
        "published": place.published,
    }


def _check_comparable(model: EvaluatedModel, other: EvaluatedModel) -> EvaluatedModel:
    """Return the other model. Raises DataError where its task or its labels are not the first model's."""
    if (other.model.config.task, other.problem) != (model.model.config.task, model.problem) or (
        set(other.labels) != set(model.labels)
    ):
        raise DataError(
            f"{other.folder}: predicts {other.model.config.task} with {format_count(len(other.labels), 'label')}, and "
            f"{model.folder} {model.model.config.task} with {len(model.labels)}: their scores cannot be compared",
            "compare models of the same task and labels",
        )
    return other


def _threshold(model: EvaluatedModel, corpus: Path | None) -> tuple[float | None, str]:
    """Return the model's threshold, or one chosen on its validation split; and a note where there is neither."""
    if model.problem != MULTI or model.model.config.threshold is not None:
        return model.model.config.threshold, ""
    from training.optim.objectives import best_threshold

    try:
        place = corpus_of(model.trained, model.folder, corpus)
        validation = predict_validation(model.model, place, None, model.trained.details)
    except DataError as error:
        return None, f"no F1: the model has no threshold, and none can be chosen on its validation split: {error}"
    held = validation.truth.any(axis=0)
    return best_threshold(validation.outputs[:, held], validation.truth[:, held])[0], ""


def _predictions_file(name: str, taken: Sequence[str]) -> str:
    """Return a file name for the predictions of a benchmark that no other benchmark has."""
    slug = re.sub(r"[^\w.-]+", "-", printable(name)).strip("-.")[-80:]
    while f"predictions-{slug}.jsonl" in taken:
        slug += "-2"
    return f"predictions-{slug}.jsonl"
