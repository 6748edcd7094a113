"""The training loop: a killed run resumes, accumulated batches equal one batch, an adaptation adds its gradient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import training.optim.checkpoint as checkpoint
import training.optim.products as products
import training.optim.trackers as trackers
from builder.errors import BackendError, RecipeError
from builder.records import RunRecord
from builder.settings import EmbedderSettings, TrainingSettings
from training.data.features import Features, load_features
from training.models.classifier import SynthmirClassifier, SynthmirConfig, load_model
from training.optim.domain_adaptation import Adaptation
from training.optim.loop import Fit, fit, start_accelerator
from training.trainer import train

from ...warm import WarmProcess
from ..conftest import DIM

TASKS = ("genre", "instruments", "tempo_bpm")
ROOT = Path(checkpoint.__file__).parents[2]


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"epochs": 6, "hidden": (8,), "batch_size": 32, **changes})


def configured(features: Features, chosen: TrainingSettings) -> SynthmirConfig:
    names = dict(enumerate(features.names))
    return SynthmirConfig(hidden=chosen.hidden, embedder={"dim": DIM}, problem_type=features.problem_type,
                          id2label=names, label2id={name: i for i, name in names.items()})  # fmt: skip


def run(features: Features, chosen: TrainingSettings, **options: Any) -> Fit:
    return fit(configured(features, chosen), features, chosen, start_accelerator(chosen), **options)


def same(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


class Killed(Exception):
    """Raised to end a run in the middle."""


@pytest.mark.parametrize("task", TASKS)
def test_a_killed_run_resumes_to_identical_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    features, file = load_features(corpus, "melstats", task), tmp_path / "state"
    whole = run(features, settings())
    seen: list[int] = []

    def kill(point: dict[str, Any]) -> None:
        seen.append(point["epoch"])
        if len(seen) == 4:
            raise Killed

    with pytest.raises(Killed):
        run(features, settings(), on_epoch=kill, checkpoint=file)
    points: list[dict[str, Any]] = []
    resumed = run(features, settings(), on_epoch=points.append, checkpoint=file)
    assert same(whole.model, resumed.model) and resumed.curve == whole.curve == points
    trained_again = run(features, settings(seed=1), checkpoint=file)  # the checkpoint is of another training
    assert same(trained_again.model, run(features, settings(seed=1)).model)


@pytest.mark.parametrize("damage", ["torn", "text"])
def test_a_damaged_checkpoint_is_ignored(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    features, file = load_features(corpus, "melstats", "genre"), tmp_path / "state"
    whole = run(features, settings(), checkpoint=file)
    file.write_bytes(file.read_bytes()[:300] if damage == "torn" else b"nonsense")
    assert same(whole.model, run(features, settings(), checkpoint=file).model)


PROGRAM = """
import sys, time
from pathlib import Path
import training.optim.checkpoint
from builder.settings import EmbedderSettings, TrainingSettings
from training.trainer import train
training.optim.checkpoint.SECONDS = 0.0
settings = TrainingSettings(hidden=(8,), epochs=6, batch_size=32)
def slow(point):
    print(point["epoch"], flush=True)
    time.sleep(float(sys.argv[3]))
train(Path(sys.argv[1]), Path(sys.argv[2]), settings, EmbedderSettings(), slow)
"""


def test_a_killed_process_resumes(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "printed").mkdir()
    process = WarmProcess(
        PROGRAM, corpus, tmp_path / "model", 600, folder=tmp_path / "printed", environ={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert process.wait_for_line() == "1"
    process.kill()
    assert not (tmp_path / "model").exists()
    train(corpus, tmp_path / "model", settings(), EmbedderSettings())
    train(corpus, tmp_path / "whole", settings(), EmbedderSettings())
    assert same(load_model(tmp_path / "whole"), load_model(tmp_path / "model"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "printed", "whole"]


@pytest.mark.parametrize("task", TASKS)
def test_accumulated_batches_equal_one_batch(corpus: Path, task: str) -> None:
    features = load_features(corpus, "melstats", task)
    whole = run(features, settings(batch_size=48))
    parts = run(features, settings(batch_size=16, accumulate=3))
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[key], value, rtol=1e-3, atol=1e-5)


class Apart(nn.Module):
    """The distance of the means, times a weight that is learnt too."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.progress: list[float] = []

    def forward(self, source: Tensor, target: Tensor, _: Tensor, labels: Tensor, progress: float) -> Tensor:
        assert labels.tolist() == [-1] * len(target)
        self.progress.append(progress)
        return self.scale * (source.mean(0) - target.mean(0)).square().sum()


