"""Convert audiocraft's models to transformers' classes, from which the engine and the codec are made.

Both have the same layers. Each checkpoint is checked when it is loaded: every weight must have a place, and both
models must agree on a few codes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu
from transformers import EncodecConfig, EncodecModel, MusicgenDecoderConfig, MusicgenForCausalLM

from ...errors import BackendError

FRAMES = 8  # frames of codes that the models are compared on
TOLERANCE = 1e-3  # of the largest value; rounding is a thousandth of that, a wrong layer a thousand times more
LAYER = {
    "self_attn.out_proj": "self_attn.out_proj",
    "cross_attention.out_proj": "encoder_attn.out_proj",
    "norm1": "self_attn_layer_norm",
    "norm_cross": "encoder_attn_layer_norm",
    "norm2": "final_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
}
ACTIVATIONS = {gelu: "gelu", relu: "relu"}


class AudioCraftModel(nn.Module):
    """The parts of a checkpoint under the names of transformers' MusicGen."""

    def __init__(self, text_encoder: nn.Module, projection: nn.Module, decoder: Any, audio_encoder: nn.Module) -> None:
        super().__init__()
        self.text_encoder, self.enc_to_dec_proj = text_encoder, projection
        self.decoder, self.audio_encoder = decoder, audio_encoder
        self.config = SimpleNamespace(model_type="musicgen", decoder=decoder.config)


def convert_language_model(lm: Any, channels: int) -> MusicgenForCausalLM:
    """Convert audiocraft's language model to transformers' decoder, on the CPU and without copying weights.

    Raises:
        BackendError: Its layers are not those of MusicGen.
    """
    layer = lm.transformer.layers[0]
    config = MusicgenDecoderConfig(
        vocab_size=lm.card,
        num_codebooks=lm.n_q,
        audio_channels=channels,
        hidden_size=lm.dim,
        num_hidden_layers=len(lm.transformer.layers),
        num_attention_heads=layer.self_attn.num_heads,
        ffn_dim=layer.linear1.out_features,
        activation_function=ACTIVATIONS.get(layer.activation, "gelu"),
        pad_token_id=lm.special_token_id,
        bos_token_id=lm.special_token_id,
    )
    with torch.device("meta"):
        converted = MusicgenForCausalLM(config)
    _fill(converted, dict(_decoder_names(lm.state_dict())), "language model")
    positions = converted.model.decoder.embed_positions  # computed, so no checkpoint holds them
    table = positions.get_embedding(config.max_position_embeddings, config.hidden_size)
    positions.weights = nn.Buffer(table, persistent=False)
    converted.eval()
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        codes = torch.randint(lm.card, (1, lm.n_q, FRAMES), generator=noise)
        text = torch.randn(1, 3, lm.dim, generator=noise)
        expected = lm(codes, [], {"description": (text, torch.ones(1, 3))})
        _compare(converted(codes[0], encoder_hidden_states=text).logits, expected[0], "language model")
    return converted


