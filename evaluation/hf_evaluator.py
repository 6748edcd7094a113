"""`evaluate.evaluator("audio-classification")` for current pipelines, with `genre_report` as the default metric.

`import evaluation.hf_evaluator` replaces the evaluator of `evaluate` 0.4.6, which needs a TensorFlow class that
transformers 5 does not have, and decodes audio with FFmpeg.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from evaluate.evaluator import SUPPORTED_EVALUATOR_TASKS, AudioClassificationEvaluator

from builder.audio import decode_audio
from builder.errors import DataError

from .metrics import FOLDER

if TYPE_CHECKING:
    from datasets import Dataset
    from evaluate import EvaluationModule
    from transformers import Pipeline

TASK = "audio-classification"
METRIC = str(FOLDER / "genre_report")


class Evaluator(AudioClassificationEvaluator):
    """Evaluates a pipeline, a model folder or a model id on a `datasets.Dataset` with audio and a label.

    The audio column may be `Audio`, decoded or not, paths, or what the pipeline takes; labels a `ClassLabel`, names or
    numbers. Files are read one at a time, without FFmpeg.
    """

    def __init__(self, task: str = TASK, default_metric_name: str | None = METRIC) -> None:
        super().__init__(task, default_metric_name=default_metric_name)
        self._names: list[str] | None = None

    def prepare_pipeline(
        self,
        model_or_pipeline: Any,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        device: int | None = None,
    ) -> Pipeline:
        """Return the pipeline, or make one of a model, a folder or an id.

        Args:
            model_or_pipeline: A pipeline, a model, a model folder or an id on the Hub.
            tokenizer: Not used; `evaluate` passes it.
            feature_extractor: The feature extractor of a pipeline that is made. None: the model's own.
            device: The device of a pipeline that is made, as in `transformers.pipeline`. None: a GPU if there is one.

        Returns:
            The pipeline.

        Raises:
            ValueError: There is no model, or the pipeline is for another task.
        """
        from transformers import PreTrainedModel, pipeline

        if model_or_pipeline is None:
            raise ValueError("name the model: a pipeline, a folder or an id")
        pipe = model_or_pipeline
        if isinstance(pipe, str | PreTrainedModel):
            device = self._infer_device() if device is None else device
            pipe = pipeline(self.task, model=pipe, feature_extractor=feature_extractor, device=device)
        if pipe.task != self.task:
            raise ValueError(f"the pipeline is for {pipe.task}, not for {self.task}")
        return pipe

    def prepare_data(
        self, data: Dataset, input_column: str, label_column: str, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], Recordings]:
        """Return the references as class numbers, and the recordings, which are read one by one.

        Args:
            data: The data set.
            input_column: The column of audio.
            label_column: The column of labels: a `ClassLabel`, names or numbers.
            *args: Not used; `evaluate` may pass more.
            **kwargs: Not used; `evaluate` may pass more.

        Returns:
            {"references": class numbers}, and the recordings.

        Raises:
            ValueError: The data set lacks a column.
        """
        from datasets import ClassLabel

        from builder.io.hf_audio import stored_audio

        self.check_required_columns(data, {"input_column": input_column, "label_column": label_column})
        data = stored_audio(data)
        kind, references = data.features[label_column], list(data[label_column])
        self._names = list(kind.names) if isinstance(kind, ClassLabel) else None
        if self._names is None and all(isinstance(value, str) for value in references):
            self._names = sorted(set(references))
            references = [self._names.index(value) for value in references]
        return {"references": references}, Recordings(data, input_column)

    def predictions_processor(
        self, predictions: list[list[dict[str, Any]]], label_mapping: dict[str, int] | None
    ) -> dict[str, Any]:
        """Return the most probable label of each as a class number, by `label_mapping` or the data set's names."""
        labels = [max(scores, key=lambda one: one["score"])["label"] for scores in predictions]
        if label_mapping is None and self._names is not None:
            label_mapping = {name: index for index, name in enumerate(self._names)}
        if label_mapping is None:
            return {"predictions": labels}
        if unknown := sorted({str(label) for label in labels if label not in label_mapping}):
            raise DataError(
                f"the model predicts {', '.join(unknown)}, and the data set's labels are {', '.join(label_mapping)}",
                "give label_mapping={model's label: number in the label column}",
            )
        return {"predictions": [label_mapping[label] for label in labels]}

    def compute_metric(
        self,
        metric: EvaluationModule,
        metric_inputs: dict[str, Any],
        strategy: str = "simple",
        **options: Any,
    ) -> dict[str, Any]:
        """Compute the metric's scores.

        Args:
            metric: The metric. `genre_report` also gets the names of the classes.
            metric_inputs: The references and the predictions.
            strategy: "simple", or "bootstrap" for intervals.
            **options: Of the bootstrap: `confidence_level`, `n_resamples` and `random_state`. Others have no effect.

        Returns:
            All scores with "simple". Otherwise the scores that are numbers, each as a dictionary of its value
            (`score`) and its interval.
        """
        named = {"labels": self._names} if self._names and metric.name == "genre_report" else {}
        scores: dict[str, Any] = metric.compute(**metric_inputs, **named)
        if strategy == "simple":
            return scores
        numbers = {key: value for key, value in scores.items() if isinstance(value, int | float)}
        options = {key: options[key] for key in ("confidence_level", "n_resamples", "random_state") if key in options}
        intervals = self._compute_confidence_interval(metric, metric_inputs, list(numbers), **options)
        return {key: intervals[key] | {"score": value} for key, value in numbers.items()}


class Recordings(list[Any]):
    """A column of audio as pipelines take it: `raw`, float32 [samples], and `sampling_rate` in Hz, read on access."""

    def __init__(self, data: Dataset, column: str) -> None:
        super().__init__()
        self.data, self.column = data, column

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return _read_audio(self.data[index][self.column])

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def _read_audio(value: Any) -> Any:
    """Turn a value of the column into an input of a pipeline. Raises DataError for audio that cannot be read."""
    if isinstance(value, dict):
        value = {**value, "raw": value["array"]} if "array" in value else value.get("bytes") or value.get("path")
    if isinstance(value, bytes | str):
        samples, rate = decode_audio(value)
        return {"raw": samples.mean(axis=1, dtype=np.float32), "sampling_rate": rate}
    return value


SUPPORTED_EVALUATOR_TASKS[TASK] = {"implementation": Evaluator, "default_metric_name": METRIC}
