"""A long run: many clips built and embedded, killed now and then, while memory, files, threads and speed are noted.

uv run perf/soak.py [--clips 20000] [--seconds 2] [--workers 2] [--kills 6] [--quick] [--out DIR] [--json FILE]

SIGKILL ends the main process at a drawn moment, and the same command resumes. Every second the whole tree of processes
is looked at. Growth is a straight line through a session's steady part, its first clips left out.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import table

ROOT = Path(__file__).parents[1]
RECIPE = "{{name: soak, prompts: {{total: {clips}}}, generator: {{name: arranger, seconds: {seconds}}}}}\n"
TARGET = 1.0  # MB of growth for 1,000 clips
WARM = 0.3  # of a session's clips that are not looked at: caches and sound fonts fill
LEAST = 20  # samples that a line is drawn through
BAR = re.compile(rb"(\d+)/(\d+)")


@dataclass
class Sample:
    """One look at a run's processes, together."""

    second: float  # since the start of all
    stage: str
    session: int  # one more after each kill
    clips: int  # done in the stage
    memory: float  # MB that each process has for itself: shares of libraries would change with other programs
    files: int  # open
    threads: int
    processes: int


def look(process: psutil.Process) -> tuple[float, int, int, int] | None:
    """Memory (MB), open files, threads and processes of a tree; None where it is gone."""
    memory, files, threads, count = 0.0, 0, 0, 0
    try:
        tree = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    for one in tree:
        try:
            memory += one.memory_full_info().uss / 1e6
            files += one.num_fds()
            threads += one.num_threads()
            count += 1
        except psutil.Error:
            continue
    return (memory, files, threads, count) if count else None


def clips_done(log: Path) -> int:
    """How far the bar of a run got, by what it wrote last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            found = BAR.findall(file.read())
    except OSError:
        return 0
    return int(found[-1][0]) if found else 0


def run(
    stage: str, command: list[str], clips: int, kills: list[float], started: float, samples: list[Sample], out: Path
) -> int:  # fmt: skip
    """One stage of so many clips to its end, killed at these shares of them; returns its sessions."""
    log, session = out / f"{stage}.log", 0
    waiting = sorted(kills)
    while True:
        with log.open("wb") as writing:
            process = subprocess.Popen(
                [sys.executable, "-m", "synthmir", *command], cwd=ROOT, stdout=writing, stderr=writing
            )
            watched = psutil.Process(process.pid)
            dead = False
            while process.poll() is None:
                time.sleep(1)
                if (usage := look(watched)) is not None:
                    done = clips_done(log)
                    samples.append(Sample(time.monotonic() - started, stage, session, done, *usage))
                    if waiting and done >= waiting[0] * clips:
                        waiting.pop(0)
                        children = watched.children(recursive=True)
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        dead = process.returncode == -signal.SIGKILL
                        psutil.wait_procs(children, timeout=60)  # orphans see that they are
        session += 1
        if not dead:
            if process.returncode:
                raise SystemExit(
                    f"{stage} failed with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}"
                )
            return session


def slopes(samples: list[Sample]) -> list[dict[str, Any]]:
    """Growth in each session's steady part: MB, files and threads for 1,000 clips, and clips a second."""
    rows = []
    for stage, session in sorted({(one.stage, one.session) for one in samples}):
        mine = [one for one in samples if (one.stage, one.session) == (stage, session) and one.clips]
        if not mine:
            continue
        first, last = mine[0].clips, mine[-1].clips
        steady = [one for one in mine if first + WARM * (last - first) <= one.clips < last]
        row: dict[str, Any] = {
            "stage": stage, "session": session, "clips": last - first,
            "seconds": round(mine[-1].second - mine[0].second, 1),
            "clips_per_second": round((last - first) / max(mine[-1].second - mine[0].second, 1e-9), 1),
            "samples": len(steady), "peak_mb": round(max(one.memory for one in mine), 1),
            "files": max(one.files for one in mine), "threads": max(one.threads for one in mine),
        }  # fmt: skip
        if len(steady) >= LEAST and len({one.clips for one in steady}) > 2:
            at = np.array([one.clips for one in steady]) / 1000
            kinds = {"memory_mb": "memory", "open_files": "files", "threads_more": "threads"}
            for name, kind in kinds.items():
                values = [getattr(one, kind) for one in steady]
                row[f"{name}_per_1000"] = round(float(np.polyfit(at, values, 1)[0]), 3)
        rows.append(row)
    return rows


