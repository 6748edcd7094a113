from __future__ import annotations

import os
import signal
import time

import pytest

from builder.errors import BackendError, DataError
from builder.executors import InProcess, Processes


def setup():
    return work


def work(task, tick):
    if task == "refuse":
        raise DataError("the shard is bad", "mend it")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "slow":
        time.sleep(60)
    tick(1)
    return task * 2


@pytest.mark.parametrize("executor", [InProcess(), Processes(2)])
def test_every_task_is_done_once_and_told(executor):
    ticks: list[int] = []
    assert sorted(executor.run(setup, range(6), ticks.append)) == [0, 2, 4, 6, 8, 10]
    assert sum(ticks) == 6


@pytest.mark.parametrize("executor", [InProcess(), Processes(2)])
def test_an_error_keeps_its_kind_and_words(executor):
    with pytest.raises(DataError, match=r"the shard is bad\n  fix: mend it"):
        list(executor.run(setup, [1, "refuse"], lambda _: None))


def no_setup():
    raise DataError("the weights are not there")


def test_a_worker_that_cannot_start_says_why():
    with pytest.raises(DataError, match="the weights are not there"):
        list(Processes(2).run(no_setup, [1, 2], lambda _: None))


def test_an_error_does_not_wait_for_slow_neighbours():
    clock = time.monotonic()
    with pytest.raises(DataError):
        list(Processes(2).run(setup, ["slow", "refuse"], lambda _: None))
    assert time.monotonic() - clock < 30


def test_a_dead_worker_is_told():
    with pytest.raises(BackendError, match=r"worker process died.*\n.*run the same command again"):
        list(Processes(2).run(setup, ["die", 1], lambda _: None))


def test_nothing_to_do_loads_nothing():
    def never():
        raise AssertionError("loaded")

    assert list(InProcess().run(never, [], lambda _: None)) == []
    assert list(Processes(2).run(never, [], lambda _: None)) == []
