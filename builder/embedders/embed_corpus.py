"""The embedding map: a corpus gets one config more, joined by `id`; its audio is read, never rewritten."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ..corpus.building.extend import name_shards
from ..corpus.card.card import write_card
from ..corpus.corpus import SUMS, Corpus, embed_record, write_sums
from ..corpus.shards import WORK, Entry, Ledger, digest, lock_folder, read_footer
from ..errors import DataError
from ..executors import Executor, ExecutorSettings, Tick, choose_executor, count_cores
from ..io.storage import (
    delete_file,
    delete_folder,
    delete_temporary_files,
    is_folder,
    is_remote,
    limit_workers,
    make_folder,
    map_parallel,
    move_folder,
)
from ..recipe import EmbedderSettings
from ..records import RunRecord, record_run
from .augment import SUFFIX, tried
from .base import EmbedderBackend, load_embedder
from .shard_embedder import Config, Hired, Part, made_of, rows_in

Progress = Callable[[int, int], None]  # clips embedded so far, clips in all, each damaged copy counted


def embed_corpus(
    path: str | Path,
    settings: EmbedderSettings,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    scale: ExecutorSettings | None = None,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Add the config `settings.name` to a finished corpus: id, embedding and labels, a shard for each of its own.

    With `settings.augment` it adds `<name>-augmented` too, whose train split also holds each clip damaged, told apart
    by the column `damage`; the record is then that config's.

    Goes on where it was stopped. Shards whose audio has changed since are made again; embeddings of another revision
    of the embedder, or of other damages, are refused unless `overwrite`. `workers` processes (default: this one) each
    load the embedder and embed shards of their own, where `scale` says: no embedding depends on them. A shard that
    fails thrice is set aside: the others are embedded, then SynthmirError tells. Raises DataError, RecipeError,
    BackendError.
    """
    corpus = Corpus.open(path)
    damages = tried(settings.augment)
    embedder = load_embedder(settings)
    for folder in () if is_remote(corpus.root) else (WORK, "records", embedder.name, f"{embedder.name}{SUFFIX}"):
        if (corpus.root / folder).is_symlink():  # a stranger's: what is written and removed there would be elsewhere
            raise DataError(f"{corpus.root / folder}: is a link to another place", "copy the corpus whole: cp -rL")
    executor = choose_executor(scale, limit_workers(corpus.root, workers), one_core=False, place=corpus.root / WORK)
    configs = [Config(embedder, settings), *([Config(embedder, settings, damages)] if damages else [])]
    shards = [corpus.root / shard for shard in corpus.shards()]
    amounts = [sum(map_parallel(config.work, shards, corpus.root)) for config in configs]
    with lock_folder(corpus.root / WORK):
        for config in configs:
            _refuse_other(corpus, config, Ledger(corpus.root / WORK / config.name), overwrite)
        before = 0
        for config, amount in zip(configs, amounts, strict=True):
            record = _embed(corpus, config, executor, partial(_progress, progress, before, sum(amounts)))
            before += amount
    return record


def _listed(sums: dict[str, str], made: dict[str, str], record: Path, name: str) -> bool:
    """Whether SHA256SUMS, which is written last, has these files as they are: a kill may fall just before it."""
    return made.items() <= sums.items() and sums.get(embed_record(name)) == digest(record)


