"""The executor on Ray: workers are actors, on one machine or many, each with its own model, cores and GPUs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .base import ExecutorSettings, Failure, Success, Tick, Worker, run_task
from .pool import WorkerEvent, WorkerHandle, WorkerPool
from .ray_cluster import allocate_workers, check_shared, check_versions, connect, is_started_here, living_nodes

ASK_SECONDS = 0.5  # between two questions to a worker how many clips it has finished
UNREACHABLE_SECONDS = 20.0  # for a worker that cannot be reached to answer again
START_SECONDS = 120.0  # for a worker's process to start, where Ray was started here
ROOM_SECONDS = 600.0  # for a cluster to have room for a worker; it may have to add a node
WARN_SECONDS = 30.0  # of waiting for room, until it is logged
FIX_NO_ROOM = (
    "look at ray status and /tmp/ray/session_latest/logs/raylet.err for the cause, or ask for less (--workers, "
    "--gpus-per-worker). The same command resumes"
)
log = logging.getLogger(__name__)


class RayExecutor(WorkerPool):
    """Workers that are actors of Ray.

    Args:
        settings: The address of the cluster, GPUs of a worker, the time limit of a task.
        workers: How many. Default: see `choose_executor`.
        one_core: Whether a worker keeps one core busy and no more.
        place: The folder that the workers write to, which every node must see.

    Raises:
        BackendError: If the cluster cannot be reached, has too little, or has other versions installed.
    """

    def __init__(
        self, settings: ExecutorSettings, workers: int | None = None, *, one_core: bool, place: Path | None = None
    ) -> None:
        self._ray = connect(settings.address, workers)
        self._place, self._gpus = place, settings.gpus_per_worker
        if not is_started_here():
            check_versions(self._ray)
        count, self._cpus = allocate_workers(living_nodes(self._ray), workers, settings.gpus_per_worker, one_core)
        self._warned = False
        super().__init__(count, settings.shard_timeout)

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """Run the tasks; see Executor.

        Args:
            setup: Makes a worker. It is called once in each worker's process.
            tasks: What the worker is called with, one at a time.
            tick: Is called in this process with the number of clips that were just finished. A negative number takes
                back those of a failed try.

        Yields:
            The results of the tasks, in the order in which they are ready.

        Raises:
            DataError: A node does not see the folder that is written to.
            SynthmirError: After the last result, if tasks were set aside; immediately, if every task would fail.
        """
        if tasks and self._place is not None and not is_started_here():
            check_shared(self._ray, self._place)
        return super().run(setup, tasks, tick)

    def start_worker(self, setup: Callable[[], Worker]) -> WorkerHandle:
        """Start an actor. It is not restarted, nor its task tried again, by Ray: the pool does that."""
        actor = self._ray.remote(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            concurrency_groups={"progress": 1},
        )(_RayWorker)
        return _RayHandle(self._ray, actor.remote(), setup, START_SECONDS if is_started_here() else ROOM_SECONDS)

    def wait_for_events(
        self, workers: Sequence[WorkerHandle], seconds: float
    ) -> list[tuple[WorkerHandle, WorkerEvent]]:
        """Return the events of the actors that have answered, or cannot be reached."""
        actors = [worker for worker in workers if isinstance(worker, _RayHandle)]
        refs: dict[Any, _RayHandle] = {ref: actor for actor in actors for ref in actor.pending_refs()}
        events: list[tuple[WorkerHandle, WorkerEvent]] = []
        if not refs:
            time.sleep(seconds)
        elif self._ray.wait(list(refs), num_returns=1, timeout=seconds)[0]:
            ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
            events += [(refs[ref], event) for ref in ready for event in refs[ref].receive(ref)]
        self._warn_of_waiting(actors)
        return events + [(actor, event) for actor in actors for event in actor.check_alive()]

    def _warn_of_waiting(self, actors: Sequence[_RayHandle]) -> None:
        """Log, once, that the cluster has no room for some workers."""
        waiting = [actor for actor in actors if actor.seconds_waiting() > WARN_SECONDS]
        if waiting and not self._warned:
            self._warned = True
            log.warning("%d of %d worker(s) wait for room on Ray; see ray status", len(waiting), self.count)


class _RayWorker:
    """The actor. A thread of its own answers `progress` while a task runs."""

    def __init__(self) -> None:
        self.task_number = self.clips = 0

    def find_node(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def set_up(self, setup: Callable[[], Worker]) -> Failure | None:
        try:
            self.worker = setup()
        except Exception as error:
            return Failure.from_exception(error)
        return None

    def run_task(self, task_number: int, task: Any) -> tuple[Success | Failure, int]:
        self.task_number, self.clips = task_number, 0

        def tick(clips: int) -> None:
            self.clips += clips

        return run_task(self.worker, task, tick), self.clips

    def progress(self) -> tuple[int, int]:
        return self.task_number, self.clips


class _RayHandle(WorkerHandle):
    """An actor, as the process that runs the pool sees it.

    Three calls follow each other: `find_node` returns when its process has started, which must happen within
    `start_seconds`; `set_up` loads the model, which may take any time; then comes a `run_task` for each task.
    """

    def __init__(self, ray: Any, actor: Any, setup: Callable[[], Worker], start_seconds: float) -> None:
        self._ray, self._actor, self._setup, self._start_seconds = ray, actor, setup, start_seconds
        self._node, self._task_number = "", 0
        self._call: Any = actor.find_node.remote()  # the reference of the call that is running
        self._question: Any = None  # the reference of a call of `progress`
        self._asked = self._unreachable_since = 0.0
        self._created = time.monotonic()

    def submit(self, task: Any) -> None:
        self._task_number += 1
        self._asked = time.monotonic()
        self._call = self._actor.run_task.remote(self._task_number, task)

    def kill(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor, no_restart=True)

    def pending_refs(self) -> list[Any]:
        """Return the references to wait for; ask for progress if it is time."""
        now = time.monotonic()
        if self.task and self._call and not self._question and now - self._asked > ASK_SECONDS:
            self._question, self._asked = self._actor.progress.options(concurrency_group="progress").remote(), now
        return [ref for ref in (self._call, self._question) if ref is not None]

    def receive(self, ref: Any) -> list[WorkerEvent]:
        """Return the events that a finished reference stands for."""
        if ref == self._question:
            return self._receive_progress(ref)
        errors = self._ray.exceptions
        self._call = None
        try:
            value = self._ray.get(ref)
        except errors.RayTaskError as error:
            failure = Failure.from_exception(error)
            return [WorkerEvent("finished" if self.task else "setup_failed", failure)]
        except errors.ActorUnavailableError:
            self._unreachable_since = time.monotonic()
            return []
        except errors.RayError:
            died = WorkerEvent("died", Failure.worker_died("killed, crashed, or out of memory"))
            return [self._check_node() or died]
        if not self._node:
            self._node, self._call = value, self._actor.set_up.remote(self._setup)
            return []
        if value is None:
            return [WorkerEvent("ready")]
        if isinstance(value, Failure):
            return [WorkerEvent("setup_failed", value)]
        result, clips = value
        return [WorkerEvent("progress", clips), WorkerEvent("finished", result)]

    def _receive_progress(self, ref: Any) -> list[WorkerEvent]:
        self._question = None
        with contextlib.suppress(self._ray.exceptions.RayError):  # the call of the task reports its death
            task_number, clips = self._ray.get(ref)
            if task_number == self._task_number and self._call is not None:
                return [WorkerEvent("progress", clips)]
        return []

    def seconds_waiting(self) -> float:
        """Return for how long the actor's process has not started."""
        return 0.0 if self._node else time.monotonic() - self._created

    def check_alive(self) -> list[WorkerEvent]:
        """Return an event if the actor has not started in time, or could not be reached for too long."""
        if self._call is not None and self.seconds_waiting() > self._start_seconds:
            message = f"no worker started in {self._start_seconds:g} s"
            return [WorkerEvent("not_started", Failure("BackendError", message, FIX_NO_ROOM))]
        if not self._unreachable_since:
            return []
        event = self._check_node()
        if event is None and time.monotonic() - self._unreachable_since > UNREACHABLE_SECONDS:
            event = WorkerEvent("died", Failure.worker_died("it cannot be reached"))
        return [event] if event else []

    def _check_node(self) -> WorkerEvent | None:
        """Return an event if the actor's node is gone."""
        if not self._node or any(node["NodeID"] == self._node for node in living_nodes(self._ray)):
            return None
        return WorkerEvent("lost", Failure.worker_died("with its node"))
