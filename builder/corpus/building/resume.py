"""What a build has to make: a new corpus, an extension of one, or the shards that one has lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ...clip import Clip
from ...errors import DataError
from ...io.atomic import write_text
from ...io.locks import LOCK
from ...io.parquet_guard import parquet_errors
from ...io.safe_files import parse_json
from ...io.storage import (
    delete_file,
    delete_folder,
    delete_temporary_files,
    is_folder,
    is_remote,
    list_files,
    map_parallel,
    move_folder,
    open_for_arrow,
    resume_move,
)
from ...recipe import Recipe
from ...settings import VERSIONS, read_version
from ..corpus import BUILD_RECORD, GROWTH, STATE, Corpus, list_parts, part_number
from ..schema import DETAILS
from ..shards import WORK, Entry, Ledger
from .extend import (
    MAX_PARTS,
    CorpusPart,
    archive_recipe,
    check_plan,
    combine_fingerprints,
    find_recipe,
    identify_recipe,
    identify_source,
    load_part_recipes,
    make_part,
    pin_shards,
    plan_parts,
)
from .plan import Shard

PartRecord = dict[str, Any]  # a part of a corpus, as its record describes it


@dataclass
class BuildJob:
    """The parts of a corpus as they will be after the build.

    Attributes:
        out: The corpus folder.
        home: The folder of state and ledger inside the work folder, and of new shards until all of them are made.
        parts: All parts, the finished ones first.
        finished_parts: The records of the finished parts.
        finished_record: The record of the finished corpus; None in a first build.
    """

    out: Path
    home: Path
    parts: list[CorpusPart]
    finished_parts: list[PartRecord] = field(default_factory=list)
    finished_record: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        delete_temporary_files(self.out)
        self.ledger = Ledger(self.home)
        if self.finished_record is None:
            resume_move(self.home / "data", self.out / "data")
        in_place = self.new is None or (self.finished_record is None and is_folder(self.out / "data"))
        self._target = self.out if in_place else self.home

    @property
    def new(self) -> CorpusPart | None:
        """The part that is made for the first time."""
        return self.parts[-1] if len(self.parts) > len(self.finished_parts) else None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the corpus as it will be."""
        return combine_fingerprints([part.fingerprint for part in self.parts])

    def place(self, part: CorpusPart) -> Path:
        """The folder that the shards of a part are written to."""
        return self._target if part is self.new else self.out

    def path(self, part: CorpusPart, shard: Shard) -> Path:
        """The file of a finished shard."""
        path = self.place(part) / shard.name
        moved = self.finished_record and part is self.new and not path.exists()
        return self.out / shard.name if moved else path

    def list_missing(self) -> list[tuple[CorpusPart, list[Shard]]]:
        """The shards to make, by part. The shards of a corpus that is extended must exist, and are not read."""
        missing = []
        for part in self.parts:
            finished = map_parallel(self._is_finished(part), part.shards, self.out)
            missing.append((part, [shard for shard, done in zip(part.shards, finished, strict=True) if not done]))
        return missing

    def detail_columns(self, missing: list[tuple[CorpusPart, list[Shard]]]) -> tuple[str, ...]:
        """Those of `DETAILS` that the shards have. A corpus that 0.1 began has none, and is completed without them."""
        for part, shards in missing:
            names = {shard.name for shard in shards}
            if made := next((shard for shard in part.shards if shard.name not in names), None):
                path = self.path(part, made)
                with parquet_errors(path):
                    columns = pq.read_schema(open_for_arrow(path)).names
                return tuple(column for column in DETAILS if column in columns)
        return tuple(DETAILS)

    def _is_finished(self, part: CorpusPart) -> Callable[[Shard], bool]:
        """A function of a shard of this part: whether it is finished."""
        if self.new and part is not self.new:
            return lambda shard: (self.out / shard.name).exists()
        places = {self.place(part)} | ({self.out} if self.finished_record else set())
        return lambda shard: any(self.ledger.has_intact(place, shard.name, part.fingerprint) for place in places)

    def put_in_place(self) -> None:
        """Move the new shards into the corpus once all are made. Until the card is written, it lists the old ones."""
        if self.new is None:
            return
        if self.finished_record is None:
            if self._target == self.home:
                move_folder(self.home / "data", self.out / "data")
            return
        write_text(self.out / WORK / STATE, json.dumps({"record": self.finished_record}))
        archive_recipe(self.out, self.finished_parts[-1]["fingerprint"])
        pin_shards(self.out)
        map_parallel(self._move_shard, self.new.shards, self.out)
        self._target = self.out

    def _move_shard(self, shard: Shard) -> None:
        if (made := self.home / shard.name).exists():
            move_folder(made, self.out / shard.name)

    def clean_up(self) -> None:
        """Remove the work folder. After a repair, an extension that was begun is kept."""
        work = self.out / WORK
        kept = set() if self.new or _read_extension(work / GROWTH, self.finished_parts) is None else {GROWTH}
        if is_remote(work) and not kept:
            delete_folder(work)
            return
        if is_remote(work):
            names = {name.partition("/")[0] for name in list_files(work)}
        else:
            names = {path.name for path in work.iterdir()}
        # The state last: without it the rest is ignored. The lock goes with the folder, see `lock_folder`.
        for name in sorted(names - {LOCK, *kept}, key=lambda name: (name == STATE, name)):
            (delete_folder if is_folder(work / name) else delete_file)(work / name)


