from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch import nn

from builder.errors import DataError
from training.models.classifier import SynthmirClassifier, SynthmirConfig, load_model

from ..conftest import DIM, GENRES


def classifier(hidden: tuple[int, ...] = (8,), dim: int = DIM, seed: int = 0) -> SynthmirClassifier:
    torch.manual_seed(seed)
    names = {"id2label": dict(enumerate(GENRES)), "label2id": {name: i for i, name in enumerate(GENRES)}}
    return SynthmirClassifier(SynthmirConfig(hidden=hidden, embedder={"name": "melstats", "dim": dim}, **names))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=3), st.integers(1, 6), st.integers(0, 99))
def test_forward_loss_and_gradient_are_torchs(hidden: list[int], batch: int, seed: int) -> None:
    model = classifier(tuple(hidden), seed=seed)
    x = torch.randn(batch, DIM, requires_grad=True)
    labels = torch.randint(len(GENRES), (batch,))
    layers: list[nn.Module] = []
    for layer in model.hidden:
        layers += [layer, nn.ReLU()]
    reference = nn.Sequential(*layers, model.output)
    out = model(x, labels=labels)
    torch.testing.assert_close(out.logits, reference(x))
    # The gradient of a mean cross-entropy by its logits is (softmax - one-hot) / batch.
    (gradient,) = torch.autograd.grad(out.loss, out.logits, retain_graph=True)
    one_hot = nn.functional.one_hot(labels, len(GENRES))
    torch.testing.assert_close(gradient, (out.logits.softmax(1) - one_hot) / batch)
    torch.testing.assert_close(out.loss, -out.logits.log_softmax(1)[torch.arange(batch), labels].mean())


def test_no_hidden_layer_is_a_linear_probe() -> None:
    model = classifier(())
    x = torch.randn(4, DIM)
    torch.testing.assert_close(model(x).logits, x @ model.output.weight.T + model.output.bias)
    assert sum(p.numel() for p in model.parameters()) == DIM * len(GENRES) + len(GENRES)


def test_the_papers_classifier_has_its_size() -> None:
    assert sum(p.numel() for p in classifier((128,), dim=768).parameters()) == 768 * 128 + 128 + 128 * 3 + 3


def test_standardisation_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((500, DIM)) * np.logspace(-2, 3, DIM) + 40).astype(np.float32)
    x[:, 3] = 7.0  # never varies
    model = classifier()
    model.standardise(torch.from_numpy(x))
    scaled = ((torch.from_numpy(x) - model.mean) / model.std).numpy()
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(x.astype(np.float64)), atol=2e-3)
    assert np.isfinite(scaled).all() and not any(p is model.mean for p in model.parameters())


def test_round_trip(tmp_path: Path) -> None:
    model = classifier((8, 5))
    model.standardise(torch.randn(50, DIM) * 3 + 2)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = load_model(tmp_path)
    x = torch.randn(6, DIM)
    assert torch.equal(model(x).logits, again(x).logits) and not again.training
    assert again.config.labels == GENRES and list(again.config.hidden) == [8, 5]
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_nothing_in_the_folder_is_a_pickle(model: Path) -> None:
    assert {path.suffix for path in model.iterdir()} == {".json", ".safetensors", ".md", ".py"}


def test_who_may_read_the_card_may_read_the_weights(model: Path) -> None:
    assert len({path.stat().st_mode for path in model.iterdir()}) == 1


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"not a model folder \(it has no config.json\)"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"config"', "{}", "\x00"])
def test_a_config_that_is_none(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config.json: not the config of a model"):
        load_model(copy)


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_another_kind_of_model(copy: Path) -> None:
    edit(copy, model_type="bert")
    with pytest.raises(DataError, match="holds a model of type 'bert', not 'synthmir'"):
        load_model(copy)


@pytest.mark.parametrize(
    "changes",
    [{"hidden": "wide"}, {"hidden": [-3]}, {"hidden": 5}, {"id2label": {"0": "a", "7": "b"}}, {"embedder": ["x"]},
     {"embedder": {"dim": "x"}}],
)  # fmt: skip
def test_a_config_that_describes_no_model(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(DataError, match=r"config.json: describes no model"):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "tensor"),
    [({"hidden": [5]}, "hidden.0.weight"), ({"hidden": [8, 8]}, "hidden.1.weight"), ({"hidden": []}, "output.weight"),
     ({"embedder": {"dim": 9}}, "mean"), ({"id2label": {"0": "a", "1": "b"}}, "output.bias")],
)  # fmt: skip
def test_weights_that_do_not_fit(copy: Path, changes: dict[str, object], tensor: str) -> None:
    edit(copy, **changes)
    with pytest.raises(DataError, match=r"(?s)model.safetensors: does not fit config.json.*" + tensor):
        load_model(copy)


def test_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"has no model.safetensors"):
        load_model(copy)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(copy: Path, keep: int) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"model.safetensors: damaged"):
        load_model(copy)
