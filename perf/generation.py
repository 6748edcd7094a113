"""The arranger's speed: compose, render and encode clips.

uv run perf/generation.py [--quick] [--json FILE]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # measured on one core

import statistics
import time

import table

from builder.audio import encode_flac
from builder.clip import Clip
from builder.corpus.building.plan import plan_clips
from builder.generators.base import GeneratorBackend, load_generator
from builder.recipe import Recipe

TARGET = 10.0  # clips/s on one core


def measure_speed(generator: GeneratorBackend, clips: list[Clip]) -> float:
    """Clips of ten seconds made in a second, from row to FLAC bytes."""
    clock = time.perf_counter()
    for clip in clips:
        encode_flac(generator.generate([clip])[0], generator.sampling_rate)
    return len(clips) / (time.perf_counter() - clock)


def main() -> None:
    options = table.arguments(__doc__)
    recipe = Recipe.load("demo")
    clips = plan_clips(recipe)
    size, rounds = (50, 5) if options.quick else (100, 5)
    generator = load_generator(recipe.generator, recipe.labels)
    clock = time.perf_counter()
    generator.generate(clips[:1])
    first = time.perf_counter() - clock
    speeds = [measure_speed(generator, clips[turn * size : (turn + 1) * size]) for turn in range(rounds)]
    rows = [
        table.row(
            "arranger, one core, FLAC included",
            "clips/s",
            statistics.median(speeds),
            TARGET,
            "target",
            rounds,
            f"{size} clips of {recipe.generator.seconds:g} s a round, 32 kHz mono; no peer makes clips from prompts",
            (min(speeds) / TARGET, max(speeds) / TARGET),
        ),
        table.row("arranger, first clip", "s", first, note="the sound font is read"),
    ]
    table.finish("generation", rows, options)


if __name__ == "__main__":
    main()
