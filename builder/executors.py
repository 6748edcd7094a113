"""Where shards run: in this process, or in several of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from .errors import BackendError

Tick = Callable[[int], None]  # told how many clips were just finished
Worker = Callable[[Any, Tick], Any]

POLL_SECONDS = 0.2


class Executor(Protocol):
    """Runs tasks on workers. `setup` makes a worker: it is called once a process, so that a model is loaded once."""

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """Results as they come, in no order. The first error ends the run; finished results were yielded before."""
        ...


class InProcess:
    """One worker, here."""

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """See Executor."""
        if not tasks:
            return
        worker = setup()
        for task in tasks:
            yield worker(task, tick)


class Processes:
    """`count` workers, each a process of its own with its own model."""

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """See Executor. `setup` and tasks travel by pickling between our own processes; nothing pickled is stored."""
        if not tasks:
            return
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks (torch, arrow) mid-flight
        ticks = context.SimpleQueue()
        pool = ProcessPoolExecutor(
            min(self.count, len(tasks)), context, initializer=_begin, initargs=(setup, ticks, os.getpid())
        )
        waiting: set[Future[Any]] = set()
        try:
            waiting = {pool.submit(_work, task) for task in tasks}
            while waiting:
                done, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                while not ticks.empty():
                    tick(ticks.get())
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise BackendError(
                "a worker process died (killed, or out of memory)",
                "run the same command again: finished shards are kept; --workers 1 needs the least memory",
            ) from error
        finally:
            for future in waiting:
                future.cancel()
            if waiting:  # not finished: do not wait for shards that nobody will take
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def local(workers: int) -> Executor:
    """The executor for this machine."""
    return InProcess() if workers == 1 else Processes(workers)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_worker: Worker | None = None
_ticks: Any = None
_failure: Exception | None = None


def _begin(setup: Callable[[], Worker], ticks: Any, parent: int) -> None:
    """Make this process's worker. It leaves Ctrl-C to the main process, and dies with it however that ends."""
    global _worker, _ticks, _failure
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    _ticks = ticks
    try:
        _worker = setup()
    except Exception as error:
        _failure = error  # told by the first task: an error here would end as "a worker died"


def _work(task: Any) -> Any:
    if _worker is None:
        raise _failure or BackendError("a worker process started without its work")
    return _worker(task, _ticks.put)
