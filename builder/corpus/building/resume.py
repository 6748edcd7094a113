"""What a build has to make: a new corpus, an extension of one, or the shards that one has lost."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...clip import Clip
from ...configs import AUDIO, GENERATED
from ...errors import DataError
from ...generators.base import is_able
from ...io.atomic import write_text
from ...io.storage import (
    delete_file,
    delete_folder,
    is_folder,
)
from ...recipe import Recipe
from ...settings import VERSIONS, read_version
from ..corpus import BUILD_RECORD, GROWTH, STATE, SUMS, Corpus, list_parts, part_number
from ..shards import WORK, Entry, Ledger
from .extend import (
    MAX_PARTS,
    CorpusPart,
    check_plan,
    find_recipe,
    identify_recipe,
    identify_source,
    load_part_recipes,
    make_part,
    plan_parts,
)
from .job import BuildJob, PartRecord, generator_file, read_extension, read_state


def open_job(recipe: Recipe, out: Path, clips: list[Clip] | None, extend: bool, asked: int | None) -> BuildJob:
    """Find what a build has to do, and resume what was begun.

    Args:
        recipe: The recipe.
        out: The corpus folder, which this run has locked.
        clips: The clips of the recipe in a first build; None where the folder holds a corpus.
        extend: Whether the recipe may add to the corpus.
        asked: Clips per shard. Default: as it was begun.

    Raises:
        DataError: The recipe differs from that of the corpus, or from what was begun, and may not extend it.
    """
    if clips is not None:
        return _open_first_build(recipe, out, clips, asked)
    corpus = Corpus(out)
    stopped_record = _read_stopped_record(corpus)
    joining, record = stopped_record is not None, stopped_record or corpus.record()
    if "select" in record.get("details", {}):
        raise DataError(f"{out}: holds selected clips of another corpus", "build that one, then: synthmir select")
    parts = list_parts(record)
    if any("clips_per_shard" not in part for part in parts):
        raise DataError(f"{out / BUILD_RECORD}: missing or damaged", "build into another --out")
    if joining and not extend:
        raise DataError(f"{out}: is being extended, and nearly done", "run that command again: with --extend")
    if not joining and (extend or recipe.fingerprint() in [part["fingerprint"] for part in parts]):
        for part in parts:
            if part["fingerprint"] == recipe.fingerprint():
                _check_recipe(recipe, part, out)
                _check_shard_size(out, part["clips_per_shard"], asked)
                return _open_repair(recipe, corpus, parts, record)
    if not extend:
        _check_recipe(recipe, parts[-1], out, "; to add the clips of this one to those: --extend")
    return _open_extension(recipe, corpus, parts, record, asked)


def match_version(recipe: Recipe, out: Path) -> Recipe:
    """Return a recipe with the version of its generator that a corpus was made with, where it names none.

    An extension is made by the version of the newest part that this generator made.

    Args:
        recipe: The recipe.
        out: The folder of a corpus, finished or not.
    """
    if recipe.generator.name not in VERSIONS or recipe.generator.revision is not None:
        return recipe
    begun = []
    for path in (out / WORK / GROWTH / STATE, out / WORK / STATE):
        with suppress(DataError):  # a damaged one is reported where it is needed
            begun += [read_state(path)] if path.exists() else []
    record = next((state["record"] for state in begun if state.get("record")), None)
    parts = list_parts(record or Corpus(out).record())
    for part in (*begun, *reversed(parts)):
        if (matched := recipe.match_version(str(part.get("fingerprint")))).fingerprint() == part.get("fingerprint"):
            return matched
    made_by = [
        part["generator"] for part in parts if (part.get("generator") or {}).get("name") == recipe.generator.name
    ]
    version = read_version(recipe.generator.name, str(made_by[-1]["revision"])) if made_by else None
    return recipe.with_options({"generator.revision": version})


def keep_configs(recipe: Recipe, out: Path) -> Recipe:
    """Return a recipe that asks for the annotations and stems that a corpus has, where its generator can make them.

    Args:
        recipe: The recipe.
        out: The folder of a corpus, finished or not.
    """
    folders = {name.partition("/")[0] for name in (Corpus(out).sums() if (out / SUMS).exists() else ())}
    had = [config for config in GENERATED if config in folders and is_able(recipe.generator.name, config)]
    lacking: dict[str, Any] = {config: True for config in had if config not in recipe.generated_configs}
    return recipe.with_values(lacking) if lacking else recipe


def _open_first_build(recipe: Recipe, out: Path, clips: list[Clip], asked: int | None) -> BuildJob:
    work = out / WORK
    if (work / STATE).exists() and (work / generator_file(0)).exists():  # begun, with a generator that could be loaded
        begun = read_state(work / STATE, "clips_per_shard")
        _check_recipe(recipe, begun, out)
        _check_shard_size(out, begun["clips_per_shard"], asked)
        return BuildJob(out, work, recipe, [make_part(recipe, clips, begun["clips_per_shard"])])
    part = make_part(recipe, clips, asked)
    write_text(work / STATE, json.dumps(part.identity))
    return BuildJob(out, work, recipe, [part])


def _open_repair(recipe: Recipe, corpus: Corpus, parts: list[PartRecord], record: dict[str, Any]) -> BuildJob:
    """Give a finished corpus its state and ledger again, so that the shards it has lost can be made."""
    work = corpus.root / WORK
    ledger = Ledger(work)
    if not (work / STATE).exists() or not ledger.entries:  # the work folder may have been removed in part
        delete_file(work / STATE)
        for name, digest in corpus.sums().items():
            if name.partition("/")[0] in (AUDIO, *GENERATED) and part_number(name) < len(parts):
                ledger.add(Entry(name, digest, 0.0, 0, parts[part_number(name)]["fingerprint"]))
        for number, part in enumerate(parts):
            write_text(work / generator_file(number), json.dumps(part["generator"]))
        write_text(work / STATE, json.dumps(identify_recipe(recipe)))
    planned = plan_parts(load_part_recipes(corpus, parts, recipe), [part["clips_per_shard"] for part in parts])
    return BuildJob(corpus.root, work, recipe, planned, parts, record)


def _open_extension(
    recipe: Recipe, corpus: Corpus, parts: list[PartRecord], record: dict[str, Any], asked: int | None
) -> BuildJob:
    """Plan what a recipe adds to a finished corpus, which stays as it is until all of that is made."""
    out, home = corpus.root, corpus.root / WORK / GROWTH
    begun = read_extension(home, parts)
    if begun:
        fix = f"; or give up that extension: delete {home}"
        _check_recipe(recipe, begun, out, fix, "is being extended by")
        _check_shard_size(out, begun["clips_per_shard"], asked)
        asked = begun["clips_per_shard"]
    elif is_folder(home):
        delete_folder(home)
    planned = plan_addition(recipe, corpus, asked, parts)
    if not begun:
        check_plan(corpus, planned[:-1])
        same = [part.number for part in planned[:-1] if identify_source(part.recipe) == identify_source(recipe)]
        for number, part in enumerate(parts):
            write_text(home / generator_file(number), json.dumps(part["generator"]))
        if same:  # more clips of one source are made by the same generator
            kept = {"recipe": str(find_recipe(corpus, parts[same[-1]]["fingerprint"]).absolute())}
            write_text(home / generator_file(len(parts)), json.dumps(parts[same[-1]]["generator"] | kept))
        after = [part["fingerprint"] for part in parts]
        write_text(home / STATE, json.dumps(planned[-1].identity | {"after": after}))
    return BuildJob(out, home, recipe, planned, parts, record)


def _read_stopped_record(corpus: Corpus) -> dict[str, Any] | None:
    """The record before new shards were moved into place, where that was begun and not completed."""
    state = corpus.root / WORK / STATE
    if not state.exists() or not (corpus.root / WORK / GROWTH / STATE).exists():
        return None
    record: dict[str, Any] | None = read_state(state).get("record")
    parts = len(list_parts(record)) if record else 0
    return None if any(part_number(name) >= parts for name in corpus.sums()) else record


def plan_addition(
    recipe: Recipe, corpus: Corpus, asked: int | None, parts: list[PartRecord] | None = None
) -> list[CorpusPart]:
    """Plan what a recipe adds to a finished corpus.

    Args:
        recipe: The recipe.
        corpus: The corpus.
        asked: Clips per shard of the new part. Default: by the size of the whole.
        parts: The records of its parts. Default: as they are in the corpus.

    Returns:
        The parts of the corpus and, as the last one, what is added.

    Raises:
        DataError: The corpus has another name or too many parts, or the recipe adds nothing.
    """
    parts = parts or corpus.parts()
    if parts[0]["name"] != recipe.name:
        raise DataError(
            f"{corpus.root}: is called {parts[0]['name']!r}, the recipe to extend it by {recipe.name!r}",
            f"a corpus keeps its name, which its ids are made from: name: {parts[0]['name']}",
        )
    if len(parts) >= MAX_PARTS:
        raise DataError(
            f"{corpus.root}: was extended {MAX_PARTS - 1} times, which is the limit", "build into another --out"
        )
    sizes = [*(part["clips_per_shard"] for part in parts), asked]
    planned = plan_parts([*load_part_recipes(corpus, parts, recipe), recipe], sizes)
    if not planned[-1].shards:
        raise DataError(
            f"{corpus.root}: has every clip that {recipe.name} asks for", "raise per_genre, or add a genre"
        )
    _check_audio(recipe, planned[-2].recipe, corpus.root)
    return planned


def _check_audio(recipe: Recipe, older: Recipe, out: Path) -> None:
    """A corpus has one sampling rate and one number of channels."""
    wanted, found = (
        f"{one.audio.sampling_rate} Hz, {'stereo' if one.channels == 2 else 'mono'}" for one in (recipe, older)
    )
    if wanted != found:
        raise DataError(
            f"{out}: has clips of {found}; the recipe to extend it by asks for {wanted}",
            f"audio: {{sampling_rate: {older.audio.sampling_rate}, channels: {older.channels}}}",
        )


def _check_recipe(recipe: Recipe, state: dict[str, Any], out: Path, fix: str = "", how: str = "holds") -> None:
    """Refuse a recipe other than that of a state or part."""
    asked = identify_recipe(recipe)
    if changed := [key for key in asked if state.get(key) != asked[key]]:
        raise DataError(
            f"{out}: {how} a corpus of another recipe: it is of {state.get('name')} {state.get('fingerprint')}, "
            f"you asked for {recipe.name} {asked['fingerprint']} ({', '.join(changed)} differ)",
            f"use the recipe that it was begun with, or choose another --out{fix}",
        )


def _check_shard_size(out: Path, size: int, asked: int | None) -> None:
    if asked not in (None, size):
        raise DataError(f"{out}: was begun with {size} clips per shard, not {asked}", "leave out --clips-per-shard")
