"""A model that is evaluated, and its predictions for its validation split and for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from builder.names import format_count
from builder.records import RunRecord
from builder.settings import EvaluationSettings, SplitSettings
from builder.validation import validate
from training.models.calibration import RecordingStatistics, calibrate_classifier

from ..benchmarks.base import Benchmark
from ..benchmarks.track import Label, Track
from ..results.predictions import Predictions
from ..results.scores import MULTI, REGRESSION, SINGLE, Skip
from .distributed import embed_tracks_distributed
from .predict import (
    check_aggregate,
    embed_tracks,
    load_model_embedder,
    predict_probabilities,
    predict_tracks,
    predict_windows,
    problem_of,
)
from .validation_audio import ValidationClips

if TYPE_CHECKING:
    from builder.embedders.base import EmbedderBackend
    from training.data.features import ValidationRows
    from training.models.classifier import SynthmirClassifier

VALIDATION = "validation"
OWN = "benchmark"  # what `calibrate` is called where each benchmark's own recordings are meant
Tick = Callable[[int], None]  # called with the number of tracks that were just predicted


@dataclass
class EvaluatedModel:
    """A model that is evaluated.

    Attributes:
        folder: Its folder.
        model: The classifier or regression.
        trained: The record of its training.
        settings: How it is evaluated.
    """

    folder: Path
    model: SynthmirClassifier
    trained: RunRecord
    settings: EvaluationSettings

    @classmethod
    def load(cls, folder: Path, settings: EvaluationSettings) -> EvaluatedModel:
        """Read a model folder.

        Raises:
            DataError: It is no model folder.
            RecipeError: The settings are not defined for the model's problem.
        """
        from training.models.classifier import load_model

        model = load_model(folder)
        check_aggregate(settings.aggregate, problem_of(model))
        return cls(folder, model, read_training_record(folder), settings)

    @property
    def labels(self) -> list[str]:
        """The labels of its outputs, in order."""
        return list(self.model.config.labels)

    @property
    def problem(self) -> str:
        """Its `problem_type` in transformers' terms."""
        return problem_of(self.model)

    @cached_property
    def embedder(self) -> EmbedderBackend:
        """The embedder that it was trained on, loaded when first needed."""
        return load_model_embedder(self.model)

    def calibrated(self, statistics: RecordingStatistics, source: str) -> EvaluatedModel:
        """Return the model calibrated on the recordings of `source`. Raises DataError, see `calibrate_classifier`."""
        return replace(self, model=calibrate_classifier(self.model, statistics, source))

    def predict_windows(self, vectors: np.ndarray | str, labels: Sequence[str]) -> np.ndarray | str:
        """Predict a track from the embeddings of its windows.

        Args:
            vectors: float32 [windows, dim]; or the reason why the track cannot be read, which is returned as it is.
            labels: The model's labels, in the order that the prediction shall have.

        Returns:
            float64 [labels].
        """
        if isinstance(vectors, str):
            return vectors
        outputs = predict_windows(self.model, vectors, self.settings.aggregate)
        return outputs[[self.labels.index(name) for name in labels]]


def predict_with_models(
    models: Sequence[EvaluatedModel],
    benchmark: Benchmark | Path,
    workers: int | None,
    tick: Tick,
    thresholds: Sequence[float | None],
    executor: Executor | None = None,
    calibrate: bool = False,
    on_embedded: Callable[[np.ndarray], None] = lambda vectors: None,
) -> list[Predictions]:
    """Predict the same tracks with several models. A track is decoded once, and embedded once for each embedder.

    Args:
        models: Models of the same labels, in any order.
        benchmark: A benchmark that was opened for the labels of the first model; or the path of a corpus, for its
            validation split.
        workers: Threads that decode.
        tick: Called with the number of tracks that were just predicted.
        thresholds: Of each model, the probability from which a label is predicted.
        executor: Whose workers embed the tracks; by default this process.
        calibrate: Whether models are calibrated on the benchmark's own recordings, without their labels. The windows
            of all tracks are then held in memory. A corpus's validation split is predicted without.
        on_embedded: Called with the embeddings by the first model's embedder of each track that can be read, float32
            [windows, dim], in the order of its predictions.

    Returns:
        The predictions of each model, with labels in the order of the first.

    Raises:
        DataError: There are too few recordings to calibrate on, or a model is calibrated already.
    """
    predictions: dict[int, Predictions] = {}
    if not isinstance(benchmark, Benchmark):
        for number, (one, threshold) in enumerate(zip(models, thresholds, strict=True)):
            predictions[number] = predict_validation(one.model, benchmark, threshold, one.trained.details)
        tick(len(predictions[0]))
        return list(predictions.values())
    labels = models[0].labels
    same_embedder: dict[str, list[int]] = {}
    for number, one in enumerate(models):
        same_embedder.setdefault(json.dumps(one.model.config.embedder, sort_keys=True), []).append(number)
    for numbers in same_embedder.values():
        outputs: dict[int, list[tuple[Track, np.ndarray | str]]] = {number: [] for number in numbers}
        first = models[numbers[0]]
        embedded = (
            embed_tracks(first.embedder, benchmark.tracks, workers=workers)
            if executor is None or isinstance(executor, InProcessExecutor)
            else embed_tracks_distributed(executor, first.model.config, first.embedder, benchmark.tracks)
        )
        # Without their audio, so that memory holds no more of it than the threads read ahead.
        windows: Iterable[tuple[Track, np.ndarray | str]] = _tick_tracks(
            ((replace(track, data=None), vectors) for track, vectors in embedded), tick, numbers[0]
        )
        predicting, notes = {number: models[number] for number in numbers}, []
        if calibrate:
            windows = list(windows)
            readable = [vectors for _, vectors in windows if not isinstance(vectors, str)]
            statistics = RecordingStatistics.of(readable, first.embedder.dim)
            predicting = {number: model.calibrated(statistics, benchmark.name) for number, model in predicting.items()}
            notes = [
                f"calibrated on these {format_count(statistics.recordings, 'recording')}: standardised by their own "
                "statistics, without their labels"
            ]
        for track, vectors in windows:
            if numbers[0] == 0 and not isinstance(vectors, str):
                on_embedded(vectors)
            for number, model in predicting.items():
                outputs[number].append((track, model.predict_windows(vectors, labels)))
        for number, tracks in outputs.items():
            collected = collect_predictions(
                benchmark, tracks, labels, models[number].problem, threshold=thresholds[number]
            )
            predictions[number] = replace(collected, notes=[*collected.notes, *notes])
    return [predictions[number] for number in range(len(models))]


