from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from torch.nn import functional

from builder.errors import DataError, RecipeError
from builder.settings import TrainingSettings
from training.data.combine import align_source
from training.data.features import Features, Split
from training.data.target import Target, load_target
from training.models.calibration import PRIOR
from training.models.classifier import MULTI, REGRESSION, SynthmirClassifier
from training.optim.loop import fit, start_accelerator
from training.strategies import MIXES, ON_SOURCE, ON_TARGET, Outcome, run_strategy

from . import planted
from .planted import NAMES

SIZES = {
    "train": 200, "validation": 100, "real_train": 200, "real_validation": 100, "real_test": 1000,
}  # fmt: skip
STRATEGIES = ("synthetic", "real", "joint", "transfer", "finetune", "adapt")
ACCELERATOR = start_accelerator()


def settings(strategy: str, **changes: Any) -> TrainingSettings:
    chosen = {"epochs": 25, "lr": 3e-3, "batch_size": 40, "hidden": (64,), "target": "real", **changes}
    return TrainingSettings(strategy=strategy, **chosen)  # type: ignore[arg-type]


def problem(seed: int, labelled: bool = True, **options: Any) -> tuple[Features, Target, planted.Points]:
    parts = planted.draw(seed, SIZES, **options)
    train, validation = (planted.split(parts[f"real_{name}"], name) for name in ("train", "validation"))
    record = {"source": "real", "labelled": {"train": {}, "validation": {}}, "unlabelled": 0}
    target = Target(train, train.embeddings[:0], validation, record)
    if not labelled:
        target = Target(None, train.embeddings, None, record)
    return planted.source(parts["train"], parts["validation"]), target, parts["real_test"]


def trained(chosen: TrainingSettings, source: Features, target: Target | None, **options: Any) -> Outcome:
    return run_strategy(chosen, source, target, planted.config(chosen.hidden), ACCELERATOR, **options)


def accuracy(model: SynthmirClassifier, test: planted.Points) -> float:
    with torch.inference_mode():
        predicted = model(torch.from_numpy(test[0])).logits.argmax(dim=1)
    names = np.array([NAMES.index(name) for name in model.config.labels])
    return float(accuracy_score(test[1], names[predicted.numpy()]))


def same(a: SynthmirClassifier, b: SynthmirClassifier) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def pair() -> tuple[Features, Target, planted.Points]:
    return problem(0)


HOW = {"dann": {"epochs": 20, "lr": 1e-3, "batch_size": 20}}  # slowly, so that the discriminator keeps up


@pytest.mark.parametrize(
    ("loss", "changes"),
    [("coral", {"weight": 1000.0}), ("mmd", {}), ("dann", {}), ("supcon", {}), ("ccsa", {})],
    ids=["coral", "mmd", "dann", "supcon", "ccsa"],
)
def test_adapting_to_a_shift_gains_ten_points_with_every_seed(loss: str, changes: dict[str, float]) -> None:
    """CORAL, MMD and DANN use no label of the target; the contrastive losses use those of its train part."""
    how = HOW.get(loss, {"epochs": 25 if loss == "coral" else 10})
    gains = []
    for seed in range(5):
        source, target, test = problem(seed, labelled=loss in ("supcon", "ccsa"))
        before = accuracy(trained(settings("synthetic", target=None, **how), source, None).fit.model, test)
        outcome = trained(settings("adapt", adaptation={"loss": loss, **changes}, **how), source, target)
        assert outcome.record["selected_on"] == (ON_TARGET if target.train else ON_SOURCE)
        gains.append(accuracy(outcome.fit.model, test) - before)
    assert min(gains) >= 0.10, gains


