"""audiocraft's weights under transformers' names: what the decode engine and the codec are made from.

The two have the same layers. Whether a checkpoint's are no others is found out when it is loaded: every weight must
have a place, and on a few codes both must say the same.
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

FRAMES = 8  # codes that both sides are compared on
TOLERANCE = 1e-3  # of the largest value: rounding is a thousandth of it, another layer a thousand times more
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


class Parts(nn.Module):
    """A checkpoint's parts, by the names that a transformers MusicGen has them under."""

    def __init__(self, text_encoder: nn.Module, projection: nn.Module, decoder: Any, audio_encoder: nn.Module) -> None:
        super().__init__()
        self.text_encoder, self.enc_to_dec_proj = text_encoder, projection
        self.decoder, self.audio_encoder = decoder, audio_encoder
        self.config = SimpleNamespace(model_type="musicgen", decoder=decoder.config)


def language_model(lm: Any, channels: int) -> MusicgenForCausalLM:
    """audiocraft's language model as transformers' decoder, on the CPU; no weight is copied.

    Raises BackendError where its layers are not those.
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
        ours = MusicgenForCausalLM(config)
    _fill(ours, dict(_decoder_names(lm.state_dict())), "language model")
    positions = ours.model.decoder.embed_positions  # computed, so no checkpoint holds them
    table = positions.get_embedding(config.max_position_embeddings, config.hidden_size)
    positions.weights = nn.Buffer(table, persistent=False)
    ours.eval()
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        codes = torch.randint(lm.card, (1, lm.n_q, FRAMES), generator=noise)
        told = torch.randn(1, 3, lm.dim, generator=noise)
        wanted = lm(codes, [], {"description": (told, torch.ones(1, 3))})
        _agree(ours(codes[0], encoder_hidden_states=told).logits, wanted[0], "language model")
    return ours


def codec(model: Any, settings: Mapping[str, Any]) -> EncodecModel:
    """audiocraft's EnCodec, built from `settings` (its `seanet`), as transformers'.

    Raises BackendError where its layers are not those.
    """
    own = dict(settings)
    own |= own.pop("decoder")
    own.pop("encoder")
    known = inspect.signature(import_module("audiocraft.modules").SEANetDecoder).bind(**own)
    known.apply_defaults()
    seanet, quantizer = known.arguments, model.quantizer
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
        target_bandwidths=[(quantizer.max_n_q + 0.5) * bits * model.frame_rate / 1000],  # kbit/s: that many codebooks
    )
    ours = EncodecModel(config).eval()
    _fill(ours, dict(_codec_names(model.state_dict())), "EnCodec")
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        codes = torch.randint(quantizer.bins, (1, model.num_codebooks, FRAMES), generator=noise)
        _agree(ours.decode(codes[None], [None]).audio_values, model.decode(codes), "EnCodec")
    return ours


def _decoder_names(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The language model's weights by transformers' names; those of its text conditioner left out."""
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
        elif found := re.fullmatch(r"transformer\.layers\.(\d+)\.(\w+)\.(?:mha\.)?in_proj_weight", name):
            attention = LAYER[f"{found[2]}.out_proj"].removesuffix(".out_proj")
            for letter, third in zip("qkv", weight.chunk(3), strict=True):
                yield f"model.decoder.layers.{found[1]}.{attention}.{letter}_proj.weight", third
        elif found := re.fullmatch(r"transformer\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
            place = LAYER.get(found[2].replace(".mha.", "."), found[2])
            yield f"model.decoder.layers.{found[1]}.{place}.{found[3]}", weight
        else:
            yield name, weight


def _codec_names(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """EnCodec's weights by transformers' names."""
    for name, weight in weights.items():
        name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
        name = re.sub(r"\.(conv\.conv|convtr\.convtr)\.", ".conv.", name)
        name = re.sub(r"\.conv\.norm\.", ".norm.", name)
        name = name.replace(".weight_g", ".parametrizations.weight.original0")
        name = name.replace(".weight_v", ".parametrizations.weight.original1")
        yield name.replace("quantizer.vq.layers.", "quantizer.layers.").replace("._codebook.", ".codebook."), weight


def _fill(model: Any, weights: dict[str, Tensor], part: str) -> None:
    """Give the model these tensors themselves. Raises BackendError for any that is left over, missing or misshapen."""
    wanted = {name: weight.shape for name, weight in model.state_dict().items()}
    given = {name: weight.shape for name, weight in weights.items()}
    if wrong := sorted(name for name, _ in given.items() ^ wanted.items()):
        raise _another(part, f"not all weights have a place, {wrong[0]} for one")
    model.load_state_dict(weights, assign=True)


def _agree(ours: Tensor, wanted: Tensor, part: str) -> None:
    off = (ours - wanted.reshape(ours.shape)).abs().max() / wanted.abs().max().clamp(min=1e-12)
    if not off < TOLERANCE:  # NaN included
        raise _another(part, f"with its weights in MusicGen's layers what comes out is {off:.0%} off")


def _another(part: str, why: str) -> BackendError:
    return BackendError(
        f"its {part} is not built as MusicGen's is: {why}", "generator.model: facebook/musicgen-small, or one like it"
    )
