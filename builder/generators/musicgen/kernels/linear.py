"""Matrix products with fixed weights for autoregressive steps: few rows, and weights that are read once a step.

torch arranges a weight for its kernel at each call. Here that is done once: for `product.c` on processors that
multiply bfloat16 (limited by memory speed for few rows, by arithmetic for many), else for oneDNN. Each is compared
with torch at its first use; if none agrees, torch's product is used.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from .native import FAULTS, NUMBER, POINTER, load_library

log = logging.getLogger(__name__)


SOURCE = Path(__file__).with_name("product.c")
PANEL = 32  # outputs that product.c computes at once
LAYOUT_ROWS = 64  # rows that oneDNN's layout is for: as fast as other layouts for fewer and for more rows


class Product(Protocol):
    """Maps [rows, inputs] to [rows, outputs]; with `onto` [rows, outputs] the product is added to it, in place."""

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """The product, or `onto`."""
        ...


def make_product(weight: Tensor, bias: Tensor | None = None, plain: bool = False) -> Product:
    """Make `x @ weight.T + bias` for a fixed weight.

    Packed products are the same bit for bit for a row whatever rows it comes with, on one machine.

    Args:
        weight: [outputs, inputs]. On a CPU it is packed where that works.
        bias: [outputs]. Default: no bias.
        plain: Whether to stay within torch's API. Default: no.

    Returns:
        The product: a function of [rows, inputs] that returns [rows, outputs].
    """
    weight = weight.detach()
    if plain or weight.device.type != "cpu" or not can_pack(weight.dtype):
        return _plain(weight.contiguous(), bias)
    if weight.dtype == torch.bfloat16 and weight.shape[0] % PANEL == 0 and weight.shape[1] % 2 == 0 and has_kernel():
        return _paneled(weight, bias)
    return _packed(weight, bias)


def _plain(weight: Tensor, bias: Tensor | None = None) -> Product:
    """The product with torch's API."""

    def apply(x: Tensor, onto: Tensor | None = None) -> Tensor:
        out = linear(x, weight, bias)
        return out if onto is None else onto.add_(out)

    return apply


def _paneled(weight: Tensor, bias: Tensor | None = None) -> Product:
    """The product with product.c, for which the weight is in panels of outputs with pairs of inputs."""
    outputs, inputs = weight.shape
    panels = weight.view(outputs // PANEL, PANEL, inputs // 2, 2).transpose(1, 2).contiguous()
    offsets = None if bias is None else bias.float().contiguous()
    multiply = _multiply()

    def apply(x: Tensor, onto: Tensor | None = None) -> Tensor:
        x = x.contiguous()
        out = x.new_empty(len(x), outputs) if onto is None or not onto.is_contiguous() else onto
        multiply(
            x.data_ptr(),
            panels.data_ptr(),
            None if offsets is None else offsets.data_ptr(),
            out.data_ptr(),
            len(x),
            inputs,
            outputs,
            out is onto,
            torch.get_num_threads(),
        )
        return out if onto is None or out is onto else onto.add_(out)

    return apply


def _multiply() -> Callable[..., None]:
    """The kernel's function. Raises one of FAULTS."""
    function = load_library(SOURCE).multiply
    function.argtypes, function.restype = [POINTER] * 4 + [NUMBER] * 3 + [ctypes.c_int] * 2, None
    return function


@lru_cache
def has_kernel() -> bool:
    """Whether product.c can be built here and agrees with torch."""
    try:
        return _is_correct(_paneled, torch.bfloat16)
    except FAULTS as error:
        log.info("no kernel for products: %s", getattr(error, "stderr", None) or error)
        return False


def _packed(weight: Tensor, bias: Tensor | None = None) -> Product:
    """The product with oneDNN, for which the weight is reordered."""
    # A layout for fewer rows is three times slower with more rows, and sums in another order for some numbers of rows.
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), LAYOUT_ROWS)
    multiply = torch.ops.mkldnn._linear_pointwise

    def apply(x: Tensor, onto: Tensor | None = None) -> Tensor:
        # For one row oneDNN has another kernel, which sums in another order.
        many = x.expand(2, -1) if len(x) == 1 else x
        out: Tensor = multiply(many, laid_out, bias, "none", [], "")[: len(x)]
        return out if onto is None else onto.add_(out)

    return apply


@lru_cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch packs weights of `dtype` for oneDNN and agrees with itself: the operators are not its API."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    try:
        if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        return _is_correct(_packed, dtype)
    except (RuntimeError, AttributeError) as error:
        log.info("weights are not packed: %s", error)
        return False


def _is_correct(layout: Callable[[Tensor, Tensor | None], Product], dtype: torch.dtype) -> bool:
    """Whether a layout's product is correct to the data type's precision."""
    noise = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=noise).to(dtype) for shape in ((70, 334), (160, 334), (160,)))
    wanted = x.double() @ weight.double().T + bias.double()
    tolerance = 1e-4 if dtype == torch.float32 else 0.3
    return all(
        torch.allclose(result.double(), wanted[:rows] + more, rtol=0.01, atol=tolerance)
        for rows in (1, 7, len(x))
        for more, onto in ((0, None), (1, torch.ones(rows, len(bias), dtype=dtype)))
        for result in (layout(weight, bias)(x[:rows], onto),)
    )
