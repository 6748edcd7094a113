"""Shards made on this machine: in this process, or in several."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from ..interrupts import check_interrupt, handle_interrupts
from .base import Done, Failure, TaskTracker, Tick, Worker, run_task
from .crew import WorkerEvent, WorkerHandle, WorkerPool

DYING_SECONDS = 5.0


class InProcessExecutor:
    """One worker, here. It cannot outlive a task that kills it, nor stop one that hangs."""

    count = 1

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """See Executor."""
        with handle_interrupts():
            tally, worker = TaskTracker(tasks), None
            for number, task in enumerate(tasks):
                while True:
                    check_interrupt()
                    worker = worker or setup()
                    ticked: list[int] = []

                    def told(count: int, ticked: list[int] = ticked) -> None:
                        check_interrupt()
                        ticked.append(count)
                        tick(count)

                    result = run_task(worker, task, told)
                    if isinstance(result, Done):
                        tally.finished += 1
                        yield result.value
                        break
                    tick(-sum(ticked))
                    if result.spoilt:
                        worker = None
                    if not tally.failed(number, result):
                        break
            tally.settle()


class ProcessExecutor(WorkerPool):
    """`count` workers, each a process of its own with its own model."""

    def hire(self, setup: Callable[[], Worker]) -> WorkerHandle:
        """`setup` and tasks travel by pickling between our own processes; nothing pickled is stored."""
        return _Process(setup)

    def news(self, hands: Sequence[WorkerHandle], seconds: float) -> list[tuple[WorkerHandle, WorkerEvent]]:
        """See Crew."""
        processes = [hand for hand in hands if isinstance(hand, _Process)]
        ready = set(wait([hand.pipe for hand in processes], seconds))
        return [(hand, hand.told()) for hand in processes if hand.pipe in ready]


class _Process(WorkerHandle):
    def __init__(self, setup: Callable[[], Worker]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks (torch, arrow) mid-flight
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup, os.getpid()))
        self.process.start()
        theirs.close()

    def give(self, task: Any) -> None:
        with contextlib.suppress(OSError):  # it has died: that is told where news is read
            self.pipe.send(task)

    def told(self) -> WorkerEvent:
        """The next news, when there is some."""
        try:
            return WorkerEvent(*self.pipe.recv())
        except (EOFError, OSError):
            self.process.join(DYING_SECONDS)
            code = self.process.exitcode or 0
            killed = f"{signal.Signals(-code).name}: killed, crashed, or out of memory" if code < 0 else ""
            return WorkerEvent("gone", Failure.died(killed or f"exit code {code}"))

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, setup: Callable[[], Worker], parent: int) -> None:
    """A worker's life. It leaves Ctrl-C to the main process, and dies with it however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    try:
        worker = setup()
    except Exception as error:
        pipe.send(("unable", Failure.of(error)))
        return
    pipe.send(("ready",))
    with contextlib.suppress(EOFError, OSError):  # the main process has gone
        while True:
            task, told = pipe.recv(), 0

            def tick(count: int) -> None:
                nonlocal told
                told += count
                pipe.send(("ticked", told))

            result = run_task(worker, task, tick)
            pipe.send(("done", result))
