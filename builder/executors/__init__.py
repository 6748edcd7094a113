"""Where shards run: in this process, in several of this machine, or on Ray. All do the same, to the byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import RecipeError
from .base import TRIES, Executor, Tick, Worker, cores
from .local import InProcess, Processes

__all__ = ["TRIES", "Executor", "InProcess", "Processes", "Scale", "Tick", "Worker", "choose", "cores", "embedders_of"]


@dataclass(frozen=True, slots=True)
class Scale:
    """Where shards are made, and how long one may take. Nothing in it changes what is made.

    `address` is that of a Ray cluster ("auto", "HOST:PORT"); without one, Ray is started here for the run. Raises
    RecipeError for what does not go together.
    """

    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    gpus_per_worker: float = 0.0
    shard_timeout: float | None = None  # seconds

    def __post_init__(self) -> None:
        if self.executor not in ("local", "ray"):
            raise RecipeError(f"--executor {self.executor}: there is no such executor", "use local or ray")
        if self.executor == "local" and (self.address or self.gpus_per_worker):
            option = "--address" if self.address else "--gpus-per-worker"
            raise RecipeError(f"{option} is for Ray alone", "add --executor ray")
        if self.gpus_per_worker < 0 or (self.gpus_per_worker > 1 and self.gpus_per_worker % 1):
            raise RecipeError(
                f"--gpus-per-worker {self.gpus_per_worker:g}: is no share of one GPU and no number of them",
                "use 1, 0.5, 2, ...",
            )
        if self.shard_timeout is not None and self.shard_timeout <= 0:
            raise RecipeError(f"--shard-timeout {self.shard_timeout:g}: is no time", "give seconds, or leave it out")


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
