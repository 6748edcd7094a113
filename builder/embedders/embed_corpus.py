"""Embed a corpus: it gets one more config, joined by `id`. Its audio is read and never written again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ..corpus.building.extend import pin_shards
from ..corpus.card.card import write_card
from ..corpus.corpus import SUMS, Corpus, embed_record, write_sums
from ..corpus.shards import WORK, Entry, Ledger, digest, read_footer
from ..errors import DataError
from ..executors import Executor, ExecutorSettings, Tick, choose_executor, count_cores
from ..io.locks import lock_folder
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
from ..records import RunRecord, record_run
from ..settings import EmbedderSettings
from .augment import SUFFIX, check_damages
from .base import EmbedderBackend, load_embedder
from .shard_embedder import EmbeddingConfig, ShardEmbedderFactory, ShardTask, count_rows, describe_revision

Progress = Callable[[int, int], None]  # clips embedded so far, clips in total; a damaged copy counts as a clip


def embed_corpus(
    path: str | Path,
    settings: EmbedderSettings,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    scale: ExecutorSettings | None = None,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Add a config of embeddings to a finished corpus: `id`, `embedding` and the labels, shard by shard.

    With `settings.augment` it also adds `<name>-augmented`, whose train split has damaged copies of each clip too;
    the column `damage` names the damage. A run that was stopped resumes. Shards whose audio has changed are embedded
    again.

    Args:
        path: The corpus folder or its address.
        settings: The embedder and its options.
        overwrite: Replace embeddings of another revision of the embedder or of other damages, which are refused
            otherwise.
        workers: Processes that each load the embedder and embed whole shards. Default: this process. Embeddings do
            not depend on it.
        scale: Where the workers run. Default: on this machine.
        progress: Called with the clips embedded so far and in total.

    Returns:
        The run's record; with `settings.augment` the record of the augmented config.

    Raises:
        DataError: Not a finished corpus, audio that cannot be read, or embeddings of another revision.
        RecipeError: Settings that are not valid.
        BackendError: The embedder cannot be loaded or fails.
        SynthmirError: A shard failed three times; all others are embedded.
    """
    corpus = Corpus.open(path)
    damages = check_damages(settings.augment)
    embedder = load_embedder(settings)
    for folder in () if is_remote(corpus.root) else (WORK, "records", embedder.name, f"{embedder.name}{SUFFIX}"):
        if (corpus.root / folder).is_symlink():  # untrusted: files outside of the corpus would be written and removed
            raise DataError(f"{corpus.root / folder}: is a link to another place", "copy the corpus: cp -rL")
    executor = choose_executor(scale, limit_workers(corpus.root, workers), one_core=False, place=corpus.root / WORK)
    configs = [
        EmbeddingConfig(embedder, settings),
        *([EmbeddingConfig(embedder, settings, damages)] if damages else []),
    ]
    shards = [corpus.root / shard for shard in corpus.shards()]
    amounts = [sum(map_parallel(config.count_embeddings, shards, corpus.root)) for config in configs]
    with lock_folder(corpus.root / WORK):
        for config in configs:
            _refuse_other(corpus, config, Ledger(corpus.root / WORK / config.name), overwrite)
        before = 0
        for config, amount in zip(configs, amounts, strict=True):
            record = _embed_config(corpus, config, executor, partial(_progress, progress, before, sum(amounts)))
            before += amount
    return record


def _in_checksums(sums: dict[str, str], shards: dict[str, str], record: Path, name: str) -> bool:
    """Whether SHA256SUMS has these files as they are. It is written last, so a killed run may lack it."""
    return shards.items() <= sums.items() and sums.get(embed_record(name)) == digest(record)