def test_statistics_alone_take_back_a_shift_and_a_scale() -> None:
    """With every head: nothing but the standardisation is adapted."""
    parts = planted.draw(1, {**SIZES, "also_train": 200, "also_test": 1000})
    scale, shift = np.linspace(0.3, 4, planted.DIM), np.linspace(-9, 9, planted.DIM)
    moved = {
        name: (np.float32(parts[name][0] * scale + shift), parts[name][1]) for name in ("also_train", "also_test")
    }
    source = planted.source(parts["train"], parts["validation"])
    target = Target(None, torch.from_numpy(moved["also_train"][0]), None, {"source": "real"})
    for head in ("mlp", "linear", "logistic", "knn"):
        alone = trained(settings("synthetic", target=None, head=head), source, None)
        adapted = trained(settings("adapt", head=head, adaptation={"loss": "statistics"}), source, target)
        before, after = (accuracy(one.fit.model, moved["also_test"]) for one in (alone, adapted))
        assert before < 0.7 and after > 0.85, (head, before, after)
        assert adapted.record["adaptation"]["weight"] is None and adapted.record["adaptation"]["rows"] == 200


def test_adapting_without_a_shift_gains_nothing() -> None:
    """The gain above comes from the shift; without one, adaptation does not lower the accuracy."""
    parts = planted.draw(3, {**SIZES, "also_train": 200, "also_test": 1000})
    source = planted.source(parts["train"], parts["validation"])
    target = Target(None, torch.from_numpy(parts["also_train"][0]), None, {"source": "real"})
    plain = trained(settings("synthetic", target=None), source, None)
    adapted = trained(settings("adapt"), source, target)
    before, after = (accuracy(outcome.fit.model, parts["also_test"]) for outcome in (plain, adapted))
    assert before > 0.9 and abs(after - before) < 0.03


def test_more_labels_of_the_target_give_a_higher_accuracy(pair: Any) -> None:
    source, target, test = pair
    accuracies = {n: accuracy(trained(settings("finetune", shots=n), source, target).fit.model, test) for n in (1, 50)}
    alone = accuracy(trained(settings("synthetic"), source, target).fit.model, test)
    assert accuracies[50] > accuracies[1] >= alone - 0.02


def test_synthetic_is_the_loop_on_the_source(pair: Any, caplog: pytest.LogCaptureFixture) -> None:
    source, target, _ = pair
    chosen = settings("synthetic")
    outcome = trained(chosen, source, target)
    assert same(outcome.fit.model, fit(planted.config(), source, chosen, ACCELERATOR).model)
    assert outcome.record["selected_on"] == ON_SOURCE and outcome.record["target"] is None
    assert "does not use the target" in caplog.text


def test_real_is_the_loop_on_the_target(pair: Any) -> None:
    source, target, _ = pair
    chosen = settings("real")
    outcome = trained(chosen, source, target)
    alone = replace(source, train=target.train, validation=target.validation)
    assert same(outcome.fit.model, fit(planted.config(), alone, chosen, ACCELERATOR).model)
    assert outcome.record["selected_on"] == ON_TARGET


def test_joint_without_a_mix_takes_the_best_on_validation(pair: Any) -> None:
    source, target, _ = pair
    chosen = settings("joint", shots=10)
    outcome = trained(chosen, source, target)
    losses = {point["mix"]: point["validation_loss"] for point in outcome.record["mixes"]}
    assert tuple(losses) == MIXES and losses[outcome.record["mix"]] == min(losses.values())
    again = trained(chosen.model_copy(update={"mix": 0.8}), source, target).fit.model
    rows = target.validation
    assert rows is not None
    loss = functional.cross_entropy(again(rows.embeddings).logits, rows.labels).item()
    assert losses[0.8] == pytest.approx(loss)
    assert outcome.record["mix"] != 0.8 or same(outcome.fit.model, again)


def test_source_and_target_are_standardised_apart(pair: Any) -> None:
    source, target, _ = pair
    aligned = align_source(source, target.embeddings)
    own = (source.train.embeddings - source.train.embeddings.mean(0)) / source.train.embeddings.std(0, correction=0)
    assert aligned.statistics is not None
    mean, std = aligned.statistics
    torch.testing.assert_close((aligned.train.embeddings - mean) / std, own, rtol=1e-4, atol=1e-4)
    weight = 200 / (200 + PRIOR)  # of the target's 200 rows
    torch.testing.assert_close(
        mean, weight * target.embeddings.mean(0) + (1 - weight) * source.train.embeddings.mean(0)
    )
    torch.testing.assert_close(
        std**2,
        weight * target.embeddings.var(0, correction=0) + (1 - weight) * source.train.embeddings.var(0, correction=0),
    )


