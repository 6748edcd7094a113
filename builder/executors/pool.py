"""Workers that are processes of their own: which one runs which task, and what happens when one fails or hangs.

A subclass of `WorkerPool` says how a worker is started and what it reports, as `WorkerEvent`s. The pool asks for
events in a loop, gives ready workers their next task, and kills and replaces workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from ..errors import SynthmirError
from ..interrupts import check_interrupt, handle_interrupts
from .base import TRIES, Failure, Success, TaskTracker, Tick, Worker

POLL_SECONDS = 0.2
MAX_LOST_WORKERS = 1_000  # with their machines: until then their tasks are not blamed


@dataclass(slots=True)
class RunningTask:
    """A task that a worker has."""

    number: int
    started: float  # time.monotonic()
    clips: int = 0  # finished so far


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """What happened to a worker.

    - "ready": `setup` has returned, and it waits for a task.
    - "progress": so many clips (int) of its task are finished.
    - "finished": its task has ended (Success or Failure).
    - "setup_failed": `setup` has raised (Failure).
    - "died": its process has ended (Failure).
    - "lost": its process has ended with its machine (Failure), which is not the task's fault.
    - "not_started": its process did not start in time (Failure).
    """

    kind: Literal["ready", "progress", "finished", "setup_failed", "died", "lost", "not_started"]
    value: Any = None


class WorkerHandle(ABC):
    """A worker, as the process that runs the pool sees it."""

    task: RunningTask | None = None
    ready = False

    @abstractmethod
    def submit(self, task: Any) -> None:
        """Let the worker begin a task. It has none."""

    @abstractmethod
    def kill(self) -> None:
        """End the worker's process, whatever it is doing."""


class WorkerPool(ABC):
    """An Executor whose workers can be killed and replaced.

    Args:
        count: How many workers there are at most.
        timeout: Seconds that a task may take. Default: no limit.
    """

    def __init__(self, count: int, timeout: float | None = None) -> None:
        self.count, self.timeout = count, timeout

    @abstractmethod
    def start_worker(self, setup: Callable[[], Worker]) -> WorkerHandle:
        """Start a worker. It calls `setup`; then an event says that it is ready."""

    @abstractmethod
    def wait_for_events(
        self, workers: Sequence[WorkerHandle], seconds: float
    ) -> list[tuple[WorkerHandle, WorkerEvent]]:
        """Return the events of some workers. Wait no longer than `seconds` for the first."""

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """Run the tasks; see Executor. A task begins when a worker is free for it.

        Args:
            setup: Makes a worker. It is called once in each worker's process.
            tasks: What the worker is called with, one at a time.
            tick: Is called in this process with the number of clips that were just finished. A negative number takes
                back those of a failed try.

        Yields:
            The results of the tasks, in the order in which they are ready.

        Raises:
            SynthmirError: After the last result, if tasks were set aside; immediately, if every task would fail.
        """
        if tasks:
            with handle_interrupts():
                yield from _PoolRun(self, setup, tasks, tick).results()


class _PoolRun:
    """One call of `WorkerPool.run`."""

    def __init__(self, pool: WorkerPool, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> None:
        self.pool, self.setup, self.tasks, self.tick = pool, setup, tasks, tick
        self.tracker = TaskTracker(tasks)
        self.waiting = deque(range(len(tasks)))
        self.workers: list[WorkerHandle] = []
        # Workers in a row that died before they were ready, or did not start; and those lost with their machines.
        self.died_early = self.not_started = self.lost = 0

    def results(self) -> Iterator[Any]:
        """Yield the results of the tasks."""
        try:
            while self.tracker.remaining:
                check_interrupt()
                self._start_workers()
                self._submit_tasks()
                for worker, event in self.pool.wait_for_events(self.workers, POLL_SECONDS):
                    if event.kind == "finished" and isinstance(event.value, Success):
                        worker.task = None
                        self.tracker.finished += 1
                        yield event.value.value
                    else:
                        self._handle(worker, event)
                self._stop_late_tasks()
        except SynthmirError:
            for worker in self.workers:  # their tasks are stopped with the run
                if worker.task:
                    self.tick(-worker.task.clips)
            raise
        finally:
            for worker in self.workers:
                worker.kill()
        self.tracker.raise_failures()

    def _start_workers(self) -> None:
        while len(self.workers) < min(self.pool.count, self.tracker.remaining):
            if self.workers and self.died_early >= TRIES:
                return
            self.workers.append(self.pool.start_worker(self.setup))

    def _submit_tasks(self) -> None:
        for worker in self.workers:
            if worker.ready and worker.task is None and self.waiting:
                worker.task = RunningTask(self.waiting.popleft(), monotonic())
                worker.submit(self.tasks[worker.task.number])

    def _stop_late_tasks(self) -> None:
        if self.pool.timeout is None:
            return
        for worker in list(self.workers):
            if worker.task and monotonic() - worker.task.started > self.pool.timeout:
                self._remove(worker)
                self._retry(worker, Failure.timed_out(self.pool.timeout))

    def _handle(self, worker: WorkerHandle, event: WorkerEvent) -> None:
        """Handle any event but a success. Raises SynthmirError where the run cannot continue."""
        match event.kind:
            case "ready":
                worker.ready, self.died_early, self.not_started = True, 0, 0
            case "progress" if worker.task and event.value != worker.task.clips:
                self.tick(event.value - worker.task.clips)
                worker.task.clips = event.value
            case "finished":
                self._retry(worker, event.value)
                if event.value.breaks_worker:
                    self._remove(worker)
            case "setup_failed":
                raise event.value.to_exception()
            case "not_started":
                self._remove(worker)
                self.not_started += 1
                if self.not_started >= TRIES and not any(other.ready for other in self.workers):
                    raise event.value.to_exception()
            case "died" | "lost":
                self._remove(worker)
                self.lost += event.kind == "lost"
                self.died_early += not worker.ready
                too_many_lost = self.lost > MAX_LOST_WORKERS
                self._retry(worker, event.value, blame_task=event.kind == "died" or too_many_lost)
                if not worker.ready and not self.workers and (self.died_early >= TRIES or too_many_lost):
                    raise event.value.to_exception()

    def _retry(self, worker: WorkerHandle, failure: Failure, blame_task: bool = True) -> None:
        """Take the task from a worker, and let it be tried again if it may."""
        task, worker.task = worker.task, None
        if task is None:
            return
        self.tick(-task.clips)
        if not blame_task or self.tracker.record_failure(task.number, failure):
            self.waiting.appendleft(task.number)  # next: if no task can succeed, few are tried

    def _remove(self, worker: WorkerHandle) -> None:
        worker.kill()
        self.workers.remove(worker)
