"""Where shards are made: in this process, in several of this machine, or on Ray. The files are the same bytes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from ..errors import BackendError
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
    settings: ExecutorSettings | None = None,
    workers: int | None = None,
    *,
    one_core: bool,
    place: Path | None = None,
) -> Executor:
    """Return the executor that the settings name.

    Args:
        settings: Which executor, and its options. Default: this machine.
        workers: How many workers. Default: one for each core if `one_core`, else one. On Ray: one for each GPU if
            workers use GPUs, else one for each core if `one_core`, else one for each node.
        one_core: Whether a worker keeps one core busy and no more.
        place: The folder that the workers write to.

    Raises:
        BackendError: If the cluster cannot be reached, or does not have what the workers need; or if this is a worker
            that imports the user's script. The executor's `run` raises DataError if nodes of the cluster do not see
            `place`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise BackendError(
            "a worker has imported a generator or an embedder from a script, which starts workers itself",
            'put the calls in the script under: if __name__ == "__main__":',
        )
    settings = settings or ExecutorSettings()
    if settings.executor == "ray":
        from .ray import RayExecutor

        return RayExecutor(settings, workers, one_core=one_core, place=place)
    count = workers or (count_cores() if one_core else 1)
    if count == 1 and settings.shard_timeout is None:
        return InProcessExecutor()
    return ProcessExecutor(count, settings.shard_timeout)


def count_embedding_workers(workers: int | None, settings: ExecutorSettings | None) -> int | None:
    """Return how many workers embed where `workers` make clips.

    All of them on Ray. On this machine the default, one: its threads use every core.
    """
    return workers if settings is not None and settings.executor == "ray" else None
