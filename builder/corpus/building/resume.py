"""What a build has to make: a corpus, what one is to grow by, or what one has lost; where, and agreed with whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...clip import Clip
from ...errors import DataError
from ...io.atomic import write_text
from ...io.locks import LOCK
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
    resume_move,
)
from ...recipe import Recipe
from ..corpus import BUILD_RECORD, GROWTH, STATE, Corpus, list_parts, part_number
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


@dataclass
class BuildJob:
    """The parts of a corpus as they are to be. `told` is what the record says of those that are finished."""

    out: Path
    home: Path  # in the work folder: state and ledger, and new shards until all are there
    parts: list[CorpusPart]
    told: list[dict[str, Any]] = field(default_factory=list)
    finished: dict[str, Any] | None = None  # the record of the corpus that is there, None in a first build

    def __post_init__(self) -> None:
        delete_temporary_files(self.out)
        self.ledger = Ledger(self.home)
        if self.finished is None:
            resume_move(self.home / "data", self.out / "data")
        there = self.new is None or (self.finished is None and is_folder(self.out / "data"))
        self._making = self.out if there else self.home

    @property
    def new(self) -> CorpusPart | None:
        """The part that is being made for the first time."""
        return self.parts[-1] if len(self.parts) > len(self.told) else None

    @property
    def fingerprint(self) -> str:
        """Of the corpus as it is to be."""
        return combine_fingerprints([part.fingerprint for part in self.parts])

    def place(self, part: CorpusPart) -> Path:
        """The folder that holds a part's shards as they are made."""
        return self._making if part is self.new else self.out

    def path(self, part: CorpusPart, shard: Shard) -> Path:
        """Where a shard is that was made."""
        path = self.place(part) / shard.name
        return self.out / shard.name if self.finished and part is self.new and not path.exists() else path

    def lacking(self) -> list[tuple[CorpusPart, list[Shard]]]:
        """What is to be made, part by part. A corpus that grows is asked whether its shards are there, not read."""
        found = []
        for part in self.parts:
            there = map_parallel(self._there(part), part.shards, self.out)
            found.append((part, [shard for shard, done in zip(part.shards, there, strict=True) if not done]))
        return found

    def _there(self, part: CorpusPart) -> Callable[[Shard], bool]:
        if self.new and part is not self.new:
            return lambda shard: (self.out / shard.name).exists()
        places = {self.place(part)} | ({self.out} if self.finished else set())
        return lambda shard: any(self.ledger.intact(place, shard.name, part.fingerprint) for place in places)

    def publish(self) -> None:
        """Put the new shards in their place, all of them being made. What is read by its card meanwhile is the old."""
        if self.new is None:
            return
        if self.finished is None:
            if self._making == self.home:
                move_folder(self.home / "data", self.out / "data")
            return
        write_text(self.out / WORK / STATE, json.dumps({"record": self.finished}))
        archive_recipe(self.out, self.told[-1]["fingerprint"])
        pin_shards(self.out)
        map_parallel(self._join, self.new.shards, self.out)
        self._making = self.out

    def _join(self, shard: Shard) -> None:
        if (made := self.home / shard.name).exists():
            move_folder(made, self.out / shard.name)

    def close(self) -> None:
        """The work folder goes; where a corpus was mended, what it was being extended by stays."""
        work = self.out / WORK
        kept = set() if self.new or _begun(work / GROWTH, self.told) is None else {GROWTH}
        if is_remote(work) and not kept:
            delete_folder(work)
            return
        there = (
            {name.partition("/")[0] for name in list_files(work)}
            if is_remote(work)
            else {p.name for p in work.iterdir()}
        )
        # The state last: without it the rest says nothing. The lock goes with the folder, see `lock_folder`.
        for name in sorted(there - {LOCK, *kept}, key=lambda name: (name == STATE, name)):
            (delete_folder if is_folder(work / name) else delete_file)(work / name)


def generator_file(number: int) -> str:
    """Where in a job's folder stands what made a part: it is finished by the same."""
    return f"generator-p{number:02d}.json" if number else "generator.json"


def open_job(recipe: Recipe, out: Path, clips: list[Clip] | None, extend: bool, asked: int | None) -> BuildJob:
    """What there is to do in the locked folder `out`, `asked` clips a shard, as it was begun here before.

    `clips` are the recipe's, of a first build. Raises DataError where the recipe differs from what is there or was
    begun, and is not meant to extend it.
    """
    if clips is not None:
        return _first(recipe, out, clips, asked)
    corpus = Corpus(out)
    stopped = _stopped(corpus)
    joining, record = stopped is not None, stopped or corpus.record()
    told = list_parts(record)
    if any("clips_per_shard" not in part for part in told):
        raise DataError(f"{out / BUILD_RECORD}: missing or damaged", "build into another --out")
    if joining and not extend:
        raise DataError(f"{out}: is being extended, and all but done", "run that command again: with --extend")
    if not joining and (extend or recipe.fingerprint() in [part["fingerprint"] for part in told]):
        for part in told:
            if part["fingerprint"] == recipe.fingerprint():
                _refuse_other(recipe, part, out)
                _refuse_size(out, part["clips_per_shard"], asked)
                return _again(recipe, corpus, told, record)
    if not extend:
        _refuse_other(recipe, told[-1], out, "; to add the clips of this one to those: --extend")
    return _further(recipe, corpus, told, record, asked)


