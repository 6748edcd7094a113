from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from builder.errors import DataError, RecipeError
from builder.records import RunRecord
from builder.settings import TrainingSettings
from training.data.features import Features, load_features
from training.models.classifier import MULTI, REGRESSION, load_model
from training.models.heads import STRENGTHS
from training.trainer import train

TASKS = ("genre", "instruments", "tempo_bpm", "subgenre", "mood")


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"epochs": 12, "hidden": (8,), "batch_size": 32, "neighbors": 5, **changes})


def scaled(features: Features) -> tuple[np.ndarray, np.ndarray]:
    scaler = StandardScaler().fit(features.train.embeddings)
    return scaler.transform(features.train.embeddings), scaler.transform(features.validation.embeddings)


def logits_of(folder: Path, features: Features) -> torch.Tensor:
    with torch.inference_mode():
        return load_model(folder)(features.validation.embeddings).logits


@pytest.mark.parametrize("head", ["mlp", "linear", "logistic", "knn"])
@pytest.mark.parametrize("task", TASKS)
def test_every_head_on_every_task(corpus: Path, tmp_path: Path, head: str, task: str) -> None:
    """The saved model gives the metrics of its record, which are better than chance."""
    if head == "logistic" and task == "tempo_bpm":
        with pytest.raises(RecipeError, match=r"training.head: logistic is for labels"):
            train(corpus, tmp_path / "model", settings(task=task, head=head))
        return
    chosen = settings(task=task, head=head, lr=0.01)
    record = train(corpus, tmp_path / "model", chosen)
    assert record is not None
    features, model = load_features(corpus, "melstats", task), load_model(tmp_path / "model")
    assert model.config.task == task and model.config.labels == features.names
    assert model.config.problem_type == features.problem_type == record.details["problem_type"]
    assert list(model.config.hidden) == ([8] if head == "mlp" else [])
    assert (record.details["curve"] == []) == (head in ("logistic", "knn"))
    best, logits = record.details["best"], logits_of(tmp_path / "model", features)
    truth = features.validation.labels
    if features.problem_type == REGRESSION:
        assert best["mae"] == pytest.approx(float((logits[:, 0] - truth).abs().mean()), rel=1e-4)
        assert best["mae"] < 0.8 * float((truth - features.train.labels.mean()).abs().mean())
    elif features.problem_type == MULTI:
        assert best["map"] > 0.8 and model.config.threshold == best["threshold"]
    else:
        assert best["accuracy"] == pytest.approx(float((logits.argmax(1) == truth).float().mean()))
        assert task == "mood" or best["accuracy"] > 0.75  # the corpus's moods are random


def test_logistic_matches_sklearn_with_the_best_c_on_validation(corpus: Path, tmp_path: Path) -> None:
    record = train(corpus, tmp_path / "model", settings(head="logistic", class_weights=False))
    assert record is not None
    features = load_features(corpus, "melstats", "genre")
    x, validation = scaled(features)
    y, truth = features.train.labels.numpy(), features.validation.labels.numpy()
    fits = [LogisticRegression(C=strength, max_iter=1000, tol=1e-8).fit(x, y) for strength in STRENGTHS]
    losses = [log_loss(truth, one.predict_proba(validation)) for one in fits]
    assert [point["C"] for point in record.details["search"]] == list(STRENGTHS)
    np.testing.assert_allclose(
        [point["validation_loss"] for point in record.details["search"]], losses, rtol=2e-2, atol=2e-3
    )
    best = int(np.argmin(losses))
    assert record.details["best"]["C"] == STRENGTHS[best]
    p = logits_of(tmp_path / "model", features).softmax(1)
    np.testing.assert_allclose(p, fits[best].predict_proba(validation), atol=5e-3)


def test_logistic_with_two_labels_matches_sklearn(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "model", settings(head="logistic", task="mood", class_weights=False))
    features = load_features(corpus, "melstats", "mood")
    x, validation = scaled(features)
    strength = RunRecord.read(tmp_path / "model/training.json").details["best"]["C"]
    reference = LogisticRegression(C=strength, max_iter=1000).fit(x, features.train.labels)
    p = logits_of(tmp_path / "model", features).softmax(1)
    np.testing.assert_allclose(p, reference.predict_proba(validation), atol=5e-3)


@pytest.mark.parametrize("task", ["genre", "instruments", "tempo_bpm"])
def test_knn_matches_sklearn(corpus: Path, tmp_path: Path, task: str) -> None:
    train(corpus, tmp_path / "model", settings(head="knn", task=task, neighbors=7))
    features = load_features(corpus, "melstats", task)
    x, validation = scaled(features)
    # The regressor's mean of 0/1 labels is the share of votes.
    kind = KNeighborsClassifier if task == "genre" else KNeighborsRegressor
    expected = kind(7, metric="cosine").fit(x, features.train.labels.numpy())
    logits = logits_of(tmp_path / "model", features)
    if task == "genre":
        np.testing.assert_allclose(logits.softmax(1), expected.predict_proba(validation), atol=1e-4)
    elif task == "instruments":
        np.testing.assert_allclose(logits.sigmoid(), expected.predict(validation), atol=1e-4)
    else:
        np.testing.assert_allclose(logits[:, 0], expected.predict(validation), rtol=1e-4)
    assert load_model(tmp_path / "model").config.examples == len(features.train)


def test_more_neighbours_than_rows_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training.neighbors: 500 of 240 training rows"):
        train(corpus, tmp_path / "model", settings(head="knn", neighbors=500))
