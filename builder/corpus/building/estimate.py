"""Estimate the time and size of a build, from a few clips that are made on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...audio import encode_flac
from ...clip import Clip
from ...executors import count_cores
from ...generators.base import GeneratorBackend, check_generated_configs
from ...recipe import Recipe
from ..corpus import Corpus
from .plan import cut_shards, plan_clips
from .quality import generate_stems, inspect_clip
from .resume import match_version, plan_addition
from .score_configs import annotate_clips, make_stem_rows
from .shard_builder import load_recipe_generator

BUDGET = 60.0  # seconds that the probe may take, about
STEP = 4  # factor of clips between two trials
SHORT = 1.0  # seconds: length of the first clips


@dataclass(frozen=True, slots=True)
class Sample:
    """Clips that were made, checked and encoded as in a build.

    Attributes:
        clips: Their number.
        seconds: Length of each.
        took: Seconds that all of them took.
        flac_bytes: Size of all of them.
        score_bytes: Size of their annotations and stems, where the recipe asks for them.
    """

    clips: int
    seconds: float
    took: float
    flac_bytes: int
    score_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated size and time of a build.

    Attributes:
        clips: Planned clips.
        prompts: Distinct prompts.
        shards: Parquet files.
        audio_hours: Length of all clips.
        flac_bytes: Size of all clips, scaled from the probe.
        build_hours: Time that all workers take, scaled from the probe.
        workers: Number of workers.
        score_bytes: Size of the annotations and stems, scaled from the probe.
        probe: Description of the clips that were made for the estimate, and of how they were scaled.
    """

    clips: int
    prompts: int
    shards: int
    audio_hours: float
    flac_bytes: int
    build_hours: float
    workers: int
    score_bytes: int
    probe: str


def estimate_build(recipe: Recipe, workers: int | None = None, corpus: Path | None = None) -> Estimate:
    """Estimate a build: plan the recipe, make a few of its clips, and scale up. Writes nothing.

    Args:
        recipe: The recipe.
        workers: Number of workers. Default: as `build` chooses.
        corpus: A finished corpus to extend, whose missing clips are estimated.

    Raises:
        RecipeError: The recipe cannot be planned.
        BackendError: The generator is not available.
        DataError: The recipe cannot extend the corpus.
    """
    check_generated_configs(recipe)
    if corpus is None:
        shards = cut_shards(plan_clips(recipe))
    else:
        recipe = match_version(recipe, Corpus.open(corpus).root)
        shards = plan_addition(recipe, Corpus.open(corpus), None)[-1].shards
    clips = [clip for shard in shards for clip in shard.clips]
    generator = load_recipe_generator(recipe)
    workers = workers or (count_cores() if generator.single_core else 1)
    samples = time_probe(generator, clips, recipe)
    longest, length = samples[-1], recipe.generator.seconds
    return Estimate(
        clips=len(clips),
        prompts=len({clip.prompt.text for clip in clips}),
        shards=len(shards),
        audio_hours=len(clips) * length / 3600,
        flac_bytes=round(longest.flac_bytes / longest.clips * length / longest.seconds * len(clips)),
        build_hours=scale_seconds(samples, length) / longest.clips * len(clips) / workers / 3600,
        workers=workers,
        score_bytes=round(longest.score_bytes / longest.clips * length / longest.seconds * len(clips)),
        probe=_describe_probe(samples, length, _batch_size(generator, clips)),
    )


def time_probe(generator: GeneratorBackend, clips: Sequence[Clip], recipe: Recipe) -> list[Sample]:
    """Time a batch of clips at full length, or at three shorter lengths where that would take over a minute.

    Where a batch of one second takes too long as well, fewer clips are made.

    Args:
        generator: The generator of the recipe.
        clips: Planned clips, at least one. The first of them are made, as many as a build makes at a time.
        recipe: The recipe, which states the length of a clip.

    Returns:
        One sample at full length, or samples at up to three lengths in seconds, shortest first.
    """
    length, batch = recipe.generator.seconds, _batch_size(generator, clips)
    _time_clips(generator, clips[:1], SHORT, recipe)  # the first call includes the set-up
    short = _time_clips(generator, clips[:1], SHORT, recipe)
    while (more := min(batch, STEP * short.clips)) > short.clips and short.took * more / short.clips < BUDGET / 2:
        short = _time_clips(generator, clips[:more], SHORT, recipe)
    some = clips[: short.clips]
    # Longer clips take more than in proportion, as each step attends to all earlier ones, but less than by the square.
    reach = min(length, SHORT * (BUDGET / short.took) ** (2 / 3))
    if reach == length:
        whole = _time_clips(generator, some, length, recipe)
        if generator.single_core or whole.took > BUDGET / 4:
            return [whole]
        return [_time_clips(generator, some, length, recipe)]  # again: the graphs of a GPU for this length exist now
    if reach < 2 * SHORT:
        return [short]
    return [short, *(_time_clips(generator, some, round(far, 1), recipe) for far in ((SHORT + reach) / 2, reach))]


def scale_seconds(samples: Sequence[Sample], length: float) -> float:
    """Seconds that the clips of the samples would take at another length: constant, linear and quadratic parts."""
    if len(samples) == 1:
        return samples[0].took * length / samples[0].seconds
    from scipy.optimize import nnls

    far, took = (np.array([getattr(sample, key) for sample in samples]) for key in ("seconds", "took"))
    shares, _ = nnls(np.stack([far**0, far, far**2], axis=1) / took[:, None], np.ones(len(far)))
    return float(shares @ [1.0, length, length**2])


def _time_clips(generator: GeneratorBackend, clips: Sequence[Clip], length: float, recipe: Recipe) -> Sample:
    limits, rate = recipe.quality, generator.sampling_rate
    generator.seconds = length
    clock = monotonic()
    size = beside = 0
    made = generate_stems(generator, clips) if recipe.stems else [(sound, {}) for sound in generator.generate(clips)]
    for clip, (sound, stems) in zip(clips, made, strict=True):
        take = replace(inspect_clip(clip, sound, rate, length, limits, 1, recipe.channels), stems=stems)
        size += len(encode_flac(sound, rate))
        beside += sum(len(row["audio"]["bytes"]) for row in make_stem_rows(take, rate)) if stems else 0
    if recipe.annotations:
        table, file = pa.Table.from_pylist(annotate_clips(generator, clips)), pa.BufferOutputStream()
        pq.write_table(table, file)
        beside += file.getvalue().size
    generator.seconds = recipe.generator.seconds
    return Sample(len(clips), len(sound) / rate, max(monotonic() - clock, 1e-6), size, beside)


def _batch_size(generator: GeneratorBackend, clips: Sequence[Clip]) -> int:
    """How many clips a build makes at a time."""
    return min(getattr(generator, "batch_size", generator.rows_at_once), len(clips))


def _describe_probe(samples: Sequence[Sample], length: float, batch: int) -> str:
    longest = samples[-1]
    text = f"{longest.clips} clip(s) of {longest.seconds:g} s made in {longest.took:.1f} s"
    if longest.seconds != length:
        others = [f"{sample.seconds:g}" for sample in samples[:-1]]
        text += f", scaled to {length:g} s" + (f" by {' and '.join(others)} s too" if others else " in proportion")
    if longest.clips < batch:
        text += f"; a build makes {batch} at a time, which is not slower"
    return text
