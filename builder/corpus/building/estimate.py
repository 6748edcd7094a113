"""What a build will take, from a short timed probe on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from ...audio import encode_flac
from ...clip import Clip
from ...executors import count_cores
from ...generators.base import GeneratorBackend
from ...recipe import Recipe
from ..corpus import Corpus
from .build import load_recipe_generator
from .plan import cut_shards, plan_clips
from .quality import inspect_clip
from .resume import plan_addition

BUDGET = 60.0  # seconds of work that the probe is measured out for
STEP = 4  # times as many clips are tried next
SHORT = 1.0  # seconds: the length of clip that it begins with


@dataclass(frozen=True, slots=True)
class Sample:
    """Clips that were made, judged and encoded as a build does it."""

    clips: int
    seconds: float  # of each
    took: float  # seconds, for all
    flac_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A build on paper. Times and bytes are the probe's, scaled."""

    clips: int
    prompts: int  # distinct
    shards: int
    audio_hours: float
    flac_bytes: int
    build_hours: float
    workers: int
    probe: str  # in words: what was made for it, and how that was scaled


def estimate_build(recipe: Recipe, workers: int | None = None, corpus: Path | None = None) -> Estimate:
    """Plan the recipe, make a few of its clips, and scale up; of a `corpus` to extend, those that it lacks.

    Writes nothing. Raises as `build` does.
    """
    if corpus is None:
        shards = cut_shards(plan_clips(recipe))
    else:
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
        probe=_told(samples, length, _batch(generator, clips)),
    )


def time_probe(generator: GeneratorBackend, clips: Sequence[Clip], recipe: Recipe) -> list[Sample]:
    """A full batch at its full length; where that would take over a minute, at three lengths as near to it as may be.

    Where not even a batch of one second ends in time, fewer clips.
    """
    length, batch = recipe.generator.seconds, _batch(generator, clips)
    _sample(generator, clips[:1], SHORT, recipe)  # the first call pays for what is set up once
    short = _sample(generator, clips[:1], SHORT, recipe)
    while (more := min(batch, STEP * short.clips)) > short.clips and short.took * more / short.clips < BUDGET / 2:
        short = _sample(generator, clips[:more], SHORT, recipe)
    some = clips[: short.clips]
    # A longer clip takes more in proportion, as each step attends to all before it, but not by the square.
    reach = min(length, SHORT * (BUDGET / short.took) ** (2 / 3))
    if reach == length:
        whole = _sample(generator, some, length, recipe)
        if generator.single_core or whole.took > BUDGET / 4:
            return [whole]
        return [_sample(generator, some, length, recipe)]  # again: a GPU's graphs of this length are there now
    if reach < 2 * SHORT:
        return [short]
    return [short, *(_sample(generator, some, round(far, 1), recipe) for far in ((SHORT + reach) / 2, reach))]


def scale_seconds(samples: Sequence[Sample], length: float) -> float:
    """Seconds that the samples' clips would take at `length`: a part once, one by length and one by its square."""
    if len(samples) == 1:
        return samples[0].took * length / samples[0].seconds
    from scipy.optimize import nnls

    far, took = (np.array([getattr(sample, key) for sample in samples]) for key in ("seconds", "took"))
    shares, _ = nnls(np.stack([far**0, far, far**2], axis=1) / took[:, None], np.ones(len(far)))
    return float(shares @ [1.0, length, length**2])


def _sample(generator: GeneratorBackend, clips: Sequence[Clip], length: float, recipe: Recipe) -> Sample:
    settings, limits, rate = recipe.generator, recipe.quality, generator.sampling_rate
    generator.seconds = length
    clock = monotonic()
    size = 0
    for clip, sound in zip(clips, generator.generate(clips), strict=True):
        inspect_clip(clip, sound, rate, length, limits, 1, settings.channels)
        size += len(encode_flac(sound, rate))
    generator.seconds = settings.seconds
    return Sample(len(clips), len(sound) / rate, max(monotonic() - clock, 1e-6), size)


def _batch(generator: GeneratorBackend, clips: Sequence[Clip]) -> int:
    """How many clips a build makes together."""
    return min(getattr(generator, "batch_size", generator.rows_at_once), len(clips))


def _told(samples: Sequence[Sample], length: float, batch: int) -> str:
    longest = samples[-1]
    words = f"{longest.clips} clip(s) of {longest.seconds:g} s made in {longest.took:.1f} s"
    if longest.seconds != length:
        others = [f"{sample.seconds:g}" for sample in samples[:-1]]
        words += f", scaled to {length:g} s" + (f" by {' and '.join(others)} s too" if others else " in proportion")
    if longest.clips < batch:
        words += f"; a build makes {batch} at once, which is no slower"
    return words
