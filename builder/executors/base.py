"""What every executor is held to: the protocol, and what becomes of a task that fails."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .. import errors
from ..errors import BackendError, RecipeError, SynthmirError

Tick = Callable[[int], None]  # told how many clips were just finished; fewer than none where a shard is made again
Worker = Callable[[Any, Tick], Any]

TRIES = 3  # of a task, before it is set aside
HOPELESS = 8  # tasks set aside before any was finished: then the next will fail as well
AGAIN = "the same command tries those alone again"
LESS_MEMORY = "fewer --workers or a smaller batch_size need less memory"
LISTED = 20  # of the tasks set aside, in the error
_SAME_FOR_ALL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG")}


class Executor(Protocol):
    """Runs tasks on workers. `setup` makes a worker: it is called once a process, so that a model is loaded once."""

    count: int  # of workers, at most

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """Results as they come, in no order.

        A task that raises, kills its worker or takes longer than the time limit is tried again, `TRIES` times in all,
        then set aside: the others go on, and at the end SynthmirError tells which and why. What would fail every task
        (`setup`, a full disk) ends the run at once; finished results were yielded before.
        """
        ...


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
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


def count_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task, or a worker's start, failed: made of an exception where it was raised, so that it can travel."""

    kind: str  # a class of builder.errors
    message: str
    fix: str | None = None
    trace: str = ""  # where an error that is none of ours came from
    final: bool = False  # another task would fail in the same way
    spoilt: bool = False  # the worker may be of no more use

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What an exception says."""
        if isinstance(error, SynthmirError):
            final = isinstance(error, RecipeError) or _refused_by_system(error)
            return cls(type(error).__name__, error.message, error.fix, final=final)
        trace = "".join(traceback.format_exception(error))
        kind = type(error).__name__
        fix = f"{LESS_MEMORY}; {AGAIN}" if kind in ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError") else None
        return cls("BackendError", f"{kind}: {error}", fix, trace, _refused_by_system(error), True)

    @classmethod
    def died(cls, how: str) -> Failure:
        """Of a worker that is no more."""
        return cls("BackendError", f"a worker process died ({how})", f"{LESS_MEMORY}; {AGAIN}")

    @classmethod
    def late(cls, limit: float) -> Failure:
        """Of a task that was stopped."""
        return cls("BackendError", f"took longer than {limit:g} s", f"give it more time: --shard-timeout; {AGAIN}")

    def error(self) -> SynthmirError:
        """The exception to raise here."""
        return _error(self.kind, self.message, self.fix, self.trace)


def _error(kind: str, message: str, fix: str | None, trace: str = "") -> SynthmirError:
    error: SynthmirError = getattr(errors, kind)(message, fix)
    if trace:
        error.add_note(trace)
    return error


def _refused_by_system(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno in _SAME_FOR_ALL):
            return True
        error = error.__cause__
    return False


@dataclass(frozen=True, slots=True)
class Done:
    """A task's result."""

    value: Any


def run_task(worker: Worker, task: Any, tick: Tick) -> Done | Failure:
    """One task on one worker."""
    try:
        return Done(worker(task, tick))
    except Exception as error:
        return Failure.of(error)


class TaskTracker:
    """Counts the tries of each task, and knows when all are finished or set aside."""

    def __init__(self, tasks: Sequence[Any]) -> None:
        self.tasks = tasks
        self.finished = 0
        self._tries = [0] * len(tasks)
        self._aside: dict[int, Failure] = {}

    @property
    def left(self) -> int:
        """Tasks that are neither finished nor set aside."""
        return len(self.tasks) - self.finished - len(self._aside)

    def failed(self, number: int, fault: Failure) -> bool:
        """Whether to try the task again. Raises SynthmirError for what no further try or task would mend."""
        if fault.final:
            raise fault.error()
        self._tries[number] += 1
        if self._tries[number] < TRIES:
            return True
        self._aside[number] = fault
        if not self.finished and len(self._aside) >= HOPELESS:
            self.settle()
        return False

    def settle(self) -> None:
        """Raise SynthmirError if tasks were set aside: of their own kind, if that is one."""
        if not self._aside:
            return
        faults = [self._aside[number] for number in sorted(self._aside)]
        first = faults[0]
        kind = first.kind if {fault.kind for fault in faults} == {first.kind} else BackendError.__name__
        told = [
            f"{name_task(self.tasks[number])}: {self._aside[number].message}"
            for number in sorted(self._aside)[:LISTED]
        ]
        more = [f"... and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
        if self.finished or not self.left:
            rest = "the others are finished" if self.finished else "none could be made"
        else:
            rest = "as none was finished, the others were not tried"
        raise _error(
            kind,
            f"{len(faults)} of {len(self.tasks)} shard(s) failed {TRIES} times and were set aside, {rest}:"
            + "".join(f"\n  - {line}" for line in [*told, *more]),
            first.fix or f"{AGAIN}; --debug shows where the first came from",
            first.trace,
        )


def name_task(task: Any) -> str:
    """A task's name, for people."""
    return str(getattr(task, "name", task))[:200]
