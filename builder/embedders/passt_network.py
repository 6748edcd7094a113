"""PaSST's forward pass to its 768 features, for the released weights and without its training code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cpu_kernels import Linear, compute_attention, pack_linear

SAMPLING_RATE = 32_000  # Hz
WINDOW = 320_000  # samples, 10 s
WIDTH, HEADS, PATCH, MELS = 768, 12, 16, 128
EPSILON = 1e-6  # of the layer norms
LAYERS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True, slots=True)
class Arch:
    """How the variants of PaSST differ. All take ten seconds at 32 kHz."""

    checkpoint: str  # the file among the releases
    depth: int = 12  # blocks
    stride: int = 10  # of the patches, in mel bands and in frames
    hop: int = 320  # of the spectrogram, in samples
    frames: int = 998  # of the spectrogram that the position embeddings were trained for

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that the features need, by their names in the released files."""
        inner = {"norm1": (WIDTH,), "norm2": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
        inner |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
        layers = {f"blocks.{i}.{name}": inner[name] for i in range(self.depth) for name in LAYERS}
        layers |= {"patch_embed.proj": (WIDTH, 1, PATCH, PATCH), "norm": (WIDTH,)}
        return {
            "cls_token": (1, 1, WIDTH),
            "dist_token": (1, 1, WIDTH),
            "new_pos_embed": (1, 2, WIDTH),
            "freq_new_pos_embed": (1, WIDTH, MELS // self.stride, 1),
            "time_new_pos_embed": (1, WIDTH, 1, self.frames // self.stride),
            **{f"{name}.weight": shape for name, shape in layers.items()},
            **{f"{name}.bias": shape[:1] for name, shape in layers.items()},
        }


RELEASES = "https://github.com/kkoutini/PaSST/releases/download/"
ARCHS = {
    "passt_s_swa_p16_128_ap476": Arch("v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt"),
    "passt_s_kd_p16_128_ap486": Arch("v.0.0.9/passt-s-kd-ap.486.pt"),
    "passt_l_kd_p16_128_ap47": Arch("v.0.0.10/passt-l-kd-ap.47.pt", depth=7),
    "passt_s_p16_s16_128_ap468": Arch("v0.0.2-audioset/passt-s-f128-p16-s16-ap.468.pt", stride=16),
    "passt_b_f128_p16_s16_ap_459": Arch("v.0.0.7-audioset/passt-b-f128-p16-s16-ap.459.pt", stride=16),
    "passt_u600_f128_p16_s16_ap_460": Arch("v.0.0.7-audioset/passt-u600-f128-p16-s16-ap.460.pt", stride=16),
    "stfthop160": Arch("v0.0.3-audioset/passt-s-f128-stfthop160-p16-s10-ap.473-swa.pt", hop=160, frames=2000),
    "stfthop100": Arch("v0.0.3-audioset/passt-s-f128-stfthop100-p16-s10-ap.473-swa.pt", hop=100, frames=3200),
    "openmic": Arch("v0.0.5/openmic-passt-s-f128-10sec-p16-s10-ap.85.pt"),
    "fsd50k": Arch("v0.0.5/fsd50k-passt-s-f128-p16-s10-ap.655.pt"),
    "fsd50k-n": Arch("v0.0.5/fsd50k-passt-s-n-f128-p16-s16-ap.642.pt", stride=16),
}
"""The variants by their names in hear21passt (Koutini et al. 2022, Efficient Training of Audio Transformers with
Patchout, arXiv 2110.05069)."""


class LogMel:
    """PaSST's log-mel spectrogram, without the augmentations of training.

    Pre-emphasis, frames of 25 ms, 128 mel bands from 0 to 15 kHz, scaled to about [-1, 1]:
    float32 [batch, samples] -> float32 [batch, 128, frames].
    """

    def __init__(self, hop: int, device: torch.device) -> None:
        self.hop, self.size = hop, 1024
        self.window = torch.hann_window(800, periodic=False, device=device)
        self.preemphasis = torch.tensor([[[-0.97, 1.0]]], device=device)
        self.banks = _mel_banks(self.size).to(device)

    def __call__(self, audio: Tensor) -> Tensor:
        """Compute it."""
        audio = F.conv1d(audio[:, None], self.preemphasis)[:, 0]
        spectrum = torch.stft(audio, self.size, self.hop, 800, self.window, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        return ((self.banks @ power + 1e-5).log() + 4.5) / 5.0


def _mel_banks(size: int) -> Tensor:
    """Kaldi's triangular filters from 0 to 15 kHz: float32 [128, size // 2 + 1].

    Computed in float32, as for the training of the released weights: in float64 the features differ by 1e-5.
    """
    mels = 1127 * (1 + torch.arange(size // 2 + 1) * (SAMPLING_RATE / size) / 700).log()
    edges = torch.arange(MELS + 2.0) * (1127 * math.log(1 + 15_000 / 700) / (MELS + 1))
    rise = (mels - edges[:-2, None]) / edges.diff()[:-1, None]
    fall = (edges[2:, None] - mels) / edges.diff()[1:, None]
    return torch.minimum(rise, fall).clamp(min=0)


class Block:
    """A pre-norm transformer block (Dosovitskiy et al. 2021, arXiv 2010.11929), if asked of its first tokens only."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str, rows: int, only: int | None) -> None:
        def linear(name: str, rows: int, part: slice = slice(None), gelu: bool = False) -> Linear:
            names = (f"{prefix}.{name}.weight", f"{prefix}.{name}.bias")
            return pack_linear(weights[names[0]][part], weights[names[1]][part], rows, gelu)

        self.norms = [(weights[f"{prefix}.{n}.weight"], weights[f"{prefix}.{n}.bias"]) for n in ("norm1", "norm2")]
        self.only = only
        few = rows if only is None else only
        self.qkv = linear("attn.qkv", rows) if only is None else None
        if only is not None:
            self.query = linear("attn.qkv", few, slice(0, WIDTH))
            self.key_value = linear("attn.qkv", rows, slice(WIDTH, None))
        self.project, self.widen = linear("attn.proj", few), linear("mlp.fc1", few, gelu=True)
        self.narrow = linear("mlp.fc2", few)

    def __call__(self, x: Tensor) -> Tensor:
        """Map [batch, tokens, 768] to the same shape, or to [batch, only, 768]. Changes `x` in place."""
        normal = F.layer_norm(x, (WIDTH,), *self.norms[0], EPSILON)
        if self.qkv is not None:
            q, k, v = _heads(self.qkv(normal), 3)
        else:
            x, (k, v) = x[:, : self.only], _heads(self.key_value(normal), 2)
            (q,) = _heads(self.query(normal[:, : self.only]), 1)
        x += self.project(compute_attention(q, k, v).transpose(1, 2).flatten(2))
        x += self.narrow(self.widen(F.layer_norm(x, (WIDTH,), *self.norms[1], EPSILON)))
        return x


def _heads(x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """Split [batch, tokens, parts * 768] into `parts` tensors [batch, heads, tokens, 64]."""
    return x.unflatten(2, (parts, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4).unbind()


class PasstNetwork:
    """PaSST up to the mean of its two class tokens: float32 [batch, samples] at 32 kHz -> float32 [batch, 768].

    `samples` is from `shortest` to 320,000. Audio shorter than ten seconds has fewer patches, with the first position
    embeddings in time.

    The numbers are those of hear21passt's `embed_only`. It is faster by fused attention, a last block that computes
    only the two tokens that are read, weights in oneDNN's layout on a CPU, mel filters that are made once, and no
    classifier. Weights and activations are in float32 or bfloat16, the spectrogram is always in float32.
    """

    def __init__(self, weights: Mapping[str, Tensor], arch: Arch, dtype: torch.dtype, device: torch.device) -> None:
        tensors = {name: weights[name].detach().to(device, dtype) for name in arch.shapes()}
        self.mel = LogMel(arch.hop, device)
        self.stride, self.dtype = arch.stride, dtype
        self.patch = tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"]
        frames = 1 + (WINDOW - 2) // arch.hop  # the pre-emphasis takes one sample
        columns = (frames - PATCH) // arch.stride + 1
        self.shortest = arch.hop * PATCH
        self.places = tensors["time_new_pos_embed"][..., :columns] + tensors["freq_new_pos_embed"]
        self.tokens = torch.cat([tensors["cls_token"], tensors["dist_token"]], dim=1) + tensors["new_pos_embed"]
        rows, last = 2 + self.places[0, 0].numel(), arch.depth - 1
        self.blocks = [Block(tensors, f"blocks.{i}", rows, 2 if i == last else None) for i in range(arch.depth)]
        self.norm = tensors["norm.weight"], tensors["norm.bias"]

    def __call__(self, audio: Tensor) -> Tensor:
        """Embed a batch."""
        with torch.inference_mode():
            return self.features(self.mel(audio))

    def features(self, mel: Tensor) -> Tensor:
        """Embed log-mel spectrograms: float32 [batch, 128, frames] -> float32 [batch, 768]."""
        with torch.inference_mode():
            patches = F.conv2d(mel[:, None].to(self.dtype), *self.patch, stride=self.stride)
            patches = (patches + self.places[..., : patches.shape[3]]).flatten(2).transpose(1, 2)
            x = torch.cat([self.tokens.expand(len(mel), -1, -1), patches], dim=1)
            for block in self.blocks:
                x = block(x)
            return F.layer_norm(x, (WIDTH,), *self.norm, EPSILON).float().mean(dim=1)
