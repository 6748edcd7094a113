"""A model that is judged: what it says of its validation split and of real recordings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.corpus.corpus import Corpus, embed_record
from builder.embedders.embed_dataset import RECORD as DATASET_RECORD
from builder.embedders.embedded_dataset import is_corpus
from builder.errors import DataError
from builder.executors import Executor, InProcessExecutor
from builder.io.storage import is_remote, path_exists, to_path
from builder.recipe import EvaluationSettings, SplitSettings
from builder.records import RunRecord
from builder.validation import validate

from ..benchmarks.base import Benchmark
from ..benchmarks.track import Label, Track
from ..results.predictions import Predictions
from ..results.scores import MULTI, REGRESSION, SINGLE, Skip
from .distributed import embed_tracks_distributed
from .predict import (
    answer,
    check_aggregate,
    embed_tracks,
    load_model_embedder,
    predict_tracks,
    probabilities,
    problem_of,
)
from .validation_audio import Clips

if TYPE_CHECKING:
    from builder.embedders.base import EmbedderBackend
    from training.data.features import ValidationRows
    from training.models.classifier import SynthmirClassifier

VALIDATION = "validation"
Tick = Callable[[int], None]  # told how many tracks were just judged


@dataclass
class EvaluatedModel:
    """A model that is judged, and what is needed for it."""

    folder: Path
    model: SynthmirClassifier
    trained: RunRecord
    settings: EvaluationSettings

    @classmethod
    def load(cls, folder: Path, settings: EvaluationSettings) -> EvaluatedModel:
        """Read a model folder. Raises DataError, and RecipeError where the settings mean nothing for the model."""
        from training.models.classifier import load_model

        model = load_model(folder)
        check_aggregate(settings.aggregate, problem_of(model))
        return cls(folder, model, _training_record(folder), settings)

    @property
    def labels(self) -> list[str]:
        """The labels of its outputs."""
        return list(self.model.config.labels)

    @property
    def problem(self) -> str:
        """What its labels are, in transformers' words."""
        return problem_of(self.model)

    @cached_property
    def embedder(self) -> EmbedderBackend:
        """What it was trained on, loaded when it is needed."""
        return load_model_embedder(self.model)

    def answer(self, vectors: np.ndarray | str, labels: Sequence[str]) -> np.ndarray | str:
        """A track's windows, float32 [windows, dim] -> its one answer, float64 in the order of `labels`.

        Why it has none stays.
        """
        if isinstance(vectors, str):
            return vectors
        return answer(self.model, vectors, self.settings.aggregate)[[self.labels.index(name) for name in labels]]

    def on(self, benchmark: Benchmark | Path, workers: int | None, tick: Tick, threshold: float | None) -> Predictions:
        """What it says of a benchmark's tracks, or of the validation split of the corpus at a path."""
        return predict_with_models([self], benchmark, workers, tick, [threshold])[0]


def predict_with_models(
    candidates: Sequence[EvaluatedModel],
    benchmark: Benchmark | Path,
    workers: int | None,
    tick: Tick,
    thresholds: Sequence[float | None],
    executor: Executor | None = None,
) -> list[Predictions]:
    """What models of the same labels, in any order, say of the same tracks, or of the validation split at a path.

    A benchmark is one that was opened for the labels of the first. A track is read and embedded once for all models
    that were trained on the same embedder: here by `workers` threads, or by the workers of an `executor`.
    """
    found: dict[int, Predictions] = {}
    if not isinstance(benchmark, Benchmark):
        for number, (one, threshold) in enumerate(zip(candidates, thresholds, strict=True)):
            found[number] = predict_validation(one.model, benchmark, threshold, one.trained.details)
        tick(len(found[0]))
        return list(found.values())
    labels = candidates[0].labels
    alike: dict[str, list[int]] = {}
    for number, one in enumerate(candidates):
        alike.setdefault(json.dumps(one.model.config.embedder, sort_keys=True), []).append(number)
    for numbers in alike.values():
        said: dict[int, list[tuple[Track, np.ndarray | str]]] = {number: [] for number in numbers}
        first = candidates[numbers[0]]
        heard = (
            embed_tracks(first.embedder, benchmark.tracks, workers=workers)
            if executor is None or isinstance(executor, InProcessExecutor)
            else embed_tracks_distributed(executor, first.model.config, first.embedder, benchmark.tracks)
        )
        for track, vectors in heard:
            tick(numbers[0] == 0)  # a track counts once
            bare = replace(track, data=None)  # memory holds no more audio than the threads read ahead
            for number in numbers:
                said[number].append((bare, candidates[number].answer(vectors, labels)))
        for number, answers in said.items():
            found[number] = collect_predictions(
                benchmark, answers, labels, candidates[number].problem, threshold=thresholds[number]
            )
    return [found[number] for number in range(len(candidates))]


