"""Sample tokens from logits: guidance, temperature, top-k and top-p, then inverse transform sampling."""

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

from .kernels.native import FAULTS, NUMBER, POINTER, load_library

log = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "kernels/select.c"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled. The filters and their order are those of transformers' `generate`."""

    guidance: float = 3.0  # classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598); 1: none
    temperature: float = 1.0
    top_k: int = 250  # 0: all
    top_p: float = 1.0
    greedy: bool = False

    @property
    def guided(self) -> bool:
        """Whether every clip is decoded twice, with and without its text."""
        return self.guidance > 1.0


def draw_uniforms(seeds: Sequence[int], steps: int, codebooks: int) -> Tensor:
    """Draw the random numbers of clips, each from its seed.

    Args:
        seeds: One seed for each clip.
        steps: Decoding steps.
        codebooks: Tokens in a step.

    Returns:
        float32 [clips, steps, codebooks], in [0, 1).
    """
    numbers = [np.random.default_rng(seed).random((steps, codebooks), dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(numbers))


def apply_guidance(logits: Tensor, guidance: float) -> Tensor:
    """Apply classifier-free guidance.

    Args:
        logits: [2 x batch, ...], first with text, then without.
        guidance: How far to move from the logits without text; 1 gives those with text.

    Returns:
        [batch, ...].
    """
    with_text, without = logits.chunk(2)
    return without + (with_text - without) * guidance


def sample_tokens(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Sample a token for each row of logits by inverting its cumulative distribution, in vocabulary order.

    In order of probability, rounding alone could swap two nearly equal logits and change the token.

    Args:
        logits: float32 [..., vocabulary].
        uniforms: Random numbers in [0, 1), [...].
        sampling: The filters and the temperature.

    Returns:
        Tokens, int64 [...].
    """
    if sampling.greedy:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        logits = keep_largest(logits, sampling.top_k)
    if sampling.top_p < 1.0:
        logits = _keep_nucleus(logits, sampling.top_p)
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[..., -1:]
    # Strictly below the total despite rounding, so that the first entry above it has a probability above zero.
    target = torch.minimum(uniforms[..., None] * total, total * (1 - torch.finfo(total.dtype).eps))
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def keep_largest(x: Tensor, k: int) -> Tensor:
    """Replace all values of float32 [..., length] that are less than the k-th largest of their row by -inf.

    On CPUs a C kernel is used if it can be built: torch takes four times as long, as much as a layer of the decoder.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and (kernel := _kernel()) is not None:
        return _by_kernel(kernel, x, k)
    return _plain(x, k)


def _plain(x: Tensor, k: int) -> Tensor:
    """`keep_largest` with torch."""
    return x.masked_fill(x < x.topk(k, sorted=False).values.amin(-1, keepdim=True), -torch.inf)


def _by_kernel(kernel: Callable[..., None], x: Tensor, k: int) -> Tensor:
    """`keep_largest` with the C kernel."""
    x = x.contiguous()
    out = torch.empty_like(x)
    length = x.shape[-1]
    kernel(x.data_ptr(), out.data_ptr(), x.numel() // length, length, k, torch.get_num_threads())
    return out


@lru_cache
def _kernel() -> Callable[..., None] | None:
    """The kernel's function; None if it cannot be built or disagrees with torch."""
    try:
        function = load_library(SOURCE).keep_largest
    except FAULTS as error:
        log.info("no kernel for selection: %s", getattr(error, "stderr", None) or error)
        return None
    function.argtypes, function.restype = [POINTER] * 2 + [NUMBER] * 3 + [ctypes.c_int], None
    x = torch.randn(3, 300, generator=torch.Generator().manual_seed(0))
    x[:, ::7] = x[:, 1:2]
    return function if all(torch.equal(_by_kernel(function, x, k), _plain(x, k)) for k in (1, 50, 299, 300)) else None


def _keep_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the most likely tokens with a total probability of `top_p`, at least one (Holtzman et al. 2020)."""
    ordered, order = logits.sort(descending=False)
    drop = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
    drop[..., -1] = False
    return logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
