"""Make a config of a corpus from its audio, one shard for each shard of audio: embeddings, estimates."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from ..errors import DataError
from ..executors import Executor, Tick, count_cores
from ..io.storage import (
    delete_file,
    delete_folder,
    delete_temporary_files,
    is_folder,
    is_remote,
    list_files,
    make_folder,
    map_parallel,
    move_folder,
    storage_errors,
)
from ..records import RunRecord, record_run
from .building.extend import pin_shards
from .card.card import write_card
from .corpus import SUMS, Corpus, write_sums
from .shards import WORK, Entry, Ledger, count_rows, digest, read_footer


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make: the file of audio, its SHA-256, and the name of the shard's file in the corpus."""

    source: Path
    sha256: str
    name: str


class MappedConfig(Protocol):
    """A config whose shards are made from shards of audio."""

    @property
    def name(self) -> str:
        """The name of the config and of its folder."""

    @property
    def record_name(self) -> str:
        """The file of its run record, relative to the corpus."""

    @property
    def command(self) -> str:
        """The command that makes it, for the record."""

    @property
    def made_with(self) -> str:
        """What a shard depends on beside its audio, as text."""

    def count_work(self, source: Path) -> int:
        """How many clips are processed for a shard of audio."""

    def make_shard(self, task: ShardTask, target: Path, pool: ThreadPoolExecutor, tick: Tick) -> None:
        """Write the shard of a shard of audio, and call `tick` with the clips that were just finished."""

    def read_made_with(self, footer: dict[str, Any]) -> str:
        """What a finished shard depends on beside its audio, by its footer."""

    def describe(self, seconds: float) -> dict[str, Any]:
        """The `details` of the run record. `seconds` is what all shards took."""

    def loader(self) -> Callable[[], MappedConfig]:
        """A function for another process, which loads the same config there; it is pickled."""


class ShardMapper:
    """Makes shards of a config in the folder `place`."""

    def __init__(self, config: MappedConfig, place: Path) -> None:
        self.config, self.place = config, place
        self.pool = ThreadPoolExecutor(count_cores())

    def __call__(self, task: ShardTask, tick: Tick) -> Entry:
        """Make one shard, and describe it for the ledger."""
        clock = monotonic()
        target = self.place / task.name
        with storage_errors(target):
            self.config.make_shard(task, target, self.pool, tick)
            seconds = round(monotonic() - clock, 3)
            return Entry(
                task.name, digest(target), seconds, count_rows(target), f"{task.sha256} {self.config.made_with}"
            )


@dataclass(frozen=True)
class ShardMapperFactory:
    """Makes a ShardMapper. Pickled, it loads the config again in the other process."""

    config: MappedConfig
    place: Path

    def __call__(self) -> ShardMapper:
        """Make it."""
        return ShardMapper(self.config, self.place)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_load_mapper, self.config.loader(), self.place)


def _load_mapper(load: Callable[[], MappedConfig], place: Path) -> ShardMapper:
    return ShardMapper(load(), place)


def refuse_links(root: Path, names: tuple[str, ...]) -> None:
    """Raise DataError if a folder that is written to is a link: untrusted, it leads to files outside of the corpus."""
    for folder in () if is_remote(root) else (WORK, "records", *names):
        if (root / folder).is_symlink():
            raise DataError(f"{root / folder}: is a link to another place", "copy the corpus: cp -rL")


