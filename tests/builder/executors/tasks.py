"""What workers run in the tests of executors: a module that their processes import quickly."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from builder.errors import DataError, RecipeError


def setup():
    return work


def work(task, tick):
    """Double a number. `(failure, file)` fails in that way, and appends a line to the file at each try."""
    tick(1)
    if isinstance(task, int):
        return task * 2
    failure, file = task
    with Path(file).open("a") as log:
        log.write("tried\n")
    tries = Path(file).read_text().count("\n")
    if failure.startswith("once-"):
        if tries > 1:
            return failure
        failure = failure.removeprefix("once-")
    match failure:
        case "refuse":
            raise DataError("the shard is bad", "make it again")
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
    raise AssertionError(failure)


def count_tries(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


def no_setup():
    raise DataError("the weights are not there")


def dying_setup():
    os.kill(os.getpid(), signal.SIGKILL)


def pid_setup():
    return lambda task, tick: os.getpid()


def counted_setup(folder: Path):
    (folder / str(os.getpid())).touch(exist_ok=False)
    return setup()


def slow_setup():
    def worker(task, tick):
        for _ in range(10):
            time.sleep(0.15)
            tick(1)
        return 10

    return worker


def marked_setup(marks: Path):
    import ray

    def worker(task, tick):
        (marks / f"{task}-{ray.get_runtime_context().get_node_id()}-{time.time_ns()}").touch()
        time.sleep(1)
        tick(1)
        return task

    return worker
