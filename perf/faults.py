"""Broken on purpose: a build and an embedding killed at drawn moments, and a disk that is full from each write on.

uv run perf/faults.py [--kills 50] [--clips 2000] [--writes 200] [--only kills|writes] [--quick] [--json FILE]

Kills: SIGKILL to the main process, a worker, or a node of a Ray cluster that is started here, half of the runs being
on it; after each death of the main process the same command. Writes: from the n-th call on that needs room every one
fails (tests/faults/shim.c, preloaded; a C compiler is needed), then there is room again and the same command goes on.
Each time the corpus must be that of an undisturbed run, to the byte.
"""

from __future__ import annotations

import argparse
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
    clock = time.monotonic()
    plan = Plan(folder, options.clips, options.kills, options.clips_per_shard, options.ray, seed=options.seed)
    found = disturb(plan, lambda words: print(f"{time.monotonic() - clock:7.0f} s  {words}", flush=True))
    told = vars(found) | {"clips": options.clips, "wall_seconds": round(time.monotonic() - clock)}
    told["equal"] = not found.differs and not found.faults
    print(f"\n{options.clips:,} clips built and embedded, {found.kills.total()} kills: "
          + ", ".join(f"{count} {name}" for name, count in sorted(found.kills.items())))  # fmt: skip
    print(f"{found.sessions} sessions, of which {found.given_up} gave up and said so; {told['wall_seconds']} s")
    print(f"equal corpus: {'yes' if told['equal'] else f'NO: {found.differs} {found.faults}'}")
    print(f"lost {found.lost}, doubled {found.doubled}")
    print(f"clips begun again {found.made_again}, embedded again {found.embedded_again}")
    return told


def writes(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The table of the writes."""
    told = after = damaged = other = 0
    calls: Counter[str] = Counter()
    with host(folder) as disturbed:
        numbers = range(1, options.writes + 1)
        for nth in numbers:
            outcome = disturbed.run(Fault(nth))
            clear = outcome.code == 3 and "make room" in outcome.words and "Traceback" not in outcome.words
            same = outcome.code_after == 0 and not outcome.differs
            told += clear
            after += same
            damaged += len(outcome.damaged)
            other += not outcome.refused
            calls[outcome.refused.partition(" ")[0]] += 1
            if not (clear and same):
                print(f"write {nth} ({outcome.refused}): exit {outcome.code}, then {outcome.code_after}")
                print(outcome.words, outcome.words_after, outcome.differs)
        count = disturbed.calls
    print(f"\ndisk full from write 1, 2, ... {options.writes} on, of {count:,} of a build and an embedding")
    print(f"clear errors {told} of {options.writes}; the same corpus after {after} of {options.writes}")
    print(f"damaged shards that could be seen {damaged}; runs in which nothing was refused {other}")
    print("refused: " + ", ".join(f"{count} {name}" for name, count in calls.most_common()))
    return {"writes": options.writes, "of": count, "clear": told, "same": after, "damaged": damaged, "refused": calls}


def of_kills(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of the results' table."""
    count = sum(told["kills"].values())
    which = ", ".join(f"{number} {name}" for name, number in sorted(told["kills"].items()))
    yield table.row("files that differ after the kills", "", len(told["differs"]), n=count, note=f"killed: {which}")
    for name in ("lost", "doubled"):
        yield table.row(f"clips {name}", f"of {told['clips']:,}", told[name], n=count)
    for name in ("made_again", "embedded_again"):
        yield table.row(
            f"clips {name.replace('_', ' ')}", f"of {told['clips']:,}", told[name], n=count, note="at most"
        )


def of_writes(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of the results' table."""
    names = {
        "clear": "disk full: clear errors",
        "same": "disk full: the same corpus after",
        "damaged": "damaged shards seen",
    }
    for key, name in names.items():
        yield table.row(name, f"of {told['writes']}", told[key], n=told["writes"])


LINES = {"kills": of_kills, "writes": of_writes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--clips-per-shard", type=int, default=25)
    parser.add_argument("--ray", type=float, default=0.5, help="share of the runs that are on a Ray cluster")
    parser.add_argument("--writes", type=int, default=200)
    parser.add_argument("--only", choices=("kills", "writes"))
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is killed")
    parser.add_argument("--quick", action="store_true", help="4 kills over 80 clips, 10 writes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.clips, options.clips_per_shard, options.writes = 4, 80, 8, 10
    found: dict[str, Any] = {}
    for name, run in (("writes", writes), ("kills", kills)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="synthmir-faults-") as folder:
                found[name] = run(Path(folder), options)
    print(f"\n{table.described()}")
    if options.json is not None:
        table.save(options.json, "faults", [line for name in found for line in LINES[name](found[name])], **found)
    broken = [("kills", "equal"), ("writes", "clear")]
    wanted = {"equal": True, "clear": options.writes}
    if any(name in found and found[name][key] != wanted[key] for name, key in broken):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
