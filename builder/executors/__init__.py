"""Where shards run: in this process, in several of this machine, or on Ray. All do the same, to the byte."""

from __future__ import annotations

from pathlib import Path

from .base import TRIES, Executor, ExecutorSettings, Tick, Worker, count_cores
from .local import InProcessExecutor, ProcessExecutor

__all__ = [
    "TRIES",
    "Executor",
    "ExecutorSettings",
    "InProcessExecutor",
    "ProcessExecutor",
    "Tick",
    "Worker",
    "choose_executor",
    "count_cores",
    "count_embedding_workers",
]


def choose_executor(
    scale: ExecutorSettings | None = None, workers: int | None = None, *, one_core: bool, place: Path | None = None
) -> Executor:
    """The executor asked for; what it needs and lacks is told here, before the work.

    `workers` by default: one for each core if a worker keeps `one_core` busy, else one; on Ray one for each GPU, if
    they get GPUs, else for each core, or for each node. `place` is the folder that workers write into. Raises
    BackendError for a cluster that is not there or not fit, and on `run` DataError if its nodes do not share `place`.
    """
    scale = scale or ExecutorSettings()
    if scale.executor == "ray":
        from .ray import RayExecutor

        return RayExecutor(scale, workers, one_core=one_core, place=place)
    count = workers or (count_cores() if one_core else 1)
    return (
        InProcessExecutor()
        if count == 1 and scale.shard_timeout is None
        else ProcessExecutor(count, scale.shard_timeout)
    )


def count_embedding_workers(workers: int | None, scale: ExecutorSettings | None) -> int | None:
    """How many of the `workers` that make clips embed too: all on Ray; here one process has threads enough."""
    return workers if scale is not None and scale.executor == "ray" else None