def _tick_tracks(
    windows: Iterable[tuple[Track, np.ndarray | str]], tick: Tick, model: int
) -> Iterator[tuple[Track, np.ndarray | str]]:
    """Call `tick` for each track. With several embedders a track counts once, when the first model's embeds it."""
    for one in windows:
        tick(model == 0)
        yield one


def read_validation(
    corpus: Path, embedder: str, task: str, known: Sequence[str], details: dict[str, Any]
) -> ValidationRows:
    """Read the validation rows of a corpus as a model's training record says.

    Args:
        corpus: What holds the embeddings.
        embedder: The name of the embedder.
        task: The column of labels.
        known: The model's labels.
        details: `details` of the model's training record.

    Raises:
        DataError: There are no such rows.
    """
    from training.data.features import load_validation

    options = dict(details.get("data") or {})
    if options.get("split"):
        options["split"] = validate(SplitSettings, options["split"], "training.json: details.data.split")
    return load_validation(corpus, embedder, task, known=known, **options)


def predict_validation(
    model: SynthmirClassifier, corpus: Path, threshold: float | None, details: dict[str, Any]
) -> Predictions:
    """Predict the validation split of a corpus from its stored embeddings, one a clip.

    Args:
        model: The model.
        corpus: What holds the embeddings.
        threshold: With many labels a track, the probability from which a label is predicted.
        details: `details` of the model's training record.

    Raises:
        DataError: The split has other labels, or embeddings of another embedder or revision.
    """
    _check_revision(model, corpus)
    labels, problem, task = list(model.config.labels), problem_of(model), model.config.task
    validation = read_validation(corpus, model.config.embedder["name"], task, labels, details)
    rows, names = validation.rows, validation.names
    if foreign := _unknown_labels(validation, [*labels, *(details.get("left_out") or ())]):
        raise DataError(f"{corpus}: its {task} {foreign[0]!r} is not among the model's labels: {', '.join(labels)}")
    if (dim := rows.embeddings.shape[1]) != model.config.embedder["dim"]:
        raise DataError(
            f"{corpus}: its embeddings have {dim} dimensions, the model takes {model.config.embedder['dim']}",
            "embed the corpus again with the embedder that the model was trained on",
        )
    truth, outputs = rows.labels.numpy(), predict_probabilities(model, rows.embeddings.numpy())
    if problem == SINGLE:
        truth = np.array([labels.index(name) if name in labels else -1 for name in names])[truth]
    elif problem == MULTI:
        used = [place for place, name in enumerate(names) if name in labels]
        outputs = outputs[:, [labels.index(names[place]) for place in used]]
        truth, labels = truth[:, used] > 0.5, [names[place] for place in used]
    else:
        truth, outputs = truth.astype(np.float64), outputs[:, 0]
    notes = [f"left out {format_count(validation.dropped, 'clip')} without a {task}"] if validation.dropped else []
    return Predictions(problem, labels, rows.ids, truth, outputs, threshold, notes=notes)


def _unknown_labels(validation: ValidationRows, known: Sequence[str]) -> list[str]:
    """Return labels of the validation rows that are not among the known ones."""
    if validation.problem_type == REGRESSION:
        return []
    labels = validation.rows.labels
    used = labels.unique() if validation.problem_type == SINGLE else labels.any(dim=0).nonzero().flatten()
    return [validation.names[place] for place in used.tolist() if validation.names[place] not in known]