def _first(recipe: Recipe, out: Path, clips: list[Clip], asked: int | None) -> BuildJob:
    work = out / WORK
    if (work / STATE).exists() and (work / generator_file(0)).exists():  # where no generator could be had, it was not
        begun = _read(work / STATE, "clips_per_shard")
        _refuse_other(recipe, begun, out)
        _refuse_size(out, begun["clips_per_shard"], asked)
        return BuildJob(out, work, [make_part(recipe, clips, begun["clips_per_shard"])])
    part = make_part(recipe, clips, asked)
    write_text(work / STATE, json.dumps(part.identity))
    return BuildJob(out, work, [part])


def _again(recipe: Recipe, corpus: Corpus, told: list[dict[str, Any]], record: dict[str, Any]) -> BuildJob:
    """A finished corpus gets its state and ledger back, so that shards it has lost can be made again."""
    work = corpus.root / WORK
    ledger = Ledger(work)
    if not (work / STATE).exists() or not ledger.entries:  # what is left where a work folder went but in part
        delete_file(work / STATE)
        for name, digest in corpus.sums().items():
            if name.startswith("data/") and part_number(name) < len(told):
                ledger.enter(Entry(name, digest, 0.0, 0, told[part_number(name)]["fingerprint"]))
        for number, part in enumerate(told):
            write_text(work / generator_file(number), json.dumps(part["generator"]))
        write_text(work / STATE, json.dumps(identify_recipe(recipe)))
    parts = plan_parts(load_part_recipes(corpus, told, recipe), [part["clips_per_shard"] for part in told])
    return BuildJob(corpus.root, work, parts, told, record)


def _further(
    recipe: Recipe, corpus: Corpus, told: list[dict[str, Any]], record: dict[str, Any], asked: int | None
) -> BuildJob:
    """What a recipe adds to a finished corpus, which stays as it is until all of it is made."""
    out, home = corpus.root, corpus.root / WORK / GROWTH
    begun = _begun(home, told)
    if begun:
        _refuse_other(recipe, begun, out, f"; or give up that extension: delete {home}", "is being extended by")
        _refuse_size(out, begun["clips_per_shard"], asked)
        asked = begun["clips_per_shard"]
    elif is_folder(home):
        delete_folder(home)
    parts = plan_addition(recipe, corpus, asked, told)
    if not begun:
        check_plan(corpus, parts[:-1])
        same = [part.number for part in parts[:-1] if identify_source(part.recipe) == identify_source(recipe)]
        for number, part in enumerate(told):
            write_text(home / generator_file(number), json.dumps(part["generator"]))
        if same:  # more of one source is made by the same generator
            kept = {"recipe": str(find_recipe(corpus, told[same[-1]]["fingerprint"]).absolute())}
            write_text(home / generator_file(len(told)), json.dumps(told[same[-1]]["generator"] | kept))
        after = [part["fingerprint"] for part in told]
        write_text(home / STATE, json.dumps(parts[-1].identity | {"after": after}))
    return BuildJob(out, home, parts, told, record)


def _stopped(corpus: Corpus) -> dict[str, Any] | None:
    """The record as it was before new shards were put in their place, if that was begun and not finished."""
    state = corpus.root / WORK / STATE
    if not state.exists() or not (corpus.root / WORK / GROWTH / STATE).exists():
        return None
    record: dict[str, Any] | None = _read(state).get("record")
    there = len(list_parts(record)) if record else 0
    return None if any(part_number(name) >= there for name in corpus.sums()) else record


def _begun(home: Path, told: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What a corpus of these parts is being extended by, if shards of it are made."""
    if not (home / STATE).exists() or not Ledger(home).entries:
        return None
    begun = _read(home / STATE, "after", "clips_per_shard")
    return begun if begun["after"] == [part["fingerprint"] for part in told] else None


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """What stands in a file of a work folder. Raises DataError for one that is torn or lacks a key."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not found.keys() >= set(keys):
            raise ValueError("not what this version of synthmir writes")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: is damaged: {error}",
            "delete this file alone, then run the same command again: nothing that is finished goes",
        ) from error
    return found


def plan_addition(
    recipe: Recipe, corpus: Corpus, asked: int | None, told: list[dict[str, Any]] | None = None
) -> list[CorpusPart]:
    """A finished corpus's parts and, the last, what a recipe adds to them. Raises DataError where it cannot."""
    told = told or corpus.parts()
    if told[0]["name"] != recipe.name:
        raise DataError(
            f"{corpus.root}: is called {told[0]['name']!r}, the recipe to extend it by {recipe.name!r}",
            f"a corpus keeps its name, on which its ids stand: name: {told[0]['name']}",
        )
    if len(told) >= MAX_PARTS:
        raise DataError(
            f"{corpus.root}: has grown {MAX_PARTS - 1} times, and can no further", "build into another --out"
        )
    sizes = [*(part["clips_per_shard"] for part in told), asked]
    parts = plan_parts([*load_part_recipes(corpus, told, recipe), recipe], sizes)
    if not parts[-1].shards:
        raise DataError(
            f"{corpus.root}: has every clip that {recipe.name} asks for", "raise per_genre, or add a genre"
        )
    return parts


def _refuse_other(recipe: Recipe, there: dict[str, Any], out: Path, fix: str = "", how: str = "holds") -> None:
    asked = identify_recipe(recipe)
    if changed := [key for key in asked if there.get(key) != asked[key]]:
        raise DataError(
            f"{out}: {how} a corpus of another recipe: {there.get('name')} {there.get('fingerprint')} there, "
            f"{recipe.name} {asked['fingerprint']} asked for ({', '.join(changed)} differ)",
            f"go back to the recipe that it was begun with, or choose another --out{fix}",
        )


def _refuse_size(out: Path, there: int, asked: int | None) -> None:
    if asked not in (None, there):
        raise DataError(f"{out}: was begun with {there} clips a shard, not {asked}", "leave --clips-per-shard out")
