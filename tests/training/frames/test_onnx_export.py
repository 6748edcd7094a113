"""A frame model as ONNX gives the probabilities of torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import synthmir
from builder.errors import RecipeError
from training.frames.model import FrameModel
from training.frames.network import FrameConfig
from training.models.folder import save_model

from .planted import make_clip

onnxruntime = pytest.importorskip("onnxruntime")


def test_an_exported_model_gives_the_activations_of_torch(tmp_path: Path) -> None:
    config = FrameConfig(tasks=["beats", "key"], width=8, time_signatures=["4/4"])
    model = FrameModel(config).eval()
    save_model(model, tmp_path)
    assert synthmir.export(tmp_path, tmp_path / "model.onnx") < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    samples, _ = make_clip(5)
    found = session.run(None, {"audio": samples[None]})
    expected = model.predict_blocks([samples]).tasks
    for task, output in zip(config.tasks, found, strict=True):
        np.testing.assert_allclose(output[0], expected[task], atol=2e-3)  # of float16
    assert json.loads(session.get_modelmeta().custom_metadata_map["tasks"]) == ["beats", "key"]


def test_a_frame_model_has_no_head_to_export(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no embeddings"):
        synthmir.export(folder, tmp_path / "model.onnx", what="head")
    assert not (tmp_path / "model.onnx").exists()