def _check_revision(model: SynthmirClassifier, corpus: Path) -> None:
    """Raise DataError where the stored embeddings are of another revision of the embedder than the model's."""
    made = model.config.embedder
    for file in (embed_record(made["name"]), DATASET_RECORD) if corpus.is_dir() else ():
        stored = Corpus(corpus).record(file).get("details", {}).get("embedder", {})
        if stored.get("name") == made["name"] and None not in (stored.get("revision"), made.get("revision")):
            if str(stored["revision"]) != str(made["revision"]):
                raise DataError(
                    f"{corpus}: its embeddings are of {made['name']} of revision {stored['revision']}, the model was "
                    f"trained on revision {made['revision']}",
                    "train again on these, or embed the corpus with the revision that the model was trained on",
                )
            return


def predict_benchmark(
    model: SynthmirClassifier,
    embedder: EmbedderBackend,
    benchmark: Benchmark | ValidationClips,
    workers: int | None = None,
    tick: Tick = lambda _: None,
    threshold: float | None = None,
    **options: Any,
) -> Predictions:
    """Predict the tracks of a benchmark. Those that cannot be read are skipped and listed.

    Args:
        model: The model.
        embedder: The embedder that it was trained on.
        benchmark: Opened for the model's labels. With many labels a track only those count that it covers.
        workers: Threads that decode.
        tick: Called with 1 after each track.
        threshold: With many labels a track, the probability from which a label is predicted.
        **options: Of `predict_tracks`.

    Raises:
        DataError: No track can be read.
    """
    outputs = predict_tracks(model, embedder, benchmark.tracks, workers=workers, **options)
    return collect_predictions(benchmark, outputs, list(model.config.labels), problem_of(model), tick, threshold)


def collect_predictions(
    benchmark: Benchmark | ValidationClips,
    outputs: Iterable[tuple[Track, np.ndarray | str]],
    labels: list[str],
    problem: str,
    tick: Tick = lambda _: None,
    threshold: float | None = None,
) -> Predictions:
    """Collect the outputs of a model for the tracks of a benchmark.

    Args:
        benchmark: What the tracks are from.
        outputs: Each track with float64 [labels], or with the reason why it cannot be read.
        labels: The labels of the outputs.
        problem: The model's problem type.
        tick: Called with 1 after each track.
        threshold: With many labels a track, the probability from which a label is predicted.

    Raises:
        DataError: No track could be read.
    """
    ids, truth, rows, artists, skips = [], [], [], [], []
    for track, output in outputs:
        tick(1)
        if isinstance(output, str):
            skips.append(Skip(id=track.id, reason=output))
            continue
        ids.append(track.id)
        truth.append(track.label)
        rows.append(output)
        artists.append(track.artist)
    if not rows:
        raise DataError(
            f"{benchmark.name}: {len(skips)} of {len(skips)} tracks cannot be read; the first, {skips[0].id}: "
            f"{skips[0].reason}",
            "check that the files are complete and that they are audio",
        )
    true, predicted = _truth(truth, problem, len(labels)), np.stack(rows)
    if problem == MULTI and benchmark.covered:
        covered = list(benchmark.covered)
        true, predicted, labels = true[:, covered], predicted[:, covered], [labels[index] for index in covered]
    elif problem == REGRESSION:
        predicted = predicted[:, 0]
    return Predictions(problem, labels, ids, true, predicted, threshold, artists, skips, benchmark.notes)


def _truth(labels: Sequence[Label], problem: str, classes: int) -> np.ndarray:
    if problem != MULTI:
        return np.array(labels, np.int64 if problem == SINGLE else np.float64)
    truth = np.zeros((len(labels), classes), bool)
    for row, held in zip(truth, labels, strict=True):
        row[list(held) if isinstance(held, tuple) else [int(held)]] = True
    return truth


def read_training_record(model_folder: Path) -> RunRecord:
    """Read the record of a model's training. Raises DataError where it is missing or damaged."""
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
    """Find what holds the validation split of a model: a corpus, or another data set that it was trained on.

    Args:
        trained: The record of the model's training.
        model_folder: The model's folder, from which the record gives the way to the corpus.
        given: The corpus as the user names it; None for the one in the record.

    Raises:
        DataError: It is not there, or it is not the corpus that the model was trained on.
    """
    if given is None and "corpus" not in trained.details:
        raise DataError(f"{model_folder}: its record names no corpus", "add --corpus PATH")
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
    fingerprint = Corpus.open(root).record().get("fingerprint")
    if None not in (fingerprint, trained.fingerprint) and fingerprint != trained.fingerprint:
        raise DataError(
            f"{root}: holds the corpus {fingerprint}, but the model was trained on {trained.fingerprint}: "
            "this validation split may hold clips that it was trained on",
            "add --corpus with the model's own corpus, or evaluate it on folder:PATH",
        )
    return root
