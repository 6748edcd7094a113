"""The embedding map: a corpus gets one config more, joined by `id`; its audio is read, never rewritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.card import write_card
from ..corpus.features import LABELS, embedding_features
from ..corpus.folder import SUMS, Corpus, embed_record, write_sums
from ..corpus.shards import WORK, Entry, Ledger, locked, read_footer, sha256, write_shard
from ..damage import Damage
from ..errors import BackendError, DataError
from ..executors import Tick, cores
from ..recipe import EmbedderSettings
from ..records import RunRecord, recording
from .augment import CLEAN, COLUMN, SPLIT, SUFFIX, copies, damaged, tried
from .base import Embedder, load_embedder
from .streaming import begun
from .windows import embed_streams

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
Progress = Callable[[int, int], None]  # clips embedded so far, clips in all, each damaged copy counted


@dataclass(frozen=True, slots=True)
class Config:
    """One config of embeddings: the embedder's own, or with damages the one that has damaged copies too."""

    embedder: Embedder
    settings: EmbedderSettings
    damages: tuple[Damage, ...] = ()

    @property
    def name(self) -> str:
        """Of the config and its folder."""
        return self.embedder.name + (SUFFIX if self.damages else "")

    @property
    def made(self) -> str:
        """What the rows follow from, beside the audio."""
        return _made(self.embedder.revision, [str(damage) for damage in self.damages])

    def work(self, source: Path) -> int:
        """How often a clip of a shard of audio is embedded: clean rows are copied from the embedder's own config."""
        try:
            clips = pq.read_metadata(source).num_rows
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{source}: cannot be read: {error}", "synthmir verify tells the damage") from error
        return len(self.damages_of(source)) * clips if self.damages else clips

    def damages_of(self, source: Path) -> tuple[Damage, ...]:
        """Those that the clips of a shard are put through."""
        return self.damages if source.name.startswith(f"{SPLIT}-") else ()