def test_an_adaptation_adds_its_gradient(corpus: Path) -> None:
    """One step over all rows, beside the same step in plain torch."""
    features = load_features(corpus, "melstats", "genre")
    chosen, rows = settings(batch_size=240, epochs=1, class_weights=False), torch.full((5, DIM), 3.0)
    loss = Apart()
    fitted = run(features, chosen, adaptation=Adaptation(rows, torch.full((5,), -1), loss, 0.7))
    torch.manual_seed(chosen.seed)
    reference, other = SynthmirClassifier(configured(features, chosen)), Apart()
    reference.standardise(features.train.embeddings)
    parameters = [*reference.parameters(), *other.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=chosen.lr, weight_decay=chosen.weight_decay)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(chosen.seed))
    source = reference.represent(features.train.embeddings[order])
    target = reference.represent(rows)
    labelled = functional.cross_entropy(reference.output(source), features.train.labels[order])
    (labelled + 0.7 * other(source, target.mean(0, keepdim=True), order, -torch.ones(1), 0.0)).backward()
    optimizer.step()
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(fitted.model.state_dict()[key], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss.scale, other.scale)
    assert loss.progress == [0.0]


def test_an_adaptation_gets_the_progress_of_training(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    features, loss = load_features(corpus, "melstats", "genre"), Apart()
    target = Adaptation(torch.randn(9, DIM), torch.full((9,), -1), loss, 1.0)
    whole = run(features, settings(batch_size=120, epochs=3), adaptation=target)
    assert loss.progress == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])

    def kill(point: dict[str, Any]) -> None:
        if point["epoch"] == 3:
            raise Killed

    def fresh() -> Adaptation:
        return Adaptation(target.rows, target.labels, Apart(), 1.0)

    chosen, file = settings(batch_size=120, epochs=3), tmp_path / "state"
    with pytest.raises(Killed):
        run(features, chosen, adaptation=fresh(), on_epoch=kill, checkpoint=file)
    assert same(run(features, chosen, adaptation=fresh(), checkpoint=file).model, whole.model)


def test_training_from_a_model_does_not_change_that_model(corpus: Path) -> None:
    features = load_features(corpus, "melstats", "genre")
    start = run(features, settings(epochs=2)).model
    before = {key: value.clone() for key, value in start.state_dict().items()}
    last = run(features, settings(epochs=2, lr=0.01), start=start, only_output=True).model
    state = last.state_dict()
    assert {key for key in before if not torch.equal(state[key], before[key])} == {"output.weight", "output.bias"}
    moved = run(features, settings(epochs=2, lr=0.01), start=start).model.state_dict()
    assert {key for key in before if not torch.equal(moved[key], before[key])} == set(before) - {"mean", "std"}
    assert all(torch.equal(value, start.state_dict()[key]) for key, value in before.items())
    assert all(parameter.requires_grad for parameter in last.parameters())
    with pytest.raises(RecipeError, match=r"training.head: knn is not learnt by steps"):
        run(features, settings(head="knn"), start=start)


def test_rows_of_zero_weight_are_ignored(corpus: Path) -> None:
    """Half of the labels are wrong and have weight zero, which removes them from the loss and the gradient."""
    from dataclasses import replace

    features = load_features(corpus, "melstats", "genre")
    wrong = torch.arange(240) % 2 == 0
    labels = torch.where(wrong, (features.train.labels + 1) % 3, features.train.labels)
    train_rows = replace(features.train, labels=labels, weights=(~wrong).float())
    weighted = run(replace(features, train=train_rows), settings(epochs=30, class_weights=False))
    plain = run(replace(features, train=replace(features.train, labels=labels)), settings(epochs=30))
    assert weighted.best["accuracy"] > 0.95 > plain.best["accuracy"]


