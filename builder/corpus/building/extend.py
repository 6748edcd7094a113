"""A corpus in parts: its first clips, and what it was extended by. Finished shards are never made or moved again.

Each part has its own recipe. It adds the clips that this recipe plans and earlier parts do not have, by their ids. A
source of clips is a generator's settings and the seed of the prompts. Ids of the first source follow from the recipe
alone, and those of other sources from the source too, so that no id occurs twice.
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

MAX_PARTS = 100  # so that 10 million clips stay under 10,000 files in a folder, see capacity.py
# Files that `Recipe.portable` may write.
PORTABLE = (RECIPE, "taxonomy.yaml", *(f"descriptions{suffix}" for suffix in SUFFIXES))


@dataclass(frozen=True, slots=True)
class CombinedLabels:
    """The names of the label columns over all parts. Names are only appended, so that numbers keep their meaning."""

    genre_names: list[str]
    mood_names: list[str]
    instrument_names: list[str]

    @classmethod
    def over(cls, taxonomies: Iterable[Taxonomy]) -> CombinedLabels:
        """Every name in these taxonomies, in the order of its first occurrence."""
        columns = zip(*((t.genre_names, t.mood_names, t.instrument_names) for t in taxonomies), strict=True)
        return cls(*(list(dict.fromkeys(name for names in column for name in names)) for column in columns))


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """The clips that one recipe adds to a corpus."""

    number: int
    recipe: Recipe
    fingerprint: str
    labels: CombinedLabels
    shards: list[Shard]
    clips_per_shard: int

    @property
    def clips(self) -> int:
        """Number of planned clips."""
        return sum(len(shard.clips) for shard in self.shards)

    @property
    def identity(self) -> dict[str, Any]:
        """What a build that resumes must agree with."""
        return identify_recipe(self.recipe) | {"clips_per_shard": self.clips_per_shard}


def identify_recipe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe determines of a part: name, fingerprint and split."""
    return {"name": recipe.name, "fingerprint": recipe.fingerprint(), "split": recipe.split.model_dump()}


def plan_parts(recipes: Sequence[Recipe], sizes: Sequence[int | None]) -> list[CorpusPart]:
    """Plan the parts that these recipes make one after the other.

    Args:
        recipes: The recipe of each part, oldest first.
        sizes: Clips per shard of each part; None: by the size of the corpus.

    Returns:
        The parts. One is empty where its recipe adds nothing.

    Raises:
        RecipeError: A recipe cannot be planned.
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
    """Make a part of planned clips.

    Args:
        recipe: Its recipe.
        clips: Its clips.
        size: Clips per shard; None: by the number of clips.
        number: Its number, 0 for the first part.
        before: The recipes of earlier parts, whose labels come first.
    """
    cut = cut_shards(clips, size, number)
    labels = CombinedLabels.over(other.labels for other in (*before, recipe))
    return CorpusPart(
        number, recipe, recipe.fingerprint(), labels, cut, size or max(len(shard.clips) for shard in cut)
    )


def identify_source(recipe: Recipe) -> str:
    """Digest of what distinguishes clips of one prompt: the settings of the generator, and the seed."""
    source = json.dumps([recipe.generator.audible(), recipe.prompts.seed], sort_keys=True)
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def combine_fingerprints(parts: Sequence[str]) -> str:
    """The fingerprint of a corpus from those of its parts: of one part, its own."""
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def load_part_recipes(corpus: Corpus, parts: Sequence[dict[str, Any]], given: Recipe) -> list[Recipe]:
    """Load the recipes of the parts of a corpus.

    Args:
        corpus: The corpus.
        parts: The records of its parts.
        given: The recipe of the present build, which is used for a part of its fingerprint.

    Raises:
        DataError: A recipe is missing, or was changed.
    """
    recipes = []
    for part in parts:
        if part["fingerprint"] == given.fingerprint():
            recipes.append(given)
            continue
        path = find_recipe(corpus, part["fingerprint"])
        if not path.exists():
            raise DataError(f"{path}: missing", "copy it from where the corpus is published")
        recipe = Recipe.load(path, kept=True)
        if recipe.fingerprint() != part["fingerprint"]:
            raise DataError(
                f"{path}: has the fingerprint {recipe.fingerprint()}, the corpus {part['fingerprint']}",
                "it was changed, or another version of synthmir made the corpus: use that version",
            )
        recipes.append(recipe)
    return recipes


def find_recipe(corpus: Corpus, fingerprint: str) -> Path:
    """The file of the recipe of a part: at the top of the corpus for the newest part, else under `recipes/`."""
    kept = corpus.root / RECIPES / fingerprint / RECIPE
    return kept if kept.exists() else corpus.root / RECIPE


def check_plan(corpus: Corpus, parts: Sequence[CorpusPart]) -> None:
    """Raise DataError if shards hold other clips than their recipes plan: new clips could not be identified."""
    for part in parts:
        for shard in part.shards:
            path = corpus.root / shard.name
            if not path.exists():
                continue
            check_parquet(path, ["id"])
            with parquet_errors(path):
                ids = set(pq.read_table(open_for_arrow(path), columns=["id"])["id"].to_pylist())
            ids |= {row["id"] for row in read_footer(path)["rejected"]}
            if ids != {clip.id for clip in shard.clips}:
                raise DataError(
                    f"{path}: holds other clips than this version of synthmir plans for recipe {part.fingerprint}",
                    "extend it with the version that made it, or build into another --out",
                )


def archive_recipe(root: Path, fingerprint: str) -> None:
    """Copy the recipe at the top of a corpus, with its files, to `recipes/`, before a newer one replaces it."""
    kept = root / RECIPES / fingerprint
    if (kept / RECIPE).exists():
        return
    for name in reversed(PORTABLE):  # the recipe last: it marks a complete copy
        if (root / name).exists():
            write_bytes(kept / name, (root / name).read_bytes())


def write_recipe(root: Path, recipe: Recipe) -> None:
    """Write a recipe and its files to the top of a corpus, and delete files that only an earlier one needed."""
    files = recipe.portable()
    for name, content in files.items():
        write_bytes(root / name, content)
    for name in set(PORTABLE) - set(files):
        delete_file(root / name)


def pin_shards(root: Path, config: str = "data") -> None:
    """List the parts of a config in the card one by one, so that nobody loads new shards before all are in place.

    The next card that is written lists all shards by one pattern again. Parts that a stopped run has listed stay
    listed.

    Args:
        root: The corpus folder.
        config: "data", or the folder of an embedder.
    """
    card = root / CARD
    if not card.exists():
        return
    text, config_name = read_card(card), "default" if config == "data" else config
    data, body = parse_front_matter(text), FRONT.sub(r"\g<body>", text)
    matches = [match for file in (root / config).glob("*.parquet") if (match := SHARD_FILE.match(file.name))]
    try:
        for entry in data["configs"]:
            for files in entry["data_files"] if entry["config_name"] == config_name else ():
                if files["path"] != f"{config}/{files['split']}-*":
                    continue
                parts = sorted({match["part"] or "" for match in matches if match["split"] == files["split"]})
                files["path"] = [f"{config}/{files['split']}-{f'p{part}-' if part else '0'}*" for part in parts]
    except (LookupError, TypeError):
        return  # a card that was written by hand lists no shards
    write_text(card, f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n{body}")