def convert_codec(model: Any, settings: Mapping[str, Any]) -> EncodecModel:
    """Convert audiocraft's EnCodec to transformers'.

    Args:
        model: audiocraft's codec.
        settings: The settings that it was built from (`seanet`).

    Raises:
        BackendError: Its layers are not those of MusicGen's codec.
    """
    arguments = dict(settings)
    arguments |= arguments.pop("decoder")
    arguments.pop("encoder")
    bound = inspect.signature(import_module("audiocraft.modules").SEANetDecoder).bind(**arguments)
    bound.apply_defaults()
    seanet, quantizer = bound.arguments, model.quantizer
    bits = max(quantizer.bins - 1, 1).bit_length()
    config = EncodecConfig(
        sampling_rate=model.sample_rate,
        audio_channels=seanet["channels"],
        hidden_size=seanet["dimension"],
        num_filters=seanet["n_filters"],
        num_residual_layers=seanet["n_residual_layers"],
        upsampling_ratios=list(seanet["ratios"]),
        norm_type=seanet["norm"],
        kernel_size=seanet["kernel_size"],
        last_kernel_size=seanet["last_kernel_size"],
        residual_kernel_size=seanet["residual_kernel_size"],
        dilation_growth_rate=seanet["dilation_base"],
        use_causal_conv=seanet["causal"],
        pad_mode=seanet["pad_mode"],
        compress=seanet["compress"],
        num_lstm_layers=seanet["lstm"],
        trim_right_ratio=seanet["trim_right_ratio"],
        use_conv_shortcut=not seanet["true_skip"],
        codebook_size=quantizer.bins,
        codebook_dim=quantizer.dimension,
        target_bandwidths=[
            (quantizer.max_n_q + 0.5) * bits * model.frame_rate / 1000
        ],  # kbit/s for that many codebooks
    )
    converted = EncodecModel(config).eval()
    _fill(converted, dict(_codec_names(model.state_dict())), "EnCodec")
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        codes = torch.randint(quantizer.bins, (1, model.num_codebooks, FRAMES), generator=noise)
        _compare(converted.decode(codes[None], [None]).audio_values, model.decode(codes), "EnCodec")
    return converted


def _decoder_names(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the language model's weights by transformers' names, without those of its text conditioner."""
    for name, weight in weights.items():
        part, _, rest = name.partition(".")
        if part == "condition_provider":
            continue
        if part == "emb":
            yield f"model.decoder.embed_tokens.{rest}", weight
        elif part == "linears":
            yield f"lm_heads.{rest}", weight
        elif part == "out_norm":
            yield f"model.decoder.layer_norm.{rest}", weight
        elif match := re.fullmatch(r"transformer\.layers\.(\d+)\.(\w+)\.(?:mha\.)?in_proj_weight", name):
            attention = LAYER[f"{match[2]}.out_proj"].removesuffix(".out_proj")
            for letter, third in zip("qkv", weight.chunk(3), strict=True):
                yield f"model.decoder.layers.{match[1]}.{attention}.{letter}_proj.weight", third
        elif match := re.fullmatch(r"transformer\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
            place = LAYER.get(match[2].replace(".mha.", "."), match[2])
            yield f"model.decoder.layers.{match[1]}.{place}.{match[3]}", weight
        else:
            yield name, weight


def _codec_names(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield EnCodec's weights by transformers' names."""
    for name, weight in weights.items():
        name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
        name = re.sub(r"\.(conv\.conv|convtr\.convtr)\.", ".conv.", name)
        name = re.sub(r"\.conv\.norm\.", ".norm.", name)
        name = name.replace(".weight_g", ".parametrizations.weight.original0")
        name = name.replace(".weight_v", ".parametrizations.weight.original1")
        yield name.replace("quantizer.vq.layers.", "quantizer.layers.").replace("._codebook.", ".codebook."), weight


def _fill(model: nn.Module, weights: dict[str, Tensor], part: str) -> None:
    """Assign the tensors to the model. Raises BackendError if any is left over, missing or of another shape."""
    expected = {name: weight.shape for name, weight in model.state_dict().items()}
    given = {name: weight.shape for name, weight in weights.items()}
    if wrong := sorted(name for name, _ in given.items() ^ expected.items()):
        raise _not_supported(part, f"weights have no place or are missing: {wrong[0]}, ...")
    model.load_state_dict(weights, assign=True)


def _compare(output: Tensor, expected: Tensor, part: str) -> None:
    """Raise BackendError if the converted model's output is not that of the original."""
    error = (output - expected.reshape(output.shape)).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not error < TOLERANCE:  # NaN included
        raise _not_supported(part, f"its weights in MusicGen's layers give an output that is {error:.0%} off")


def _not_supported(part: str, reason: str) -> BackendError:
    """The error for a model with other layers."""
    return BackendError(
        f"its {part} does not have MusicGen's layers: {reason}",
        "generator.model: facebook/musicgen-small, or one like it",
    )
