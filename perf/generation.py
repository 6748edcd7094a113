"""The speed of both versions of the arranger: compose, render and encode clips.

uv run perf/generation.py [--quick] [--json FILE]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # measured on one core

import statistics
import time
from typing import Any

import table

from builder.audio import encode_flac
from builder.clip import Clip
from builder.corpus.building.plan import plan_clips
from builder.generators.base import GeneratorBackend, load_generator
from builder.recipe import Recipe

TARGET = 10.0  # clips/s on one core
WITH_STEMS = 5.0  # with annotations and stems


def measure_speed(generator: GeneratorBackend, clips: list[Clip]) -> tuple[float, float]:
    """Clips made in a second, from row to FLAC bytes: on the clock, and of processor time."""
    clock, busy = time.perf_counter(), time.process_time()
    for clip in clips:
        encode_flac(generator.generate([clip])[0], generator.sampling_rate)
    return len(clips) / (time.perf_counter() - clock), len(clips) / (time.process_time() - busy)


def measure_score_speed(generator: Any, clips: list[Clip]) -> float:
    """Clips made in a second of processor time with their annotations and stems, from row to FLAC bytes."""
    busy = time.process_time()
    for clip in clips:
        [(samples, stems)] = generator.generate_stems([clip])
        for sound in (samples, *stems.values()):
            encode_flac(sound, generator.sampling_rate)
        generator.annotate(clip).to_row()
    return len(clips) / (time.process_time() - busy)


def main() -> None:
    options = table.arguments(__doc__)
    recipes = {version: Recipe.load("demo").with_values({"generator.revision": version}) for version in ("2", "1")}
    recipe = recipes["2"]
    clips = plan_clips(recipe)
    more = plan_clips(recipe.with_values({"prompts.seed": 2}))  # other clips, whose notes are new too
    size, rounds = (30, 5) if options.quick else (100, 5)
    generators = {version: load_generator(one.generator, one.labels) for version, one in recipes.items()}
    first = {}
    for version, generator in generators.items():
        clock = time.perf_counter()
        generator.generate(clips[:1])
        first[version] = time.perf_counter() - clock
    # The versions take turns, so that what else the machine does slows both alike. New clips have new notes.
    speeds: dict[str, list[tuple[float, float]]] = {"2": [], "1": []}
    with_stems: dict[str, list[float]] = {"2": [], "1": []}
    for turn in range(rounds):
        for version, generator in generators.items():
            speeds[version].append(measure_speed(generator, clips[turn * size : (turn + 1) * size]))
            with_stems[version].append(measure_score_speed(generator, more[turn * size : (turn + 1) * size]))
    note = f"{size} new clips of {recipe.generator.seconds:g} s a round, 32 kHz mono, FLAC included"
    rows = []
    for version in ("2", "1"):
        clocks = [speed for speed, _ in speeds[version]]
        rows.append(
            table.row(
                f"arranger, version {version}, one core",
                "clips/s",
                statistics.median(clocks),
                TARGET,
                "target",
                rounds,
                f"{note}; no peer makes clips from prompts",
                (min(clocks) / TARGET, max(clocks) / TARGET),
            )
        )
    busy = {version: [speed for _, speed in speeds[version]] for version in speeds}
    name = "arranger, version 2 beside version 1"
    rows.append(table.paired(name, "clips/CPU s", busy["2"], busy["1"], "version 1", note))
    for version, found in with_stems.items():
        name, low_high = f"arranger, version {version}, with annotations and stems", (min(found), max(found))
        low, high = (speed / WITH_STEMS for speed in low_high)
        rows.append(
            table.row(name, "clips/CPU s", statistics.median(found), WITH_STEMS, "target", rounds, note, (low, high))
        )
    rows += [
        table.row(f"arranger, version {version}, first clip", "s", first[version], note="the sound font is read")
        for version in ("2", "1")
    ]
    table.finish("generation", rows, options)


if __name__ == "__main__":
    main()
