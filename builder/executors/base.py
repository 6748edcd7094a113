"""The protocol of executors, and what they share: their options, and what happens to a task that fails.

To add an executor whose workers are processes, subclass `builder.executors.pool.WorkerPool`, which retries, replaces
and stops them; give `choose_executor` a line for it, and `ExecutorSettings` its name and options. Executors must give
the same results, whatever the order and the process that a task runs in: tasks carry their own seeds.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .. import errors
from ..errors import BackendError, RecipeError, SynthmirError

Tick = Callable[
    [int], None
]  # is given how many clips were finished; a negative number takes back those of a failed try
Worker = Callable[[Any, Tick], Any]  # runs one task

TRIES = 3  # of a task, before it is set aside
GIVE_UP_AFTER = 8  # tasks set aside while none has succeeded: the next would fail as well
LISTED_TASKS = 20  # that the error names
RUN_AGAIN = "the same command tries those alone again"
LESS_MEMORY = "fewer --workers or a smaller batch_size need less memory"
OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")  # Python's, torch's, NumPy's
_FAILS_EVERY_TASK = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG")}


class Executor(Protocol):
    """Runs tasks on workers."""

    count: int  # of workers, at most

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """Run each task, and yield the results in the order in which they are ready.

        A task that raises, kills its worker or takes longer than the time limit is tried `TRIES` times, then set
        aside, and the others continue. What would fail every task (`setup`, a full disk) ends the run immediately.

        Args:
            setup: Makes a worker. It is called once in each process, so that a model is loaded once.
            tasks: What the worker is called with, one at a time.
            tick: Is called in this process with the number of clips that were just finished.

        Raises:
            SynthmirError: After the last result, if tasks were set aside: which, and why.
        """
        ...


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """Where shards are made, and how long one may take. Nothing here changes what is made.

    Args:
        executor: "local" (this machine) or "ray".
        address: Of a Ray cluster: "auto" or "HOST:PORT". Default: RAY_ADDRESS, else Ray is started on this machine.
        gpus_per_worker: On Ray: 0.5, 1, 2, ...
        shard_timeout: Seconds after which a task is stopped. Default: no limit.

    Raises:
        RecipeError: For options that are invalid or do not go together.
    """

    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    gpus_per_worker: float = 0.0
    shard_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.executor not in ("local", "ray"):
            raise RecipeError(f"--executor {self.executor}: there is no such executor", "use local or ray")
        if self.executor == "local" and (self.address or self.gpus_per_worker):
            option = "--address" if self.address else "--gpus-per-worker"
            raise RecipeError(f"{option} is for Ray alone", "add --executor ray")
        if self.gpus_per_worker < 0 or (self.gpus_per_worker > 1 and self.gpus_per_worker % 1):
            raise RecipeError(
                f"--gpus-per-worker {self.gpus_per_worker:g}: is neither a part of one GPU nor a number of GPUs",
                "use 1, 0.5, 2, ...",
            )
        if self.shard_timeout is not None and self.shard_timeout <= 0:
            raise RecipeError(
                f"--shard-timeout {self.shard_timeout:g}: must be greater than 0", "give seconds, or leave it out"
            )


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Success:
    """The result of a task."""

    value: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task or the start of a worker failed. It is pickled where an exception might not be."""

    kind: str  # the name of a class of builder.errors
    message: str
    fix: str | None = None
    trace: str = ""  # of an exception that is not synthmir's
    ends_run: bool = False  # every other task would fail in the same way
    breaks_worker: bool = False  # the worker may be unusable

    @classmethod
    def from_exception(cls, error: Exception) -> Failure:
        """Describe an exception in the process that caught it."""
        if isinstance(error, SynthmirError):
            ends_run = isinstance(error, RecipeError) or _fails_every_task(error)
            return cls(type(error).__name__, error.message, error.fix, ends_run=ends_run)
        kind = type(error).__name__
        return cls(
            "BackendError",
            f"{kind}: {error}",
            f"{LESS_MEMORY}; {RUN_AGAIN}" if kind in OUT_OF_MEMORY else None,
            trace="".join(traceback.format_exception(error)),
            ends_run=_fails_every_task(error),
            breaks_worker=True,
        )

    @classmethod
    def worker_died(cls, how: str) -> Failure:
        """Describe the end of a worker's process."""
        return cls("BackendError", f"a worker process died ({how})", f"{LESS_MEMORY}; {RUN_AGAIN}")

    @classmethod
    def timed_out(cls, limit: float) -> Failure:
        """Describe a task that was stopped after `limit` seconds."""
        fix = f"give it more time: --shard-timeout; {RUN_AGAIN}"
        return cls("BackendError", f"took longer than {limit:g} s", fix)

    def to_exception(self) -> SynthmirError:
        """Return the exception to raise in this process."""
        return _make_error(self.kind, self.message, self.fix, self.trace)