def generator_file(number: int) -> str:
    """Name of the file, in the folder of a job, that keeps which generator made a part: the same must complete it."""
    return f"generator-p{number:02d}.json" if number else "generator.json"


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
            begun += [_read_state(path)] if path.exists() else []
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


def _open_first_build(recipe: Recipe, out: Path, clips: list[Clip], asked: int | None) -> BuildJob:
    work = out / WORK
    if (work / STATE).exists() and (work / generator_file(0)).exists():  # begun, with a generator that could be loaded
        begun = _read_state(work / STATE, "clips_per_shard")
        _check_recipe(recipe, begun, out)
        _check_shard_size(out, begun["clips_per_shard"], asked)
        return BuildJob(out, work, [make_part(recipe, clips, begun["clips_per_shard"])])
    part = make_part(recipe, clips, asked)
    write_text(work / STATE, json.dumps(part.identity))
    return BuildJob(out, work, [part])


def _open_repair(recipe: Recipe, corpus: Corpus, parts: list[PartRecord], record: dict[str, Any]) -> BuildJob:
    """Give a finished corpus its state and ledger again, so that the shards it has lost can be made."""
    work = corpus.root / WORK
    ledger = Ledger(work)
    if not (work / STATE).exists() or not ledger.entries:  # the work folder may have been removed in part
        delete_file(work / STATE)
        for name, digest in corpus.sums().items():
            if name.startswith("data/") and part_number(name) < len(parts):
                ledger.add(Entry(name, digest, 0.0, 0, parts[part_number(name)]["fingerprint"]))
        for number, part in enumerate(parts):
            write_text(work / generator_file(number), json.dumps(part["generator"]))
        write_text(work / STATE, json.dumps(identify_recipe(recipe)))
    planned = plan_parts(load_part_recipes(corpus, parts, recipe), [part["clips_per_shard"] for part in parts])
    return BuildJob(corpus.root, work, planned, parts, record)


def _open_extension(
    recipe: Recipe, corpus: Corpus, parts: list[PartRecord], record: dict[str, Any], asked: int | None
) -> BuildJob:
    """Plan what a recipe adds to a finished corpus, which stays as it is until all of that is made."""
    out, home = corpus.root, corpus.root / WORK / GROWTH
    begun = _read_extension(home, parts)
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
    return BuildJob(out, home, planned, parts, record)


def _read_stopped_record(corpus: Corpus) -> dict[str, Any] | None:
    """The record before new shards were moved into place, where that was begun and not completed."""
    state = corpus.root / WORK / STATE
    if not state.exists() or not (corpus.root / WORK / GROWTH / STATE).exists():
        return None
    record: dict[str, Any] | None = _read_state(state).get("record")
    parts = len(list_parts(record)) if record else 0
    return None if any(part_number(name) >= parts for name in corpus.sums()) else record


def _read_extension(home: Path, parts: list[PartRecord]) -> dict[str, Any] | None:
    """The state of an extension of these parts, where shards of it are made."""
    if not (home / STATE).exists() or not Ledger(home).entries:
        return None
    begun = _read_state(home / STATE, "after", "clips_per_shard")
    return begun if begun["after"] == [part["fingerprint"] for part in parts] else None


def _read_state(path: Path, *keys: str) -> dict[str, Any]:
    """Read a state file. Raises DataError for one that is damaged or lacks a key."""
    try:
        state = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(state, dict) or not state.keys() >= set(keys):
            raise ValueError("not what this version of synthmir writes")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: is damaged: {error}",
            "delete this file only, then run the same command again: finished work is kept",
        ) from error
    return state


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
    return planned


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
