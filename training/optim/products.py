"""Matrix products of training on a CPU through oneDNN, which is twice as fast there as what torch takes on AMD."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

TOLERANCE = 1e-5  # of the outputs' largest magnitude


@contextmanager
def use_onednn(model: nn.Module) -> Iterator[None]:
    """Let the linear layers of `model` compute by oneDNN, forward and backward, where it gives what torch gives.

    float32 on a CPU; anything else is left alone. The operator is a private one of torch, so each shape is compared
    with the plain product first.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    chosen = [layer for layer in layers if layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"]
    chosen = [layer for layer in chosen if _works(layer.out_features, layer.in_features)]
    for layer in chosen:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in chosen:
            del layer.forward


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        return linear(x, layer.weight, layer.bias)
    found: Tensor = _Product.apply(x, layer.weight, layer.bias)
    return found


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [n, inputs] @ weight.T [inputs, outputs] + bias."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


class _Product(torch.autograd.Function):
    """`torch.nn.functional.linear` of two-dimensional x, with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[n, inputs] -> [n, outputs]."""
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """[n, outputs] -> the gradients of x, weight and bias that are asked for."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_x else None,
            _product(gradient.t(), x.t()) if of_weight else None,
            gradient.sum(dim=0) if of_bias else None,
        )


@lru_cache(maxsize=64)
def _works(outputs: int, inputs: int) -> bool:
    """Whether oneDNN is there and right for layers of this shape. Draws from no global generator."""
    draw = torch.Generator().manual_seed(0)
    x, weight, bias, gradient = (
        torch.randn(shape, generator=draw) for shape in ((33, inputs), (outputs, inputs), (outputs,), (33, outputs))
    )
    x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()
    with torch.enable_grad():
        try:
            mine = _Product.apply(x, weight, bias)
            found = [mine, *torch.autograd.grad(mine, (x, weight, bias), gradient)]
        except (RuntimeError, AttributeError):
            return False  # another processor, or another torch
        plain = linear(x, weight, bias)
        expected = [plain, *torch.autograd.grad(plain, (x, weight, bias), gradient)]
    return all(bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in zip(found, expected, strict=True))