def test_mixed_precision(corpus: Path) -> None:
    """bfloat16 products learn nearly the same; weights stay float32, and the next training is in full precision."""
    features = load_features(corpus, "melstats", "genre")
    full, mixed = run(features, settings()), run(features, settings(precision="bf16"))
    assert AcceleratorState().mixed_precision == "bf16"
    assert all(value.dtype == torch.float32 for value in mixed.model.state_dict().values())
    assert not same(full.model, mixed.model)
    assert mixed.best["validation_loss"] == pytest.approx(full.best["validation_loss"], rel=0.05)
    assert same(run(features, settings()).model, full.model)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU supports fp16")
def test_a_precision_that_the_device_lacks(corpus: Path) -> None:
    with pytest.raises(BackendError, match=r"training.precision: fp16 needs a GPU"):
        run(load_features(corpus, "melstats", "genre"), settings(precision="fp16"))


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 8), (768, 128), (128, 5), (1, 1)])
def test_fast_products_match_torch(inputs: int, outputs: int) -> None:
    layer, x = nn.Linear(inputs, outputs), torch.randn(50, inputs, requires_grad=True)
    plain = layer(x)
    expected = [plain, *torch.autograd.grad(plain.sin().sum(), (x, layer.weight, layer.bias))]
    with products.use_onednn(layer):
        fast = layer(x)
        outputs = [fast, *torch.autograd.grad(fast.sin().sum(), (x, layer.weight, layer.bias))]
    assert "forward" not in vars(layer)
    for output, reference in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, reference, rtol=1e-4, atol=1e-5)


