"""Predictions -> scores: a model judged on its validation split and on real music, file by file or whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.atomic import write_text
from builder.corpus.folder import Corpus
from builder.errors import DataError
from builder.recipe import EvaluationSettings
from builder.records import RunRecord, recording

from .benchmarks.base import Benchmark, load_benchmark, printable
from .bootstrap import bootstrap
from .metrics import load_metric
from .prediction import HOP, embedder_of, predict_tracks, probabilities
from .scores import BenchmarkScores, ClassScores, Figure, JudgedModel, Pair, Range, Scores, Skip

if TYPE_CHECKING:
    from builder.embedders.base import Embedder
    from training.model import SynthmirClassifier

SCORES = "scores.json"
VALIDATION = "validation"
Tick = Callable[[int], None]  # told how many tracks were just judged


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model said of each track of one benchmark."""

    ids: Sequence[str]
    truth: np.ndarray  # int64 [n], positions in the model's labels
    probabilities: np.ndarray  # float64 [n, classes]
    skips: Sequence[Skip] = ()
    notes: Sequence[str] = ()

    @property
    def predicted(self) -> np.ndarray:
        """int64 [n]: the label with the highest probability, the first of equals."""
        choice: np.ndarray = self.probabilities.argmax(axis=1)
        return choice


def score_validation(model: SynthmirClassifier, corpus: Path) -> Judged:
    """Judge the corpus's validation split by its stored embeddings, one a clip. Raises DataError."""
    from training.features import load_features

    features = load_features(corpus, model.config.embedder["name"], model.config.task)
    labels = list(model.config.labels)
    if foreign := [name for name in features.names if name not in labels]:
        raise DataError(
            f"{corpus}: its {model.config.task} {foreign[0]!r} is none of the model's: {', '.join(labels)}"
        )
    if features.dim != model.config.embedder["dim"]:
        raise DataError(
            f"{corpus}: its embeddings have {features.dim} numbers, the model takes {model.config.embedder['dim']}",
            "embed the corpus again with the embedder that the model was trained on",
        )
    position = np.array([labels.index(name) for name in features.names])
    dropped = features.dropped.get(VALIDATION, 0)
    return Judged(
        features.validation.ids,
        position[features.validation.labels.numpy()],
        probabilities(model, features.validation.embeddings.numpy()),
        notes=[f"left out {dropped} clip(s) without a {features.task}"] if dropped else [],
    )


def score_benchmark(
    model: SynthmirClassifier,
    embedder: Embedder,
    benchmark: Benchmark,
    workers: int | None = None,
    tick: Tick = lambda _: None,
) -> Judged:
    """Judge real recordings; those that cannot be read are skipped and listed. Raises DataError if none can be."""
    ids, truth, rows, skips = [], [], [], []
    for track, result in predict_tracks(model, embedder, benchmark.tracks, workers=workers):
        tick(1)
        if isinstance(result, str):
            skips.append(Skip(id=track.id, reason=result))
            continue
        ids.append(track.id)
        truth.append(track.label)
        rows.append(result)
    if not rows:
        raise DataError(
            f"{benchmark.name}: none of its {len(skips)} track(s) can be read; the first, {skips[0].id}: "
            f"{skips[0].reason}",
            "check that the files are whole and that they are audio",
        )
    return Judged(ids, np.array(truth), np.stack(rows), skips, benchmark.notes)


def score(judged: Judged, labels: Sequence[str], settings: EvaluationSettings, **about: str) -> BenchmarkScores:
    """Figures with bootstrap 95 % intervals. `about` fills `name`, `predictions`, `source`, `licence`, `citation`."""
    report = load_metric("genre_report").compute(
        predictions=judged.predicted, references=judged.truth, labels=list(labels)
    )
    confusion = np.array(report["confusion_matrix"])
    bounds = bootstrap(confusion, settings.bootstrap, settings.seed)

    def figure(name: str) -> Figure:
        low, high = getattr(bounds, name)
        return Figure(value=report[name], low=low, high=high)

    def interval(name: str, index: int) -> Range | None:
        low, high = getattr(bounds, name)[:, index]
        return None if np.isnan(low) else Range(low=low, high=high)

    return BenchmarkScores(
        **about,
        notes=list(judged.notes),
        n=len(judged.truth),
        skipped=len(judged.skips),
        skips=list(judged.skips),
        accuracy=figure("accuracy"),
        macro_f1=figure("macro_f1"),
        balanced_accuracy=figure("balanced_accuracy"),
        labels=list(labels),
        per_class=[
            ClassScores(**row, intervals={name: interval(name, index) for name in ("precision", "recall", "f1")})
            for index, row in enumerate(report["per_class"])
        ],
        confusion_matrix=report["confusion_matrix"],
        worst_pair=worst_pair(confusion, labels),
    )


def worst_pair(confusion: np.ndarray, labels: Sequence[str]) -> Pair | None:
    """Who is taken for whom, by the largest share of a class's tracks (then by count); None where no error is."""
    errors = confusion - np.diag(np.diagonal(confusion))
    if not errors.any():
        return None
    shares = errors / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    truth, predicted = max(np.argwhere(errors), key=lambda cell: (shares[tuple(cell)], errors[tuple(cell)]))
    return Pair(
        truth=labels[truth],
        predicted=labels[predicted],
        count=int(errors[truth, predicted]),
        share=float(shares[truth, predicted]),
    )


