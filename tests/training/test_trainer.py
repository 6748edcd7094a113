from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss

import training.trainer as trainer
from builder.errors import DataError, RecipeError
from builder.records import RunRecord
from builder.settings import EmbedderSettings, TrainingSettings
from training.data.features import Features, Split, load_features
from training.models.classifier import SynthmirClassifier, SynthmirConfig, load_model
from training.optim.loop import Fit, fit, start_accelerator
from training.optim.objectives import single_scores
from training.trainer import train

from .conftest import DIM, FINGERPRINT, GENERATOR, GENRES, Columns, columns

MELSTATS = EmbedderSettings()
QUICK = TrainingSettings(hidden=(8,), epochs=6, batch_size=32)


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({**QUICK.model_dump(), **changes})


def problem(n: int = 200, seed: int = 0, distance: float = 2.0, flip: float = 0.0) -> Features:
    """Points around a centre a label; a share `flip` of the training labels is wrong."""
    splits = []
    for name, rows in (("train", n), ("validation", max(30, n // 4))):
        table = columns(name, rows, seed + len(splits), distance)
        labels = torch.tensor(table["genre"])
        if name == "train" and flip:
            wrong = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) < flip
            labels = torch.where(wrong, (labels + 1) % len(GENRES), labels)
        splits.append(Split(tuple(table["id"]), torch.from_numpy(np.stack(table["embedding"])), labels))
    return Features("genre", "melstats", GENRES, *splits, dropped={})


def run(features: Features, chosen: TrainingSettings, **options: Any) -> Fit:
    config = SynthmirConfig(
        hidden=chosen.hidden, embedder={"dim": DIM}, id2label=dict(enumerate(GENRES)),
        label2id={name: index for index, name in enumerate(GENRES)},
    )  # fmt: skip
    return fit(config, features, chosen, start_accelerator(), **options)


def probabilities(model: SynthmirClassifier, embeddings: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        predicted: np.ndarray = model(embeddings).logits.double().softmax(1).numpy()
    return predicted


def test_training_is_as_accurate_as_sklearn() -> None:
    features = problem(distance=0.6)
    fitted = run(features, settings(hidden=(), epochs=60, lr=0.01))
    x, y = features.validation.embeddings.numpy(), features.validation.labels.numpy()
    reference = LogisticRegression(max_iter=1000).fit(features.train.embeddings.numpy(), features.train.labels.numpy())
    predicted = probabilities(fitted.model, features.validation.embeddings).argmax(1)
    assert 0.6 < reference.score(x, y) < 0.99  # neither too hard nor trivial
    assert accuracy_score(y, predicted) >= reference.score(x, y) - 0.05


def test_random_labels_are_not_learnt() -> None:
    features = problem(n=600, distance=0.0)
    fitted = run(features, settings(epochs=20))
    assert 0.2 < max(point["accuracy"] for point in fitted.curve) < 0.5


def test_metrics_match_sklearn() -> None:
    """The curve's best point, measured again from the saved weights with scikit-learn."""
    features = problem(distance=0.7)
    features.train.labels[:60] = 0  # imbalanced, so that the weights matter
    fitted = run(features, settings(epochs=5))
    best = min(fitted.curve, key=lambda point: point["validation_loss"])
    assert fitted.best == best
    y, p = features.validation.labels.numpy(), probabilities(fitted.model, features.validation.embeddings)
    weights = features.class_weights().numpy()[y]
    assert best["validation_loss"] == pytest.approx(log_loss(y, p, sample_weight=weights), rel=1e-5)
    assert best["accuracy"] == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert best["macro_f1"] == pytest.approx(f1_score(y, p.argmax(1), average="macro"))


def test_macro_f1_with_an_absent_label_matches_sklearn() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])  # of four labels
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), 4).float()
    metrics = single_scores(logits, torch.from_numpy(truth))
    assert metrics["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_one_step_is_adamw_on_the_weighted_cross_entropy() -> None:
    """One batch, one step: AdamW on the gradient of sum(w * loss) / sum(w), by torch's own weighted mean."""
    features = problem(n=48)
    features.train.labels[:20] = 1
    chosen = settings(epochs=1, batch_size=64)
    fitted = run(features, chosen)
    torch.manual_seed(chosen.seed)
    reference = SynthmirClassifier(fitted.model.config)
    reference.standardise(features.train.embeddings)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    loss = torch.nn.CrossEntropyLoss(weight=features.class_weights())
    loss(reference(features.train.embeddings).logits, features.train.labels).backward()
    optimizer.step()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(fitted.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_class_weights_can_be_left_off() -> None:
    features = problem(distance=0.3)
    features.train.labels[:120] = 0
    weighted = run(features, settings(epochs=15, class_weights=True))
    plain = run(features, settings(epochs=15, class_weights=False))
    y = features.validation.labels.numpy()
    p = probabilities(plain.model, features.validation.embeddings)
    assert plain.best["validation_loss"] == pytest.approx(log_loss(y, p), rel=1e-5)
    often = [(probabilities(f.model, features.validation.embeddings).argmax(1) == 0).mean() for f in (weighted, plain)]
    assert often[0] < often[1]


def test_the_best_epoch_is_kept_when_validation_gets_worse_later() -> None:
    """Training labels are noisy and the learning rate high: it soon learns the noise, and validation gets worse."""
    features = problem(n=120, distance=0.5, flip=0.4)
    states: list[float] = []
    fitted = run(
        features, settings(hidden=(64,), lr=0.02, epochs=100, patience=5),
        on_epoch=lambda point: states.append(point["validation_loss"]),
    )  # fmt: skip
    losses = [point["validation_loss"] for point in fitted.curve]
    best = int(np.argmin(losses)) + 1
    assert losses == states and losses[-1] > 1.2 * min(losses)
    assert fitted.stopped_early and fitted.best["epoch"] == best and len(losses) == best + 5
    y, p = features.validation.labels.numpy(), probabilities(fitted.model, features.validation.embeddings)
    weights = features.class_weights().numpy()[y]
    assert log_loss(y, p, sample_weight=weights) == pytest.approx(min(losses), rel=1e-5)


def test_training_ends_after_the_last_epoch() -> None:
    fitted = run(problem(), settings(epochs=2))
    assert [point["epoch"] for point in fitted.curve] == [1, 2] and not fitted.stopped_early


def test_a_seed_gives_the_same_weights_and_keeps_the_callers_random_state() -> None:
    features = problem()
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one = run(features, settings(seed=3)).model.state_dict()
    assert torch.equal(torch.rand(1), expected)
    two, other = (run(features, settings(seed=seed)).model.state_dict() for seed in (3, 4))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["output.weight"], other["output.weight"])


def test_number_of_threads_is_restored() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(problem(), settings(epochs=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_learning_rate_that_explodes() -> None:
    with pytest.raises(RecipeError, match=r"training.lr: 1e.30 is too high"):
        run(problem(), settings(lr=1e30, hidden=(8, 8)))


def test_the_folder(corpus: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    out = tmp_path / "deep" / "model"
    record = train(corpus, out, QUICK, MELSTATS, seen.append)
    assert record is not None and record == RunRecord.read(out / "training.json")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "modeling_synthmir.py", "preprocessor_config.json",
        "training.json",
    ]  # fmt: skip
    assert list(out.parent.iterdir()) == [out]
    details = record.details
    assert (record.command, record.fingerprint, record.rows) == ("train", FINGERPRINT, 300)
    assert details["curve"] == seen and details["best_epoch"] in [point["epoch"] for point in seen]
    assert (out / details["corpus"]).resolve() == corpus.resolve() and details["corpus_name"] == "miniature"
    assert details["generator"] == GENERATOR and details["rows"] == {"train": 240, "validation": 60}
    assert details["rows_by_label"]["train"] == dict.fromkeys(GENRES, 80)
    assert details["settings"] == json.loads(QUICK.model_dump_json())
    config = load_model(out).config
    assert config.corpus == FINGERPRINT and config.task == "genre" and config.labels == GENRES
    assert {key: config.embedder[key] for key in ("name", "weights", "revision", "dim", "window_seconds")} == {
        "name": "melstats", "weights": None, "revision": "1", "dim": DIM, "window_seconds": 10.0
    }  # fmt: skip


def test_the_saved_model_is_the_best_one(corpus: Path, model: Path) -> None:
    features = load_features(corpus, "melstats", "genre")
    p = probabilities(load_model(model), features.validation.embeddings)
    losses = [point["validation_loss"] for point in RunRecord.read(model / "training.json").details["curve"]]
    assert log_loss(features.validation.labels.numpy(), p) == pytest.approx(min(losses), rel=1e-4)


def test_files_of_a_replaced_model_are_removed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train(corpus, out, QUICK, MELSTATS)
    (out / "scores.json").write_text("of the old model")
    train(corpus, out, settings(seed=5), MELSTATS)
    assert not (out / "scores.json").exists() and list(tmp_path.iterdir()) == [out]
    assert RunRecord.read(out / "training.json").details["settings"]["seed"] == 5


def test_a_failed_training_leaves_the_old_model(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "model"
    train(corpus, out, QUICK, MELSTATS)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "write_card", full)
    with pytest.raises(DataError, match=r"cannot write .*model: No space left on device"):
        train(corpus, out, QUICK, MELSTATS)
    with pytest.raises(RecipeError):
        train(corpus, out, settings(lr=1e30), MELSTATS)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_leftovers_of_a_killed_run_are_ignored(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part" / "config.json").write_text("{")
    train(corpus, tmp_path / "model", QUICK, MELSTATS)
    assert load_model(tmp_path / "model").config.labels == GENRES
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_an_empty_folder_is_filled(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, QUICK, MELSTATS)
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_of_something_else_is_refused(corpus: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match="is not empty, and does not hold a model"):
        train(corpus, tmp_path, QUICK, MELSTATS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(DataError, match="is a file, not a folder"):
        train(corpus, tmp_path / "model", QUICK, MELSTATS)


def test_a_folder_that_cannot_be_written(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        train(corpus, tmp_path / "file" / "model", QUICK, MELSTATS)


def test_a_bad_corpus_leaves_no_folder(tables: dict[str, Columns], make: Callable[..., Path], tmp_path: Path) -> None:
    tables.pop("validation")
    with pytest.raises(DataError, match="no validation split"):
        train(make(tables), tmp_path / "model", QUICK, MELSTATS)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
