"""What the classifier of a run predicts for a user's recording, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from builder.errors import DataError

TAGS = 6  # that are shown
MAX_SAMPLES = 120_000_000  # over all channels: 20 minutes of stereo at 48 kHz, half a gigabyte when decoded


@dataclass(frozen=True, slots=True)
class WindowPredictions:
    """The windows of a recording, what was predicted for each, and for the recording."""

    seconds: float  # duration of the recording
    starts: np.ndarray  # float64 [n], seconds
    ends: np.ndarray  # float64 [n], seconds
    values: np.ndarray  # float64 [n, labels]: probabilities; of a regression [n, 1], numbers in `unit`
    overall: np.ndarray  # float64 [labels]: of the recording
    labels: tuple[str, ...]
    problem: str  # the model's `problem_type`
    unit: str
    samples: np.ndarray  # float32 [samples], mono
    sampling_rate: int
    tags: tuple[tuple[str, float], ...] = ()  # by an embedder that predicts tags, from the same embeddings

    def boundaries(self) -> np.ndarray:
        """Return the times between which each window is shown: midway between the centres of adjacent windows.

        Returns:
            float64 [n + 1], seconds from 0 to the end of the recording.
        """
        centres = (self.starts + self.ends) / 2
        return np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [self.seconds]])

    def top_labels(self, count: int) -> list[int]:
        """Return the indices of the labels with the highest overall values, highest first."""
        return [int(label) for label in np.argsort(-self.overall, kind="stable")[:count]]


class RecordingClassifier:
    """The classifier of a run, loaded with the first recording."""

    def __init__(self, model: Path) -> None:
        self._folder, self._lock = model, Lock()
        self._loaded: tuple[Any, Any] | None = None  # model and embedder

    def predict(self, file: str | Path) -> WindowPredictions:
        """Classify a file of any sampling rate, number of channels and length.

        Raises:
            DataError: The file cannot be decoded, or is too long.
            BackendError: The embedder cannot be loaded.
        """
        from builder.audio import load_audio
        from training.metrics import TEMPO_TASKS
        from training.models.audio_embedding import cut_recording, embed_windows

        from ..inference.predict import aggregate_windows, compute_logits, problem_of, to_probabilities

        check_length(Path(file))
        with self._lock:
            model, embedder = self._loaded = self._loaded or self._load()
            try:
                samples = load_audio(Path(file), embedder.sampling_rate)
            except (MemoryError, RuntimeError) as error:  # a length or a rate that does not fit into memory
                raise DataError(f"cannot be decoded: {error}") from error
            vectors = embed_windows(embedder, [cut_recording(samples, embedder)])[0]
            outputs = compute_logits(model, vectors)
        problem, config = problem_of(model), model.config
        starts, ends = window_times(len(samples), len(vectors), embedder)
        return WindowPredictions(
            seconds=len(samples) / embedder.sampling_rate,
            starts=starts,
            ends=ends,
            values=to_probabilities(outputs, problem),
            overall=aggregate_windows(outputs, problem),
            labels=tuple(map(str, config.labels)),
            problem=problem,
            unit="bpm" if config.task in TEMPO_TASKS else "",
            samples=samples,
            sampling_rate=embedder.sampling_rate,
            tags=_predict_tags(embedder, vectors),
        )

    def _load(self) -> tuple[Any, Any]:
        from training.models.classifier import load_model

        from ..inference.predict import load_model_embedder

        model = load_model(self._folder)
        return model, load_model_embedder(model)


def _predict_tags(embedder: Any, vectors: np.ndarray) -> tuple[tuple[str, float], ...]:
    """The recording's tags by an embedder that predicts some, from the mean of its windows."""
    from ..classify import rank_labels

    if not hasattr(embedder, "predict_tags"):
        return ()
    return rank_labels(embedder.tag_names, embedder.predict_tags(vectors.mean(axis=0, keepdims=True))[0], TAGS)


def check_length(file: Path) -> None:
    """Raise DataError for a recording that would not fit into memory. Unreadable files fail when they are decoded."""
    from builder.audio import ENDLESS, measure_audio

    try:
        frames, channels, rate = measure_audio(file)
    except DataError:
        return
    if frames * channels > MAX_SAMPLES and frames < ENDLESS:
        raise DataError(
            f"the recording is {frames / rate / 60:.0f} minutes long, more than fits here",
            "give an excerpt, or use the command: synthmir classify MODEL FILE",
        )


def window_times(samples: int, count: int, embedder: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of each window in seconds, float64 [count] each.

    Args:
        samples: Length of the recording at the embedder's sampling rate.
        count: How many windows `training.models.audio_embedding.cut` cut.
        embedder: The embedder, which sets the windows' length and rate.
    """
    from training.models.audio_embedding import OVERLAP

    rate = embedder.sampling_rate
    window = round(embedder.window_seconds * rate)
    hop = max(1, round(OVERLAP * window))
    starts = np.minimum(np.arange(count) * hop, max(0, samples - window))
    return starts / rate, np.minimum(starts + window, samples) / rate
