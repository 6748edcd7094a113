"""Damaged files for every reader: none may crash, hang, fill the memory, write elsewhere or run anything.

uv run perf/fuzz.py [--inputs 100000] [--seconds N] [--jobs 2] [--only WORD] [--first N] [--keep DIR] [--json FILE]

Each input is made by its number, so that it comes again: `--only "audio, FLAC" --first 4711 --inputs 1`. What fails is
kept with its files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.hostile_readers import READERS
from tests.faults.hostile_runs import Outcome, damaged, seeds, serve

HANG = 5.0  # seconds that an input may take
START = 120.0  # seconds that a worker may take to begin
MEMORY = 1 << 30  # bytes
BATCH = 50
FAILED = ("crash", "hang", "died", "outside", "ran", "memory")


@dataclass
class Tally:
    """What became of one reader's inputs."""

    kinds: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    memory: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)


class Worker:
    """A process that reads, replaced when it dies or hangs."""

    def __init__(self, sandbox: Path) -> None:
        self.sandbox = sandbox
        self.task: tuple[int, int, int] | None = None
        self._start()

    def _start(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.pipe: Connection = ours
        self.process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, self.sandbox), daemon=True
        )
        self.process.start()
        theirs.close()
        self.last_message = time.monotonic()
        self.began = False

    def give(self, task: tuple[int, int, int]) -> None:
        self.task, self.last_message, self.began = task, time.monotonic(), False
        self.pipe.send(task)

    def overdue(self) -> bool:
        return time.monotonic() - self.last_message > (HANG + 1 if self.began else START)

    def again(self) -> None:
        """End the process, and give a new one what was left of its batch."""
        self.process.kill()
        self.process.join()
        task = self.task
        self._start()
        if task is not None and task[1] < task[2]:
            self.give(task)
        else:
            self.task = None

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def run(options: argparse.Namespace, folder: Path) -> dict[str, Tally]:
    """All inputs, by so many workers."""
    chosen = [(place, one) for place, one in enumerate(READERS) if options.only in one.name]
    total = sum(one.weight for _, one in chosen)
    left = [[place, options.first, options.first + -(-options.inputs * one.weight // total)] for place, one in chosen]
    tallies = {one.name: Tally() for _, one in chosen}
    workers = [Worker(folder / f"worker-{number}") for number in range(options.jobs)]
    until = time.monotonic() + options.seconds
    done, shown = 0, time.monotonic()

    def settle(worker: Worker, outcome: Outcome) -> None:
        nonlocal done
        tally = tallies[outcome.reader]
        if outcome.kind in ("accepted", "refused") and outcome.seconds > HANG:
            outcome.kind, outcome.message = "hang", f"{outcome.seconds:.1f} s; {outcome.message}"
        if outcome.kind in ("accepted", "refused") and outcome.memory > MEMORY:
            outcome.kind, outcome.message = "memory", f"{outcome.memory >> 20} MiB; {outcome.message}"
        tally.kinds[outcome.kind] += 1
        tally.worst, tally.memory = max(tally.worst, outcome.seconds), max(tally.memory, outcome.memory)
        done += 1
        if outcome.kind in FAILED:
            name = f"{outcome.reader}-{outcome.number}".replace(" ", "-").replace(",", "").replace(":", "")
            tally.failures.append({"number": outcome.number, "kind": outcome.kind, "message": outcome.message[-1500:]})
            if len(tally.failures) <= options.most:
                reader = next(one for one in READERS if one.name == outcome.reader)
                damaged(reader, seeds(worker.sandbox, reader), options.keep / name, outcome.number)
                (options.keep / f"{name}.txt").write_text(outcome.message)

    try:
        while any(worker.task for worker in workers) or any(first < last for _, first, last in left):
            for worker in workers:
                if worker.task is None and time.monotonic() < until:
                    for part in sorted(left, key=lambda part: part[1] - part[2]):
                        if part[1] < part[2]:
                            worker.give((part[0], part[1], min(part[1] + BATCH, part[2])))
                            part[1] = min(part[1] + BATCH, part[2])
                            break
            if not any(worker.task for worker in workers):
                break
            ready = wait([worker.pipe for worker in workers], 0.5)
            for worker in workers:
                if worker.pipe in ready:
                    try:
                        outcome = worker.pipe.recv()
                    except (EOFError, OSError):
                        outcome = "died"
                    if outcome == "ready":
                        worker.last_message, worker.began = time.monotonic(), True
                    elif isinstance(outcome, str) and outcome != "died":
                        raise SystemExit(outcome)
                    elif outcome == "died":
                        worker.process.join()
                        if worker.task is not None:
                            place, number, last = worker.task
                            code = worker.process.exitcode
                            worker.task = (place, number + 1, last)
                            settle(worker, Outcome(READERS[place].name, number, "died", f"ended with {code}"))
                        worker.again()
                    elif outcome is None:
                        worker.task = None
                    else:
                        worker.last_message = time.monotonic()
                        if worker.task is not None:
                            worker.task = (worker.task[0], outcome.number + 1, worker.task[2])
                        settle(worker, outcome)
                elif worker.task is not None and worker.overdue():
                    place, number, last = worker.task
                    worker.task = (place, number + 1, last)
                    settle(
                        worker,
                        Outcome(READERS[place].name, number, "hang", "killed", time.monotonic() - worker.last_message),
                    )
                    worker.again()
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                print(f"{done:,} of {options.inputs:,}", file=sys.stderr, flush=True)
    finally:
        for worker in workers:
            worker.end()
    return tallies


def show(tallies: dict[str, Tally]) -> list[dict[str, Any]]:
    """The table, a line a reader."""
    rows, columns = [], ("inputs", "accepted", "refused", *FAILED)
    print(f"{'reader':<30}" + "".join(f"{name:>10}" for name in columns) + f"{'worst s':>10}{'peak MiB':>10}")
    for name, tally in [*tallies.items(), ("all", None)]:
        if tally is None:
            tally = Tally(sum((one.kinds for one in tallies.values()), Counter()),
                          max(one.worst for one in tallies.values()),
                          max(one.memory for one in tallies.values()))  # fmt: skip
        numbers = {"inputs": tally.kinds.total(), **{kind: tally.kinds[kind] for kind in columns[1:]}}
        rows.append({"reader": name, **numbers, "worst_seconds": round(tally.worst, 3), "peak_bytes": tally.memory})
        print(
            f"{name:<30}"
            + "".join(f"{numbers[kind]:>10,}" for kind in columns)
            + f"{tally.worst:>10.2f}{tally.memory >> 20:>10,}"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no new input after so long")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--first", type=int, default=0, help="the first input's number")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "synthmir-fuzz", help="for failures"
    )
    parser.add_argument("--most", type=int, default=5, help="failures kept of a reader")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    clock = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        tallies = run(options, Path(place))
    seconds = time.monotonic() - clock
    rows = show(tallies)
    failed = sum(rows[-1][kind] for kind in FAILED)
    print(
        f"\n{rows[-1]['inputs']:,} inputs in {seconds:.0f} s by {options.jobs} workers; {failed} failed; "
        f"{table.described()}"
    )
    for name, tally in tallies.items():
        last_lines = {failure["message"].strip().splitlines()[-1]: failure for failure in tally.failures}
        for line, failure in last_lines.items():
            print(f"- {name} {failure['number']}, {failure['kind']}: {line[:200]}")
    if failed:
        print(f"kept in {options.keep}")
    if options.json is not None:
        lines = [
            table.row(
                one["reader"], "failed", sum(one[kind] for kind in FAILED), n=one["inputs"],
                note=f"{one['accepted']:,} accepted, {one['refused']:,} refused; at most {one['worst_seconds']:.2f} s "
                f"and {one['peak_bytes'] >> 20} MiB above rest",
            )
            for one in rows
        ]  # fmt: skip
        failures = {name: tally.failures for name, tally in tallies.items() if tally.failures}
        table.save(options.json, "fuzz", lines, seconds=round(seconds), jobs=options.jobs, failures=failures)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
