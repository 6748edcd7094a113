"""The device and the data type of a network, and how many clips fit into memory."""

from __future__ import annotations

import logging

import psutil
import torch

from ..errors import BackendError, RecipeError

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.6  # of the free memory, for the clips of a batch


def pick_device(name: str) -> torch.device:
    """The device of a name. "auto" is a CUDA GPU if there is one, else the CPU; "mps" must be named.

    Raises:
        RecipeError: Not the name of a device.
        BackendError: The device is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"generator.device: {name!r} is not a device", "auto, cpu, cuda, cuda:N or mps") from error
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= present.get(device.type, 0):
        raise BackendError(f"generator.device: there is no {name!r} on this machine", "device: auto, or cpu")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The data type of a name. "auto" is bfloat16 if the device supports it, else float16 on GPUs, else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capable = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return torch.bfloat16 if capable.get("avx512_bf16") or capable.get("amx_bf16") else torch.float32


def find_batch_size(bytes_per_clip: int, limit: int, device: torch.device) -> int:
    """Return the largest batch, from 1 to `limit` clips, that fits into the free memory of a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    return max(1, min(limit, int(MEMORY_SHARE * free) // max(1, bytes_per_clip)))


def halve_batch_size(tried: int, error: BaseException, seconds: float, device: torch.device) -> int:
    """Return half of a batch that failed.

    Args:
        tried: The clips of the batch.
        error: Why it failed. An error that is not one of memory is raised again.
        seconds: The length of a clip, for the message.
        device: Where it failed, for the message.

    Raises:
        BackendError: One clip alone does not fit into memory.
    """
    if not is_out_of_memory(error):
        raise error
    if tried == 1:
        raise BackendError(
            f"one clip of {seconds:g} s does not fit into the memory of {device}",
            "choose a smaller generator.model, fewer generator.seconds, or dtype: bfloat16",
        ) from error
    log.warning("out of memory with %d clips at once: continuing with %d", tried, tried // 2)
    return tried // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is one of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