def test_training_without_fast_products_gives_the_same_weights(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = load_features(corpus, "melstats", "genre")
    fast = run(features, settings()).model.state_dict()
    monkeypatch.setattr(products, "_works", lambda *_: False)
    for key, value in run(features, settings()).model.state_dict().items():
        torch.testing.assert_close(fast[key], value, rtol=1e-3, atol=1e-5)


def test_tensorboard(corpus: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[dict[str, Any]] = []
    train(corpus, tmp_path / "model", settings(tracker="tensorboard"), EmbedderSettings(), seen.append)
    events = EventAccumulator(str(tmp_path / "runs" / "model"))
    events.Reload()
    for name in ("train_loss", "validation_loss", "accuracy"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(point["epoch"], pytest.approx(point[name], rel=1e-6)) for point in seen]
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {".json", ".safetensors", ".md", ".py"}


def test_stages_are_tracked_under_their_own_names(tmp_path: Path) -> None:
    """Each stage counts its epochs from 1, so the values of one must not replace those of another."""
    logged: list[tuple[int, dict[str, float]]] = []

    class Tracker:
        log_with, trackers = [object()], []  # accelerate's attributes with an active tracker

        def init_trackers(self, name: str, config: dict[str, Any]) -> None:
            assert name == "model" and all(isinstance(value, bool | int | float | str) for value in config.values())

        def log(self, values: dict[str, float], step: int) -> None:
            logged.append((step, values))

    with trackers.tracked(Tracker(), tmp_path / "model", settings(), None) as report_epoch:  # type: ignore[arg-type]
        report_epoch({"epoch": 1, "train_loss": 0.5, "stage": "source"})
        report_epoch({"epoch": 1, "train_loss": 0.25, "stage": "target"})
        report_epoch({"epoch": 2, "train_loss": 0.125})
    assert logged == [(1, {"source/train_loss": 0.5}), (1, {"target/train_loss": 0.25}), (2, {"train_loss": 0.125})]


def test_a_tracker_that_is_not_installed(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"(?s)training.tracker: trackio is not installed.*pip install trackio"):
        train(corpus, tmp_path / "model", settings(tracker="trackio"), EmbedderSettings())


SCRIPT = """
import gc, json, os, sys
gc.set_threshold(50_000, 20, 20)
from pathlib import Path
import torch
from transformers import AutoConfig, AutoModel
from builder.settings import EmbedderSettings, TrainingSettings
from training.seeds import train_seeds
for task in sys.argv[3].split(","):
    chosen = TrainingSettings(task=task, hidden=(8,), epochs=6, batch_size=31)
    train_seeds(Path(sys.argv[1]), Path(sys.argv[2]) / task, chosen, [0], EmbedderSettings())
    if os.environ["RANK"] != "0":
        continue
    folder = Path(sys.argv[2]) / task / "seed-0"
    model = AutoModel.from_pretrained(folder)  # by transformers alone
    x = torch.linspace(-3, 9, 2 * len(model.mean)).reshape(2, -1)
    predicted = [AutoConfig.from_pretrained(folder).id2label, model(x).logits.tolist()]
    (Path(sys.argv[2]) / f"{task}.json").write_text(json.dumps(predicted))
"""


def test_two_processes_of_accelerate_launch(corpus: Path, tmp_path: Path) -> None:
    """The batch is shared out, an odd one too: metrics and weights are those of one process to 1e-3, on every task.

    And what another process made of the model, with transformers' own classes, is what this one makes of it.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"HF_HOME": str(tmp_path / "home")}  # no config file of this machine's user
    # --multi_gpu is what makes accelerate start several processes without MPI, also where there is no GPU.
    launch = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", "0"]
    done = WarmProcess(  # `accelerate launch`; the two processes that it starts are new
        "from accelerate.commands.launch import main; main()",
        *launch, script, corpus, tmp_path / "two", ",".join(TASKS), folder=tmp_path, environ=environment,
    )  # fmt: skip
    assert done.wait() == 0, done.err.read_text()
    for task in TASKS:
        train(corpus, tmp_path / "one" / task, settings(task=task, batch_size=31), EmbedderSettings())
        one = RunRecord.read(tmp_path / "one" / task / "training.json").details
        two = RunRecord.read(tmp_path / "two" / task / "seed-0" / "training.json").details
        assert (one["processes"], two["processes"]) == (1, 2)
        for mine, theirs in zip(one["curve"], two["curve"], strict=True):
            assert theirs == pytest.approx(mine, rel=1e-3, abs=1e-3)
        weights = load_file(tmp_path / "two" / task / "seed-0" / "model.safetensors")
        for key, value in load_file(tmp_path / "one" / task / "model.safetensors").items():
            torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-4)
        labels, logits = json.loads((tmp_path / "two" / f"{task}.json").read_text())
        model = load_model(tmp_path / "two" / task / "seed-0")
        x = torch.linspace(-3, 9, 2 * DIM).reshape(2, DIM)
        assert tuple(labels.values()) == model.config.labels
        torch.testing.assert_close(torch.tensor(logits), model(x).logits, rtol=1e-5, atol=1e-6)


def test_a_machine_with_mps_trains_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Stub:
        def __init__(self, **options: Any) -> None:
            asked.update(options)
            self.device = torch.device("cpu")

    monkeypatch.setattr("training.optim.loop.Accelerator", Stub)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    for available in (True, False):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda available=available: available)
        start_accelerator()
        assert asked["cpu"] is available


def test_label_smoothing_and_mixup_are_those_of_a_plain_loop(corpus: Path) -> None:
    """A step of plain SGD in their place: the weights after an epoch of one batch follow from torch's own losses."""
    features = load_features(corpus, "melstats", "genre")
    rows, labels = features.train.embeddings, features.train.labels
    plain = settings(epochs=1, batch_size=512, class_weights=False, hidden=(), lr=1e-9, weight_decay=0.0)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(plain.seed))

    def logits(chosen: TrainingSettings) -> tuple[Tensor, Tensor]:
        model = run(features, chosen).model
        return model.represent(rows)[order], model(rows).logits[order].detach()

    x, scores = logits(plain)
    smoothed = run(features, plain.model_copy(update={"label_smoothing": 0.2}))
    expected = functional.cross_entropy(scores, labels[order], label_smoothing=0.2).item()
    assert smoothed.curve[0]["train_loss"] == pytest.approx(expected, rel=1e-4)
    unsmoothed = functional.cross_entropy(
        smoothed.model(features.validation.embeddings).logits, features.validation.labels
    )
    assert smoothed.curve[0]["validation_loss"] == pytest.approx(unsmoothed.item(), rel=1e-4)

    draw = torch.Generator().manual_seed(plain.seed)
    share = float(np.random.default_rng(int(torch.randint(1 << 62, (), generator=draw))).beta(0.4, 0.4))
    other = torch.randperm(len(rows), generator=draw)
    model = run(features, plain).model
    mixed = model(share * x + (1 - share) * x[other], standardised=True).logits
    pair = [functional.cross_entropy(mixed, truth).item() for truth in (labels[order], labels[order][other])]
    found = run(features, plain.model_copy(update={"mixup": 0.4})).curve[0]["train_loss"]
    assert found == pytest.approx(share * pair[0] + (1 - share) * pair[1], rel=1e-4)
