"""Exported ONNX models, run by onnxruntime, give the outputs of the torch models."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import synthmir.cli
from builder.embedders.melstats import FEATURES, MelStats
from builder.errors import BackendError, DataError, RecipeError
from builder.settings import EmbedderSettings
from evaluation.inference.predict import load_model_embedder, predict_audio
from training.models import onnx_export as module
from training.models.classifier import MULTI, REGRESSION, SINGLE, load_model
from training.models.onnx_export import export_onnx
from training.models.onnx_melstats import WINDOW, MelGraph

from ..model_folders import LABELS, make_model_folder, make_sound


def session(file: Path) -> Any:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("shared") / "model")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Any:
    file = folder.parent / "whole.onnx"
    assert 0 < export_onnx(folder, file) <= 1e-5
    return session(file)


@pytest.mark.parametrize(("problem", "neighbors"), [(SINGLE, 0), (REGRESSION, 0), (MULTI, 3)], ids=str)
def test_head(tmp_path: Path, problem: str, neighbors: int) -> None:
    folder, out = (
        make_model_folder(tmp_path / "model", problem=problem, neighbors=neighbors),
        tmp_path / "new" / "head.onnx",
    )
    done = CliRunner().invoke(synthmir.cli.app, ["export", str(folder), "--out", str(out), "--what", "head"])
    assert done.exit_code == 0, done.output
    difference = re.search(r"head.onnx: within (\S+) of torch", done.output)
    assert difference is not None and float(difference[1]) <= 1e-5
    assert [path.name for path in out.parent.iterdir()] == ["head.onnx"]
    model, onnx = load_model(folder), session(out)
    for rows in (1, 2, 700):
        x = (torch.randn(rows, len(FEATURES)) * model.std + model.mean).numpy()
        with torch.no_grad():
            logits = model(torch.from_numpy(x)).logits
        outputs = dict(
            zip([output.name for output in onnx.get_outputs()], onnx.run(None, {"embeddings": x}), strict=True)
        )
        np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-5, atol=1e-5)
        if problem == REGRESSION:
            assert outputs.keys() == {"logits"}
            continue
        expected = logits.sigmoid() if problem == MULTI else logits.softmax(dim=1)
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.01, 9.999, 10.0, 10.001, 15.0, 22.7])
def test_whole_model_gives_the_predictions_of_torch(folder: Path, whole: Any, seconds: float) -> None:
    model = load_model(folder)
    clips = np.stack([make_sound(seconds, seed=seed) for seed in (1, 2)])
    expected = [predict_audio(model, load_model_embedder(model), clip) for clip in clips]
    logits, probabilities = whole.run(None, {"audio": clips})
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(np.exp(logits), expected, atol=1e-5)


def test_whole_model_on_silence_and_zero_padding(folder: Path, whole: Any) -> None:
    model = load_model(folder)
    for clip in (
        np.zeros(50_000, np.float32),
        np.pad(make_sound(4.0), (0, 400_000)),
        np.pad(make_sound(4.0), (40_000, 0)),
    ):
        _, [probabilities] = whole.run(None, {"audio": clip[None]})
        np.testing.assert_allclose(probabilities, predict_audio(model, load_model_embedder(model), clip), atol=1e-5)


def test_metadata_and_input_of_the_file(whole: Any) -> None:
    metadata = {key: json.loads(value) for key, value in whole.get_modelmeta().custom_metadata_map.items()}
    assert (
        metadata["labels"] == list(LABELS)
        and metadata["problem_type"] == SINGLE
        and metadata["sampling_rate"] == 32_000
    )
    assert metadata["embedder"] == {"name": "melstats", "revision": MelStats.revision, "dim": 768}
    [audio] = whole.get_inputs()
    assert (audio.name, audio.type, audio.shape) == ("audio", "tensor(float)", ["batch", "samples"])


@given(st.floats(0.001, 10.0), st.integers(0, 99), st.integers(0, 50_000), st.floats(1e-4, 1.0))
@settings(max_examples=8, deadline=None)
def test_mel_graph_gives_the_embeddings_of_melstats(seconds: float, seed: int, zeros: int, gain: float) -> None:
    clip = gain * np.float32(make_sound(seconds, seed=seed))
    padded = np.zeros((1, WINDOW), np.float32)
    padded[0, : len(clip)] = clip
    expected = MelStats(EmbedderSettings()).embed(np.pad(clip, (0, zeros))[None, :WINDOW])
    embeddings = MelGraph()(torch.from_numpy(padded)).numpy()
    # The rounding of a float32 spectrum shows in bands 80 dB below the loudest.
    np.testing.assert_allclose(embeddings, expected, atol=0.02)
    assert np.median(np.abs(embeddings - expected)) < 1e-4


def test_other_embedders_and_parts_are_refused(folder: Path, tmp_path: Path) -> None:
    other = make_model_folder(tmp_path / "model")
    config = json.loads((other / "config.json").read_text())
    config["embedder"]["name"] = "passt"
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="its embedder 'passt' cannot be exported"):
        export_onnx(other, tmp_path / "x.onnx")
    with pytest.raises(RecipeError, match="no part 'tail'"):
        export_onnx(folder, tmp_path / "x.onnx", "tail")
    with pytest.raises(DataError, match="no such model folder"):
        export_onnx(tmp_path / "nowhere", tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_names_the_extra(
    folder: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match=rf"(?s)needs the package '{package}'.*uv sync --extra onnx"):
        export_onnx(folder, tmp_path / "x.onnx")


def test_a_graph_that_differs_from_torch_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module._expected
    monkeypatch.setattr(module, "_expected", lambda *a: [output + 2e-5 for output in right(*a)])
    with pytest.raises(BackendError, match=r"differ from torch's by 2.\de-05, more than 1e-05"):
        export_onnx(folder, tmp_path / "x.onnx", "head")
    assert not list(tmp_path.iterdir())
