"""Workers in processes of their own, wherever: who does which task, and what happens when one fails, dies or hangs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from ..errors import SynthmirError
from ..interrupts import hearing, obey
from .base import TRIES, Done, Fault, Tally, Tick, Worker

POLL_SECONDS = 0.2
LOST_AT_MOST = 1_000  # tasks lost through no fault of theirs


@dataclass(slots=True)
class Job:
    """A task in work."""

    number: int
    began: float
    ticked: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """What a worker tells: it is "ready", has "ticked" so many clips of its task, is "done" with it (Done or Fault),
    or is "unable" to start (Fault). What is told of it: "gone" (Fault), "lost" (Fault) with the machine it was on, or
    "absent" (Fault): it was hired and never came.
    """

    kind: Literal["ready", "ticked", "done", "unable", "gone", "lost", "absent"]
    value: Any = None


class Hand(ABC):
    """One worker, as its master sees it."""

    job: Job | None = None
    ready = False

    @abstractmethod
    def give(self, task: Any) -> None:
        """Let it begin a task. It has none."""

    @abstractmethod
    def kill(self) -> None:
        """End it, whatever it does."""


class Crew(ABC):
    """An Executor (see there) whose workers can be killed and replaced. `timeout`: seconds that a task may take."""

    def __init__(self, count: int, timeout: float | None = None) -> None:
        self.count, self.timeout = count, timeout

    @abstractmethod
    def hire(self, setup: Callable[[], Worker]) -> Hand:
        """A new worker; it says when it is ready."""

    @abstractmethod
    def news(self, hands: Sequence[Hand], seconds: float) -> list[tuple[Hand, News]]:
        """What the workers have told; waits no longer than `seconds` for the first."""

    def run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        """See Executor. No more tasks are under way than there are workers."""
        if tasks:
            with hearing():
                yield from self._run(setup, tasks, tick)

    def _run(self, setup: Callable[[], Worker], tasks: Sequence[Any], tick: Tick) -> Iterator[Any]:
        tally, hands = Tally(tasks), list[Hand]()
        waiting = deque(range(len(tasks)))
        stillborn = absent = lost = 0

        def again(hand: Hand, fault: Fault, blamed: bool = True) -> None:
            job, hand.job = hand.job, None
            if job is None:
                return
            tick(-job.ticked)
            if not blamed or tally.failed(job.number, fault):
                waiting.appendleft(job.number)  # soon: where none can be made, few are tried

        def dismiss(hand: Hand) -> None:
            hand.kill()
            hands.remove(hand)

        try:
            while tally.left:
                obey()
                while len(hands) < min(self.count, tally.left) and (stillborn < TRIES or not hands):
                    hands.append(self.hire(setup))
                for hand in hands:
                    if hand.ready and hand.job is None and waiting:
                        hand.job = Job(waiting.popleft(), monotonic())
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
                    again(hand, Fault.late(self.timeout or 0.0))
        except SynthmirError:
            for job in [hand.job for hand in hands if hand.job]:  # under way, and stopped with the run
                tick(-job.ticked)
            raise
        finally:
            for hand in hands:
                hand.kill()
        tally.settle()

    def _late(self, job: Job | None) -> bool:
        return job is not None and self.timeout is not None and monotonic() - job.began > self.timeout
