"""A corpus in parts: what it began with, and what it has grown by since. What is there is never made or moved again.

Each part has a recipe of its own; what it adds are the clips that this recipe plans and the parts before it have not.
A clip is known by its id. The ids of the first source of clips, a generator's settings and the seed of the prompts,
follow from the recipe alone; those of every other source also from that source, so that none stands twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from ...clip import Clip
from ...errors import DataError
from ...io.atomic import write_bytes, write_text
from ...io.markdown import FRONT, parse_front_matter, read_card
from ...io.parquet_guard import check_parquet, parquet_errors
from ...io.storage import delete_file, open_for_arrow
from ...io.tables import SUFFIXES
from ...recipe import Recipe
from ...taxonomy import Taxonomy
from ..corpus import CARD, RECIPE, RECIPES, SHARD_FILE, Corpus
from ..shards import read_footer
from .plan import EarlierParts, Shard, choose_shard_size, cut_shards, plan_clips

MAX_PARTS = 100  # so that 10 million clips stay under 10,000 files a folder however they came: see scale.py
PORTABLE = (
    RECIPE,
    "taxonomy.yaml",
    *(f"descriptions{suffix}" for suffix in SUFFIXES),
)  # what Recipe.portable may write


@dataclass(frozen=True, slots=True)
class CombinedLabels:
    """The names of the label columns. They are only ever appended to: a number in a shard keeps its meaning."""

    genre_names: list[str]
    mood_names: list[str]
    instrument_names: list[str]

    @classmethod
    def over(cls, taxonomies: Iterable[Taxonomy]) -> CombinedLabels:
        """Every name of these, in the order in which it first came."""
        columns = zip(*((t.genre_names, t.mood_names, t.instrument_names) for t in taxonomies), strict=True)
        return cls(*(list(dict.fromkeys(name for names in column for name in names)) for column in columns))


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """The clips that one recipe adds."""

    number: int
    recipe: Recipe
    fingerprint: str
    labels: CombinedLabels
    shards: list[Shard]
    clips_per_shard: int

    @property
    def clips(self) -> int:
        """How many are planned."""
        return sum(len(shard.clips) for shard in self.shards)

    @property
    def identity(self) -> dict[str, Any]:
        """What a build that goes on must agree with."""
        return identify_recipe(self.recipe) | {"clips_per_shard": self.clips_per_shard}


def identify_recipe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe decides of a part."""
    return {"name": recipe.name, "fingerprint": recipe.fingerprint(), "split": recipe.split.model_dump()}


def plan_parts(recipes: Sequence[Recipe], sizes: Sequence[int | None]) -> list[CorpusPart]:
    """The parts that these recipes make one after the other, with so many clips a shard (None: by default).

    Raises RecipeError as `plan_clips` does. A part may be empty: nothing of its recipe was new.
    """
    before, parts = EarlierParts(), []
    for number, (recipe, asked) in enumerate(zip(recipes, sizes, strict=True)):
        source = identify_source(recipe)
        clips = plan_clips(recipe, before, "" if source == identify_source(recipes[0]) else source)
        size = asked or (choose_shard_size(len(before.ids) + len(clips), growth=True) if number else None)
        parts.append(make_part(recipe, clips, size, number, recipes[:number]))
        if number + 1 < len(recipes):
            before.add(clips)
    return parts


def make_part(
    recipe: Recipe, clips: list[Clip], size: int | None, number: int = 0, before: Sequence[Recipe] = ()
) -> CorpusPart:
    """A part of planned clips, cut at `size` (None: by default), after the parts of other recipes."""
    cut = cut_shards(clips, size, number)
    labels = CombinedLabels.over(each.labels for each in (*before, recipe))
    return CorpusPart(
        number, recipe, recipe.fingerprint(), labels, cut, size or max(len(shard.clips) for shard in cut)
    )


