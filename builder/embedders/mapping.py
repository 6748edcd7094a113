"""The embedding map: a corpus gets one config more, joined by `id`; its audio is read, never rewritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from ..audio import load_audio
from ..corpus.card import write_card
from ..corpus.features import LABELS, embedding_features
from ..corpus.folder import Corpus, embed_record, write_sums
from ..corpus.shards import ROW_GROUP, WORK, Entry, Ledger, locked, read_footer, sha256, write_shard
from ..errors import BackendError, DataError
from ..executors import Tick, cores
from ..recipe import EmbedderSettings
from ..records import RunRecord, recording
from .base import Embedder, load_embedder
from .windows import embed_clips

if TYPE_CHECKING:
    from datasets import Features

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
        _refuse_other_revision(corpus, embedder, overwrite)
        work.mkdir(exist_ok=True)
        for torn in work.rglob(".*.part"):
            torn.unlink()
        sums = corpus.sums()
        ledger = Ledger(work)
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
            record.details = {
                "embedder": {
                    key: getattr(embedder, key)
                    for key in ("name", "revision", "dim", "sampling_rate", "window_seconds", "about")
                },
                "seconds": round(sum(entry.seconds for entry in ledger.entries.values()), 3),
            }
        record.write(record_file)
        write_card(root)
        kept = {key: value for key, value in sums.items() if key.startswith("data/")}
        write_sums(root, kept | {entry.name: entry.sha256 for entry in ledger.entries.values()})
        _clear(root, work)
    return record


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


def _refuse_other_revision(corpus: Corpus, embedder: Embedder, overwrite: bool) -> None:
    made_by = corpus.record(embed_record(embedder.name)).get("details", {}).get("embedder", {}).get("revision")
    if made_by not in (None, embedder.revision) and not overwrite:
        raise DataError(
            f"{corpus.root}: its {embedder.name!r} embeddings are of revision {made_by}, this is {embedder.revision}",
            "use the same weights, or replace them all: --overwrite",
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
    write_shard(target, _groups(source, list(features), embedder, batch_size, pool, tick), features, footer)


def _features(source: Path, dim: int) -> Features:
    from datasets import Features

    columns = Features.from_arrow_schema(pq.read_schema(source))
    return embedding_features({name: columns[name] for name in LABELS}, dim)


def _groups(
    source: Path, columns: list[str], embedder: Embedder, batch_size: int, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[dict[str, Any]]]:
    """Rows with embeddings, a row group at a time. The next batch is decoded while this one is embedded."""

    def audio_of(row: dict[str, Any]) -> np.ndarray:
        return load_audio(row["audio"]["bytes"], embedder.sampling_rate)

    wanted = ["audio", *(name for name in columns if name != "embedding")]
    group: list[dict[str, Any]] = []
    batches = ((rows, [pool.submit(audio_of, row) for row in rows]) for rows in _batches(source, wanted, batch_size))
    ahead = next(batches, None)
    while ahead is not None:
        rows, decoding = ahead
        ahead = next(batches, None)
        vectors = embed_clips(embedder, [future.result() for future in decoding], batch_size)
        if not np.isfinite(vectors).all():
            bad = rows[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]["id"]
            raise BackendError(f"embedder {embedder.name!r} gave values that are no numbers for clip {bad}")
        for row, vector in zip(rows, vectors, strict=True):
            del row["audio"]
            group.append({**row, "embedding": vector})
        tick(len(rows))
        if len(group) >= ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _batches(source: Path, columns: list[str], batch_size: int) -> Iterator[list[dict[str, Any]]]:
    for batch in pq.ParquetFile(source).iter_batches(batch_size, columns=columns):
        yield batch.to_pylist()