def map_shards(corpus: Corpus, config: MappedConfig, executor: Executor, progress: Tick) -> RunRecord:
    """Make the shards that a config lacks, or that are of other audio; then its record, the card and the sums.

    A run that was stopped resumes. The caller holds the lock of the corpus.

    Args:
        corpus: A finished corpus.
        config: What makes the shards.
        executor: Where they are made.
        progress: Called with the number of clips that are finished so far.

    Returns:
        The record of the run; of the last one if nothing is missing.

    Raises:
        DataError: Audio that is damaged, or cannot be read.
        SynthmirError: A shard failed three times; all others are made.
    """
    root, name = corpus.root, config.name
    work = root / WORK / name
    make_folder(work)
    delete_temporary_files(root)
    sums = corpus.sums()
    ledger = Ledger(work)
    unknown = [shard for shard in corpus.shards(name) if shard not in ledger.entries]
    sources = map_parallel(lambda shard: _read_source(root / shard, config), unknown, root)
    for shard, source in zip(unknown, sources, strict=True):
        ledger.add(Entry(shard, sums.get(shard, ""), 0.0, 0, source))
    data = {shard: f"{name}/{shard.split('/', 1)[1]}" for shard in corpus.shards()}
    origin = {shard: f"{sums.get(shard, '')} {config.made_with}" for shard in data}

    begun = set(list_files(work))

    def is_made(shard: str) -> bool:
        target = data[shard]
        if ledger.has_intact(root, target, origin[shard]):
            if target in begun:  # of a run that was stopped and made it of something else
                delete_file(work / target)
            return True
        return ledger.has_intact(work, target, origin[shard])

    finished = map_parallel(is_made, list(data), root)
    todo = [shard for shard, there in zip(data, finished, strict=True) if not there]
    record_file = root / config.record_name
    complete = not todo and record_file.exists() and set(corpus.shards(name)) == set(data.values())
    if complete and _in_checksums(
        sums, {target: ledger.entries[target].sha256 for target in data.values()}, record_file, config.record_name
    ):
        delete_folder(work)
        return RunRecord.from_dict(corpus.record(config.record_name))
    _refuse_changed(root, {shard: sums.get(shard, "") for shard in data})
    done = sum(map_parallel(config.count_work, [root / shard for shard in data if shard not in todo], root))
    with record_run(config.command, corpus.fingerprint) as record:
        progress(done)

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        tasks = [ShardTask(root / shard, sums[shard], data[shard]) for shard in todo]
        for entry in executor.run(ShardMapperFactory(config, work), tasks, tick):
            ledger.add(entry)
        delete_temporary_files(work)  # partial files of workers that died
        _move_shards(work / name, root / name)
        for spare in set(corpus.shards(name)) - set(data.values()):
            delete_file(root / spare)
        record.rows = sum(map_parallel(lambda target: count_rows(root / target), list(data.values()), root))
        record.details = config.describe(sum(entry.seconds for entry in ledger.entries.values()))
    record.write(record_file)
    write_card(root)
    kept = {key: value for key, value in sums.items() if not key.startswith(f"{name}/") and key.endswith(".parquet")}
    write_sums(root, kept | {entry.name: entry.sha256 for entry in ledger.entries.values()})
    delete_folder(work)
    return record


def read_versions(corpus: Corpus, config: MappedConfig) -> set[str]:
    """With what the shards of a stopped run were made, beside their audio."""
    entries = Ledger(corpus.root / WORK / config.name).entries.values()
    return {entry.source.partition(" ")[2] for entry in entries} - {""}


def _in_checksums(sums: dict[str, str], shards: dict[str, str], record: Path, name: str) -> bool:
    """Whether SHA256SUMS has these files as they are. It is written last, so a killed run may lack it."""
    return shards.items() <= sums.items() and sums.get(name) == digest(record)


def _move_shards(made: Path, target: Path) -> None:
    """Move the finished shards to their place, once all are made: the config appears in one step."""
    if not is_folder(target):
        move_folder(made, target)
    elif is_folder(made):
        pin_shards(target.parent, target.name)
        map_parallel(lambda shard: move_folder(shard, target / shard.name), sorted(made.glob("*.parquet")), target)


def _read_source(path: Path, config: MappedConfig) -> str:
    """What a finished shard was made from, in the ledger's form; "" if the shard cannot be read."""
    try:
        footer = read_footer(path)
    except DataError:
        return ""
    return f"{footer.get('source_sha256')} {config.read_made_with(footer)}"


def _refuse_changed(root: Path, sums: dict[str, str]) -> None:
    """Raise DataError if a shard of audio is not the one in SHA256SUMS."""
    with ThreadPoolExecutor(count_cores()) as pool:
        digests = pool.map(lambda shard: digest(root / shard), sums)
        if changed := [shard for shard, actual in zip(sums, digests, strict=True) if actual != sums[shard]]:
            raise DataError(
                f"{root / changed[0]}: the audio is not what {SUMS} says ({len(changed)} shard(s) changed)",
                "list the damage with synthmir verify, and repair it with synthmir build",
            )
