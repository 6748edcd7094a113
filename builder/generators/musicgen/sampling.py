"""From logits to tokens: guidance, temperature, top-k and top-p, then the inverse of the cumulative distribution."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .kernels.native import FAULTS, NUMBER, POINTER, library

log = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "kernels/select.c"


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
        logits = keep_largest(logits, sampling.top_k)
    if sampling.top_p < 1.0:
        logits = _nucleus(logits, sampling.top_p)
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[..., -1:]
    # Strictly under the total, however the product rounds: the first entry above it has a probability of its own.
    target = torch.minimum(uniforms[..., None] * total, total * (1 - torch.finfo(total.dtype).eps))
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def keep_largest(x: Tensor, k: int) -> Tensor:
    """float32 [..., length] -> the same with -inf for all that is less than the k-th largest.

    By a C kernel on CPUs where there is one: torch's own takes four times as long, as much as a layer of the decoder.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and (kernel := _kernel()) is not None:
        return _by_kernel(kernel, x, k)
    return _plain(x, k)


def _plain(x: Tensor, k: int) -> Tensor:
    return x.masked_fill(x < x.topk(k, sorted=False).values.amin(-1, keepdim=True), -torch.inf)


def _by_kernel(kernel: Callable[..., None], x: Tensor, k: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    length = x.shape[-1]
    kernel(x.data_ptr(), out.data_ptr(), x.numel() // length, length, k, torch.get_num_threads())
    return out


@lru_cache
def _kernel() -> Callable[..., None] | None:
    """The kernel's function, None where it cannot be built or is wrong."""
    try:
        function = library(SOURCE).keep_largest
    except FAULTS as error:
        log.info("no kernel for selection: %s", getattr(error, "stderr", None) or error)
        return None
    function.argtypes, function.restype = [POINTER] * 2 + [NUMBER] * 3 + [ctypes.c_int], None
    x = torch.randn(3, 300, generator=torch.Generator().manual_seed(0))
    x[:, ::7] = x[:, 1:2]
    return function if all(torch.equal(_by_kernel(function, x, k), _plain(x, k)) for k in (1, 50, 299, 300)) else None


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the likeliest tokens that hold `top_p` of the probability (Holtzman et al. 2020), at least one."""
    ordered, order = logits.sort(descending=False)
    drop = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
    drop[..., -1] = False
    return logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
