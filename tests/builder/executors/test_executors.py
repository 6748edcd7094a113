from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from builder.errors import BackendError, DataError, RecipeError
from builder.executors import TRIES, ExecutorSettings, InProcessExecutor, ProcessExecutor, choose_executor, count_cores
from builder.executors.base import Done, Failure
from builder.executors.crew import WorkerEvent, WorkerHandle, WorkerPool

EXECUTORS = [pytest.param(InProcessExecutor(), id="in-process"), pytest.param(ProcessExecutor(2), id="processes")]


def setup():
    return work


def work(task, tick):
    """Doubles a number. `(what, file)` fails so, and leaves a line in the file each time."""
    tick(1)
    if isinstance(task, int):
        return task * 2
    what, file = task
    with Path(file).open("a") as log:
        log.write("tried\n")
    tries = Path(file).read_text().count("\n")
    if what.startswith("once-"):
        if tries > 1:
            return what
        what = what.removeprefix("once-")
    match what:
        case "refuse":
            raise DataError("the shard is bad", "mend it")
        case "crash":
            raise ZeroDivisionError("by nothing")
        case "full":
            raise DataError("cannot write x") from OSError(errno.ENOSPC, "No space left on device")
        case "recipe":
            raise RecipeError("no such thing")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(600)
    raise AssertionError(what)


