"""`evaluate.evaluator("audio-classification")` on a data set with audio, by a model folder or a pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, Features
from transformers import pipeline

import evaluation.hf_evaluator  # noqa: F401 - takes its place in `evaluate`
import training  # noqa: F401 - makes transformers know the model
from builder.audio import encode_flac
from builder.errors import DataError
from builder.io.hf_audio import make_dataset
from training.models.remote_code import add_remote_code

from .conftest import GENRES, RATE, sound


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model folder as `synthmir train` leaves it, with what a pipeline needs."""
    folder = tmp_path_factory.mktemp("served") / "model"
    shutil.copytree(model, folder)
    add_remote_code(folder)
    return str(folder)


NAMES = ["Rock", "Electronica", "Hip Hop"]  # not in the model's order


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two recordings a genre: one as bytes, one as a file; the last one bears a wrong label."""
    root = tmp_path_factory.mktemp("data")
    rows: dict[str, list[Any]] = {"audio": [], "label": []}
    for genre, name in enumerate(GENRES):
        soundfile.write(root / f"{genre}.wav", np.stack([sound(genre, 21, 2.0, 44_100)] * 2, axis=1), 44_100)
        rows["audio"] += [
            {"bytes": encode_flac(sound(genre, 6), RATE), "path": f"{genre}.flac"},
            {"bytes": None, "path": str(root / f"{genre}.wav")},
        ]
        rows["label"] += [NAMES.index(name)] * 2
    rows["label"][-1] = NAMES.index("Hip Hop")
    made = make_dataset(rows, Features({"audio": Audio(RATE), "label": ClassLabel(names=NAMES)}))
    return made.cast_column("audio", Audio(RATE))


def run_evaluator(model: Any, data: Dataset, **options: Any) -> dict[str, Any]:
    evaluator = evaluate.evaluator("audio-classification")
    scores: dict[str, Any] = evaluator.compute(model, data, input_column="audio", **options)
    return scores


def test_a_model_folder_is_evaluated_on_a_data_set(served: str, data: Dataset) -> None:
    scores = run_evaluator(served, data)
    assert scores["accuracy"] == pytest.approx(5 / 6)
    assert scores["labels"] == NAMES
    assert scores["confusion_matrix"] == [[1, 0, 0], [0, 2, 0], [1, 0, 2]]  # the last is labelled hip hop, and is rock
    assert scores["samples_per_second"] > 0


class Echo:
    """A pipeline that predicts the sign of the first sample, and keeps its inputs."""

    task = "audio-classification"

    def __init__(self, *labels: str) -> None:
        self.labels, self.given = labels, []

    def __call__(self, inputs: list[Any], **_: Any) -> list[list[dict[str, Any]]]:
        self.given = list(inputs)
        return [
            [{"label": self.labels[0], "score": float(one["raw"][0] > 0)}, {"label": self.labels[1], "score": 0.5}]
            for one in self.given
        ]


def waves(*signs: int) -> list[bytes]:
    return [encode_flac(np.full(8, 0.5 * sign, np.float32), 8_000) for sign in signs]


def test_the_pipeline_gets_samples_and_their_rate() -> None:
    data = Dataset.from_dict({"audio": waves(1, -1, 1), "label": ["up", "down", "down"]})
    scores = run_evaluator(pipe := Echo("up", "down"), data)
    assert scores["accuracy"] == pytest.approx(2 / 3) and scores["labels"] == ["down", "up"]
    assert [one["sampling_rate"] for one in pipe.given] == [8_000] * 3
    assert all(one["raw"].dtype == np.float32 and one["raw"].shape == (8,) for one in pipe.given)


def test_numbers_and_a_mapping() -> None:
    data = Dataset.from_dict({"audio": waves(1, -1), "label": [7, 3]})
    assert run_evaluator(Echo("up", "down"), data, label_mapping={"up": 7, "down": 3})["accuracy"] == 1.0


def test_an_unknown_label_is_refused() -> None:
    data = Dataset.from_dict({"audio": waves(1, -1), "label": ["up", "down"]})
    with pytest.raises(DataError, match=r"the model predicts left, and the data set's labels are down, up"):
        run_evaluator(Echo("left", "down"), data)


@pytest.mark.filterwarnings("ignore:A single label was scores")
def test_bootstrap_intervals(served: str, data: Dataset) -> None:
    scores = run_evaluator(served, data, strategy="bootstrap", n_resamples=30, random_state=0)
    assert scores["accuracy"]["score"] == pytest.approx(5 / 6)
    low, high = scores["accuracy"]["confidence_interval"]
    assert 0 <= low <= 5 / 6 <= high <= 1
    assert "confusion_matrix" not in scores and "macro_f1" in scores


def test_a_pipeline_that_transformers_made(served: str, data: Dataset) -> None:
    assert run_evaluator(pipeline("audio-classification", model=served), data)["accuracy"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(("model", "says"), [(None, "name the model"), (type("P", (), {"task": "x"})(), "for x, not")])
def test_a_missing_model_and_one_of_another_task(model: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        run_evaluator(model, Dataset.from_dict({"audio": waves(1), "label": [0]}))


def test_a_file_that_is_no_audio_is_refused(served: str) -> None:
    with pytest.raises(DataError, match="cannot be read as audio"):
        run_evaluator(served, Dataset.from_dict({"audio": [b"text"], "label": [0]}))