def read_validation(
    corpus: Path, embedder: str, task: str, known: Sequence[str], details: dict[str, Any]
) -> ValidationRows:
    """The rows that a model was chosen by, read as its training record says. Raises DataError."""
    from training.data.features import load_validation

    options = dict(details.get("data") or {})
    if options.get("split"):
        options["split"] = validate(SplitSettings, options["split"], "training.json: details.data.split")
    return load_validation(corpus, embedder, task, known=known, **options)


def predict_validation(
    model: SynthmirClassifier, corpus: Path, threshold: float | None, details: dict[str, Any]
) -> Predictions:
    """Judge the validation split by its stored embeddings, one a clip. Raises DataError."""
    _check_revision(model, corpus)
    labels, problem, task = list(model.config.labels), problem_of(model), model.config.task
    validation = read_validation(corpus, model.config.embedder["name"], task, labels, details)
    rows, names = validation.rows, validation.names
    if foreign := _unknown_labels(validation, [*labels, *(details.get("left_out") or ())]):
        raise DataError(f"{corpus}: its {task} {foreign[0]!r} is none of the model's: {', '.join(labels)}")
    if (dim := rows.embeddings.shape[1]) != model.config.embedder["dim"]:
        raise DataError(
            f"{corpus}: its embeddings have {dim} numbers, the model takes {model.config.embedder['dim']}",
            "embed the corpus again with the embedder that the model was trained on",
        )
    truth, outputs = rows.labels.numpy(), probabilities(model, rows.embeddings.numpy())
    if problem == SINGLE:
        truth = np.array([labels.index(name) if name in labels else -1 for name in names])[truth]
    elif problem == MULTI:
        used = [place for place, name in enumerate(names) if name in labels]
        outputs = outputs[:, [labels.index(names[place]) for place in used]]
        truth, labels = truth[:, used] > 0.5, [names[place] for place in used]
    else:
        truth, outputs = truth.astype(np.float64), outputs[:, 0]
    notes = [f"left out {validation.dropped} clip(s) without a {task}"] if validation.dropped else []
    return Predictions(problem, labels, rows.ids, truth, outputs, threshold, notes=notes)


def _unknown_labels(validation: ValidationRows, known: Sequence[str]) -> list[str]:
    """Labels of some row that are not among the known ones."""
    if validation.problem_type == REGRESSION:
        return []
    labels = validation.rows.labels
    used = labels.unique() if validation.problem_type == SINGLE else labels.any(dim=0).nonzero().flatten()
    return [validation.names[place] for place in used.tolist() if validation.names[place] not in known]


def _check_revision(model: SynthmirClassifier, corpus: Path) -> None:
    """Raises DataError where the stored embeddings are of another revision than what the model learnt from."""
    made = model.config.embedder
    for file in (embed_record(made["name"]), DATASET_RECORD) if corpus.is_dir() else ():
        found = Corpus(corpus).record(file).get("details", {}).get("embedder", {})
        if found.get("name") == made["name"] and None not in (found.get("revision"), made.get("revision")):
            if str(found["revision"]) != str(made["revision"]):
                raise DataError(
                    f"{corpus}: its embeddings are of {made['name']} of revision {found['revision']}, the model was "
                    f"trained on revision {made['revision']}",
                    "train anew on these, or embed the corpus with what the model was trained on",
                )
            return


