"""Workers in processes of their own, wherever: who does which task, and what happens when one fails, dies or hangs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from ..errors import SynthmirError
from ..interrupts import check_interrupt, handle_interrupts
from .base import TRIES, Done, Failure, TaskTracker, Tick, Worker

POLL_SECONDS = 0.2
LOST_AT_MOST = 1_000  # tasks lost through no fault of theirs


@dataclass(slots=True)
class RunningTask:
    """A task in work."""

    number: int
    began: float
    ticked: int = 0


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """What a worker tells: it is "ready", has "ticked" so many clips of its task, is "done" with it (Done or Fault),
    or is "unable" to start (Fault). What is told of it: "gone" (Fault), "lost" (Fault) with the machine it was on, or
    "absent" (Fault): it was hired and never came.
    """

    kind: Literal["ready", "ticked", "done", "unable", "gone", "lost", "absent"]
    value: Any = None


class WorkerHandle(ABC):
    """One worker, as its master sees it."""

    job: RunningTask | None = None
    ready = False

    @abstractmethod
    def give(self, task: Any) -> None:
        """Let it begin a task. It has none."""

    @abstractmethod
    def kill(self) -> None:
        """End it, whatever it does."""


class WorkerPool(ABC):
    """An Executor (see there) whose workers can be killed and replaced. `timeout`: seconds that a task may take."""

    def __init__(self, count: int, timeout: float | None = None) -> None:
        self.count, self.timeout = count, timeout

    @abstractmethod
    def hire(self, setup: Callable[[], Worker]) -> WorkerHandle:
        """A new worker; it says when it is ready."""

    @abstractmethod
    def news(self, hands: Sequence[WorkerHandle], seconds: float) -> list[tuple[WorkerHandle, WorkerEvent]]:
        """What the workers have told; waits no longer than `seconds` for the first."""

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """See Executor. No more tasks are under way than there are workers."""
        if tasks:
            with handle_interrupts():
                yield from self._run(setup, tasks, tick)

    def _run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        tally, hands = TaskTracker(tasks), list[WorkerHandle]()
        waiting = deque(range(len(tasks)))
        stillborn = absent = lost = 0

        def again(hand: WorkerHandle, fault: Failure, blamed: bool = True) -> None:
            job, hand.job = hand.job, None
            if job is None:
                return
            tick(-job.ticked)
            if not blamed or tally.failed(job.number, fault):
                waiting.appendleft(job.number)  # soon: where none can be made, few are tried

        def dismiss(hand: WorkerHandle) -> None:
            hand.kill()
            hands.remove(hand)

        try:
            while tally.left:
                check_interrupt()
                while len(hands) < min(self.count, tally.left) and (stillborn < TRIES or not hands):
                    hands.append(self.hire(setup))
                for hand in hands:
                    if hand.ready and hand.job is None and waiting:
                        hand.job = RunningTask(waiting.popleft(), monotonic())
                        hand.give(tasks[hand.job.number])
                for hand, told in self.news(hands, POLL_SECONDS):
                    match told.kind:
                        case "ready":
                            hand.ready, stillborn, absent = True, 0, 0
                        case "ticked" if hand.job and told.value != hand.job.ticked:
                            tick(told.value - hand.job.ticked)
                            hand.job.ticked = told.value
                        case "done" if isinstance(told.value, Done):
                            hand.job = None
                            tally.finished += 1
                            yield told.value.value
                        case "done":
                            again(hand, told.value)
                            if told.value.spoilt:
                                dismiss(hand)
                        case "unable":
                            raise told.value.error()
                        case "absent":
                            dismiss(hand)
                            absent += 1
                            if absent >= TRIES and not any(one.ready for one in hands):
                                raise told.value.error()
                        case "gone" | "lost":
                            dismiss(hand)
                            lost += told.kind == "lost"
                            stillborn += not hand.ready
                            again(hand, told.value, told.kind == "gone" or lost > LOST_AT_MOST)
                            if not hand.ready and not hands and (stillborn >= TRIES or lost > LOST_AT_MOST):
                                raise told.value.error()
                for hand in [one for one in hands if self._late(one.job)]:
                    dismiss(hand)
                    again(hand, Failure.late(self.timeout or 0.0))
        except SynthmirError:
            for job in [hand.job for hand in hands if hand.job]:  # under way, and stopped with the run
                tick(-job.ticked)
            raise
        finally:
            for hand in hands:
                hand.kill()
        tally.settle()

    def _late(self, job: RunningTask | None) -> bool:
        return job is not None and self.timeout is not None and monotonic() - job.began > self.timeout
