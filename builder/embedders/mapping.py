"""The embedding map: a corpus gets one config more, joined by `id`; its audio is read, never rewritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from ..corpus.card import write_card
from ..corpus.features import LABELS, embedding_features
from ..corpus.folder import SUMS, Corpus, embed_record, write_sums
from ..corpus.shards import WORK, Entry, Ledger, locked, read_footer, sha256, write_shard
from ..errors import BackendError, DataError
from ..executors import Tick, cores
from ..recipe import EmbedderSettings
from ..records import RunRecord, recording
from .base import Embedder, load_embedder
from .streaming import begun
from .windows import embed_streams

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
Progress = Callable[[int, int], None]  # clips embedded so far, clips in all


def embed_corpus(
    path: str | Path,
    settings: EmbedderSettings,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Add the config `settings.name` to a finished corpus: id, embedding and labels, a shard for each of its own.

    Goes on where it was stopped. Shards whose audio has changed since are made again; embeddings of another revision
    of the embedder are refused unless `overwrite`. Raises DataError and BackendError.
    """
    corpus = Corpus.open(path)
    embedder = load_embedder(settings)
    root, name = corpus.root, embedder.name
    work = root / WORK / name
    with locked(root / WORK):
        work.mkdir(exist_ok=True)
        for torn in work.rglob(".*.part"):
            torn.unlink()
        sums = corpus.sums()
        ledger = Ledger(work)
        _refuse_other_revision(corpus, embedder, ledger, overwrite)
        place = root if (root / name).is_dir() else work
        if place == root:
            for shard in corpus.shards(name):
                ledger.enter(Entry(shard, sums.get(shard, ""), 0.0, 0, _source(root / shard, embedder)))
        data = {shard: f"{name}/{shard.split('/', 1)[1]}" for shard in corpus.shards()}
        todo = [
            shard
            for shard, target in data.items()
            if not ledger.intact(place, target, _identity(embedder, sums[shard]))
        ]
        record_file = root / embed_record(name)
        if not todo and record_file.exists() and set(corpus.shards(name)) == set(data.values()):
            _clear(root, work)
            return RunRecord.read(record_file)
        _refuse_changed(root, {shard: sums.get(shard, "") for shard in data})
        total = sum(pq.read_metadata(root / shard).num_rows for shard in data)
        done = total - sum(pq.read_metadata(root / shard).num_rows for shard in todo)
        with recording("embed", corpus.fingerprint) as record, ThreadPoolExecutor(cores()) as pool:
            progress(done, total)

            def tick(count: int) -> None:
                nonlocal done
                done += count
                progress(done, total)

            for shard in todo:
                clock = monotonic()
                target = place / data[shard]
                _embed_shard(root / shard, target, embedder, settings.batch_size, sums[shard], pool, tick)
                rows = pq.read_metadata(target).num_rows
                seconds = round(monotonic() - clock, 3)
                ledger.enter(Entry(data[shard], sha256(target), seconds, rows, _identity(embedder, sums[shard])))
            if place == work:
                (work / name).rename(root / name)
            for spare in set(corpus.shards(name)) - set(data.values()):
                (root / spare).unlink()
            record.rows = total
            record.details = details(embedder, sum(entry.seconds for entry in ledger.entries.values()))
        record.write(record_file)
        write_card(root)
        kept = {key: value for key, value in sums.items() if key.startswith("data/")}
        write_sums(root, kept | {entry.name: entry.sha256 for entry in ledger.entries.values()})
        _clear(root, work)
    return record


def details(embedder: Embedder, seconds: float) -> dict[str, Any]:
    """What a run's record says of its embedder, and the seconds that its shards took."""
    named = ("name", "revision", "dim", "sampling_rate", "window_seconds", "about")
    return {"embedder": {key: getattr(embedder, key) for key in named}, "seconds": round(seconds, 3)}


def _identity(embedder: Embedder, source: str) -> str:
    """What an embedding shard depends on: the audio's hash and the embedder's revision."""
    return f"{source} {embedder.revision}"


