from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from typer.testing import CliRunner

from builder.errors import DataError, RecipeError
from builder.settings import EvaluationSettings, TrainingSettings
from evaluation.inference.held_out import read_test
from evaluation.reporting.result_files import write_result_files
from evaluation.reporting.tables import format_strategies
from evaluation.results import strategies as module
from evaluation.results.scores import MULTI, REGRESSION
from evaluation.results.strategies import StrategyComparison
from evaluation.strategies import ALL_LABELS, STRATEGIES, _settings, compare_strategies
from synthmir.cli import app
from tests.training import planted
from tests.training.planted import NAMES
from training.models.classifier import load_model
from training.trainer import train

SIZES = {"train": 300, "validation": 100, "real_train": 150, "real_validation": 60, "real_test": 200}
QUICK = EvaluationSettings(bootstrap=200)


def settings(target: Path | None, **changes: Any) -> TrainingSettings:
    chosen = {"epochs": 12, "lr": 3e-3, "batch_size": 64, "hidden": (32,), "finetune_lr": 3e-3, **changes}
    return TrainingSettings(target=None if target is None else str(target), **chosen)


@pytest.fixture(scope="module")
def parts() -> dict[str, planted.Points]:
    return planted.draw(2, SIZES)


@pytest.fixture(scope="module")
def source(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "synthetic"
    return planted.write(folder, {name: parts[name] for name in ("train", "validation")})


@pytest.fixture(scope="module")
def real(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "real"
    return planted.write(folder, {name: parts[f"real_{name}"] for name in ("train", "validation", "test")})


@pytest.fixture(scope="module")
def found(source: Path, real: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StrategyComparison, Path]:
    out = tmp_path_factory.mktemp("compared")
    return compare_strategies(source, out, settings(real), seeds=(0, 1), settings=QUICK), out


def test_the_order_of_strategies(found: Any) -> None:
    """Training on no real music is last, and adaptation is between that and all real music."""
    comparison, _ = found
    means = {one.name: one.figures["accuracy"].mean.value for one in comparison.strategies}
    assert set(means) == set(STRATEGIES) and comparison.metric == "accuracy"
    assert list(means.values()) == sorted(means.values(), reverse=True)
    assert min(means, key=lambda name: means[name]) == "synthetic"
    assert comparison.upper == "real" and means["real"] >= means["adapt"]
    assert means["adapt"] > means["synthetic"] + 0.1
    assert len(comparison.differences) == 15
    last = next(one for one in comparison.differences if (one.strategy, one.other) == ("real", "synthetic"))
    assert last.difference.low is not None and last.difference.low > 0 and last.p_holm < 0.1
    for one in comparison.strategies:
        figure = one.figures["accuracy"].mean
        assert figure.low is not None and figure.low <= figure.value <= figure.high and figure.n == 200  # type: ignore


def test_scores_equal_sklearns_on_the_test_part(found: Any, parts: Any) -> None:
    comparison, out = found
    x, truth = parts["real_test"]
    for one in comparison.strategies:
        for place, seed in enumerate(comparison.seeds):
            model = load_model(out / one.models / f"seed-{seed}")
            with torch.inference_mode():
                predicted = model(torch.from_numpy(x)).logits.argmax(1).numpy()
            scores = {key: figure.seeds[place] for key, figure in one.figures.items()}
            assert scores["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
            assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
        assert one.figures["accuracy"].mean.value == pytest.approx(np.mean(one.figures["accuracy"].seeds))


def test_the_files(found: Any) -> None:
    comparison, out = found
    assert StrategyComparison.read(out / "strategies.json") == comparison
    schema = json.loads((Path(module.__file__).parent / "strategies.schema.json").read_text())
    assert schema == json.loads(StrategyComparison.json_schema())
    write_result_files(comparison, out)
    picture = (out / "strategies.svg").read_text()
    assert all(name in picture for name in STRATEGIES) and "n = 200" in picture
    table = format_strategies(comparison)
    assert table == (out / "strategies.txt").read_text().rstrip("\n")
    assert table.splitlines()[0] == "test part of real, n = 200, 2 training runs each"
    assert "Accuracy" in table.splitlines()[1] and "Balanced accuracy" in table.splitlines()[1]
    assert comparison.sampling is not None and comparison.sampling.describe() == "200 tracks"
    assert "intervals over 12 artists" in format_strategies(
        comparison.model_copy(
            update={"sampling": comparison.sampling.model_copy(update={"over": "artists", "units": 12})}
        )
    )
    data = json.loads((out / "strategies.json").read_text())
    assert str(out.parent.parent) not in json.dumps({**data, "record": {}})  # no path of this machine


def test_the_record_says_what_chose_the_epoch(found: Any) -> None:
    comparison, out = found
    chosen = {one.name: one.selected_on for one in comparison.strategies}
    assert {name for name, where in chosen.items() if "source" in where} == {"synthetic", "adapt"}
    record = json.loads((out / "models/finetune/seed-0/training.json").read_text())["details"]
    assert [stage["name"] for stage in record["strategy"]["stages"]] == ["source", "target"]
    assert record["strategy"]["target"]["rows"] == {"train": 150, "validation": 60, "test": 200}
    assert record["curve"] == record["strategy"]["stages"][1]["curve"]


def test_finished_trainings_are_kept(found: Any, source: Path, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, out = found

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("training.strategies.fit", refuse)
    again = compare_strategies(source, out, settings(real), seeds=(0, 1), settings=QUICK)
    assert again.strategies == comparison.strategies and again.differences == comparison.differences


def test_another_metric_orders_and_is_tested(found: Any, source: Path, real: Path, tmp_path: Path) -> None:
    comparison, out = found
    balanced = compare_strategies(
        source, out, settings(real), seeds=(0, 1), settings=QUICK, metric="balanced_accuracy"
    )
    means = [one.figures["balanced_accuracy"].mean.value for one in balanced.strategies]
    assert balanced.metric == "balanced_accuracy" and means == sorted(means, reverse=True)
    assert {one.metric for one in balanced.differences} == {"balanced_accuracy"} and len(balanced.differences) == 15
    comparison.write(out / "strategies.json")
    with pytest.raises(RecipeError, match=r"no metric 'balanced' \(did you mean 'balanced_accuracy'\?\)"):
        compare_strategies(source, tmp_path, settings(real), metric="balanced")
    with pytest.raises(RecipeError, match=r"no metric 'map' of these tracks"):
        compare_strategies(source, out, settings(real), seeds=(0, 1), settings=QUICK, metric="map")


def test_changed_real_music_is_trained_on_again(source: Path, parts: Any, tmp_path: Path) -> None:
    """A model of other data at the same path does not count as finished."""
    chosen = settings(tmp_path / "real", epochs=2)
    found = []
    for turn in range(2):
        changed = {name: parts[f"real_{name}"] for name in ("train", "validation", "test")}
        if turn:
            changed["train"] = changed["train"][0] + 1.0, changed["train"][1]
            (tmp_path / "real").rename(tmp_path / "old")
        planted.write(tmp_path / "real", changed)
        one = compare_strategies(source, tmp_path / "out", chosen, strategies=["real"], seeds=(0,), settings=QUICK)
        found.append(one.strategies[0].figures["macro_f1"].seeds)
    assert found[0] != found[1]


def test_with_shots_training_on_all_labels_is_the_upper_line(source: Path, real: Path, tmp_path: Path) -> None:
    found = compare_strategies(
        source,
        tmp_path,
        settings(real, shots=2, epochs=6),
        strategies=["real", "finetune"],
        seeds=(0,),
        settings=QUICK,
    )
    assert {one.name for one in found.strategies} == {"real", "finetune", ALL_LABELS} and found.upper == ALL_LABELS
    rows = {one.name: one.rows["train"] for one in found.strategies}
    assert rows == {"real": 10, "finetune": 10, ALL_LABELS: 150}
    assert "2 real tracks for each label" in format_strategies(found)


def test_a_class_that_real_has_not_learnt_counts_as_missed(source: Path, parts: Any, tmp_path: Path) -> None:
    """The model of `real` has no output for the class, and its tracks are scored."""
    points, labels = parts["real_train"]
    few = {"train": (points[labels != 4], labels[labels != 4]), "test": parts["real_test"],
           "validation": parts["real_validation"]}  # fmt: skip
    folder = planted.write(tmp_path / "real", few)
    found = compare_strategies(
        source, tmp_path / "out", settings(folder), strategies=["real"], seeds=(0,), settings=QUICK
    )
    model = load_model(tmp_path / "out/models/real/seed-0")
    assert model.config.labels == NAMES[:4]
    assert found.n == 200
    assert found.strategies[0].figures["accuracy"].mean.value <= 0.8


def test_read_test(real: Path, source: Path, parts: Any, features: Any) -> None:
    predictions, x = read_test(real, features)
    np.testing.assert_array_equal(x, parts["real_test"][0])
    np.testing.assert_array_equal(predictions.truth, parts["real_test"][1])
    assert predictions.ids[0] == "test/0" and predictions.groups() is None


@pytest.fixture(scope="module")
def features(parts: Any) -> Any:
    return planted.source(parts["train"], parts["validation"])


def test_read_test_of_a_split_made_by_training(tmp_path: Path, parts: Any, features: Any) -> None:
    """Without splits, the test rows are those that the training record names."""
    points, labels = parts["real_train"]
    artists = {"train": [f"artist {i // 5}" for i in range(len(points))]}
    folder = planted.write(tmp_path / "real", {"train": (points, labels)}, artist=artists)
    predictions, x = read_test(folder, features)
    from training.data.target import load_target

    target = load_target(folder, features)
    assert list(predictions.ids) == target.record["test_ids"]
    assert predictions.groups() is not None and len(set(predictions.artists)) == len(x) // 5
    assert target.train is not None and not set(predictions.ids) & set(target.train.ids)


def test_labels_that_the_corpus_does_not_have_are_left_out(tmp_path: Path, parts: Any, features: Any) -> None:
    folder = planted.write(
        tmp_path / "real", {name: parts[f"real_{name}"] for name in ("train", "validation", "test")}
    )
    fewer = replace(features, names=NAMES[:3])
    predictions, x = read_test(folder, fewer)
    assert len(predictions) == len(x) == 120 and set(predictions.truth.tolist()) == {0, 1, 2}
    assert predictions.notes == [
        f"left out 40 test rows of genre {name!r}, which the corpus does not have" for name in NAMES[3:]
    ]


def test_tags_and_numbers(tmp_path: Path, parts: Any) -> None:
    """The other two problems, from end to end."""
    from datasets import Dataset, DatasetDict

    for task, values, problem in (
        ("tags", lambda g: [NAMES[g], NAMES[(g + 1) % 5]], MULTI),
        ("tempo_bpm", lambda g: 100.0 + 10.0 * g, REGRESSION),
    ):
        places = {}
        for folder, names in (("synthetic", ("train", "validation")), ("real", ("train", "validation", "test"))):
            data = {}
            for name in names:
                points, labels = parts[name if folder == "synthetic" else f"real_{name}"]
                data[name] = Dataset.from_dict(
                    {"id": [f"{name}{i}" for i in range(len(points))], "embedding": points.tolist(),
                     task: [values(int(g)) for g in labels]}
                )  # fmt: skip
            places[folder] = tmp_path / task / folder
            DatasetDict(data).save_to_disk(places[folder])
        chosen = settings(places["real"], task=task, epochs=15)
        found = compare_strategies(
            places["synthetic"], tmp_path / task / "out", chosen, strategies=["synthetic", "real"], seeds=(0,),
            settings=QUICK,
        )  # fmt: skip
        assert found.problem == problem and found.metric == ("map" if problem == MULTI else "accuracy_1")
        assert found.strategies[0].name == "real"
        assert found.strategies[0].figures[found.metric].mean.value > 0.5


BAD: dict[str, tuple[type[Exception], str, Callable[..., Any]]] = {
    "no target": (RecipeError, "names no real music to compare on", lambda real: (settings(None), ["real"])),
    "no such strategy": (
        RecipeError,
        "no strategy 'finetun' .did you mean 'finetune'",
        lambda r: (settings(r), ["finetun"]),
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_invalid_settings_are_refused(what: str, source: Path, real: Path, tmp_path: Path) -> None:
    kind, message, make = BAD[what]
    chosen, names = make(real)
    with pytest.raises(kind, match=message):
        compare_strategies(source, tmp_path, chosen, strategies=names)


def test_a_target_without_a_test_part_is_refused(source: Path, parts: Any, tmp_path: Path) -> None:
    folder = planted.write(tmp_path / "real", {name: parts[f"real_{name}"] for name in ("train", "validation")})
    with pytest.raises(DataError, match="has no test part to evaluate on"):
        compare_strategies(source, tmp_path / "out", settings(folder))
    assert not (tmp_path / "out").exists()  # before anything is trained


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """A short training."""
    file = tmp_path / "recipe.yaml"
    file.write_text("name: quick\nprompts: {per_genre: 1}\ntraining: {epochs: 3, hidden: [16]}\n")
    return str(file)


def test_the_compare_command(source: Path, real: Path, tmp_path: Path, recipe: str) -> None:
    arguments = ["compare", str(source), "--target", str(real), "--out", str(tmp_path / "out"), "--recipe", recipe]
    result = CliRunner().invoke(app, [*arguments, "--strategies", "synthetic,real", "--seeds", "0", "--shots", "5"])
    assert result.exit_code == 0, result.output
    assert "real, all labels" in result.output and (tmp_path / "out/strategies.svg").exists()


def test_the_train_command(source: Path, real: Path, tmp_path: Path, recipe: str) -> None:
    arguments = ["train", str(source), "--out", str(tmp_path / "model"), "--recipe", recipe]
    result = CliRunner().invoke(app, [*arguments, "--strategy", "finetune", "--target", str(real), "--shots", "10"])
    assert result.exit_code == 0, result.output
    details = json.loads((tmp_path / "model/training.json").read_text())["details"]
    assert details["strategy"]["name"] == "finetune"
    assert details["strategy"]["target"]["labelled"]["train"] == dict.fromkeys(NAMES, 10)
    assert len(details["strategy"]["target"]["shots"]["ids"]) == 50
    assert not list(tmp_path.glob(".model*"))
    refused = CliRunner().invoke(app, [*arguments, "--strategy", "finetune"])
    assert isinstance(refused.exception, RecipeError) and "needs a target" in str(refused.exception)


def test_the_record_of_a_target_names_no_path(source: Path, real: Path, tmp_path: Path) -> None:
    record = train(source, tmp_path / "model", settings(real, strategy="adapt", epochs=2, task="genre"))
    assert record is not None and record.details["strategy"]["adaptation"]["rows"] == 150
    assert str(real.parent) not in json.dumps(record.details["strategy"])


def test_all_strategies_have_one_head() -> None:
    training = TrainingSettings(head="logistic", target="real")
    assert {each.head for each in _settings(training, ("synthetic", "real", "finetune")).values()} == {"mlp"}
    assert {each.head for each in _settings(training, ("synthetic", "real", "joint")).values()} == {"logistic"}