def test_strategies_are_as_good_as_the_better_of_source_and_target_alone() -> None:
    """With ten labels a class of a shifted target."""
    means = {}
    for strategy in ("synthetic", "real", "joint", "finetune"):
        scores = []
        for seed in range(2):
            source, target, test = problem(seed, shift=0.4)
            scores.append(accuracy(trained(settings(strategy, shots=10, epochs=12), source, target).fit.model, test))
        means[strategy] = np.mean(scores)
    assert min(means["joint"], means["finetune"]) >= max(means["synthetic"], means["real"]) - 0.02, means


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("mix", [0.1, 0.5, 0.9])
def test_mix_is_the_share_of_the_loss_that_real_rows_have(pair: Any, mix: float, balanced: bool) -> None:
    """The weights of real rows sum to `mix`, even if the source has more rows and other label frequencies."""
    source, target, _ = pair
    source.train.labels[:40] = 0
    outcome = trained(settings("joint", mix=mix, epochs=1, class_weights=balanced, shots=7), source, target)
    rows = outcome.features.train
    assert rows.weights is not None
    weights = rows.weights.double()
    if balanced:
        weights = weights * (len(rows) / (5 * torch.bincount(rows.labels).double()))[rows.labels]
    assert float(weights[200:].sum() / weights.sum()) == pytest.approx(mix, rel=1e-5)
    assert len(rows) == 200 + 35
    assert outcome.record["mix"] == mix


def test_a_higher_mix_gives_a_higher_accuracy_on_the_target(pair: Any) -> None:
    source, target, test = pair
    accuracies = [
        accuracy(trained(settings("joint", mix=mix, shots=10), source, target).fit.model, test) for mix in (0.02, 0.7)
    ]
    assert accuracies[1] > accuracies[0] + 0.03


def test_transfer_trains_the_last_layer_alone(pair: Any) -> None:
    source, target, _ = pair
    aligned = align_source(source, target.embeddings)
    first = fit(planted.config(), aligned, settings("transfer"), ACCELERATOR).model.state_dict()
    outcome = trained(settings("transfer"), source, target)
    last = outcome.fit.model.state_dict()
    moved = {key for key in first if not torch.equal(first[key], last[key])}
    assert moved == {"output.weight", "output.bias"}
    assert all(parameter.requires_grad for parameter in outcome.fit.model.parameters())
    assert outcome.record["standardised_on"].startswith("source and target by their own statistics")


def test_finetune_with_a_warm_start_of_1_starts_from_the_source_model(pair: Any) -> None:
    source, target, _ = pair
    points: list[Any] = []
    chosen = settings("finetune", finetune_lr=2e-4, warm_start=1.0)
    outcome = trained(chosen, source, target, on_epoch=points.append)
    first, second = outcome.record["stages"]
    assert (first["name"], first["lr"], first["rows"]["train"]) == ("source", 3e-3, 200)
    assert (second["name"], second["lr"], second["rows"]["train"]) == ("target", 2e-4, 200)
    assert [point["stage"] for point in points] == ["source"] * len(first["curve"]) + ["target"] * len(second["curve"])
    start = fit(planted.config(), align_source(source, target.embeddings), chosen, ACCELERATOR).model
    by_hand = replace(source, train=target.train, validation=target.validation)
    lower = chosen.model_copy(update={"lr": 2e-4})
    assert same(outcome.fit.model, fit(planted.config(), by_hand, lower, ACCELERATOR, start=start).model)
    assert outcome.fit.curve == second["curve"]