def _source(path: Path, embedder: Embedder) -> str:
    """The identity that a finished embedding shard was made with, "" if it cannot be read."""
    try:
        footer = read_footer(path)
    except DataError:
        return ""
    return f"{footer.get('source_sha256')} {footer.get('revision')}"


def _refuse_other_revision(corpus: Corpus, embedder: Embedder, ledger: Ledger, overwrite: bool) -> None:
    """Raise DataError if the corpus has embeddings of another revision, or a stopped run has made some."""
    record = corpus.record(embed_record(embedder.name)).get("details", {}).get("embedder", {})
    begun = [entry.source.partition(" ")[2] for entry in ledger.entries.values()]
    others = {*begun, record.get("revision", embedder.revision)} - {embedder.revision, ""}
    if others and not overwrite:
        raise DataError(
            f"{corpus.root}: its {embedder.name!r} embeddings are of revision {', '.join(sorted(others))}, "
            f"this is {embedder.revision}",
            "use the same weights, or replace them all: --overwrite",
        )


def _refuse_changed(root: Path, sums: dict[str, str]) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        found = pool.map(lambda shard: sha256(root / shard), sums)
        if changed := [shard for shard, digest in zip(sums, found, strict=True) if digest != sums[shard]]:
            raise DataError(
                f"{root / changed[0]}: the audio is not what {SUMS} says ({len(changed)} shard(s) changed)",
                "synthmir verify tells the damage; build again to mend it",
            )


def _clear(root: Path, work: Path) -> None:
    shutil.rmtree(work)
    if {path.name for path in (root / WORK).iterdir()} <= {"lock"}:
        shutil.rmtree(root / WORK)


def _embed_shard(
    source: Path, target: Path, embedder: Embedder, batch_size: int, digest: str, pool: ThreadPoolExecutor, tick: Tick
) -> None:
    """One shard of audio -> one shard of embeddings with the same ids, in the same order."""
    footer = {
        "embedder": embedder.name,
        "revision": embedder.revision,
        "source_sha256": digest,
        "fingerprint": read_footer(source)["fingerprint"],
    }
    features = _features(source, embedder.dim)
    write_shard(target, _rows(source, list(features), embedder, batch_size, pool, tick), features, footer)


def _features(source: Path, dim: int) -> Features:
    from datasets import Features

    columns = Features.from_arrow_schema(pq.read_schema(source))
    return embedding_features({name: columns[name] for name in LABELS}, dim)


def _rows(
    source: Path, columns: list[str], embedder: Embedder, batch_size: int, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[dict[str, Any]]]:
    """Rows with embeddings, a batch at a time."""
    wanted = ["audio", *(name for name in columns if name != "embedding")]
    batches = _batches(source, wanted, batch_size)
    for rows, vectors, faults in embed_rows(batches, lambda row: row["audio"]["bytes"], embedder, batch_size, pool):
        for index, fault in faults.items():
            raise DataError(f"{source}: clip {rows[index]['id']}: {fault.message}", "synthmir verify tells the damage")
        for row, vector in zip(rows, vectors, strict=True):
            del row["audio"]
            row["embedding"] = vector
        tick(len(rows))
        yield rows


def embed_rows(
    batches: Iterator[list[Row]],
    audio_of: Callable[[Row], Path | bytes | None],
    embedder: Embedder,
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[list[Row], np.ndarray, dict[int, DataError]]]:
    """Each batch of rows with float32 [rows, dim], and the faults of those that cannot be read, by their place.

    The next batch is decoded while this one is embedded. Raises BackendError where an embedder gives no numbers.
    """

    def reading(rows: list[Row]) -> list[Future[Iterator[np.ndarray]]]:
        return [pool.submit(begun, audio_of(row), embedder.sampling_rate) for row in rows]

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


def _batches(source: Path, columns: list[str], batch_size: int) -> Iterator[list[dict[str, Any]]]:
    for batch in pq.ParquetFile(source).iter_batches(batch_size, columns=columns):
        yield batch.to_pylist()