def _make_error(kind: str, message: str, fix: str | None, trace: str) -> SynthmirError:
    error: SynthmirError = getattr(errors, kind)(message, fix)
    if trace:
        error.add_note(trace)
    return error


def _fails_every_task(error: BaseException | None) -> bool:
    """Return whether the system refuses to write, by the exception or its causes."""
    while error is not None:
        if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno in _FAILS_EVERY_TASK):
            return True
        error = error.__cause__
    return False


def run_task(worker: Worker, task: Any, tick: Tick) -> Success | Failure:
    """Run one task on a worker of this process.

    Args:
        worker: Runs the task.
        task: What the worker is called with.
        tick: Is called with the number of clips that were just finished.

    Returns:
        The worker's result, or a description of the exception that it raised.
    """
    try:
        return Success(worker(task, tick))
    except Exception as error:
        return Failure.from_exception(error)


class TaskTracker:
    """Counts the tries of each task, and which are finished or set aside."""

    def __init__(self, tasks: Sequence[Any]) -> None:
        self.tasks = tasks
        self.finished = 0
        self._tries = [0] * len(tasks)
        self._set_aside: dict[int, Failure] = {}

    @property
    def remaining(self) -> int:
        """Tasks that are neither finished nor set aside."""
        return len(self.tasks) - self.finished - len(self._set_aside)

    def record_failure(self, number: int, failure: Failure) -> bool:
        """Count a failed try of task `number`, and return whether to try it again.

        Raises:
            SynthmirError: If further tries or tasks would fail in the same way.
        """
        if failure.ends_run:
            raise failure.to_exception()
        self._tries[number] += 1
        if self._tries[number] < TRIES:
            return True
        self._set_aside[number] = failure
        if not self.finished and len(self._set_aside) >= GIVE_UP_AFTER:
            self.raise_failures()
        return False

    def raise_failures(self) -> None:
        """Raise a SynthmirError if tasks were set aside: of the class that their failures share, else BackendError."""
        if not self._set_aside:
            return
        numbers = sorted(self._set_aside)
        failures = [self._set_aside[number] for number in numbers]
        first = failures[0]
        same_kind = {failure.kind for failure in failures} == {first.kind}
        lines = [
            f"{name_task(self.tasks[number])}: {self._set_aside[number].message}" for number in numbers[:LISTED_TASKS]
        ]
        if len(failures) > LISTED_TASKS:
            lines.append(f"... and {len(failures) - LISTED_TASKS} more")
        if self.finished or not self.remaining:
            others = "the others are finished" if self.finished else "none could be made"
        else:
            others = "as none was finished, the others were not tried"
        raise _make_error(
            first.kind if same_kind else BackendError.__name__,
            f"{len(failures)} of {len(self.tasks)} shard(s) failed {TRIES} times and were set aside, {others}:"
            + "".join(f"\n  - {line}" for line in lines),
            first.fix or f"{RUN_AGAIN}; --debug shows where the first came from",
            first.trace,
        )


def name_task(task: Any) -> str:
    """Return a task's name for messages."""
    return str(getattr(task, "name", task))[:200]