def _progress(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _embed(corpus: Corpus, config: Config, executor: Executor, progress: Tick) -> RunRecord:
    """Make one config, or what it lacks; `progress` is told how many clips are embedded so far."""
    root, name = corpus.root, config.name
    work = root / WORK / name
    make_folder(work)
    delete_temporary_files(root)
    sums = corpus.sums()
    ledger = Ledger(work)
    unknown = [shard for shard in corpus.shards(name) if shard not in ledger.entries]
    sources = map_parallel(lambda shard: _source(root / shard), unknown, root)
    for shard, source in zip(unknown, sources, strict=True):
        ledger.enter(Entry(shard, sums.get(shard, ""), 0.0, 0, source))
    data = {shard: f"{name}/{shard.split('/', 1)[1]}" for shard in corpus.shards()}
    origin = {shard: f"{sums.get(shard, '')} {config.made}" for shard in data}

    def made(shard: str) -> bool:
        return any(ledger.intact(place, data[shard], origin[shard]) for place in (root, work))

    intact = map_parallel(made, list(data), root)
    todo = [shard for shard, there in zip(data, intact, strict=True) if not there]
    record_file = root / embed_record(name)
    whole = not todo and record_file.exists() and set(corpus.shards(name)) == set(data.values())
    if whole and _listed(sums, {target: ledger.entries[target].sha256 for target in data.values()}, record_file, name):
        delete_folder(work)
        return RunRecord.of(corpus.record(embed_record(name)))
    _refuse_changed(root, {shard: sums.get(shard, "") for shard in data})
    done = sum(map_parallel(config.work, [root / shard for shard in data if shard not in todo], root))
    with record_run("embed", corpus.fingerprint) as record:
        progress(done)

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        parts = [Part(root / shard, sums[shard], data[shard]) for shard in todo]
        for entry in executor.run(Hired(config, work), parts, tick):
            ledger.enter(entry)
        delete_temporary_files(work)  # what workers that died left half-written
        _join(work / name, root / name)
        for spare in set(corpus.shards(name)) - set(data.values()):
            delete_file(root / spare)
        record.rows = sum(map_parallel(lambda target: rows_in(root / target), list(data.values()), root))
        record.details = details(config.embedder, sum(entry.seconds for entry in ledger.entries.values()))
        if config.damages:
            record.details["augment"] = [str(damage) for damage in config.damages]
    record.write(record_file)
    write_card(root)
    kept = {key: value for key, value in sums.items() if not key.startswith(f"{name}/") and key.endswith(".parquet")}
    write_sums(root, kept | {entry.name: entry.sha256 for entry in ledger.entries.values()})
    delete_folder(work)
    return record


def details(embedder: EmbedderBackend, seconds: float) -> dict[str, Any]:
    """What a run's record says of its embedder, and the seconds that its shards took."""
    named = ("name", "revision", "dim", "sampling_rate", "window_seconds", "about")
    return {"embedder": {key: getattr(embedder, key) for key in named}, "seconds": round(seconds, 3)}


def _join(made: Path, target: Path) -> None:
    """Put the shards that were made in their place, all of them being made: who loads the config sees them at once."""
    if not is_folder(target):
        move_folder(made, target)
    elif is_folder(made):
        name_shards(target.parent, target.name)
        map_parallel(lambda shard: move_folder(shard, target / shard.name), sorted(made.glob("*.parquet")), target)


def _source(path: Path) -> str:
    """What a finished embedding shard was made from, as the ledger says it, "" if it cannot be read."""
    try:
        footer = read_footer(path)
    except DataError:
        return ""
    return f"{footer.get('source_sha256')} {made_of(footer.get('revision', ''), footer.get('augment', ()))}"


def _refuse_other(corpus: Corpus, config: Config, ledger: Ledger, overwrite: bool) -> None:
    """Raise DataError if the corpus has such embeddings of another revision or damage, or a stopped run made some."""
    stored = corpus.record(embed_record(config.name)).get("details", {})
    begun = [entry.source.partition(" ")[2] for entry in ledger.entries.values()]
    if stored.get("embedder"):
        begun.append(made_of(stored["embedder"].get("revision", config.embedder.revision), stored.get("augment", ())))
    others = set(begun) - {config.made, ""}
    if others and not overwrite:
        raise DataError(
            f"{corpus.root}: its {config.name!r} embeddings are of revision {'; '.join(sorted(others))}, "
            f"this is {config.made}",
            f"use the same {'damages' if config.damages else 'weights'}, or replace them all: --overwrite",
        )


def _refuse_changed(root: Path, sums: dict[str, str]) -> None:
    with ThreadPoolExecutor(count_cores()) as pool:
        found = pool.map(lambda shard: digest(root / shard), sums)
        if changed := [shard for shard, made in zip(sums, found, strict=True) if made != sums[shard]]:
            raise DataError(
                f"{root / changed[0]}: the audio is not what {SUMS} says ({len(changed)} shard(s) changed)",
                "synthmir verify tells the damage; build again to mend it",
            )