def tried(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


def run(executor, tasks):
    """What was yielded, what was ticked, and the error at the end."""
    found, ticks = [], []
    try:
        for result in executor.run(setup, tasks, ticks.append):
            found.append(result)
    except (BackendError, DataError, RecipeError) as error:
        return found, sum(ticks), error
    return found, sum(ticks), None


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_task_is_done_once_and_told(executor):
    found, ticks, error = run(executor, range(6))
    assert (sorted(found), ticks, error) == ([0, 2, 4, 6, 8, 10], 6, None)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_shard_that_raises_is_tried_again_then_set_aside_and_the_rest_goes_on(executor, tmp_path):
    found, ticks, error = run(executor, [("refuse", tmp_path / "log"), 1, 2, 3])
    assert (sorted(found), ticks) == ([2, 4, 6], 3)  # what a failed try ticked is taken back
    assert tried(tmp_path / "log") == TRIES
    assert isinstance(error, DataError) and error.exit_code == 3 and error.fix == "mend it"
    assert "1 of 4 shard(s) failed 3 times" in error.message and error.message.endswith("the shard is bad")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_shard_that_fails_once_is_made_on_the_next_try(executor, tmp_path):
    found, ticks, error = run(executor, [("once-refuse", tmp_path / "a"), ("once-crash", tmp_path / "b"), 1])
    assert (set(found), ticks, error) == ({"once-refuse", "once-crash", 2}, 3, None)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_error_that_is_none_of_ours_is_told_with_where_it_came_from(executor, tmp_path):
    _, _, error = run(executor, [("crash", tmp_path / "log"), 1])
    assert isinstance(error, BackendError) and "ZeroDivisionError: by nothing" in error.message
    assert "in work" in error.__notes__[0]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(("fault", "kind"), [("full", DataError), ("recipe", RecipeError)])
def test_what_would_fail_every_shard_ends_the_run_at_once(executor, fault, kind, tmp_path):
    found, _, error = run(executor, [1, (fault, tmp_path / "log"), *([("hang", tmp_path / "hung")] * 3)])
    assert isinstance(error, kind) and "set aside" not in error.message
    assert tried(tmp_path / "log") == 1
    assert found in ([2], [])  # whichever of the first two tasks is done first


@pytest.mark.parametrize("executor", EXECUTORS)
def test_where_nothing_can_be_made_not_everything_is_tried(executor, tmp_path):
    found, ticks, error = run(executor, [("refuse", tmp_path / f"{number}") for number in range(30)])
    assert (found, ticks) == ([], 0)
    assert "8 of 30 shard(s)" in error.message and "the others were not tried" in error.message
    assert len(list(tmp_path.iterdir())) < 12


def no_setup():
    raise DataError("the weights are not there")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_worker_that_cannot_start_says_why(executor):
    with pytest.raises(DataError, match=r"^the weights are not there$"):
        list(executor.run(no_setup, [1, 2], lambda _: None))


def dying_setup():
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_while_they_start_are_not_started_for_ever():
    with pytest.raises(BackendError, match=r"worker process died \(SIGKILL: killed, crashed, or out of memory\)"):
        list(ProcessExecutor(2).run(dying_setup, [1, 2], lambda _: None))


class Desk(WorkerPool):
    """Of those it hires only some come; who comes works at once, here."""

    class Seat(WorkerHandle):
        def __init__(self, comes: bool) -> None:
            self.comes, self.task = comes, None

        def give(self, task):
            self.task = task

        def kill(self):
            self.comes = False

    def __init__(self, comes) -> None:
        super().__init__(2)
        self.comes, self.hired = iter(comes), 0

    def hire(self, setup):
        self.hired += 1
        return self.Seat(next(self.comes))

    def news(self, hands, seconds):
        return [(hand, self.one(hand)) for hand in hands]

    def one(self, hand):
        if not hand.comes:
            return WorkerEvent("absent", Failure("BackendError", "no worker came up"))
        return WorkerEvent("done", Done(hand.task)) if hand.job else WorkerEvent("ready")


def test_workers_that_never_come_are_not_waited_for_without_end():
    desk = Desk(itertools.repeat(False))
    with pytest.raises(BackendError, match="no worker came up"):
        list(desk.run(setup, [1, 2], lambda _: None))
    assert desk.hired <= TRIES + 2
    late = Desk(itertools.chain([False, False, True], itertools.repeat(False)))
    assert sorted(late.run(setup, range(20), lambda _: None)) == list(range(20))


def test_a_dead_worker_is_replaced_and_its_shard_made_again(tmp_path):
    tasks = [("once-die", tmp_path / "a"), ("once-exit", tmp_path / "b"), 1, 2]
    found, ticks, error = run(ProcessExecutor(2), tasks)
    assert (set(found), ticks, error) == ({"once-die", "once-exit", 2, 4}, 4, None)


def test_a_shard_that_kills_its_workers_is_set_aside(tmp_path):
    found, ticks, error = run(ProcessExecutor(2), [("die", tmp_path / "log"), 1, 2])
    assert (sorted(found), ticks, tried(tmp_path / "log")) == ([2, 4], 2, TRIES)
    assert isinstance(error, BackendError) and error.exit_code == 4
    assert "a worker process died (SIGKILL: killed, crashed, or out of memory)" in error.message


def test_a_shard_that_hangs_is_stopped_tried_again_and_set_aside(tmp_path):
    tasks = [("hang", tmp_path / "log"), ("once-hang", tmp_path / "once"), 1]
    found, ticks, error = run(choose_executor(ExecutorSettings(shard_timeout=0.4), 2, one_core=True), tasks)
    assert (set(found), ticks, tried(tmp_path / "log")) == ({"once-hang", 2}, 2, TRIES)
    assert "took longer than 0.4 s" in error.message and "--shard-timeout" in error.fix


def test_leaving_in_the_middle_leaves_no_worker(tmp_path):
    results = ProcessExecutor(2).run(pid_setup, range(100), lambda _: None)
    workers = {next(results), next(results)}
    results.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def pid_setup():
    return lambda task, tick: os.getpid()


def test_setup_is_called_once_a_worker(tmp_path):
    from functools import partial

    run_of = ProcessExecutor(2).run(partial(counted_setup, tmp_path), range(20), lambda _: None)
    assert len(list(run_of)) == 20
    assert len(list(tmp_path.iterdir())) <= 2


def counted_setup(folder: Path):
    (folder / str(os.getpid())).touch(exist_ok=False)
    return setup()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nothing_to_do_loads_nothing(executor):
    def never():
        raise AssertionError("loaded")

    assert list(executor.run(never, [], lambda _: None)) == []


def test_what_is_chosen():
    assert isinstance(choose_executor(one_core=False), InProcessExecutor)
    assert choose_executor(one_core=True).count == count_cores()
    assert choose_executor(workers=3, one_core=False).count == 3
    alone = choose_executor(ExecutorSettings(shard_timeout=5), one_core=False)  # only another process can be stopped
    assert isinstance(alone, ProcessExecutor) and alone.count == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"executor": "slurm"}, "there is no such executor"),
        ({"address": "auto"}, "--address is for Ray alone"),
        ({"gpus_per_worker": 1}, "--gpus-per-worker is for Ray alone"),
        ({"executor": "ray", "gpus_per_worker": 1.5}, "no share of one GPU"),
        ({"executor": "ray", "gpus_per_worker": -1}, "no share of one GPU"),
        ({"shard_timeout": 0}, "is no time"),
    ],
    ids=["executor", "address", "gpus", "part", "negative", "timeout"],
)
def test_options_that_do_not_go_together_are_refused(options, told):
    with pytest.raises(RecipeError, match=told):
        ExecutorSettings(**options)
