"""Small MusicGen checkpoints in audiocraft's format for tests: its builders, random weights, exported by it.

audiocraft's debug model needs spaCy's English model, which would be downloaded. Here a prompt is one token
(`lut`), or it is read by a T5 in the current folder, which is searched first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..musicgen import checkpoints

VOCABULARY = 64  # codes
T5 = "t5-small"  # of the names that audiocraft knows the one with the least width, 512

LANGUAGE: dict[str, Any] = {
    "lm_model": "transformer_lm",
    "device": "cpu",
    "dtype": "float16",
    "dataset": {"segment_duration": 30},
    "interleave_stereo_codebooks": {"use": False, "per_timestep": False},
    "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
    "attribute_dropout": {},
    "codebooks_pattern": {
        "modeling": "delay",
        "delay": {"delays": [0, 1, 2, 3], "flatten_first": 0, "empty_initial": 0},
    },
    "fuser": {
        "cross_attention_pos_emb": False,
        "cross_attention_pos_emb_scale": 1,
        "sum": [],
        "prepend": [],
        "cross": ["description"],
        "input_interpolate": [],
    },
    "conditioners": {
        "args": {"merge_text_conditions_p": 0.25, "drop_desc_p": 0.5},
        "description": {"model": "lut", "lut": {"n_bins": 128, "dim": 24, "tokenizer": "noop"}},
    },
    "transformer_lm": {
        "dim": 32,
        "num_heads": 4,
        "num_layers": 2,
        "hidden_scale": 2,
        "n_q": 4,
        "card": VOCABULARY,
        "dropout": 0.0,
        "emb_lr": None,
        "activation": "gelu",
        "norm_first": True,
        "bias_ff": False,
        "bias_attn": False,
        "bias_proj": False,
        "past_context": None,
        "causal": True,
        "custom": False,
        "memory_efficient": True,
        "attention_as_float32": False,
        "layer_scale": None,
        "positional_embedding": "sin",
        "xpos": False,
        "checkpointing": "none",
        "norm": "layer_norm",
        "cross_attention": False,
        "qk_layer_norm": False,
        "qk_layer_norm_cross": False,
        "attention_dropout": None,
        "kv_repeat": 1,
    },
}
SOUND: dict[str, Any] = {
    "compression_model": "encodec",
    "device": "cpu",
    "sample_rate": 32_000,
    "channels": 1,
    "encodec": {
        "autoencoder": "seanet",
        "quantizer": "rvq",
        "sample_rate": "${sample_rate}",
        "channels": "${channels}",
        "causal": False,
        "renormalize": False,
    },
    "seanet": {
        "dimension": 16,
        "channels": "${channels}",
        "causal": False,
        "n_filters": 2,
        "n_residual_layers": 1,
        "ratios": [8, 5, 4, 4],
        "activation": "ELU",
        "activation_params": {"alpha": 1.0},
        "norm": "weight_norm",
        "norm_params": {},
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 7,
        "dilation_base": 2,
        "pad_mode": "reflect",
        "true_skip": True,
        "compress": 2,
        "lstm": 2,
        "disable_norm_outer_blocks": 0,
        "encoder": {},
        "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
    },
    "rvq": {"n_q": 4, "bins": VOCABULARY, "kmeans_init": False, "q_dropout": False},
}
STEREO = {
    "transformer_lm": {"n_q": 8},
    "codebooks_pattern": {"delay": {"delays": [0, 0, 1, 1, 2, 2, 3, 3]}},
    "interleave_stereo_codebooks": {"use": True},
}
T5_READER = {
    "conditioners": {"description": {"model": "t5", "t5": {"name": T5, "finetune": False, "normalize_text": False}}}
}


def merged(base: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of nested settings, updated with others."""
    whole = copy.deepcopy(base)
    for change in changes:
        for key, value in change.items():
            inside = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if inside else copy.deepcopy(value)
    return whole


def musicgen(
    folder: Path,
    *language: dict[str, Any],
    sound: dict[str, Any] | None = None,
    seed: int = 0,
    touch: Callable[[Any], None] = lambda lm: None,
) -> Path:
    """Save a checkpoint for `get_pretrained`, with random weights with which every token occurs.

    `language` and `sound` change the settings, `touch` the built language model.
    """
    builders, omegaconf = import_module("audiocraft.models.builders"), import_module("omegaconf").OmegaConf
    settings = omegaconf.create(merged(LANGUAGE, {"dtype": "float32"}, *language))
    codec_settings = omegaconf.create(merged(SOUND, sound or {}))
    torch.manual_seed(seed)
    lm, codec = builders.get_lm_model(settings), builders.get_compression_model(codec_settings)
    with torch.no_grad():
        for name, weight in lm.named_parameters():
            if weight.dim() > 1 and ".t5." not in name:
                weight.normal_(std=0.3)
        for layer in codec.quantizer.vq.layers:
            layer._codebook.embed.normal_()
        if sound is None:
            last = codec.decoder.model[-1].conv.conv  # a filter of mean 0 and no bias: the sound has no DC
            last.bias.zero_()
            last.weight_v -= last.weight_v.mean(-1, keepdim=True)
    touch(lm)
    folder.mkdir(parents=True, exist_ok=True)
    settings.dtype = "float16"  # as published; audiocraft puts what the device takes in its place
    for name, model, config in (("state_dict", lm, settings), ("compression_state_dict", codec, codec_settings)):
        content = {"best_state": model.state_dict(), "xp.cfg": omegaconf.to_yaml(config), "version": "1.3.0"}
        torch.save({**content, "exported": True}, folder / f"{name}.bin")
    return folder


def t5(place: Path) -> Path:
    """Save a text encoder and its tokenizer as `t5-small` in `place`, for tests that make it their current folder."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(7)
    sizes = {"d_model": 512, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    T5EncoderModel(T5Config(vocab_size=256, **sizes)).save_pretrained(place / T5)
    checkpoints.tokenizer().save_pretrained(place / T5)
    return place
