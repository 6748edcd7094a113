"""Recipe -> the table of clips, and how it is cut into shards. Nothing here depends on machine, order or time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ...clip import Clip, Prompt
from ...errors import RecipeError
from ...prompts import make_prompts
from ...recipe import Recipe

SPLITS = ("train", "validation")
TARGET_SHARDS = 256
MIN_SHARD, MAX_SHARD = 64, 1024  # clips: little to lose when a run dies; at most ~500 MB of FLAC
MAX_GROWTH_SHARD = 2048  # of what a corpus has grown by: so that small steps too lead to 10 million in one folder


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a split: the clips of one Parquet file."""

    split: str
    index: int
    total: int  # shards in the split, of this part
    clips: tuple[Clip, ...]
    part: int = 0  # 0: what the corpus began with; 1, 2, ...: what it has grown by since

    @property
    def file(self) -> str:
        """The file's name, the same in every config: "train-00000-of-00008.parquet", of part 1 "train-p01-0..."."""
        part = f"p{self.part:02d}-" if self.part else ""
        return f"{self.split}-{part}{self.index:05d}-of-{self.total:05d}.parquet"

    @property
    def name(self) -> str:
        """The file within the corpus folder."""
        return f"data/{self.file}"


def hash_to_int(*parts: object) -> int:
    """A 63-bit number that depends on the parts alone, on every machine and Python."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


@dataclass(slots=True)
class EarlierParts:
    """What the parts of a corpus before this one hold. Nothing of it is planned again, no group changes its split."""

    ids: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)  # prompt group -> split
    clips: Counter[tuple[str, str]] = field(default_factory=Counter)  # (genre, split) -> how many

    def add(self, clips: Iterable[Clip]) -> None:
        """Enter a part's clips."""
        for clip in clips:
            self.ids.add(clip.id)
            self.groups[clip.prompt_group] = clip.split
            self.clips[clip.prompt.genre, clip.split] += 1


def plan_clips(recipe: Recipe, before: EarlierParts | None = None, source: str = "") -> list[Clip]:
    """Every clip of the corpus, in its order there: splits one after the other, genres mixed within each.

    Clips of one description share a `prompt_group` and a split; the splits are drawn genre by genre, so that
    validation holds its share of each. Of a corpus that grows: the clips that are not there `before`, whose new groups
    are drawn so that the whole has the share. `source` goes into the ids' hash: two sources of clips have no id in
    common. Raises RecipeError.
    """
    before = before or EarlierParts()
    splits: dict[str, str] = {}  # of the groups drawn here: a description that two genres share has one split, too
    clips = []
    for genre, prompts in _by_genre(make_prompts(recipe)):
        new = [
            (id, index, prompt, f"{hash_to_int('group', prompt.description):016x}")
            for index, prompt in enumerate(prompts)
            if (id := _id(recipe.name, genre, index, prompt.text, source)) not in before.ids
        ]
        _draw(genre, [group for *_, group in new], recipe, before, splits)
        for id, index, prompt, group in new:
            split = before.groups.get(group) or splits[group]
            seed = hash_to_int("seed", recipe.prompts.seed, genre, index)
            clips.append(Clip(id, prompt, group, seed, split))
    return sorted(clips, key=lambda clip: (SPLITS.index(clip.split), hash_to_int("order", clip.id)))


def _by_genre(prompts: list[Prompt]) -> Iterator[tuple[str, list[Prompt]]]:
    genres: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        genres.setdefault(prompt.genre, []).append(prompt)
    yield from genres.items()


def _id(name: str, genre: str, index: int, text: str, source: str) -> str:
    parts = (name, genre, index, text, *([source] if source else []))
    return f"{genre.replace(' ', '-')}-{index:06d}-{f'{hash_to_int(*parts):016x}'[-8:]}"


def _draw(genre: str, groups: Sequence[str], recipe: Recipe, before: EarlierParts, splits: dict[str, str]) -> None:
    """Enter the split of each group of a genre in `splits`, unless it has one already.

    Whole groups are held out in a drawn order until validation has its share of the genre's clips, older ones counted.
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
    """The clips cut into shards of at most `clips_per_shard`, by default `choose_shard_size`."""
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
    """Clips a shard: about 256 files, of 64 to 1,024 clips. What a corpus grows by is cut by the size of the whole."""
    return min(MAX_GROWTH_SHARD if growth else MAX_SHARD, max(MIN_SHARD, -(-clips // TARGET_SHARDS)))
