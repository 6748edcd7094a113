from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel

from builder.embedders.base import config_name, load_embedder
from builder.errors import BackendError, RecipeError
from builder.settings import EmbedderSettings

from .embedder_checkpoints import transformers_model

KINDS = ("ast", "wav2vec2", "clap", "clap-fused")


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return transformers_model(request.param, tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def ast(tmp_path_factory):
    return transformers_model("ast", tmp_path_factory.mktemp("checkpoints"))


def settings(folder, **more):
    return EmbedderSettings(name=f"hf:{folder}", device="cpu", **more)


def noise(seconds, rate, count=2):
    return (0.1 * np.random.default_rng(0).standard_normal((count, round(seconds * rate)))).astype(np.float32)


@pytest.mark.parametrize("layer", [None, 0, 2, -1])
def test_embedding_is_the_mean_of_the_hidden_states(folder, layer):
    embedder = load_embedder(settings(folder, layer=layer))
    audio = noise(10, embedder.sampling_rate)
    extractor, model = AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    model = getattr(model, "audio_model", model)
    inputs = extractor(list(audio), sampling_rate=embedder.sampling_rate, return_tensors="pt")
    if "is_longer" in inputs:
        inputs["is_longer"] = torch.zeros_like(torch.as_tensor(inputs["is_longer"]))
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    states = output.last_hidden_state if layer is None else output.hidden_states[layer]
    axes = 1 if states.ndim == 3 else (2, 3)
    np.testing.assert_allclose(embedder.embed(audio), states.mean(axes).numpy(), atol=1e-5)
    assert embedder.dim == embedder.embed(audio).shape[1]


def test_embedding_does_not_depend_on_the_batch_or_global_random_state(folder):
    embedder = load_embedder(settings(folder))
    audio = noise(3, embedder.sampling_rate, 4)
    before, states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    whole = embedder.embed(audio)
    np.testing.assert_allclose(embedder.embed(audio[2:3])[0], whole[2], atol=1e-6)
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], states)


def test_short_audio_and_silence_are_finite(folder):
    embedder = load_embedder(settings(folder))
    for samples in (1, embedder.sampling_rate // 3):
        assert np.isfinite(embedder.embed(np.zeros((2, samples), np.float32))).all()


def test_nothing_is_printed(ast, capfd):
    load_embedder(settings(ast)).embed(noise(1, 16_000))
    assert capfd.readouterr() == ("", "")


def test_revision_depends_on_weights_layer_and_dtype(ast, tmp_path):
    other = transformers_model("ast", tmp_path)
    weights = load_file(other / "model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, other / "model.safetensors", {"format": "pt"})
    made = [settings(ast), settings(ast, layer=1), settings(ast, dtype="bfloat16"), settings(other)]
    assert len({load_embedder(one).revision for one in made}) == 4
    assert load_embedder(settings(ast)).revision == load_embedder(settings(ast)).revision


def test_bfloat16_is_close_to_float32(ast):
    audio = noise(10, 16_000)
    one, two = (load_embedder(settings(ast, dtype=dtype)).embed(audio) for dtype in ("float32", "bfloat16"))
    assert two.dtype == np.float32
    assert (np.sum(one * two, 1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)).min() > 0.99


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("passt", None, "passt"),
        ("hf:facebook/wav2vec2-base", 6, "hf-facebook-wav2vec2-base-layer6"),
        ("hf:MIT/ast-finetuned-audioset-10-10-0.4593", None, "hf-mit-ast-finetuned-audioset-10-10-0.4593"),
        ("hf:/data/My Models/Größe 2/", -1, "hf-gr-e-2-layer-1"),
        ("hf:../models/x", None, "hf-x"),
        ("hf:a/../../b", None, "hf-a-..-..-b"),
    ],
)
def test_config_names_are_safe_folder_names(name, layer, expected):
    config = config_name(EmbedderSettings(name=name, layer=layer))
    assert config == expected and "/" not in config and not config.startswith(".")


def test_name_is_the_config_name(ast):
    assert load_embedder(settings(ast, layer=1)).name == config_name(settings(ast, layer=1)) == "hf-ast-layer1"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("hf", RecipeError, "hf needs a checkpoint"),
        ("hf:", RecipeError, "hf needs a checkpoint"),
        ("hf:/no/such/folder", BackendError, "no such folder"),
        ("hf:nobody/nothing", BackendError, "'hf:nobody/nothing' cannot be loaded"),
        ("passt:x", BackendError, "no embedder called 'passt:x'"),
    ],
)
def test_other_sources_than_checkpoints_are_refused(name, error, message):
    with pytest.raises(error, match=message):
        load_embedder(EmbedderSettings(name=name))


def test_incomplete_checkpoints_are_refused(tmp_path):
    folder = transformers_model("ast", tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layernorm.weight"))
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackendError, match=r"1 of its weights are missing.*layernorm\.weight"):
        load_embedder(settings(folder))
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackendError, match="cannot be loaded"):
        load_embedder(settings(folder))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BackendError, match="cannot be loaded"):
        load_embedder(settings(folder))


@pytest.mark.parametrize(
    ("more", "message"),
    [({"layer": 4}, "0 to 3, found 4"), ({"arch": "x"}, "embedder.arch"), ({"weights": "x"}, "embedder.weights")],
)
def test_unused_settings_are_refused(ast, more, message):
    with pytest.raises(RecipeError, match=message):
        load_embedder(settings(ast, **more))


def test_missing_device_is_an_error(ast):
    with pytest.raises(BackendError, match="'warp' cannot be used"):
        load_embedder(EmbedderSettings(name=f"hf:{ast}", device="warp"))
