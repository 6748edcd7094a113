"""The card of each kind of problem and head describes that model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCard

from builder.records import RunRecord
from builder.settings import TrainingSettings
from training.card.card import write_card
from training.trainer import train

from ..conftest import GENRES, columns
from .test_model_card import read, rows


def trained(corpus: Path, folder: Path, **changes: Any) -> str:
    train(corpus, folder, TrainingSettings.model_validate({"hidden": (4,), "epochs": 3, **changes}))
    return read(folder)


def test_a_tagger(corpus: Path, tmp_path: Path) -> None:
    text = trained(corpus, tmp_path / "model", task="instruments")
    threshold = json.loads((tmp_path / "model/config.json").read_text())["threshold"]
    assert "any number of labels for each recording: bass, drums, flute." in text
    assert f"a label is predicted from {threshold:.3f}" in text and "softmax" not in text
    assert rows(text, "## How it was trained")["layers"] == ["standardisation, dense 4 ReLU, dense 3, sigmoid"]
    assert "always predicts one of" not in text
    assert ModelCard.load(tmp_path / "model/README.md").data.metrics == ["map", "roc_auc", "f1"]


def test_a_taggers_scores(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "model", task="instruments")
    figure = {"value": 0.8123, "low": 0.78, "high": 0.85, "n": 60}
    tag = {"label": "bass", "support": 31, "average_precision": figure, "roc_auc": None}
    entry = {"name": "validation", "n": 60, "skipped": 0, "map": figure, "macro_f1": None, "per_tag": [tag]}
    (tmp_path / "scores.json").write_text(json.dumps({"schema": 2, "benchmarks": [entry]}))
    write_card(tmp_path / "model", tmp_path / "scores.json")
    text = read(tmp_path / "model")
    assert rows(text, "## Results")["validation"] == ["60", "81.2 % [78.0, 85.0]"]
    assert "| benchmark | n | mAP |" in text
    assert rows(text, "### validation, by instruments")["bass"] == ["81.2 % [78.0, 85.0]", "", "31"]


def test_a_number(corpus: Path, tmp_path: Path) -> None:
    text = trained(corpus, tmp_path / "model", task="tempo")
    table = rows(text, "## How it was trained")
    assert "A regression of tempo_bpm: one number for each recording." in text
    assert table["layers"] == ["standardisation, dense 4 ReLU, dense 1"]
    assert table["left out"] == ["40 and 10 clips whose prompt names no tempo_bpm"]
    amount = {"value": 4.125, "low": 3.5, "high": 4.75, "n": 50}
    scores = {"schema": 2, "benchmarks": [{"name": "validation", "n": 50, "skipped": 0, "mae": amount}]}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    write_card(tmp_path / "model", tmp_path / "scores.json")
    assert rows(read(tmp_path / "model"), "## Results")["validation"] == ["50", "4.12 [3.50, 4.75]"]
    (result,) = ModelCard.load(tmp_path / "model/README.md").data.eval_results
    assert (result.task_name, result.metric_type, result.metric_value) == ("Music tempo_bpm regression", "mae", 4.125)


@pytest.mark.parametrize("head", ["knn", "logistic"])
def test_heads_without_epochs(corpus: Path, tmp_path: Path, head: str) -> None:
    text = trained(corpus, tmp_path / "model", head=head)
    table = rows(text, "## How it was trained")
    assert "epochs" not in table and "optimizer" not in table and "lr" not in table["settings"][0]
    if head == "knn":
        assert table["layers"] == [
            "standardisation, the 10 nearest of 240 stored embeddings by cosine, shares of their votes"
        ]
    else:
        chosen = RunRecord.read(tmp_path / "model/training.json").details["best"]["C"]
        assert table["logistic regression"] == [f"C {chosen:g}, the best of 7 on the validation split"]


def test_other_data_sets_are_not_called_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    table = columns("x", 90, 0)
    data = {"embedding": [v.tolist() for v in table["embedding"]], "style": [f"style {g}" for g in table["genre"]]}
    Dataset.from_dict(data).to_parquet(tmp_path / "music.parquet")
    text = trained(tmp_path / "music.parquet", tmp_path / "model", task="style")
    card = ModelCard.load(tmp_path / "model/README.md")
    assert "synthetic" not in card.data.tags and "synthetic music" not in text
    assert "unknown" not in text and card.data.model_name == "music-style"
    assert "trained on music, a data set that synthmir did not make" in text and "prompt" not in text
    assert rows(text, "## How it was trained")["validation"] == ["10.0 % of the clips, held out here by row (seed 0)"]


def songs(split: str, n: int) -> Dataset:
    table = columns(split, n, n)
    data = {name: table[name] for name in ("id", "embedding")}
    return Dataset.from_dict({**data, "genre": [GENRES[code] for code in table["genre"]]})


def test_real_music_is_named_without_its_path(corpus: Path, tmp_path: Path) -> None:
    """The command is the one that was run, except for folder names."""
    real = {split: songs(split, 60) for split in ("train", "test")}
    DatasetDict(real).save_to_disk(tmp_path / "somebody" / "songs")
    target = str(tmp_path / "somebody" / "songs")
    text = trained(
        corpus, tmp_path / "model", strategy="finetune", target=target, shots=5, seed=3, label_column="genre"
    )
    table = rows(text, "## How it was trained")
    options = "--label-column genre --strategy finetune --target REAL --shots 5 --seed 3"
    assert f"synthmir train CORPUS --out MODEL --task genre {options}\n" in text
    assert table["real music"] == ["songs: 45 to learn from, 15 to validate, 60 held out for testing"]
    assert table["stages"][0].startswith("the source (240 rows, lr 0.001, epoch ")
    assert ", then the target (15 rows, lr 0.001, epoch " in table["stages"][0]
    assert "somebody" not in text and "target" not in table["settings"][0] and "shots 5" in table["settings"][0]


def test_adaptation_is_in_the_card(corpus: Path, tmp_path: Path) -> None:
    songs("x", 90).save_to_disk(tmp_path / "songs")
    options = {"strategy": "adapt", "target": str(tmp_path / "songs"), "adaptation": {"loss": "coral", "weight": 2.0}}
    table = rows(trained(corpus, tmp_path / "model", **options), "## How it was trained")
    assert table["adaptation"] == ["coral, weight 2, 54 real rows"] and "stages" not in table