def test_finetune_with_a_warm_start_of_0_is_a_new_model_on_the_target(pair: Any) -> None:
    source, target, _ = pair
    chosen = settings("finetune", finetune_lr=3e-3, warm_start=0.0)
    aligned = align_source(source, target.embeddings)
    alone = replace(aligned, train=target.train, validation=target.validation)
    fresh = fit(planted.config(), alone, chosen, ACCELERATOR).model
    assert same(trained(chosen, source, target).fit.model, fresh)
    quarter = trained(chosen.model_copy(update={"warm_start": 0.25}), source, target).fit.model
    assert not same(quarter, fresh)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_weights(strategy: str, pair: Any) -> None:
    source, target, _ = pair
    chosen = settings(strategy, epochs=3, shots=5, adaptation={"loss": "dann"})
    assert same(*(trained(chosen, source, target).fit.model for _ in range(2)))
    other = chosen.model_copy(update={"seed": 1})
    assert not same(trained(chosen, source, target).fit.model, trained(other, source, target).fit.model)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_poisoned_test_part_changes_no_weight(strategy: str, tmp_path: Path) -> None:
    parts = planted.draw(5, SIZES)
    source = planted.source(parts["train"], parts["validation"])
    models = []
    for poisoned in (False, True):
        points, labels = parts["real_test"]
        if poisoned:
            points, labels = np.full_like(points, np.nan), np.zeros_like(labels)
        real = {"train": parts["real_train"], "validation": parts["real_validation"], "test": (points, labels)}
        target = load_target(planted.write(tmp_path / str(poisoned), real), source)
        models.append(trained(settings(strategy, epochs=3), source, target).fit.model)
    assert same(*models)


def few_labels(labels: list[int], validation: list[int] | None = None) -> Target:
    """Real rows with these labels."""

    def rows(labels: list[int]) -> Split:
        vectors = torch.from_numpy(planted.draw(1, {"real": len(labels)})["real"][0])
        return Split(tuple(f"r{i}" for i in range(len(labels))), vectors, torch.tensor(labels))

    record = {"source": "real", "label_column": "genre", "labelled": {"train": {}}, "unlabelled": 0}
    return Target(rows(labels), torch.zeros(0, planted.DIM), rows(validation or labels), record)


def test_all_strategies_but_real_keep_labels_that_the_target_lacks(pair: Any) -> None:
    source, target = pair[0], few_labels([0, 4] * 10, [0, 4, 2] * 5)
    for strategy in ("joint", "transfer", "finetune"):
        outcome = trained(settings(strategy, epochs=2), source, target)
        assert outcome.fit.model.config.labels == NAMES
        assert all(np.isfinite(point["validation_loss"]) for point in outcome.fit.curve)
        assert outcome.record["stages"][-1]["rows"]["validation"] == 15
    alone = trained(settings("real", epochs=2), source, target)
    assert alone.fit.model.config.labels == ("Blues", "Rock")
    assert alone.fit.model.output.out_features == 2
    assert alone.record["target"]["labels_without_rows"] == ["Hip-Hop", "Jazz", "Pop"]
    assert alone.record["target"]["validation_left_out"] == 5
    assert torch.bincount(alone.features.train.labels).tolist() == [10, 10]


def test_many_labels_a_row(pair: Any) -> None:
    source, target, _ = pair

    def marked(split: Split) -> Split:
        marks = torch.nn.functional.one_hot(split.labels, 5).float()
        marks[:, 0] = torch.maximum(marks[:, 0], marks[:, 3])  # Pop is Blues as well
        return replace(split, labels=marks)

    many = replace(source, train=marked(source.train), validation=marked(source.validation), problem_type=MULTI)
    real = replace(target, train=marked(target.train), validation=marked(target.validation))
    for strategy in STRATEGIES:
        chosen = settings(strategy, epochs=4)
        outcome = run_strategy(chosen, many, real, planted.config(problem_type=MULTI), ACCELERATOR)
        assert outcome.fit.best["map"] > 0.4
        assert outcome.fit.model.config.threshold is not None
    with pytest.raises(RecipeError, match="supcon needs one label a clip"):
        trained(settings("adapt", adaptation={"loss": "supcon"}), many, real)
    rare = replace(real, train=replace(real.train, labels=real.train.labels * torch.tensor([1.0, 1, 1, 1, 0])))
    assert trained(settings("real", epochs=1), many, rare).record["target"]["labels_without_rows"] == ["Rock"]
    outcome = run_strategy(settings("finetune", epochs=2), many, rare, planted.config(problem_type=MULTI), ACCELERATOR)
    assert np.isfinite(outcome.fit.best["validation_loss"])