def identify_source(recipe: Recipe) -> str:
    """What tells clips of one prompt apart: the generator's settings and the seed."""
    told = json.dumps([recipe.generator.audible(), recipe.prompts.seed], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def combine_fingerprints(parts: Sequence[str]) -> str:
    """Of a corpus, from those of its parts' recipes; that of its one recipe where it never grew."""
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def load_part_recipes(corpus: Corpus, told: Sequence[dict[str, Any]], given: Recipe) -> list[Recipe]:
    """The recipes of a corpus's parts: `given` for its own, the others as the corpus keeps them.

    Raises DataError for one that is missing or was changed.
    """
    found = []
    for part in told:
        if part["fingerprint"] == given.fingerprint():
            found.append(given)
            continue
        path = find_recipe(corpus, part["fingerprint"])
        if not path.exists():
            raise DataError(f"{path}: missing", "take it from where the corpus is published")
        recipe = Recipe.load(path, kept=True)
        if recipe.fingerprint() != part["fingerprint"]:
            raise DataError(
                f"{path}: makes {recipe.fingerprint()}, the corpus holds {part['fingerprint']}",
                "it was changed since, or another version of synthmir made the corpus: go back to that",
            )
        found.append(recipe)
    return found


def find_recipe(corpus: Corpus, fingerprint: str) -> Path:
    """Where a corpus keeps the recipe of a part: by its fingerprint, that of the newest at the top."""
    kept = corpus.root / RECIPES / fingerprint / RECIPE
    return kept if kept.exists() else corpus.root / RECIPE


def check_plan(corpus: Corpus, parts: Sequence[CorpusPart]) -> None:
    """Raise DataError if shards hold other clips than their recipes plan here: what is new could not be told."""
    for part in parts:
        for shard in part.shards:
            path = corpus.root / shard.name
            if not path.exists():
                continue
            check_parquet(path, ["id"])
            with parquet_errors(path):
                there = set(pq.read_table(open_for_arrow(path), columns=["id"])["id"].to_pylist())
            there |= {row["id"] for row in read_footer(path)["rejected"]}
            if there != {clip.id for clip in shard.clips}:
                raise DataError(
                    f"{path}: holds other clips than this version of synthmir plans for recipe {part.fingerprint}",
                    "extend it with the version that made it, or build into another --out",
                )


def archive_recipe(root: Path, fingerprint: str) -> None:
    """Put the recipe that stands at the top, with its files, aside under `recipes/`: a newer one takes its place."""
    kept = root / RECIPES / fingerprint
    if (kept / RECIPE).exists():
        return
    for name in reversed(PORTABLE):  # the recipe last: where it is, all of it is
        if (root / name).exists():
            write_bytes(kept / name, (root / name).read_bytes())


def write_recipe(root: Path, recipe: Recipe) -> None:
    """Write the recipe and its files to the top; files that only an earlier one needed go."""
    files = recipe.portable()
    for name, content in files.items():
        write_bytes(root / name, content)
    for name in set(PORTABLE) - set(files):
        delete_file(root / name)


def pin_shards(root: Path, config: str = "data") -> None:
    """Make the card name the parts of a config that are there, one by one: for who loads it nothing joins them unseen.

    The card that comes after names all that is there again, and with it the corpus is the grown one. What a run that
    was stopped in between has named stays: some of the new are there by now.
    """
    card = root / CARD
    if not card.exists():
        return
    text, called = read_card(card), "default" if config == "data" else config
    data, body = parse_front_matter(text), FRONT.sub(r"\g<body>", text)
    there = [match for file in (root / config).glob("*.parquet") if (match := SHARD_FILE.match(file.name))]
    try:
        for told in data["configs"]:
            for files in told["data_files"] if told["config_name"] == called else ():
                if files["path"] != f"{config}/{files['split']}-*":
                    continue
                parts = sorted({match["part"] or "" for match in there if match["split"] == files["split"]})
                files["path"] = [f"{config}/{files['split']}-{f'p{part}-' if part else '0'}*" for part in parts]
    except (LookupError, TypeError):
        return  # a card that somebody wrote by hand: it promises no files of ours
    write_text(card, f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n{body}")
