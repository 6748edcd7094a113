"""Faster arithmetic on CPUs: prepacked linear layers, blocked attention, memory that is cheap to have and to read."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[[Tensor], Tensor]  # [..., inputs] -> [..., outputs]

CHUNK = 1024  # outputs
QUERIES = 300  # at a time: their scores stay in a core's cache
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the outputs' largest magnitude


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread, where several clips are computed side by side, or the work is too small to divide."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pack_linear(weight: Tensor, bias: Tensor | None, rows: int, gelu: bool = False) -> Linear:
    """Make `x -> x @ weight.T + bias`, with the weight in oneDNN's blocked layout.

    The layout is reached through private operators of torch, so one layer of each shape is first compared with the
    plain product; where it is not the same, or not there, the plain one is returned.

    Args:
        weight: float32 or bfloat16 [outputs, inputs] on a CPU. Later changes to it are not seen.
        bias: [outputs], likewise. None: no bias.
        rows: How many vectors a call will mostly bring (the product of x's leading dimensions). Other counts work too.
        gelu: Whether the exact (erf) GELU is applied to the result. Default: no.

    Returns:
        A function of [..., inputs] that returns [..., outputs], without gradients.
    """
    weight = weight.detach().contiguous()
    bias = None if bias is None else bias.detach().contiguous()
    if not _packing_works(weight.dtype, weight.device.type, *weight.shape, rows, gelu, torch.get_num_threads()):
        return _plain(weight, bias, gelu)
    return _packed(weight, bias, rows, gelu)


def _plain(weight: Tensor, bias: Tensor | None, gelu: bool) -> Linear:
    if gelu:
        return lambda x: F.gelu(F.linear(x, weight, bias))
    return lambda x: F.linear(x, weight, bias)


def _packed(weight: Tensor, bias: Tensor | None, rows: int, gelu: bool) -> Linear:
    pack, run = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise
    # oneDNN 3 is 2 to 4 times slower than it could be on few rows of wide float32 layers, not on narrow ones.
    wide = weight.dtype == torch.float32 and len(weight) >= 3 * CHUNK and 8 <= rows < 64
    width = CHUNK if wide else len(weight)
    biases = [None] * -(-len(weight) // width) if bias is None else list(bias.split(width))
    parts = [(pack(part.contiguous(), rows), some) for part, some in zip(weight.split(width), biases, strict=True)]
    # erf, as in torch.nn.functional.gelu(approximate="none")
    after, choice = ("gelu", "none") if gelu else ("none", "")
    if len(parts) == 1:
        packed, whole = parts[0]
        return lambda x: run(x, packed, whole, after, [], choice)
    return lambda x: torch.cat([run(x, part, some, after, [], choice) for part, some in parts], dim=-1)


@lru_cache(maxsize=256)
def _packing_works(
    dtype: torch.dtype, device: str, outputs: int, inputs: int, rows: int, gelu: bool, threads: int
) -> bool:
    """Whether a packed layer of this shape gives what the plain one gives. Draws from no global generator."""
    if device != "cpu" or dtype not in TOLERANCE:
        return False
    draw = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        weight = (torch.randn(outputs, inputs, generator=draw) / inputs**0.5).to(dtype)
        bias = torch.randn(outputs, generator=draw).to(dtype)
        x = torch.randn(min(rows, 64), inputs, generator=draw).to(dtype)
        expected = _plain(weight, bias, gelu)(x).float()
        try:
            found = _packed(weight, bias, rows, gelu)(x).float()
        except (RuntimeError, AttributeError):
            return False  # another processor, or another torch
        return _same(found, expected, dtype)


def _same(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    return bool((found - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max())


def compute_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute unmasked attention: softmax(q @ k.T / sqrt(width)) @ v, without gradients.

    On a CPU and for many tokens: two or three times as fast as torch's fused kernel, whose products are not oneDNN's.
    It is compared with torch's once a shape, as `pack_linear` is; elsewhere it is torch's own.

    Args:
        q: Queries, [batch, heads, tokens, width].
        k: Keys, [batch, heads, tokens, width]. Their number of tokens may differ from that of the queries.
        v: Values, of the shape of the keys.

    Returns:
        [batch, heads, tokens, width], one vector for each query.
    """
    if q.device.type != "cpu" or q.shape[2] < 64 or not _blocked_works(q.dtype, *q.shape[2:], k.shape[2]):
        return F.scaled_dot_product_attention(q, k, v)
    return _blocked(q, k, v)


def _blocked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    product = torch.ops.mkldnn._linear_pointwise
    batch, heads, tokens, width = q.shape
    # Scores in float32 whatever comes in: rounded to bfloat16, large ones would move the weights by per cents.
    q, k, v = (q.float() * width**-0.5).contiguous(), k.float().contiguous(), v.transpose(2, 3).contiguous()
    out = torch.empty(batch, tokens, heads, width, dtype=v.dtype)
    step = -(-tokens // -(-tokens // QUERIES))
    for i in range(batch):
        for h in range(heads):
            for start in range(0, tokens, step):
                scores = product(q[i, h, start : start + step], k[i, h], None, "none", [], "")
                torch.softmax(scores, dim=-1, out=scores)
                out[i, start : start + step, h] = product(scores.to(v.dtype), v[i, h], None, "none", [], "")
    return out.transpose(1, 2)


@lru_cache(maxsize=64)
def _blocked_works(dtype: torch.dtype, queries: int, width: int, keys: int) -> bool:
    if dtype not in TOLERANCE:
        return False
    draw = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        shapes = ((1, 1, queries, width), (1, 1, keys, width), (1, 1, keys, width))
        q, k, v = (torch.randn(shape, generator=draw).to(dtype) for shape in shapes)
        try:
            found = _blocked(q, k, v).float()
        except (RuntimeError, AttributeError):
            return False
        return _same(found, F.scaled_dot_product_attention(q, k, v).float(), dtype)


# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}  # bytes, but for the number of maps


@lru_cache(maxsize=1)
def tune_allocator() -> bool:
    """Let glibc keep freed memory, instead of giving each large tensor back to the kernel and asking for it again.

    Zeroing those pages again takes a third of the time of a transformer or a codec on a CPU. The price: the process
    keeps the most memory it ever needed. True where it was done; nothing happens under another C library, or where
    the environment sets the allocator already (MALLOC_*, GLIBC_TUNABLES).
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        _ = library.gnu_get_libc_version
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(option, value) == 1 for option, value in SETTINGS.items())


def allocate_large_pages(*shape: int, dtype: torch.dtype) -> Tensor:
    """Zeros on the CPU, in pages of 2 MB where the kernel gives them: for much memory that is read again and again.

    With pages of 4 KB the processor looks up more addresses than its tables hold. Raises MemoryError.
    """
    size = prod(shape) * dtype.itemsize
    if not size or not hasattr(mmap, "MADV_HUGEPAGE"):  # not Linux
        return torch.zeros(shape, dtype=dtype)
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"cannot have {size:,} bytes") from error
    with suppress(OSError):  # a kernel built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