def predict_benchmark(
    model: SynthmirClassifier,
    embedder: EmbedderBackend,
    benchmark: Benchmark | Clips,
    workers: int | None = None,
    tick: Tick = lambda _: None,
    threshold: float | None = None,
    **options: Any,
) -> Predictions:
    """Judge real recordings; those that cannot be read are skipped and listed. Raises DataError if none can be.

    Of a model of many labels a track only those count that the benchmark can speak about. `options` go to
    `predict_tracks`.
    """
    answers = predict_tracks(model, embedder, benchmark.tracks, workers=workers, **options)
    return collect_predictions(benchmark, answers, list(model.config.labels), problem_of(model), tick, threshold)


def collect_predictions(
    benchmark: Benchmark | Clips,
    answers: Iterable[tuple[Track, np.ndarray | str]],
    labels: list[str],
    problem: str,
    tick: Tick = lambda _: None,
    threshold: float | None = None,
) -> Predictions:
    """What a model of these labels answered for each track, or why it could not, as `score_benchmark` has it."""
    ids, said, rows, artists, skips = [], [], [], [], []
    for track, result in answers:
        tick(1)
        if isinstance(result, str):
            skips.append(Skip(id=track.id, reason=result))
            continue
        ids.append(track.id)
        said.append(track.label)
        rows.append(result)
        artists.append(track.artist)
    if not rows:
        raise DataError(
            f"{benchmark.name}: none of its {len(skips)} track(s) can be read; the first, {skips[0].id}: "
            f"{skips[0].reason}",
            "check that the files are whole and that they are audio",
        )
    truth, outputs = _truth(said, problem, len(labels)), np.stack(rows)
    if problem == MULTI and benchmark.covered:
        covered = list(benchmark.covered)
        truth, outputs, labels = truth[:, covered], outputs[:, covered], [labels[index] for index in covered]
    elif problem == REGRESSION:
        outputs = outputs[:, 0]
    return Predictions(problem, labels, ids, truth, outputs, threshold, artists, skips, benchmark.notes)


def _truth(labels: Sequence[Label], problem: str, classes: int) -> np.ndarray:
    if problem != MULTI:
        return np.array(labels, np.int64 if problem == SINGLE else np.float64)
    truth = np.zeros((len(labels), classes), bool)
    for row, held in zip(truth, labels, strict=True):
        row[list(held) if isinstance(held, tuple) else [int(held)]] = True
    return truth


def _training_record(model_folder: Path) -> RunRecord:
    """The model's run record. Raises DataError if it is missing or no record."""
    path = model_folder / "training.json"
    try:
        return RunRecord.read(path)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", "give a folder that `synthmir train` wrote"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: not a run record: {error}", "give a folder that `synthmir train` wrote") from error


def corpus_of(trained: RunRecord, model_folder: Path, given: Path | None) -> Path:
    """What holds the validation split that the model is judged on. Raises DataError: nothing, or not the model's own.

    That is a corpus of ours, or whatever else the model was trained on.
    """
    if given is None and "corpus" not in trained.details:
        raise DataError(f"{model_folder}: does not tell which corpus it was trained on", "add --corpus PATH")
    recorded = trained.details.get("corpus", "")
    if not isinstance(recorded, str):
        raise DataError(
            f"{model_folder}/training.json: details.corpus is no path: {recorded!r:.60}", "add --corpus PATH"
        )
    beside = to_path(recorded) if "://" in recorded else model_folder / recorded
    root = to_path(given) if given is not None else beside
    if not path_exists(root):
        raise DataError(f"{root}: the corpus that the model was trained on is not there", "add --corpus PATH")
    if given is None and not is_remote(root):
        root = root.resolve()
    if not is_corpus(root):
        return root
    found = Corpus.open(root).record().get("fingerprint")
    if None not in (found, trained.fingerprint) and found != trained.fingerprint:
        raise DataError(
            f"{root}: holds the corpus {found}, but the model was trained on {trained.fingerprint}: "
            "what it learnt from may be in this validation split",
            "add --corpus with the model's own corpus, or judge it on folder:PATH",
        )
    return root
