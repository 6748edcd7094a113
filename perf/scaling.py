"""Several workers, here or on Ray: clips a second beside one worker, and what the engine itself costs.

uv run perf/scaling.py [--quick] [--json FILE]
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import table

from builder.configs import AUDIO
from builder.corpus.building.build import build
from builder.corpus.building.extend import make_part
from builder.corpus.building.plan import plan_clips
from builder.corpus.building.shard_builder import ShardBuilder, ShardTask
from builder.corpus.schema import DETAILS, audio_features
from builder.executors import Executor, ExecutorSettings, Tick, Worker, choose_executor
from builder.recipe import Recipe

RECIPE = "{{name: scaling, prompts: {{per_genre: {per_genre}}}, generator: {{name: arranger, seconds: 10}}}}"
CLIPS_PER_SHARD = 64
RAY = ExecutorSettings("ray")
Side = tuple[int, ExecutorSettings | None]  # workers, and where


def recipe(folder: Path, per_genre: int) -> Recipe:
    """A recipe file of so many clips a genre."""
    path = folder / f"{per_genre}.yaml"
    path.write_text(RECIPE.format(per_genre=per_genre))
    return Recipe.load(path)


def seconds(chosen: Recipe, out: Path, side: Side) -> float:
    """Seconds until the last clip is made, starting the workers included; Ray runs already. The card is not in it."""
    ended = clock = time.perf_counter()

    def report(done: int, total: int) -> None:
        nonlocal ended
        ended = time.perf_counter()

    build(chosen, out, workers=side[0], scale=side[1], clips_per_shard=CLIPS_PER_SHARD, progress=report)
    shutil.rmtree(out)
    return ended - clock


def throughput(folder: Path, per_genre: int, rounds: int) -> list[dict[str, Any]]:
    """Interleaved rounds of three ways to make the same corpus."""
    chosen = recipe(folder, per_genre)
    sides: dict[str, Side] = {
        "1 worker": (1, None),
        "2 workers": (2, None),
        "2 workers on Ray": (2, RAY),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(5 * per_genre / seconds(chosen, folder / "corpus", side))
    one, two, ray = found.values()
    return [
        table.paired("build, 2 workers", "clips/s", two, one, "1 worker", "start of workers included"),
        table.paired("build, Ray, 2 workers", "clips/s", ray, one, "1 worker", "start of workers included"),
        table.paired("build, Ray, 2 workers", "clips/s", ray, two, "2 local workers"),
    ]


class Timed:
    """A shard builder that measures how long it worked."""

    def __init__(self, *options: Any) -> None:
        self.make = ShardBuilder(*options)

    def __call__(self, shard: Any, tick: Tick) -> float:
        """Seconds that one shard took."""
        clock = time.perf_counter()
        self.make(shard, tick)
        return time.perf_counter() - clock


def overhead(folder: Path, per_genre: int, rounds: int) -> list[dict[str, Any]]:
    """Share of a steady worker's time that is not work: handing a shard out, progress, taking the result.

    One worker, from its first result to its last: no start is in it, and nothing else wants the core.
    """
    chosen = recipe(folder, per_genre)
    part = make_part(chosen, plan_clips(chosen), CLIPS_PER_SHARD)
    sides = {"this process": choose_executor(workers=1, one_core=True), "a process": _one_process(), "Ray": _on_ray()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, executor in sides.items():
            place = folder / "shards"
            place.mkdir()
            schemas = {AUDIO: audio_features(part.labels).arrow_schema}
            made_by, places = place / "generator.json", {AUDIO: place}
            setup: Any = partial(Timed, chosen, part.labels, schemas, part.fingerprint, made_by, places, DETAILS)
            found[name].append(_idle_share(executor, setup, [ShardTask(shard, (AUDIO,)) for shard in part.shards]))
            shutil.rmtree(place)
    return [
        table.row(
            f"engine's own time, {name}",
            "% of the work",
            100 * statistics.median(shares),
            n=rounds,
            note=f"{CLIPS_PER_SHARD} clips a shard, worst of the rounds {100 * max(shares):.2f}",
        )
        for name, shares in found.items()
    ]


def _one_process() -> Executor:
    return choose_executor(
        ExecutorSettings(shard_timeout=3600), 1, one_core=True
    )  # a limit needs a process of its own


def _on_ray() -> Executor:
    return choose_executor(RAY, 1, one_core=True)


def _idle_share(executor: Executor, setup: Any, shards: Any) -> float:
    begun, worked = 0.0, 0.0
    for took in executor.run(setup, shards, lambda _: None):
        if begun:
            worked += took
        else:
            begun = time.perf_counter()
        ended = time.perf_counter()
    return (ended - begun) / worked - 1


def nothing() -> Worker:
    """A worker that does nothing."""
    return lambda task, tick: tick(1)


def empty_tasks(count: int) -> list[dict[str, Any]]:
    """Milliseconds a task where there is no work at all."""
    rows = []
    for name, executor in {"a process": _one_process(), "Ray": _on_ray()}.items():
        results = executor.run(nothing, range(count + 1), lambda _: None)
        next(results)
        clock = time.perf_counter()
        for _ in results:
            pass
        took = 1000 * (time.perf_counter() - clock) / count
        rows.append(table.row(f"an empty task, {name}", "ms", took, n=count, note="there and back, one worker"))
    return rows


def main() -> None:
    """Measure and print."""
    options = table.arguments(__doc__)
    per_genre, rounds = (40, 1) if options.quick else (256, 3)
    _on_ray()  # started before any clock
    with tempfile.TemporaryDirectory() as folder:
        rows = throughput(Path(folder), per_genre, rounds)
        rows += overhead(Path(folder), per_genre, rounds)
        rows += empty_tasks(200)
    table.finish("scaling", rows, options)


if __name__ == "__main__":
    main()
