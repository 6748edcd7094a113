"""A GPU that is not there: tensors that have a device, a type and a shape but no values.

A product of tensors on two devices raises, and so does reading a value, for which the host would wait on a GPU.
Apple's MPS cannot be pretended by a torch that was built without it; what it lacks, float64, is looked for instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[str, tuple[tuple[tuple[int, ...], torch.dtype, str], ...]]


@contextmanager
def pretend_device() -> Iterator[FakeTensorMode]:
    """Make every tensor inside one without values; CUDA's streams and graphs do nothing."""
    with FakeTensorMode() as mode, patch.object(nn.Module, "_apply", _apply), _pretend_cuda():
        yield mode


def move(module: nn.Module, device: str, mode: FakeTensorMode) -> nn.Module:
    """Put a module that was built under `torch.device("meta")` on a device that is not there."""
    with unset_fake_temporarily():
        return module._apply(lambda tensor: FakeTensor(mode, tensor.to("meta"), torch.device(device)))


def make(device: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor on a device that is not there, inside `pretend_device`."""
    return torch.empty(shape, dtype=dtype, device=device)


class CallRecorder(TorchDispatchMode):
    """Lists the operators that are called, with the shapes, types and devices of what they take and give.

    A captured graph repeats its calls as they are: those of every step must be the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operator and list it."""
        out = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        self.calls.append((str(function), tuple((tuple(t.shape), t.dtype, t.device.type) for t in tensors)))
        return out

    def devices(self) -> set[str]:
        """The devices of all tensors that have a dimension; numbers may be on the host."""
        return {device for _, tensors in self.calls for shape, _, device in tensors if shape}

    def types(self) -> set[torch.dtype]:
        """The data types of all tensors."""
        return {dtype for _, tensors in self.calls for _, dtype, _ in tensors}


def _apply(self: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """`nn.Module._apply`, which cannot swap tensors without values in place."""
    for module in self.modules() if recurse else [self]:
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(function(parameter.data), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
    return self


class _Graph:
    """A captured graph that does nothing."""

    def pool(self) -> None: ...

    def replay(self) -> None: ...


class _Stream:
    """A stream, in which everything happens at once."""

    def __init__(self, device: Any = None) -> None: ...

    def wait_stream(self, other: Any) -> None: ...


@contextmanager
def _nothing(*args: Any, **options: Any) -> Iterator[None]:
    yield


@contextmanager
def _pretend_cuda() -> Iterator[None]:
    with (
        patch.object(torch.cuda, "CUDAGraph", _Graph),
        patch.object(torch.cuda, "Stream", _Stream),
        patch.object(torch.cuda, "current_stream", _Stream),
        patch.object(torch.cuda, "stream", _nothing),
        patch.object(torch.cuda, "graph", _nothing),
        patch.object(torch.cuda, "empty_cache", lambda: None),
    ):
        yield
