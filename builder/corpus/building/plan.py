"""Plan the clips of a recipe, and cut them into shards. The plan depends on the recipe alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ...clip import Clip, Prompt
from ...configs import AUDIO
from ...errors import RecipeError
from ...prompts import make_prompts
from ...recipe import Recipe

SPLITS = ("train", "validation")
TARGET_SHARDS = 256
MIN_SHARD, MAX_SHARD = 64, 1024  # clips: little is lost when a run dies; at most about 500 MB of FLAC
MAX_GROWTH_SHARD = 2048  # of an extension, so that 10 million clips fit in one folder in small steps too


@dataclass(frozen=True, slots=True)
class Shard:
    """The clips of one Parquet file.

    Attributes:
        split: "train" or "validation".
        index: Number of the shard in its split and part.
        total: Shards of its split and part.
        clips: The clips.
        part: 0 for the first part of a corpus, 1, 2, ... for extensions.
    """

    split: str
    index: int
    total: int
    clips: tuple[Clip, ...]
    part: int = 0

    @property
    def file(self) -> str:
        """File name, the same in every config: "train-00000-of-00008.parquet", in part 1 "train-p01-00000-of-..."."""
        part = f"p{self.part:02d}-" if self.part else ""
        return f"{self.split}-{part}{self.index:05d}-of-{self.total:05d}.parquet"

    @property
    def name(self) -> str:
        """File of the audio, relative to the corpus folder."""
        return self.path_in(AUDIO)

    def path_in(self, config: str) -> str:
        """File of a config, by its folder, relative to the corpus folder."""
        return f"{config}/{self.file}"


def hash_to_int(*parts: object) -> int:
    """Hash values to 63 bits: the same number on every machine and version of Python."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


@dataclass(slots=True)
class EarlierParts:
    """What earlier parts of a corpus hold. Their clips are not planned again, and groups keep their split.

    Attributes:
        ids: Ids of their clips.
        groups: Split of each prompt group.
        clips: Number of clips by genre and split.
    """

    ids: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)
    clips: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, clips: Iterable[Clip]) -> None:
        """Add the clips of a part."""
        for clip in clips:
            self.ids.add(clip.id)
            self.groups[clip.prompt_group] = clip.split
            self.clips[clip.prompt.genre, clip.split] += 1


def plan_clips(recipe: Recipe, before: EarlierParts | None = None, source: str = "") -> list[Clip]:
    """Plan the clips of a recipe.

    Clips of one description share a `prompt_group` and a split. Splits are drawn by genre, so that validation has its
    share of each; in an extension so that the whole corpus has.

    Args:
        recipe: The recipe.
        before: Earlier parts of the corpus, whose clips are left out.
        source: Added to the hash of the ids, so that two sources of clips share no id.

    Returns:
        The clips in the order of the corpus: train before validation, genres mixed in each.

    Raises:
        RecipeError: The recipe has no prompts, or too few to split.
    """
    before = before or EarlierParts()
    splits: dict[str, str] = {}  # of groups drawn here: genres may share a description
    clips = []
    for genre, prompts in _group_by_genre(make_prompts(recipe)):
        new = [
            (id, index, prompt, f"{hash_to_int('group', prompt.description):016x}")
            for index, prompt in enumerate(prompts)
            if (id := _make_id(recipe.name, genre, index, prompt.text, source)) not in before.ids
        ]
        _draw_splits(genre, [group for *_, group in new], recipe, before, splits)
        for id, index, prompt, group in new:
            split = before.groups.get(group) or splits[group]
            seed = hash_to_int("seed", recipe.prompts.seed, genre, index)
            clips.append(Clip(id, prompt, group, seed, split))
    return sorted(clips, key=lambda clip: (SPLITS.index(clip.split), hash_to_int("order", clip.id)))


def _group_by_genre(prompts: list[Prompt]) -> Iterator[tuple[str, list[Prompt]]]:
    genres: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        genres.setdefault(prompt.genre, []).append(prompt)
    yield from genres.items()


def _make_id(name: str, genre: str, index: int, text: str, source: str) -> str:
    parts = (name, genre, index, text, *([source] if source else []))
    return f"{genre.replace(' ', '-')}-{index:06d}-{f'{hash_to_int(*parts):016x}'[-8:]}"


def _draw_splits(
    genre: str, groups: Sequence[str], recipe: Recipe, before: EarlierParts, splits: dict[str, str]
) -> None:
    """Add the split of each new group of a genre to `splits`.

    Whole groups go to validation, in a drawn order, until it has its share of all clips of the genre.
    """
    if not groups:
        return
    known = [before.groups.get(group) or splits.get(group) for group in groups]
    count = {split: before.clips[genre, split] + known.count(split) for split in SPLITS}
    size = Counter(group for group, split in zip(groups, known, strict=True) if split is None)
    if len(size) + sum(map(bool, count.values())) < 2:
        raise RecipeError(
            f"genre {genre!r}: {len(groups)} clip(s) of one description cannot be divided into train and validation",
            "ask for more clips, or give the genre more descriptions",
        )
    wanted = max(1, round(recipe.split.validation * (sum(count.values()) + size.total()))) - count["validation"]
    left = len(size)
    for group in sorted(size, key=lambda name: hash_to_int("split", recipe.split.seed, name)):
        held = wanted > 0 and (left > 1 or count["train"] > 0)
        splits[group] = "validation" if held else "train"
        if held:
            wanted, left = wanted - size[group], left - 1
        else:
            wanted = 0


def cut_shards(clips: Sequence[Clip], clips_per_shard: int | None = None, part: int = 0) -> list[Shard]:
    """Cut clips into shards.

    Args:
        clips: The clips of one part.
        clips_per_shard: At most so many. Default: as `choose_shard_size`.
        part: Number of the part.
    """
    size = clips_per_shard or choose_shard_size(len(clips))
    parts = []
    for split in SPLITS:
        rows = [clip for clip in clips if clip.split == split]
        for index, (start, total) in enumerate(_cuts(len(rows), size)):
            parts.append(Shard(split, index, total, tuple(rows[start : start + size]), part))
    return parts


def _cuts(rows: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, -(-rows // size)) for start in range(0, rows, size))


def choose_shard_size(clips: int, growth: bool = False) -> int:
    """Clips per shard, for about 256 shards of 64 to 1,024 clips.

    Args:
        clips: Clips of the whole corpus.
        growth: Whether they are cut for an extension, whose shards have up to 2,048 clips.
    """
    return min(MAX_GROWTH_SHARD if growth else MAX_SHARD, max(MIN_SHARD, -(-clips // TARGET_SHARDS)))
