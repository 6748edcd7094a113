"""The work of a build: the parts of the corpus, the shards that are missing, and where they belong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ...configs import AUDIO, GENERATED
from ...errors import DataError
from ...generators.base import is_able
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
from ..corpus import GROWTH, STATE, Corpus
from ..schema import DETAILS
from ..shards import WORK, Ledger
from .extend import (
    CorpusPart,
    archive_recipe,
    combine_fingerprints,
    pin_shards,
)
from .plan import Shard
from .shard_builder import ShardTask

PartRecord = dict[str, Any]  # a part of a corpus, as its record describes it


@dataclass
class BuildJob:
    """The parts of a corpus as they will be after the build.

    Attributes:
        out: The corpus folder.
        home: The folder of state and ledger inside the work folder, and of new shards until all of them are made.
        recipe: The recipe of the build.
        parts: All parts, the finished ones first.
        finished_parts: The records of the finished parts.
        finished_record: The record of the finished corpus; None in a first build.
        configs: The configs of each part beside the audio: "annotations", "stems".
    """

    out: Path
    home: Path
    recipe: Recipe
    parts: list[CorpusPart]
    finished_parts: list[PartRecord] = field(default_factory=list)
    finished_record: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        delete_temporary_files(self.out)
        self.ledger = Ledger(self.home)
        if self.finished_record is None:
            for config in (*GENERATED, AUDIO):
                resume_move(self.home / config, self.out / config)
        in_place = self.new is None or (self.finished_record is None and is_folder(self.out / AUDIO))
        self._target = self.out if in_place else self.home
        self._listed = Corpus(self.out).sums() if self.finished_record else {}
        self.configs = [self._choose_configs(part) for part in self.parts]

    @property
    def new(self) -> CorpusPart | None:
        """The part that is made for the first time."""
        return self.parts[-1] if len(self.parts) > len(self.finished_parts) else None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the corpus as it will be."""
        return combine_fingerprints([part.fingerprint for part in self.parts])

    def place(self, part: CorpusPart, config: str = AUDIO) -> Path:
        """The folder that shards of a part are written below. Annotations and stems are moved once all are made."""
        if config != AUDIO:
            return self.home
        return self._target if part is self.new else self.out

    def path(self, part: CorpusPart, shard: Shard) -> Path:
        """The file of audio of a finished shard."""
        path = self.place(part) / shard.name
        moved = self.finished_record and part is self.new and not path.exists()
        return self.out / shard.name if moved else path

    def _choose_configs(self, part: CorpusPart) -> tuple[str, ...]:
        """The configs beside the audio of a part: those that it has, and those asked for that can be made."""
        name = part.recipe.generator.name
        return tuple(
            config
            for config in GENERATED
            if any(shard.path_in(config) in self._listed for shard in part.shards)
            or (config in self.recipe.generated_configs and is_able(name, config))
        )

    def list_missing(self) -> list[tuple[CorpusPart, list[ShardTask]]]:
        """The shards to make, by part. The shards of a corpus that is extended must exist, and are not read.

        Raises:
            DataError: Annotations or stems are damaged, and the generator that made them has no score any more.
        """
        missing = []
        for part, configs in zip(self.parts, self.configs, strict=True):
            find = partial(self._find_missing, part, configs)
            tasks = [task for task in map_parallel(find, part.shards, self.out) if task.configs]
            for task in tasks:
                for config in task.configs:
                    if config != AUDIO and not is_able(part.recipe.generator.name, config):
                        raise DataError(
                            f"{self.out}: {task.shard.path_in(config)} is missing or damaged, and generator "
                            f"{part.recipe.generator.name!r} has no score in this version of synthmir",
                            "copy the file from where the corpus is published",
                        )
            missing.append((part, tasks))
        return missing

    def is_listed(self) -> bool:
        """Whether SHA256SUMS lists every shard."""
        names = {
            shard.path_in(config)
            for part, configs in zip(self.parts, self.configs, strict=True)
            for shard in part.shards
            for config in (AUDIO, *configs)
        }
        return names <= self._listed.keys()

    def keep_readable(self, missing: list[tuple[CorpusPart, list[ShardTask]]]) -> None:
        """Let the corpus be read while it only gets annotations or stems: without its state, it counts as finished."""
        if self.new is None and not any(AUDIO in task.configs for _, tasks in missing for task in tasks):
            delete_file(self.out / WORK / STATE)

    def count_repaired(self, missing: list[tuple[CorpusPart, list[ShardTask]]]) -> int:
        """How many of the shards to make were lost or damaged."""
        names = [task.shard.path_in(config) for _, tasks in missing for task in tasks for config in task.configs]
        return sum(name in self._listed for name in names)

    def detail_columns(self, missing: list[tuple[CorpusPart, list[ShardTask]]]) -> tuple[str, ...]:
        """Those of `DETAILS` that the shards have. A corpus that 0.1 began has none, and is completed without them."""
        for part, tasks in missing:
            names = {task.shard.name for task in tasks if AUDIO in task.configs}
            if made := next((shard for shard in part.shards if shard.name not in names), None):
                path = self.path(part, made)
                with parquet_errors(path):
                    columns = pq.read_schema(open_for_arrow(path)).names
                return tuple(column for column in DETAILS if column in columns)
        return tuple(DETAILS)

    def _find_missing(self, part: CorpusPart, configs: Sequence[str], shard: Shard) -> ShardTask:
        """The files of a shard of this part that are not finished."""
        missing = tuple(config for config in (AUDIO, *configs) if not self._is_finished(part, config, shard))
        return ShardTask(shard, missing, None if AUDIO in missing else self.path(part, shard))

    def _is_finished(self, part: CorpusPart, config: str, shard: Shard) -> bool:
        name = shard.path_in(config)
        if self.new and part is not self.new and (config == AUDIO or name in self._listed):
            return (self.out / name).exists()
        places = {self.place(part, config), self.out}
        return any(self.ledger.has_intact(place, name, part.fingerprint) for place in places)

    def put_in_place(self) -> None:
        """Move the new shards into the corpus once all are made. Until the card is written, it lists the old ones."""
        if self.new is None or self.finished_record is None:
            self._move_configs()
            if self._target == self.home:
                move_folder(self.home / AUDIO, self.out / AUDIO)
            return
        write_text(self.out / WORK / STATE, json.dumps({"record": self.finished_record}))
        archive_recipe(self.out, self.finished_parts[-1]["fingerprint"])
        for config in (AUDIO, *GENERATED):
            pin_shards(self.out, config)
        self._move_configs()
        map_parallel(self._move, [shard.name for shard in self.new.shards], self.out)
        self._target = self.out

    def _move_configs(self) -> None:
        """Move annotations and stems into the corpus: in one step where it has none yet."""
        for config in {config for configs in self.configs for config in configs}:
            if not is_folder(self.out / config):
                move_folder(self.home / config, self.out / config)
            else:
                names = [shard.path_in(config) for part in self.parts for shard in part.shards]
                map_parallel(self._move, names, self.out)

    def _move(self, name: str) -> None:
        if (made := self.home / name).exists():
            move_folder(made, self.out / name)

    def clean_up(self) -> None:
        """Remove the work folder. After a repair, an extension that was begun is kept."""
        work = self.out / WORK
        kept = set() if self.new or read_extension(work / GROWTH, self.finished_parts) is None else {GROWTH}
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


def read_extension(home: Path, parts: list[PartRecord]) -> dict[str, Any] | None:
    """The state of an extension of these parts, where shards of it are made."""
    if not (home / STATE).exists() or not Ledger(home).entries:
        return None
    begun = read_state(home / STATE, "after", "clips_per_shard")
    return begun if begun["after"] == [part["fingerprint"] for part in parts] else None


def read_state(path: Path, *keys: str) -> dict[str, Any]:
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
