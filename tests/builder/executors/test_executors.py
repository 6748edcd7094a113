from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.errors import BackendError, DataError, RecipeError
from builder.executors import TRIES, ExecutorSettings, InProcessExecutor, ProcessExecutor, choose_executor, count_cores
from builder.executors.base import Failure, Success
from builder.executors.pool import WorkerEvent, WorkerHandle, WorkerPool

from .tasks import count_tries, counted_setup, dying_setup, no_setup, pid_setup, setup

ROOT = Path(__file__).parents[3]

EXECUTORS = [pytest.param(InProcessExecutor(), id="in-process"), pytest.param(ProcessExecutor(2), id="processes")]


def run(executor, tasks):
    """Return the results, the sum of the ticks, and the error at the end."""
    results, ticks = [], []
    try:
        for result in executor.run(setup, tasks, ticks.append):
            results.append(result)
    except (BackendError, DataError, RecipeError) as error:
        return results, sum(ticks), error
    return results, sum(ticks), None


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_task_runs_once(executor):
    results, ticks, error = run(executor, range(6))
    assert (sorted(results), ticks, error) == ([0, 2, 4, 6, 8, 10], 6, None)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_that_raises_is_set_aside_after_three_tries_and_the_others_finish(executor, tmp_path):
    results, ticks, error = run(executor, [("refuse", tmp_path / "log"), 1, 2, 3])
    assert (sorted(results), ticks) == ([2, 4, 6], 3)  # what a failed try ticked is taken back
    assert count_tries(tmp_path / "log") == TRIES
    assert isinstance(error, DataError) and error.exit_code == 3 and error.fix == "make it again"
    assert "1 of 4 shard(s) failed 3 times" in error.message and error.message.endswith("the shard is bad")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_that_fails_once_succeeds_on_the_next_try(executor, tmp_path):
    results, ticks, error = run(executor, [("once-refuse", tmp_path / "a"), ("once-crash", tmp_path / "b"), 1])
    assert (set(results), ticks, error) == ({"once-refuse", "once-crash", 2}, 3, None)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_other_exceptions_are_reported_with_their_traceback(executor, tmp_path):
    _, _, error = run(executor, [("crash", tmp_path / "log"), 1])
    assert isinstance(error, BackendError) and "ZeroDivisionError: by nothing" in error.message
    assert "in work" in error.__notes__[0]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(("fault", "kind"), [("full", DataError), ("recipe", RecipeError)])
def test_a_failure_that_every_task_would_have_ends_the_run(executor, fault, kind, tmp_path):
    results, _, error = run(executor, [1, (fault, tmp_path / "log"), *([("hang", tmp_path / "hung")] * 3)])
    assert isinstance(error, kind) and "set aside" not in error.message
    assert count_tries(tmp_path / "log") == 1
    assert results in ([2], [])  # whichever of the first two tasks is done first


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_run_ends_when_many_tasks_fail_and_none_succeeds(executor, tmp_path):
    results, ticks, error = run(executor, [("refuse", tmp_path / f"{number}") for number in range(30)])
    assert (results, ticks) == ([], 0)
    assert "8 of 30 shard(s)" in error.message and "the others were not tried" in error.message
    assert len(list(tmp_path.iterdir())) < 12


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_exception_of_setup_is_raised(executor):
    with pytest.raises(DataError, match=r"^the weights are not there$"):
        list(executor.run(no_setup, [1, 2], lambda _: None))


def test_the_run_ends_when_workers_die_in_setup():
    with pytest.raises(BackendError, match=r"worker process died \(SIGKILL: killed, crashed, or out of memory\)"):
        list(ProcessExecutor(2).run(dying_setup, [1, 2], lambda _: None))


class FakePool(WorkerPool):
    """Some of its workers start, as `starts` says; those run their tasks immediately, in this process."""

    class FakeHandle(WorkerHandle):
        def __init__(self, starts: bool) -> None:
            self.starts, self.submitted = starts, None

        def submit(self, task):
            self.submitted = task

        def kill(self):
            self.starts = False

    def __init__(self, starts) -> None:
        super().__init__(2)
        self.starts, self.created = iter(starts), 0

    def start_worker(self, setup):
        self.created += 1
        return self.FakeHandle(next(self.starts))

    def wait_for_events(self, workers, seconds):
        return [(worker, self.next_event(worker)) for worker in workers]

    def next_event(self, worker):
        if not worker.starts:
            return WorkerEvent("not_started", Failure("BackendError", "no worker started"))
        return WorkerEvent("finished", Success(worker.submitted)) if worker.task else WorkerEvent("ready")