def evaluate_model(
    model_folder: Path,
    on: Sequence[str],
    out: Path,
    corpus: Path | None = None,
    settings: EvaluationSettings | None = None,
    workers: int | None = None,
    tick: Tick = lambda _: None,
) -> dict[str, Any]:
    """Judge a model on each of `on` and write `out/scores.json` and `out/predictions-<benchmark>.jsonl`.

    `validation` is the split of `corpus`, or of the corpus that the model was trained on. Everything named in `on` is
    looked up before anything is judged. Returns what scores.json holds. Raises DataError, RecipeError, BackendError.
    """
    from training.model import load_model

    settings = settings or EvaluationSettings()
    model_folder, out = Path(model_folder), Path(out)
    model = load_model(model_folder)
    trained = _training_record(model_folder)
    labels = list(model.config.labels)
    names = list(dict.fromkeys(on))
    benchmarks = {name: load_benchmark(name, labels) for name in names if name != VALIDATION}
    home = _corpus(trained, model_folder, corpus) if VALIDATION in names else None

    with recording("evaluate", trained.fingerprint) as record:
        embedder = embedder_of(model) if benchmarks else None
        scored: list[BenchmarkScores] = []
        for name in names:
            if name in benchmarks and embedder is not None:
                bench = benchmarks[name]
                judged = score_benchmark(model, embedder, bench, workers, tick)
                about = {"source": bench.source, "licence": bench.licence, "citation": bench.citation}
            elif home is not None:
                judged = score_validation(model, home)
                tick(len(judged.truth))
                about = {"source": str(home)}
            file = _predictions_file(name, [entry.predictions for entry in scored])
            _write_predictions(out / file, judged, labels)
            scored.append(score(judged, labels, settings, name=printable(name), predictions=file, **about))
        record.rows = sum(len(entry.skips) + entry.n for entry in scored)
        record.details = {
            "on": [printable(name) for name in names],
            "bootstrap": settings.bootstrap,
            "seed": settings.seed,
            "window_seconds": embedder and embedder.window_seconds,
            "hop_seconds": embedder and HOP * embedder.window_seconds,
            "skipped": sum(entry.skipped for entry in scored),
        }

    judged_model = JudgedModel(
        path=str(model_folder),
        task=model.config.task,
        embedder=dict(model.config.embedder),
        fingerprint=trained.fingerprint,
        labels=labels,
    )
    scores = Scores(schema=1, model=judged_model, benchmarks=scored, record=asdict(record))
    scores.write(out / SCORES)
    return scores.model_dump(mode="json", by_alias=True)


def score_table(scores: dict[str, Any]) -> str:
    """What scores.json holds, as lines for a terminal: each benchmark's figures with their 95 % intervals."""
    rows = [("on", "n", "skipped", "accuracy", "macro-F1", "balanced accuracy")]
    for entry in scores["benchmarks"]:
        cells = (
            f"{entry[key]['value']:.1%} [{entry[key]['low']:.1%}, {entry[key]['high']:.1%}]"
            for key in ("accuracy", "macro_f1", "balanced_accuracy")
        )
        rows.append((entry["name"], str(entry["n"]), str(entry["skipped"]), *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for entry in scores["benchmarks"]:
        if pair := entry["worst_pair"]:
            lines.append(
                f"{entry['name']}: most often mixed up: {pair['truth']} taken for {pair['predicted']}, "
                f"{pair['count']} track(s), {pair['share']:.0%} of them"
            )
    return "\n".join(lines)


def _training_record(model_folder: Path) -> RunRecord:
    """The model's run record. Raises DataError if it is missing or no record."""
    path = model_folder / "training.json"
    try:
        return RunRecord.read(path)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", "give a folder that `synthmir train` wrote"
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a run record: {error}", "give a folder that `synthmir train` wrote") from error


def _corpus(trained: RunRecord, model_folder: Path, given: Path | None) -> Path:
    """The corpus whose validation split the model is judged on. Raises DataError: none, or not the model's own."""
    if given is None and "corpus" not in trained.details:
        raise DataError(f"{model_folder}: does not tell which corpus it was trained on", "add --corpus PATH")
    root = Path(given) if given is not None else (model_folder / trained.details["corpus"]).resolve()
    if not root.exists():
        raise DataError(f"{root}: the corpus that the model was trained on is not there", "add --corpus PATH")
    corpus = Corpus.open(root)
    found = corpus.record().get("fingerprint")
    if None not in (found, trained.fingerprint) and found != trained.fingerprint:
        raise DataError(
            f"{root}: holds the corpus {found}, but the model was trained on {trained.fingerprint}: "
            "what it learnt from may be in this validation split",
            "add --corpus with the model's own corpus, or judge it on folder:PATH",
        )
    return root


def _predictions_file(name: str, taken: Sequence[str]) -> str:
    """A file name of its own for each benchmark, whatever stands in its path."""
    slug = re.sub(r"[^\w.-]+", "-", printable(name)).strip("-.")[-80:]
    while f"predictions-{slug}.jsonl" in taken:
        slug += "-2"
    return f"predictions-{slug}.jsonl"


def _write_predictions(path: Path, judged: Judged, labels: Sequence[str]) -> None:
    rows = zip(judged.ids, judged.truth, judged.predicted, judged.probabilities, strict=True)
    lines = (
        json.dumps(
            {
                "id": identity,
                "label": labels[truth],
                "predicted": labels[predicted],
                "probabilities": {name: round(float(value), 6) for name, value in zip(labels, row, strict=True)},
            },
            ensure_ascii=False,
        )
        for identity, truth, predicted, row in rows
    )
    write_text(path, "".join(f"{line}\n" for line in lines))
