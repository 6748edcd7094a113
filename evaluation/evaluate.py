"""Models -> scores.json: judged on their validation split and on real music, and held against one another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from builder.errors import DataError
from builder.executors import Executor
from builder.records import record_run
from builder.settings import EvaluationSettings

from .benchmarks.base import Benchmark, load_benchmark
from .benchmarks.text import printable
from .inference.evaluated_model import (
    VALIDATION,
    EvaluatedModel,
    Tick,
    corpus_of,
    predict_validation,
    predict_with_models,
)
from .inference.predict import HOP
from .results.scores import MULTI, BenchmarkScores, Comparison, ScoredModel, Scores
from .statistics.compare import adjust_p_values, compare_predictions
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
    """Judge a model on each of `on` and write `out/scores.json` and `out/predictions-<benchmark>.jsonl`.

    `validation` is the split of `corpus`, or of the corpus that the model was trained on. The models of `against` are
    judged on the same tracks, and each figure's difference goes into the scores. Everything named is looked up before
    anything is judged. Tracks are heard here, by `workers` threads, or by the workers of an `executor`: no figure
    depends on them. Returns what scores.json holds. Raises DataError, RecipeError, BackendError.
    """
    settings = settings or EvaluationSettings()
    out = Path(out)
    ours = EvaluatedModel.load(Path(model_folder), settings)
    others = [_rival(ours, EvaluatedModel.load(Path(folder), settings)) for folder in against]
    names = list(dict.fromkeys(on))
    config = ours.model.config
    places: dict[str, Benchmark | Path] = {
        name: corpus_of(ours.trained, ours.folder, corpus)
        if name == VALIDATION
        else load_benchmark(name, ours.labels, config.task, ours.problem)  # type: ignore[arg-type]
        for name in names
    }
    for other in others if VALIDATION in names else ():
        corpus_of(other.trained, other.folder, places[VALIDATION])  # type: ignore[arg-type]

    with record_run("evaluate", ours.trained.fingerprint) as record:
        thresholds, (why, *_) = zip(*(_threshold(one, corpus) for one in (ours, *others)), strict=True)
        scored: list[BenchmarkScores] = []
        compared: list[Comparison] = []
        for name, place in places.items():
            if isinstance(place, Benchmark):
                _leave_out_what_was_learnt(place, [ours, *others])
            judged, *rivals = predict_with_models([ours, *others], place, workers, tick, thresholds, executor)
            if why:
                judged = replace(judged, notes=[*judged.notes, why])
            file = _predictions_file(name, [entry.predictions for entry in scored])
            judged.write(out / file)
            about = _about(name, place) | {"predictions": file}
            scored.append(score_predictions(judged, settings, config.task, **about))
            for other, rival in zip(others, rivals, strict=True):
                compared += compare_predictions(
                    judged, rival, settings, config.task, printable(name), str(other.folder)
                )
        window = ours.embedder.window_seconds if any(name != VALIDATION for name in names) else None
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
            path=str(ours.folder),
            task=config.task,
            problem=ours.problem,  # type: ignore[arg-type]
            embedder=dict(config.embedder),
            fingerprint=ours.trained.fingerprint,
            labels=ours.labels,
            aggregate=settings.aggregate,
        ),
        benchmarks=scored,  # type: ignore[arg-type]
        comparisons=adjust_p_values(compared),
        record=asdict(record),
    )
    scores.write(out / SCORES)
    return scores.model_dump(mode="json", by_alias=True)


def _leave_out_what_was_learnt(benchmark: Benchmark, candidates: Sequence[EvaluatedModel]) -> None:
    """Where a model learnt from these recordings as its target, only those of the target's test part are judged on.

    Known from the training record, which names the test part of a target that had none of its own.
    """
    for one in candidates:
        target = (one.trained.details.get("strategy") or {}).get("target") or {}
        unseen = set(target.get("test_ids") or ())
        if not unseen:
            continue
        kept = [track for track in benchmark.tracks if track.id in unseen]
        if learnt := len(benchmark.tracks) - len(kept) if kept else 0:
            benchmark.tracks = kept
            benchmark.notes.append(f"left out {learnt} track(s) that {one.folder.name} learnt from or was chosen by")


def _about(name: str, place: Benchmark | Path) -> dict[str, Any]:
    if not isinstance(place, Benchmark):
        return {"name": name, "source": str(place), "protocol": "The corpus' own split, by its stored embeddings."}
    return {
        "name": printable(name),
        "source": place.source,
        "licence": place.licence,
        "citation": place.citation,
        "protocol": place.protocol,
        "left_out": place.left_out,
        "published": place.published,
    }


def _rival(ours: EvaluatedModel, other: EvaluatedModel) -> EvaluatedModel:
    """`other`, if it answers the same question. Raises DataError."""
    if (other.model.config.task, other.problem) != (ours.model.config.task, ours.problem) or (
        set(other.labels) != set(ours.labels)
    ):
        raise DataError(
            f"{other.folder}: tells {other.model.config.task} of {len(other.labels)} label(s), not what {ours.folder} "
            "tells: their figures cannot be compared",
            "compare models of the same task and labels",
        )
    return other


def _threshold(candidate: EvaluatedModel, corpus: Path | None) -> tuple[float | None, str]:
    """The model's own threshold, else one chosen on its validation split alone; and a note where there is neither."""
    if candidate.problem != MULTI or candidate.model.config.threshold is not None:
        return candidate.model.config.threshold, ""
    from training.optim.objectives import best_threshold

    try:
        place = corpus_of(candidate.trained, candidate.folder, corpus)
        judged = predict_validation(candidate.model, place, None, candidate.trained.details)
    except DataError as error:
        return None, f"no F1: the model holds no threshold, and none can be chosen on its validation split: {error}"
    held = judged.truth.any(axis=0)
    return best_threshold(judged.outputs[:, held], judged.truth[:, held])[0], ""


def _predictions_file(name: str, taken: Sequence[str]) -> str:
    """A file name of its own for each benchmark, whatever stands in its path."""
    slug = re.sub(r"[^\w.-]+", "-", printable(name)).strip("-.")[-80:]
    while f"predictions-{slug}.jsonl" in taken:
        slug += "-2"
    return f"predictions-{slug}.jsonl"
