"""Recipe -> the table of clips, and how it is cut into shards. Nothing here depends on machine, order or time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RecipeError
from ..prompts import make_prompts
from ..recipe import Recipe
from ..rows import Clip, Prompt

SPLITS = ("train", "validation")
TARGET_SHARDS = 256
MIN_SHARD, MAX_SHARD = 64, 1024  # clips: little to lose when a run dies; at most ~500 MB of FLAC


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a split: the clips of one Parquet file."""

    split: str
    index: int
    total: int  # shards in the split
    clips: tuple[Clip, ...]

    @property
    def file(self) -> str:
        """The file's name, the same in every config: "train-00000-of-00008.parquet"."""
        return f"{self.split}-{self.index:05d}-of-{self.total:05d}.parquet"

    @property
    def name(self) -> str:
        """The file within the corpus folder."""
        return f"data/{self.file}"


def digest(*parts: object) -> int:
    """A 63-bit number that depends on the parts alone, on every machine and Python."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def plan(recipe: Recipe) -> list[Clip]:
    """Every clip of the corpus, in its order there: splits one after the other, genres mixed within each.

    Clips of one description share a `prompt_group` and a split; the splits are drawn genre by genre, so that
    validation holds its share of each. Raises RecipeError.
    """
    by_genre: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in make_prompts(recipe):
        by_genre[prompt.genre].append(prompt)
    clips = []
    for genre, prompts in by_genre.items():
        groups = [f"{digest('group', prompt.description):016x}" for prompt in prompts]
        held_out = _validation_groups(genre, groups, recipe)
        for index, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
            tail = f"{digest(recipe.name, genre, index, prompt.text):016x}"[-8:]
            clips.append(
                Clip(
                    id=f"{genre.replace(' ', '-')}-{index:06d}-{tail}",
                    prompt=prompt,
                    prompt_group=group,
                    seed=digest("seed", recipe.prompts.seed, genre, index),
                    split="validation" if group in held_out else "train",
                )
            )
    return sorted(clips, key=lambda clip: (SPLITS.index(clip.split), digest("order", clip.id)))


def _validation_groups(genre: str, groups: Sequence[str], recipe: Recipe) -> set[str]:
    """The groups of a genre that are held out: whole groups in a drawn order until the share of clips is reached."""
    size: dict[str, int] = defaultdict(int)
    for group in groups:
        size[group] += 1
    if len(size) < 2:
        raise RecipeError(
            f"genre {genre!r}: {len(groups)} clip(s) of one description cannot be divided into train and validation",
            "ask for more clips, or give the genre more descriptions",
        )
    wanted = max(1, round(recipe.split.validation * len(groups)))
    held_out: set[str] = set()
    for group in sorted(size, key=lambda name: digest("split", recipe.split.seed, name)):
        if wanted <= 0 or len(held_out) == len(size) - 1:
            break
        held_out.add(group)
        wanted -= size[group]
    return held_out


def shards(clips: Sequence[Clip], clips_per_shard: int | None = None) -> list[Shard]:
    """The clips cut into shards of at most `clips_per_shard`: by default about 256 files, of 64 to 1,024 clips."""
    size = clips_per_shard or min(MAX_SHARD, max(MIN_SHARD, -(-len(clips) // TARGET_SHARDS)))
    parts = []
    for split in SPLITS:
        rows = [clip for clip in clips if clip.split == split]
        total = -(-len(rows) // size)
        parts += [Shard(split, index, total, tuple(rows[index * size : (index + 1) * size])) for index in range(total)]
    return parts
