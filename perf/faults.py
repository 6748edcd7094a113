"""Broken on purpose: a build and an embedding killed at drawn moments, and a disk that is full from each write on.

uv run perf/faults.py [--kills 50] [--clips 2000] [--writes 200] [--only kills|writes|growth] [--quick] [--json FILE]

Kills: SIGKILL to the main process, a worker, or a node of a Ray cluster that is started here, half of the runs being
on it; after each death of the main process the same command. Writes: from the n-th call on that needs room every one
fails (tests/faults/shim.c, preloaded; a C compiler is needed), then there is room again and the same command resumes.
Each time the corpus must be that of an undisturbed run, to the byte. Growth: both, while as many clips again are added
to a corpus that is there, which must stay as it was for who reads it. With --only the figures of the others stay in
FILE, with the day that they are of.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.killed import Plan, disturb
from tests.faults.refused import Fault, host


def kills(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The table of the kills."""
    return killed(Plan(folder, options.clips, options.kills, options.clips_per_shard, options.ray, seed=options.seed))


def killed(plan: Plan) -> dict[str, Any]:
    """Run a plan, print the results, and return them."""
    clock = time.monotonic()
    result = disturb(plan, lambda words: print(f"{time.monotonic() - clock:7.0f} s  {words}", flush=True))
    report = vars(result) | {"clips": plan.clips, "wall_seconds": round(time.monotonic() - clock)}
    report["equal"] = not result.differs and not result.faults and not result.seen
    what = f"{plan.clips:,} clips " + ("added to as many" if plan.grow else "built and embedded")
    print(f"\n{what}, {result.kills.total()} kills: "
          + ", ".join(f"{count} {name}" for name, count in sorted(result.kills.items())))  # fmt: skip
    print(f"{result.sessions} sessions, of which {result.given_up} gave up and said so; {report['wall_seconds']} s")
    print(f"equal corpus: {'yes' if report['equal'] else f'NO: {result.differs} {result.faults} {result.seen}'}")
    print(f"lost {result.lost}, doubled {result.doubled}")
    print(f"clips begun again {result.made_again}, embedded again {result.embedded_again}")
    return report