def test_a_number_a_row(pair: Any) -> None:
    source, target, _ = pair

    def counted(split: Split) -> Split:
        return replace(split, labels=100 + 10 * split.labels.float())

    tempo = replace(
        source, task="tempo_bpm", names=("tempo_bpm",), problem_type=REGRESSION,
        train=counted(source.train), validation=counted(source.validation),
    )  # fmt: skip
    real = replace(target, train=counted(target.train), validation=counted(target.validation))
    for strategy in STRATEGIES:
        config = planted.config(names=("tempo_bpm",), problem_type=REGRESSION)
        outcome = run_strategy(settings(strategy, epochs=6), tempo, real, config, ACCELERATOR)
        assert outcome.fit.best["mae"] < 12  # the labels' own mean absolute deviation
    steady = replace(real, train=replace(real.train, labels=torch.full((200,), 120.0)))
    for strategy in ("real", "finetune"):
        with pytest.raises(DataError, match="every labelled row's tempo_bpm is 120: there is nothing to learn"):
            run_strategy(settings(strategy), tempo, steady, config, ACCELERATOR)


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_heads_that_are_not_learnt_by_epochs(head: str, pair: Any) -> None:
    source, target, test = pair
    for strategy in ("synthetic", "real", "joint"):
        outcome = trained(settings(strategy, head=head), source, target)
        assert accuracy(outcome.fit.model, test) > 0.3
    for strategy in ("transfer", "finetune", "adapt"):
        with pytest.raises(RecipeError, match=f"{strategy} needs a network, and {head} is not one"):
            trained(settings(strategy, head=head), source, target)


@pytest.mark.parametrize("linear", [{"hidden": ()}, {"head": "linear"}], ids=["hidden", "head"])
def test_adapt_needs_a_hidden_layer(linear: dict[str, Any], pair: Any) -> None:
    source, target, _ = pair
    with pytest.raises(RecipeError, match="adapt aligns hidden layers, and this classifier has none"):
        trained(settings("adapt", **linear), source, target)


def test_knn_refuses_a_mix(pair: Any) -> None:
    source, target, _ = pair
    with pytest.raises(RecipeError, match=r"training\.mix: knn has no weights of rows"):
        trained(settings("joint", head="knn", mix=0.5), source, target)


def test_a_killed_run_resumes(pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the second stage, it reuses the first stage and ends with the weights of an uninterrupted run."""
    monkeypatch.setattr("training.optim.checkpoint.SECONDS", 0.0)
    source, target, _ = pair
    chosen = settings("finetune", epochs=6)
    whole = trained(chosen, source, target)

    def kill(point: Any) -> None:
        if point["stage"] == "target" and point["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(chosen, source, target, on_epoch=kill, checkpoint=tmp_path / "checkpoint.safetensors")
    assert len(list(tmp_path.iterdir())) == 2
    resumed = trained(chosen, source, target, checkpoint=tmp_path / "checkpoint.safetensors")
    assert same(whole.fit.model, resumed.fit.model)


def test_data_that_a_strategy_cannot_train_on_is_refused(pair: Any) -> None:
    source, target, _ = pair
    with pytest.raises(RecipeError, match="real needs a target"):
        trained(settings("real"), source, None)
    with pytest.raises(ValueError, match="strategy 'joint' needs a target"):
        settings("joint", target=None)
    unlabelled = Target(None, target.train.embeddings, None, {"source": "real", "label_column": None})
    for strategy in ("real", "joint", "transfer", "finetune"):
        with pytest.raises(
            DataError, match=rf"real: its train part has no row with a genre, which {strategy} needs \(there"
        ):
            trained(settings(strategy), source, unlabelled)
    with pytest.raises(DataError, match="adapt with supcon needs"):
        trained(settings("adapt", adaptation={"loss": "supcon"}), source, unlabelled)
    with pytest.raises(DataError, match="adapt with shots needs"):
        trained(settings("adapt", shots=3), source, unlabelled)
    with pytest.raises(DataError, match="its validation part has no row with a genre"):
        trained(settings("real"), source, replace(target, validation=None))
    for strategy in ("real", "transfer", "finetune"):
        with pytest.raises(DataError, match="every labelled row's genre is 'Jazz'"):
            trained(settings(strategy), source, few_labels([2] * 8))
    with pytest.raises(DataError, match="no validation row has a label that a train row has"):
        trained(settings("real"), source, few_labels([0, 1] * 4, [3, 4]))