def _progress(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _embed_config(corpus: Corpus, config: EmbeddingConfig, executor: Executor, progress: Tick) -> RunRecord:
    """Embed the shards that one config lacks; `progress` gets the number of clips embedded so far."""
    root, name = corpus.root, config.name
    work = root / WORK / name
    make_folder(work)
    delete_temporary_files(root)
    sums = corpus.sums()
    ledger = Ledger(work)
    unknown = [shard for shard in corpus.shards(name) if shard not in ledger.entries]
    sources = map_parallel(lambda shard: _read_source(root / shard), unknown, root)
    for shard, source in zip(unknown, sources, strict=True):
        ledger.add(Entry(shard, sums.get(shard, ""), 0.0, 0, source))
    data = {shard: f"{name}/{shard.split('/', 1)[1]}" for shard in corpus.shards()}
    origin = {shard: f"{sums.get(shard, '')} {config.made_with}" for shard in data}

    def is_made(shard: str) -> bool:
        return any(ledger.has_intact(place, data[shard], origin[shard]) for place in (root, work))

    finished = map_parallel(is_made, list(data), root)
    todo = [shard for shard, there in zip(data, finished, strict=True) if not there]
    record_file = root / embed_record(name)
    complete = not todo and record_file.exists() and set(corpus.shards(name)) == set(data.values())
    if complete and _in_checksums(
        sums, {target: ledger.entries[target].sha256 for target in data.values()}, record_file, name
    ):
        delete_folder(work)
        return RunRecord.from_dict(corpus.record(embed_record(name)))
    _refuse_changed(root, {shard: sums.get(shard, "") for shard in data})
    done = sum(map_parallel(config.count_embeddings, [root / shard for shard in data if shard not in todo], root))
    with record_run("embed", corpus.fingerprint) as record:
        progress(done)

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        tasks = [ShardTask(root / shard, sums[shard], data[shard]) for shard in todo]
        for entry in executor.run(ShardEmbedderFactory(config, work), tasks, tick):
            ledger.add(entry)
        delete_temporary_files(work)  # partial files of workers that died
        _move_shards(work / name, root / name)
        for spare in set(corpus.shards(name)) - set(data.values()):
            delete_file(root / spare)
        record.rows = sum(map_parallel(lambda target: count_rows(root / target), list(data.values()), root))
        record.details = embedder_details(config.embedder, sum(entry.seconds for entry in ledger.entries.values()))
        if config.damages:
            record.details["augment"] = [str(damage) for damage in config.damages]
    record.write(record_file)
    write_card(root)
    kept = {key: value for key, value in sums.items() if not key.startswith(f"{name}/") and key.endswith(".parquet")}
    write_sums(root, kept | {entry.name: entry.sha256 for entry in ledger.entries.values()})
    delete_folder(work)
    return record


def embedder_details(embedder: EmbedderBackend, seconds: float) -> dict[str, Any]:
    """The `details` of a run's record: the embedder's attributes, and the seconds that its shards took."""
    keys = ("name", "revision", "dim", "sampling_rate", "window_seconds", "about")
    return {"embedder": {key: getattr(embedder, key) for key in keys}, "seconds": round(seconds, 3)}


def _move_shards(made: Path, target: Path) -> None:
    """Move the finished shards to their place, once all are made: the config appears in one step."""
    if not is_folder(target):
        move_folder(made, target)
    elif is_folder(made):
        pin_shards(target.parent, target.name)
        map_parallel(lambda shard: move_folder(shard, target / shard.name), sorted(made.glob("*.parquet")), target)


def _read_source(path: Path) -> str:
    """What a finished shard was made from, in the ledger's form; "" if the shard cannot be read."""
    try:
        footer = read_footer(path)
    except DataError:
        return ""
    return f"{footer.get('source_sha256')} {describe_revision(footer.get('revision', ''), footer.get('augment', ()))}"


def _refuse_other(corpus: Corpus, config: EmbeddingConfig, ledger: Ledger, overwrite: bool) -> None:
    """Raise DataError if the corpus, or a stopped run, has embeddings of another revision or of other damages."""
    stored = corpus.record(embed_record(config.name)).get("details", {})
    existing = [entry.source.partition(" ")[2] for entry in ledger.entries.values()]
    if stored.get("embedder"):
        existing.append(
            describe_revision(stored["embedder"].get("revision", config.embedder.revision), stored.get("augment", ()))
        )
    others = set(existing) - {config.made_with, ""}
    if others and not overwrite:
        raise DataError(
            f"{corpus.root}: its {config.name!r} embeddings are of revision {'; '.join(sorted(others))}, "
            f"this is {config.made_with}",
            f"use the same {'damages' if config.damages else 'weights'}, or replace them all: --overwrite",
        )


def _refuse_changed(root: Path, sums: dict[str, str]) -> None:
    """Raise DataError if a shard of audio is not the one in SHA256SUMS."""
    with ThreadPoolExecutor(count_cores()) as pool:
        digests = pool.map(lambda shard: digest(root / shard), sums)
        if changed := [shard for shard, actual in zip(sums, digests, strict=True) if actual != sums[shard]]:
            raise DataError(
                f"{root / changed[0]}: the audio is not what {SUMS} says ({len(changed)} shard(s) changed)",
                "list the damage with synthmir verify, and repair it with synthmir build",
            )
