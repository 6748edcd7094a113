"""Executors of this machine: in this process, or in several."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ..garbage import collect_garbage_rarely
from ..interrupts import check_interrupt, handle_interrupts
from ..registry import EMBEDDERS, GENERATORS
from .base import Failure, Success, TaskTracker, Tick, Worker, run_task
from .pool import WorkerEvent, WorkerHandle, WorkerPool

EXIT_SECONDS = 5.0  # for a process whose pipe is closed


class InProcessExecutor:
    """One worker, in this process. It does not survive a task that kills it, and cannot stop one that hangs."""

    count = 1

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """Run the tasks in their order; see Executor.

        Args:
            setup: Makes a worker. It is called again after an exception that may have left the worker unusable.
            tasks: What the worker is called with, one at a time.
            tick: Is called in this process with the number of clips that were just finished. A negative number takes
                back those of a failed try.

        Yields:
            The result of each task, in the order of the tasks.

        Raises:
            SynthmirError: After the last result, if tasks were set aside; immediately, if every task would fail.
        """
        with handle_interrupts():
            tracker, worker = TaskTracker(tasks), None
            for number, task in enumerate(tasks):
                while True:
                    check_interrupt()
                    worker = worker or setup()
                    counts: list[int] = []

                    def count_clips(clips: int, counts: list[int] = counts) -> None:
                        check_interrupt()
                        counts.append(clips)
                        tick(clips)

                    result = run_task(worker, task, count_clips)
                    if isinstance(result, Success):
                        tracker.finished += 1
                        yield result.value
                        break
                    tick(-sum(counts))
                    if result.breaks_worker:
                        worker = None
                    if not tracker.record_failure(number, result):
                        break
            tracker.raise_failures()


class ProcessExecutor(WorkerPool):
    """Workers that are processes of this machine, each with its own model."""

    def start_worker(self, setup: Callable[[], Worker]) -> WorkerHandle:
        """Start a process. `setup` and tasks are pickled between synthmir's processes; no pickle is stored."""
        return _ProcessHandle(setup)

    def wait_for_events(
        self, workers: Sequence[WorkerHandle], seconds: float
    ) -> list[tuple[WorkerHandle, WorkerEvent]]:
        """Return the next event of each process that has sent one, or has ended."""
        processes = [worker for worker in workers if isinstance(worker, _ProcessHandle)]
        ready = set(wait([process.pipe for process in processes], seconds))
        return [(process, process.receive()) for process in processes if process.pipe in ready]


class _ProcessHandle(WorkerHandle):
    def __init__(self, setup: Callable[[], Worker]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold (torch, arrow)
        self.pipe, worker_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(worker_end, os.getpid()))
        message = bytes(ForkingPickler.dumps((dict(GENERATORS), dict(EMBEDDERS), setup)))
        with contextlib.nullcontext() if b"__main__" in message else _without_main_module():
            self.process.start()
        worker_end.close()
        # In a thread: the message may be larger than what a pipe takes before the worker reads, if it ever does.
        threading.Thread(target=self._send, args=(message,), daemon=True).start()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it has died, which `receive` reports
            self.pipe.send_bytes(message)

    def submit(self, task: Any) -> None:
        with contextlib.suppress(OSError):  # it has died, which `receive` reports
            self.pipe.send(task)

    def receive(self) -> WorkerEvent:
        """Return the next event. The pipe has one, or is closed."""
        try:
            return WorkerEvent(*self.pipe.recv())
        except (EOFError, OSError):
            self.process.join(EXIT_SECONDS)
            code = self.process.exitcode or 0
            killed = f"{signal.Signals(-code).name}: killed, crashed, or out of memory" if code < 0 else ""
            return WorkerEvent("died", Failure.worker_died(killed or f"exit code {code}"))

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Start processes that do not import the user's script, which would run it again.

    A script that calls `synthmir.build` needs no `if __name__ == "__main__":` then, unless it defines a generator or
    an embedder that the workers load from it.
    """
    main = sys.modules["__main__"]
    spec, file = main.__spec__, vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


def _serve(pipe: Connection, parent: int) -> None:
    """Run tasks in a worker's process. It ignores Ctrl-C, and ends when the main process ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_garbage_rarely()
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    try:
        generators, embedders, setup = ForkingPickler.loads(pipe.recv_bytes())
        GENERATORS.update(generators)  # with what was registered in the main process
        EMBEDDERS.update(embedders)
        worker = setup()
    except EOFError:  # the main process has ended
        return
    except Exception as error:
        pipe.send(("setup_failed", Failure.from_exception(error)))
        return
    pipe.send(("ready",))
    with contextlib.suppress(EOFError, OSError):  # the main process has ended
        while True:
            task, finished = pipe.recv(), 0

            def tick(clips: int) -> None:
                nonlocal finished
                finished += clips
                pipe.send(("progress", finished))

            result = run_task(worker, task, tick)
            pipe.send(("finished", result))
