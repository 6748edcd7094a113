"""Where shards run: in this process, in several of this machine, or on Ray. All do the same, to the byte."""

from __future__ import annotations

from pathlib import Path

from .base import TRIES, Executor, Scale, Tick, Worker, cores
from .local import InProcess, Processes

__all__ = ["TRIES", "Executor", "InProcess", "Processes", "Scale", "Tick", "Worker", "choose", "cores", "embedders_of"]


def choose(
    scale: Scale | None = None, workers: int | None = None, *, one_core: bool, place: Path | None = None
) -> Executor:
    """The executor asked for; what it needs and lacks is told here, before the work.

    `workers` by default: one for each core if a worker keeps `one_core` busy, else one; on Ray one for each GPU, if
    they get GPUs, else for each core, or for each node. `place` is the folder that workers write into. Raises
    BackendError for a cluster that is not there or not fit, and on `run` DataError if its nodes do not share `place`.
    """
    scale = scale or Scale()
    if scale.executor == "ray":
        from .ray import OnRay

        return OnRay(scale, workers, one_core=one_core, place=place)
    count = workers or (cores() if one_core else 1)
    return InProcess() if count == 1 and scale.shard_timeout is None else Processes(count, scale.shard_timeout)


def embedders_of(workers: int | None, scale: Scale | None) -> int | None:
    """How many of the `workers` that make clips embed too: all on Ray; here one process has threads enough."""
    return workers if scale is not None and scale.executor == "ray" else None
