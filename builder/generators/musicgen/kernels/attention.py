"""Attention of one query a row over cached keys and values: with torch, and with a C kernel on CPUs.

torch's scaled_dot_product_attention is made for many queries. With one, in bfloat16 on a CPU, it takes five times as
long as reading the cache. `attention.c` reads the cache once. The machine's C compiler builds it at the first use, in
half a second, and it must agree with torch; otherwise torch's attention is used.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .native import FAULTS, NUMBER, POINTER, load_library

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("attention.c")
NAMES = {torch.float32: "attend_float32_rows", torch.bfloat16: "attend_bfloat16_rows"}


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend with one query a row.

    Args:
        query: [rows, heads, 1, size].
        keys: [rows, heads, length, size].
        values: [rows, heads, length, size].
        mask: bool, broadcast to [rows, heads, 1, length]; False is ignored.

    Returns:
        [rows, heads x size].
    """
    return scaled_dot_product_attention(query, keys, values, attn_mask=mask).flatten(1)


class Kernel:
    """The C kernel for one data type and head size. Tensors are on the CPU; a row of `query` may be strided."""

    def __init__(self, function: Callable[..., None], size: int) -> None:
        self._function, self.size = function, size

    def attend_step(self, qkv: Tensor, keys: Tensor, values: Tensor, position: int) -> Tensor:
        """Write the key and value of a step to `position`, and attend to all positions up to it.

        Args:
            qkv: Query, key and value, [rows, 3 x heads x size].
            keys: The cache, contiguous, [rows, heads, capacity, size].
            values: Likewise.
            position: Where to write.

        Returns:
            [rows, heads x size].
        """
        width = qkv.shape[1] // 3
        first, item = qkv.data_ptr(), qkv.element_size() * width
        return self._call(first, first + item, first + 2 * item, 3 * width, keys, values, None, position + 1)

    def attend_prefix(self, query: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
        """Attend to the first positions of a cache, a number of them for each row.

        Args:
            query: [rows, heads x size].
            keys: The cache, contiguous, [rows, heads, capacity, size].
            values: Likewise.
            lengths: int64 [rows], how many positions to attend to.

        Returns:
            [rows, heads x size].
        """
        return self._call(query.data_ptr(), None, None, query.shape[1], keys, values, lengths.data_ptr(), 0)

    def _call(
        self,
        query: int,
        key: int | None,
        value: int | None,
        stride: int,
        keys: Tensor,
        values: Tensor,
        lengths: int | None,
        length: int,
    ) -> Tensor:
        rows, heads, capacity, size = keys.shape
        out = keys.new_empty(rows, heads * size)
        self._function(
            query,
            key,
            value,
            keys.data_ptr(),
            values.data_ptr(),
            out.data_ptr(),
            lengths,
            length,
            rows,
            heads,
            capacity,
            stride,
            torch.get_num_threads(),
        )
        return out


@lru_cache
def load_kernel(dtype: torch.dtype, size: int) -> Kernel | None:
    """Build the kernel for heads of `size` and compare it with torch; None if either fails."""
    if dtype not in NAMES:
        return None
    try:
        built = Kernel(
            _signed(getattr(load_library(SOURCE, f"SIZE={size}", f"SCALE={size**-0.5}f"), NAMES[dtype])), size
        )
    except FAULTS as error:
        log.info("no attention kernel: %s", getattr(error, "stderr", None) or error)
        return None
    if not _agrees(built, dtype):
        log.warning("the attention kernel built here disagrees with torch and is not used")
        return None
    return built


def _signed(function: Callable[..., None]) -> Callable[..., None]:
    """The function with its argument types set."""
    function.argtypes = [POINTER] * 7 + [NUMBER] * 5 + [ctypes.c_int]  # type: ignore[attr-defined]
    function.restype = None  # type: ignore[attr-defined]
    return function


def _agrees(built: Kernel, dtype: torch.dtype) -> bool:
    """Whether the kernel agrees with torch to the data type's precision."""
    rows, heads, capacity, position, size = 3, 2, 40, 36, built.size
    noise = torch.Generator().manual_seed(0)
    qkv = torch.randn(rows, 3 * heads * size, generator=noise).to(dtype)
    keys, values = torch.randn(2, rows, heads, capacity, size, generator=noise).to(dtype)
    query, key, value = qkv.view(rows, 3, heads, 1, size).unbind(1)
    keys[:, :, position : position + 1], values[:, :, position : position + 1] = key, value
    seen = slice(position + 1)
    wanted = attend(query.float(), keys[:, :, seen].float(), values[:, :, seen].float())
    keys[:, :, position], values[:, :, position] = 0, 0
    found = built.attend_step(qkv, keys, values, position)
    lengths = torch.full((rows,), position + 1)
    again = built.attend_prefix(query.flatten(1).contiguous(), keys, values, lengths)
    tolerance = 4 * torch.finfo(dtype).eps
    return all(torch.allclose(part.float(), wanted, rtol=tolerance, atol=tolerance) for part in (found, again))