def writes(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The table of the writes."""
    return refused(folder, options.writes)


def refused(folder: Path, count: int, grow: bool = False) -> dict[str, Any]:
    """What became of so many runs on a full disk: from each of the first writes on, with `grow` from some of all."""
    clear_errors = after = damaged = other = 0
    calls: Counter[str] = Counter()
    with host(folder, grow=grow) as disturbed:
        of = disturbed.calls
        numbers = [1 + number * of // count for number in range(count)] if grow else range(1, count + 1)
        for nth in numbers:
            outcome = disturbed.run(Fault(nth))
            clear = outcome.code == 3 and "make room" in outcome.words and "Traceback" not in outcome.words
            same = outcome.code_after == 0 and not outcome.differs
            clear_errors += clear
            after += same
            damaged += len(outcome.damaged) + len(outcome.seen)
            other += not outcome.refused
            calls[outcome.refused.partition(" ")[0]] += 1
            if not (clear and same) or outcome.seen:
                print(f"write {nth} ({outcome.refused}): exit {outcome.code}, then {outcome.code_after}")
                print(outcome.words, outcome.words_after, outcome.differs, outcome.seen)
    which = f"{count} of the {of:,} writes" if grow else f"write 1, 2, ... {count} on, of {of:,}"
    print(f"\ndisk full from {which} of {'an extension' if grow else 'a build'} and an embedding")
    print(f"clear errors {clear_errors} of {count}; the same corpus after {after} of {count}")
    print(f"damaged shards that could be seen {damaged}; runs in which nothing was refused {other}")
    print("refused: " + ", ".join(f"{count} {name}" for name, count in calls.most_common()))
    return {"writes": count, "of": of, "clear": clear_errors, "same": after, "damaged": damaged, "refused": calls}


def growth(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both tables, of a corpus that is extended."""
    made = {}
    for name in ("writes", "kills"):
        (folder / name).mkdir()
    made["writes"] = refused(folder / "writes", options.growth_writes, grow=True)
    clips, count = options.growth_clips, options.growth_kills
    plan = Plan(folder / "kills", clips, count, options.clips_per_shard, seed=options.seed, grow=True)
    return made | {"kills": killed(plan)}


def of_kills(report: dict[str, Any], of: str = "") -> Iterator[dict[str, Any]]:
    """The lines of the results' table."""
    count = sum(report["kills"].values())
    which = ", ".join(f"{number} {name}" for name, number in sorted(report["kills"].items()))
    yield table.row(
        f"{of}files that differ after the kills", "", len(report["differs"]), n=count, note=f"killed: {which}"
    )
    for name in ("lost", "doubled"):
        yield table.row(f"{of}clips {name}", f"of {report['clips']:,}", report[name], n=count)
    for name in ("made_again", "embedded_again"):
        yield table.row(
            f"{of}clips {name.replace('_', ' ')}", f"of {report['clips']:,}", report[name], n=count, note="at most"
        )


def of_writes(report: dict[str, Any], of: str = "") -> Iterator[dict[str, Any]]:
    """The lines of the results' table."""
    names = {
        "clear": "disk full: clear errors",
        "same": "disk full: the same corpus after",
        "damaged": "damaged shards seen",
    }
    for key, name in names.items():
        yield table.row(f"{of}{name}", f"of {report['writes']}", report[key], n=report["writes"])


def of_growth(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of the results' table."""
    growing = "a corpus that grows: "
    yield from of_writes(report["writes"], growing)
    yield from of_kills(report["kills"], growing)
    kills = report["kills"]
    yield table.row(f"{growing}faults seen by readers after a kill", "", len(kills["seen"]), n=kills["looks"])


LINES = {"writes": of_writes, "kills": of_kills, "growth": of_growth}


def kept(file: Path) -> dict[str, Any]:
    """The sections of a file that an earlier run wrote, each with the day that it is of."""
    if not file.exists():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    return {name: {"date": content["date"]} | content[name] for name in LINES if name in content}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--clips-per-shard", type=int, default=25)
    parser.add_argument("--ray", type=float, default=0.5, help="share of the runs that are on a Ray cluster")
    parser.add_argument("--writes", type=int, default=200)
    parser.add_argument("--only", choices=tuple(LINES))
    parser.add_argument("--growth-kills", type=int, default=30)
    parser.add_argument("--growth-clips", type=int, default=1000, help="that there are, and that are added")
    parser.add_argument("--growth-writes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is killed")
    parser.add_argument("--quick", action="store_true", help="4 kills over 80 clips, 10 writes, of each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.clips, options.clips_per_shard, options.writes = 4, 80, 8, 10
        options.growth_kills, options.growth_clips, options.growth_writes = 4, 80, 10
    results: dict[str, Any] = {}
    for name, run in (("writes", writes), ("kills", kills), ("growth", growth)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="synthmir-faults-") as folder:
                results[name] = run(Path(folder), options)
    print(f"\n{table.described()}")
    if options.json is not None:
        report = (kept(options.json) if options.only else {}) | results
        rows = [line for name in LINES if name in report for line in LINES[name](report[name])]
        table.save(options.json, "faults", rows, **report)
    if any(broken(name, report) for name, report in results.items()):
        raise SystemExit(1)


def broken(name: str, report: dict[str, Any]) -> bool:
    """Return whether anything was lost, or an error was not clear."""
    if name == "growth":
        return any(broken(part, report[part]) for part in ("writes", "kills"))
    if name == "kills":
        return not report["equal"]
    return (report["clear"], report["same"], report["damaged"]) != (report["writes"],) * 2 + (0,)


if __name__ == "__main__":
    main()
