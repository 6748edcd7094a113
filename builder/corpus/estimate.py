"""What a build will take, from a short timed probe on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from ..audio import encode_flac
from ..executors import cores
from ..recipe import Recipe
from .build import generator_for
from .plan import plan, shards

PROBE = 8  # clips


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


def estimate(recipe: Recipe, workers: int | None = None) -> Estimate:
    """Plan the recipe, make a few of its clips, and scale up. Writes nothing. Raises as `build` does."""
    clips = plan(recipe)
    generator = generator_for(recipe)
    generator.generate(clips[:1])  # the first call pays for caches
    some = clips[:PROBE]
    clock = monotonic()
    encoded = [encode_flac(audio, generator.sampling_rate) for audio in generator.generate(some)]
    seconds = (monotonic() - clock) / len(some)
    workers = workers or (cores() if generator.single_core else 1)
    return Estimate(
        clips=len(clips),
        prompts=len({clip.prompt.text for clip in clips}),
        shards=len(shards(clips)),
        audio_hours=len(clips) * recipe.generator.seconds / 3600,
        flac_bytes=sum(map(len, encoded)) * len(clips) // len(some),
        build_hours=seconds * len(clips) / workers / 3600,
        workers=workers,
    )