def embed_corpus(
    path: str | Path,
    settings: EmbedderSettings,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Add the config `settings.name` to a finished corpus: id, embedding and labels, a shard for each of its own.

    With `settings.augment` it adds `<name>-augmented` too, whose train split also holds each clip damaged, told apart
    by the column `damage`; the record is then that config's.

    Goes on where it was stopped. Shards whose audio has changed since are made again; embeddings of another revision
    of the embedder, or of other damages, are refused unless `overwrite`. Raises DataError, RecipeError, BackendError.
    """
    corpus = Corpus.open(path)
    damages = tried(settings.augment)
    embedder = load_embedder(settings)
    configs = [Config(embedder, settings), *([Config(embedder, settings, damages)] if damages else [])]
    shards = [corpus.root / shard for shard in corpus.shards()]
    amounts = [sum(config.work(shard) for shard in shards) for config in configs]
    with locked(corpus.root / WORK):
        for config in configs:
            _refuse_other(corpus, config, Ledger(corpus.root / WORK / config.name), overwrite)
        before = 0
        for config, amount in zip(configs, amounts, strict=True):
            record = _embed(corpus, config, lambda done, before=before: progress(before + done, sum(amounts)))  # type: ignore[misc]
            before += amount
        if {path.name for path in (corpus.root / WORK).iterdir()} <= {"lock"}:
            shutil.rmtree(corpus.root / WORK)
    return record


def _embed(corpus: Corpus, config: Config, progress: Tick) -> RunRecord:
    """Make one config, or what it lacks; `progress` is told how many clips are embedded so far."""
    root, name = corpus.root, config.name
    work = root / WORK / name
    work.mkdir(exist_ok=True)
    for torn in work.rglob(".*.part"):
        torn.unlink()
    sums = corpus.sums()
    ledger = Ledger(work)
    place = root if (root / name).is_dir() else work
    if place == root:
        for shard in corpus.shards(name):
            ledger.enter(Entry(shard, sums.get(shard, ""), 0.0, 0, _source(root / shard)))
    data = {shard: f"{name}/{shard.split('/', 1)[1]}" for shard in corpus.shards()}
    origin = {shard: f"{sums.get(shard, '')} {config.made}" for shard in data}
    todo = [shard for shard, target in data.items() if not ledger.intact(place, target, origin[shard])]
    record_file = root / embed_record(name)
    if not todo and record_file.exists() and set(corpus.shards(name)) == set(data.values()):
        shutil.rmtree(work)
        return RunRecord.read(record_file)
    _refuse_changed(root, {shard: sums.get(shard, "") for shard in data})
    done = sum(config.work(root / shard) for shard in data if shard not in todo)
    with recording("embed", corpus.fingerprint) as record, ThreadPoolExecutor(cores()) as pool:
        progress(done)

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        for shard in todo:
            clock = monotonic()
            target = place / data[shard]
            _embed_shard(root / shard, target, config, sums[shard], pool, tick)
            rows = pq.read_metadata(target).num_rows
            seconds = round(monotonic() - clock, 3)
            ledger.enter(Entry(data[shard], sha256(target), seconds, rows, origin[shard]))
        if place == work:
            (work / name).rename(root / name)
        for spare in set(corpus.shards(name)) - set(data.values()):
            (root / spare).unlink()
        record.rows = sum(pq.read_metadata(root / target).num_rows for target in data.values())
        record.details = details(config.embedder, sum(entry.seconds for entry in ledger.entries.values()))
        if config.damages:
            record.details["augment"] = [str(damage) for damage in config.damages]
    record.write(record_file)
    write_card(root)
    kept = {key: value for key, value in sums.items() if not key.startswith(f"{name}/") and key.endswith(".parquet")}
    write_sums(root, kept | {entry.name: entry.sha256 for entry in ledger.entries.values()})
    shutil.rmtree(work)
    return record


def details(embedder: Embedder, seconds: float) -> dict[str, Any]:
    """What a run's record says of its embedder, and the seconds that its shards took."""
    named = ("name", "revision", "dim", "sampling_rate", "window_seconds", "about")
    return {"embedder": {key: getattr(embedder, key) for key in named}, "seconds": round(seconds, 3)}


def _made(revision: str, augment: Sequence[str]) -> str:
    return f"{revision} with {', '.join(augment)}" if augment else revision


def _source(path: Path) -> str:
    """What a finished embedding shard was made from, as the ledger says it, "" if it cannot be read."""
    try:
        footer = read_footer(path)
    except DataError:
        return ""
    return f"{footer.get('source_sha256')} {_made(footer.get('revision', ''), footer.get('augment', ()))}"


def _refuse_other(corpus: Corpus, config: Config, ledger: Ledger, overwrite: bool) -> None:
    """Raise DataError if the corpus has such embeddings of another revision or damage, or a stopped run made some."""
    stored = corpus.record(embed_record(config.name)).get("details", {})
    begun = [entry.source.partition(" ")[2] for entry in ledger.entries.values()]
    if stored.get("embedder"):
        begun.append(_made(stored["embedder"].get("revision", config.embedder.revision), stored.get("augment", ())))
    others = set(begun) - {config.made, ""}
    if others and not overwrite:
        raise DataError(
            f"{corpus.root}: its {config.name!r} embeddings are of revision {'; '.join(sorted(others))}, "
            f"this is {config.made}",
            f"use the same {'damages' if config.damages else 'weights'}, or replace them all: --overwrite",
        )


def _refuse_changed(root: Path, sums: dict[str, str]) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        found = pool.map(lambda shard: sha256(root / shard), sums)
        if changed := [shard for shard, digest in zip(sums, found, strict=True) if digest != sums[shard]]:
            raise DataError(
                f"{root / changed[0]}: the audio is not what {SUMS} says ({len(changed)} shard(s) changed)",
                "synthmir verify tells the damage; build again to mend it",
            )


def _embed_shard(
    source: Path, target: Path, config: Config, digest: str, pool: ThreadPoolExecutor, tick: Tick
) -> None:
    """One shard of audio -> one shard of embeddings with the same ids, in the same order."""
    footer = {
        "embedder": config.embedder.name,
        "revision": config.embedder.revision,
        "source_sha256": digest,
        "fingerprint": read_footer(source)["fingerprint"],
    }
    features = _features(source, config.embedder.dim)
    if not config.damages:
        write_shard(target, _rows(source, list(features), config, pool, tick), features, footer)
        return
    from datasets import Features, Value

    footer["augment"] = [str(damage) for damage in config.damages]
    clean = source.parent.with_name(config.embedder.name) / source.name
    columns = Features({**features, COLUMN: Value("string")})
    write_shard(target, _with_copies(clean, source, config, pool, tick), columns, footer)


def _features(source: Path, dim: int) -> Features:
    from datasets import Features

    columns = Features.from_arrow_schema(pq.read_schema(source))
    return embedding_features({name: columns[name] for name in LABELS}, dim)


def _rows(
    source: Path, columns: list[str], config: Config, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[Row]]:
    """Rows with embeddings, a batch at a time."""
    size = config.settings.batch_size
    batches = _batches(source, ["audio", *(name for name in columns if name != "embedding")], size)
    for rows, vectors, faults in embed_rows(batches, lambda row: row["audio"]["bytes"], config.embedder, size, pool):
        _refuse_faults(source, rows, faults)
        for row, vector in zip(rows, vectors, strict=True):
            del row["audio"]
            row["embedding"] = vector
        tick(len(rows))
        yield rows


def _with_copies(
    clean: Path, source: Path, config: Config, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[Row]]:
    """Each clip's clean row, from the embedder's own config, and after it one for each damage."""
    damages, size = config.damages_of(source), config.settings.batch_size
    if not damages:
        for rows in _batches(clean, None, size):
            yield [{**row, COLUMN: CLEAN} for row in rows]
        return
    originals = (row for rows in _batches(clean, None, size) for row in rows)
    clips = _batches(source, ["id", "audio"], max(1, size // len(damages)))  # so that memory does not grow with them
    batches = (copies(rows, damages) for rows in clips)
    for rows, vectors, faults in embed_rows(batches, lambda row: row, config.embedder, size, pool, damaged):
        _refuse_faults(source, rows, faults)
        found: list[Row] = []
        for place, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
            if place % len(damages) == 0:
                original = next(originals)
                found.append({**original, COLUMN: CLEAN})
            found.append({**original, "embedding": vector, COLUMN: str(row[COLUMN])})
        tick(len(rows))
        yield found


def _refuse_faults(source: Path, rows: list[Row], faults: dict[int, DataError]) -> None:
    for index, fault in faults.items():
        raise DataError(f"{source}: clip {rows[index]['id']}: {fault.message}", "synthmir verify tells the damage")


def embed_rows(
    batches: Iterator[list[Row]],
    audio_of: Callable[[Row], Any],
    embedder: Embedder,
    batch_size: int,
    pool: ThreadPoolExecutor,
    read: Callable[[Any, int], Iterator[np.ndarray]] = begun,
) -> Iterator[tuple[list[Row], np.ndarray, dict[int, DataError]]]:
    """Each batch of rows with float32 [rows, dim], and the faults of those that cannot be read, by their place.

    `read` makes of what `audio_of` gives, a Path or bytes, blocks of float32 [samples] at a rate in Hz.
    The next batch is decoded while this one is embedded. Raises BackendError where an embedder gives no numbers.
    """

    def reading(rows: list[Row]) -> list[Future[Iterator[np.ndarray]]]:
        return [pool.submit(read, audio_of(row), embedder.sampling_rate) for row in rows]

    ahead = ((rows, reading(rows)) for rows in batches)
    following = next(ahead, None)
    while following is not None:
        rows, opened = following
        following = next(ahead, None)
        vectors, faults = embed_streams(embedder, [future.result for future in opened], batch_size)
        bad = [i for i in np.flatnonzero(~np.isfinite(vectors).all(axis=1)) if i not in faults]
        if bad:
            name = rows[bad[0]].get("id", bad[0])
            raise BackendError(f"embedder {embedder.name!r} gave values that are no numbers for clip {name}")
        yield rows, vectors, faults


def _batches(source: Path, columns: list[str] | None, batch_size: int) -> Iterator[list[Row]]:
    for batch in pq.ParquetFile(source).iter_batches(batch_size, columns=columns):
        yield batch.to_pylist()