def picture(samples: list[Sample], file: Path) -> None:
    """Memory, clips a second, open files and threads over the run."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, figsize=(9, 9), sharex=True, layout="constrained")
    for stage, session in sorted({(one.stage, one.session) for one in samples}):
        mine = [one for one in samples if (one.stage, one.session) == (stage, session)]
        seconds = np.array([one.second for one in mine])
        clips = np.array([one.clips for one in mine], float)
        width = max(1, min(30, len(mine) - 1))
        speed = (clips[width:] - clips[:-width]) / np.maximum(seconds[width:] - seconds[:-width], 1e-9)
        colour = "tab:blue" if stage == "build" else "tab:orange"
        for axis, values, at in (
            (axes[0], [one.memory for one in mine], seconds), (axes[1], speed, seconds[width:]),
            (axes[2], [one.files for one in mine], seconds), (axes[3], [one.threads for one in mine], seconds),
        ):  # fmt: skip
            axis.plot(at, values, color=colour, linewidth=1, label=stage if session == 0 else None)
        for axis in axes:
            axis.axvline(seconds[0], color="0.8", linewidth=0.8, zorder=0)
    for axis, name in zip(axes, ("memory, MB", "clips/s", "open files", "threads"), strict=True):
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    axes[0].set_title("A line: started again after SIGKILL", fontsize=9, loc="right")
    axes[-1].set_xlabel("seconds")
    figure.savefig(file)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a clip")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=6, help="over both stages")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--quick", action="store_true", help="200 clips of 1 s, one kill")
    parser.add_argument("--out", type=Path, help="default: a folder that is removed, the picture with it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.clips, options.seconds, options.kills = 200, 1.0, 1
    out = options.out or Path(tempfile.mkdtemp(prefix="synthmir-soak-"))
    out.mkdir(parents=True, exist_ok=True)
    recipe, corpus = out / "soak.yaml", out / "corpus"
    if corpus.exists():
        parser.error(f"{corpus}: is there already")
    recipe.write_text(RECIPE.format(clips=options.clips, seconds=options.seconds))
    chance = random.Random(options.seed)
    moments = [(chance.random() < 0.7, chance.uniform(0.1, 0.9)) for _ in range(options.kills)]
    samples: list[Sample] = []
    started = time.monotonic()
    sessions = run("build", ["build", str(recipe), "--out", str(corpus), "--workers", str(options.workers)],
                   options.clips, [at for early, at in moments if early], started, samples, out)  # fmt: skip
    sessions += run("embed", ["embed", str(corpus), "--embedder", "melstats"],
                    options.clips, [at for early, at in moments if not early], started, samples, out)  # fmt: skip
    wall = time.monotonic() - started
    verified = subprocess.run([sys.executable, "-m", "synthmir", "verify", str(corpus)], cwd=ROOT,
                              capture_output=True, text=True, check=False)  # fmt: skip
    with (out / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Sample.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(one) for one in samples)
    picture(samples, out / "soak.svg")
    rows = slopes(samples)
    names = {"stage": 6, "session": 8, "clips": 8, "seconds": 9, "samples": 8, "peak_mb": 9, "files": 6, "threads": 8,
             "memory_mb_per_1000": 19, "open_files_per_1000": 20, "threads_more_per_1000": 22}  # fmt: skip
    print("".join(f"{name:>{width}}" for name, width in names.items()))
    for row in rows:
        print("".join(f"{row.get(name, '-')!s:>{width}}" for name, width in names.items()))
    known = [row for row in rows if "memory_mb_per_1000" in row]
    longest = max(known, key=lambda row: row["clips"], default=None)
    lasting = "no session was long enough for a line"
    if longest is not None:
        slope = longest["memory_mb_per_1000"]
        lasting = f"in the longest session {slope:+.3f} MB for 1,000 clips (to be under {TARGET:g})"
    print(
        f"\n{options.clips:,} clips of {options.seconds:g} s, built and embedded in {wall:.0f} s, {sessions} sessions"
    )
    print(lasting)
    print(f"verify: {verified.stdout.strip() or verified.stderr.strip()}")
    print(table.described())
    lines = [
        table.row(f"{stage}: {what}", unit, max(known_of, key=lambda one: one["clips"])[key], n=options.clips,
                  note=f"the longest of {sum(one['stage'] == stage for one in rows)} sessions, all but one killed")
        for stage in ("build", "embed")
        if (known_of := [one for one in known if one["stage"] == stage])
        for what, unit, key in (
            ("growth of memory", "MB in 1,000 clips", "memory_mb_per_1000"),
            ("growth of open files", "in 1,000 clips", "open_files_per_1000"),
            ("growth of threads", "in 1,000 clips", "threads_more_per_1000"),
            ("most memory, all processes", "MB", "peak_mb"),
            ("speed", "clips/s", "clips_per_second"),
        )
    ]  # fmt: skip
    table.save(
        out / "soak.json", "soak", lines, clips=options.clips, clip_seconds=options.seconds, workers=options.workers,
        kills=options.kills, wall_seconds=round(wall), sessions=rows, verified=verified.returncode == 0,
    )  # fmt: skip
    if options.json is not None:
        shutil.copy(out / "soak.json", options.json)
    if options.out is None:
        shutil.rmtree(out)
    else:
        print(f"{out / 'soak.svg'}  {out / 'soak.json'}  {out / 'samples.csv'}")
    raise SystemExit(verified.returncode)


if __name__ == "__main__":
    main()
