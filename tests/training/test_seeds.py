from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from typer.testing import CliRunner

import training.seeds as seeds
from builder.errors import DataError, RecipeError
from builder.records import RunRecord
from builder.settings import EmbedderSettings, TrainingSettings
from synthmir.cli import app
from training.models.classifier import load_model
from training.seeds import format_seed_table, parse_seeds, train_seeds
from training.trainer import train

from .conftest import Columns, columns

QUICK = TrainingSettings(hidden=(8,), epochs=3, batch_size=32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0..3", [0, 1, 2, 3]), ("0,3,7", [0, 3, 7]), ("5", [5]), ("1..2, 9,1", [1, 2, 9]), ("4..4", [4])],
)
def test_seeds_are_read(text: str, expected: list[int]) -> None:
    assert parse_seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1-3", "3..1", "1..", "-1", "0..99999", "1,,2", "1.5"])
def test_invalid_seeds_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--seeds"):
        parse_seeds(text)


def test_each_seed_is_the_training_of_that_seed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    report = train_seeds(corpus, out, QUICK, [3, 0, 4], EmbedderSettings())
    assert report is not None and report == json.loads((out / "seeds.json").read_text())
    train(corpus, tmp_path / "alone", QUICK.model_copy(update={"seed": 3}), EmbedderSettings())
    assert (out / "seed-3/model.safetensors").read_bytes() == (tmp_path / "alone/model.safetensors").read_bytes()
    assert report["seeds"] == [3, 0, 4] and [run["model"] for run in report["runs"]] == [
        "seed-3",
        "seed-0",
        "seed-4",
    ]
    best = [RunRecord.read(out / run["model"] / "training.json").details["best"] for run in report["runs"]]
    for figure in ("validation_loss", "accuracy", "macro_f1"):
        values = [point[figure] for point in best]
        assert [run[figure] for run in report["runs"]] == values
        assert report["summary"][figure] == {
            "mean": pytest.approx(statistics.fmean(values)), "std": pytest.approx(statistics.stdev(values))
        }  # fmt: skip
    lines = format_seed_table(report).splitlines()
    assert lines[0].split() == ["seed", "validation_loss", "accuracy", "macro_f1"]
    assert [line.split()[0] for line in lines[1:]] == ["3", "0", "4", "mean", "std"]


def test_finished_seeds_are_not_trained_again(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "models"
    first = train_seeds(corpus, out, QUICK, [0, 1], EmbedderSettings())
    (out / "seed-1" / "model.safetensors").unlink()
    trained: list[str] = []

    def watched(load: Any, folder: Path, *rest: Any) -> Any:
        trained.append(folder.name)
        return real(load, folder, *rest)

    real = seeds.train_on
    monkeypatch.setattr(seeds, "train_on", watched)
    again = train_seeds(corpus, out, QUICK, [0, 1, 2], EmbedderSettings())
    assert trained == ["seed-1", "seed-2"] and first is not None and again is not None
    assert again["runs"][:2] == first["runs"]
    train_seeds(corpus, out, QUICK.model_copy(update={"lr": 0.01}), [0], EmbedderSettings())
    assert trained[2:] == ["seed-0"]


def test_other_data_is_trained_again(tables: dict[str, Columns], make: Callable[..., Path], tmp_path: Path) -> None:
    corpus, out = make(tables), tmp_path / "models"
    train_seeds(corpus, out, QUICK, [0], EmbedderSettings())
    before = (out / "seed-0/model.safetensors").read_bytes()
    shutil.rmtree(corpus)
    tables["train"]["genre"][0] = (tables["train"]["genre"][0] + 1) % 3
    train_seeds(make(tables), out, QUICK, [0], EmbedderSettings())
    assert (out / "seed-0/model.safetensors").read_bytes() != before


def test_one_seed_has_no_spread(corpus: Path, tmp_path: Path) -> None:
    report = train_seeds(corpus, tmp_path / "models", QUICK, [0], EmbedderSettings())
    assert report is not None and report["summary"]["accuracy"]["std"] is None
    assert format_seed_table(report).splitlines()[-1].split() == ["std", "-", "-", "-"]


def test_a_model_folder_is_refused_as_output(corpus: Path, model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    with pytest.raises(DataError, match="is a model; several models need a folder of their own"):
        train_seeds(corpus, copy, QUICK, [0], EmbedderSettings())


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Parquet file that is not a corpus, without a recipe and records."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    table = columns("x", 90, 0)
    data = {"vector": [v.tolist() for v in table["embedding"]], "style": [f"style {g}" for g in table["genre"]],
            "tempo": [float(v[0]) for v in table["embedding"]]}  # fmt: skip
    path = tmp_path / "music.parquet"
    Dataset.from_dict(data).to_parquet(path)
    return path


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=True)


def test_the_command_on_any_data_set(music: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    done = command(
        music, "--out", out, "--task", "genre", "--label-column", "style", "--embedding-column", "vector",
        "--head", "linear",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"model {out}: best of " in done.output and "accuracy" in done.output
    record, config = RunRecord.read(out / "training.json"), load_model(out).config
    assert config.task == "genre" and config.labels == ("style 0", "style 1", "style 2")
    assert config.embedder["name"] == "unknown" and config.embedder["dim"] == 12
    assert record.details["division"] == {"by": "row", "validation": 0.1, "seed": 0}
    assert record.details["data"]["label_column"] == "style" and not record.details["synthetic"]


def test_the_command_with_seeds(music: Path, tmp_path: Path) -> None:
    done = command(
        music, "--out", tmp_path / "models", "--task", "tempo", "--label-column", "tempo", "--embedding-column",
        "vector", "--seeds", "0..1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "models/seeds.json").read_text())
    assert report["task"] == "tempo_bpm" and set(report["summary"]) == {"validation_loss", "mae", "within_4_percent"}
    for line in format_seed_table(report).splitlines():
        assert line in done.output


def test_what_the_command_refuses(music: Path, tmp_path: Path) -> None:
    done = command(music, "--out", tmp_path / "model", "--head", "tree")
    assert isinstance(done.exception, RecipeError) and "head: input should be 'mlp'" in str(done.exception)
    done = command(tmp_path / "nowhere", "--out", tmp_path / "model")
    assert isinstance(done.exception, DataError) and "there is no such folder" in str(done.exception)
    done = command(music, "--out", tmp_path / "model", "--seeds", "few")
    assert isinstance(done.exception, RecipeError) and "'few' is not a seed" in str(done.exception)
