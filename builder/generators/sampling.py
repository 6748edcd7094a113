"""From logits to tokens: guidance, temperature, top-k and top-p, then the inverse of the cumulative distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. The filters and their order are those of transformers' `generate`."""

    guidance: float = 3.0  # classifier-free guidance (Ho, Salimans 2022); 1 is none
    temperature: float = 1.0
    top_k: int = 250  # 0: all
    top_p: float = 1.0
    greedy: bool = False

    @property
    def guided(self) -> bool:
        """Whether every clip is decoded twice, with its text and without."""
        return self.guidance > 1.0


def uniforms(seeds: Sequence[int], steps: int, codebooks: int) -> Tensor:
    """float32 [clips, steps, codebooks] in [0, 1): each clip's from its own seed, whatever it is decoded with."""
    drawn = [np.random.default_rng(seed).random((steps, codebooks), dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(drawn))


def guide(logits: Tensor, guidance: float) -> Tensor:
    """Logits [2 x batch, ...], those with text first -> [batch, ...], away from what is said without text."""
    with_text, without = logits.chunk(2)
    return without + (with_text - without) * guidance


def choose(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """float32 logits [..., vocabulary] and uniforms [...] in [0, 1) -> tokens [...].

    Sampling inverts the cumulative distribution in vocabulary order. In order of probability two nearly equal logits
    would change places by rounding alone, and with them the token.
    """
    if sampling.greedy:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, sorted=False).values.amin(-1, keepdim=True)
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1.0:
        logits = _nucleus(logits, sampling.top_p)
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[..., -1:]
    # Strictly under the total, however the product rounds: the first entry above it has a probability of its own.
    target = torch.minimum(uniforms[..., None] * total, total * (1 - torch.finfo(total.dtype).eps))
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the likeliest tokens that hold `top_p` of the probability (Holtzman et al. 2020), at least one."""
    ordered, order = logits.sort(descending=False)
    drop = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
    drop[..., -1] = False
    return logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