def test_the_run_ends_when_no_worker_starts():
    pool = FakePool(itertools.repeat(False))
    with pytest.raises(BackendError, match="no worker started"):
        list(pool.run(setup, [1, 2], lambda _: None))
    assert pool.created <= TRIES + 2
    one_starts = FakePool(itertools.chain([False, False, True], itertools.repeat(False)))
    assert sorted(one_starts.run(setup, range(20), lambda _: None)) == list(range(20))


def test_a_dead_worker_is_replaced_and_its_task_tried_again(tmp_path):
    tasks = [("once-die", tmp_path / "a"), ("once-exit", tmp_path / "b"), 1, 2]
    results, ticks, error = run(ProcessExecutor(2), tasks)
    assert (set(results), ticks, error) == ({"once-die", "once-exit", 2, 4}, 4, None)


def test_a_task_that_kills_its_workers_is_set_aside(tmp_path):
    results, ticks, error = run(ProcessExecutor(2), [("die", tmp_path / "log"), 1, 2])
    assert (sorted(results), ticks, count_tries(tmp_path / "log")) == ([2, 4], 2, TRIES)
    assert isinstance(error, BackendError) and error.exit_code == 4
    assert "a worker process died (SIGKILL: killed, crashed, or out of memory)" in error.message


def test_a_task_that_hangs_is_stopped_and_tried_again(tmp_path):
    tasks = [("hang", tmp_path / "log"), ("once-hang", tmp_path / "once"), 1]
    results, ticks, error = run(choose_executor(ExecutorSettings(shard_timeout=0.4), 2, one_core=True), tasks)
    assert (set(results), ticks, count_tries(tmp_path / "log")) == ({"once-hang", 2}, 2, TRIES)
    assert "took longer than 0.4 s" in error.message and "--shard-timeout" in error.fix


def test_closing_the_results_ends_the_workers(tmp_path):
    results = ProcessExecutor(2).run(pid_setup, range(100), lambda _: None)
    workers = {next(results), next(results)}
    results.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_setup_is_called_once_per_worker(tmp_path):
    from functools import partial

    results = ProcessExecutor(2).run(partial(counted_setup, tmp_path), range(20), lambda _: None)
    assert len(list(results)) == 20
    assert len(list(tmp_path.iterdir())) <= 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_without_tasks_setup_is_not_called(executor):
    def never():
        raise AssertionError("loaded")

    assert list(executor.run(never, [], lambda _: None)) == []


def test_the_executor_follows_from_the_settings():
    assert isinstance(choose_executor(one_core=False), InProcessExecutor)
    assert choose_executor(one_core=True).count == count_cores()
    assert choose_executor(workers=3, one_core=False).count == 3
    limited = choose_executor(ExecutorSettings(shard_timeout=5), one_core=False)  # only another process can be stopped
    assert isinstance(limited, ProcessExecutor) and limited.count == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"executor": "slurm"}, "there is no such executor"),
        ({"address": "auto"}, "--address is for Ray alone"),
        ({"gpus_per_worker": 1}, "--gpus-per-worker is for Ray alone"),
        ({"executor": "ray", "gpus_per_worker": 1.5}, "neither a part of one GPU"),
        ({"executor": "ray", "gpus_per_worker": -1}, "neither a part of one GPU"),
        ({"shard_timeout": 0}, "must be greater than 0"),
    ],
    ids=["executor", "address", "gpus", "part", "negative", "timeout"],
)
def test_invalid_options_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        ExecutorSettings(**options)


SCRIPT = """
import sys
from pathlib import Path

import synthmir
from builder.corpus.card import card
from tests.builder import fakes

print("runs", flush=True)
card.draw_plots = lambda *_: []
fakes.register()
folder = Path(sys.argv[1])
synthmir.build(fakes.small_recipe(folder, per_genre=2), folder / "corpus", workers=2, progress=False)
"""


def test_a_script_needs_no_guard_around_its_calls(tmp_path):
    """Workers import neither the script, which would start workers of its own, nor what is registered there."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["runs"] and (tmp_path / "corpus/SHA256SUMS").exists()
