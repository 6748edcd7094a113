"""The embedding map for any audio data set or folder: Parquet with ids, embeddings and all columns but the audio."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow.parquet as pq

from ..corpus.shards import WORK, lock_folder, read_footer, write_shard
from ..errors import DataError, RecipeError
from ..executors import Tick, count_cores
from ..io.atomic import write_text
from ..io.markdown import escape_text, format_front_matter
from ..recipe import EmbedderSettings
from ..records import RunRecord, record_run
from .audio_sources import RESERVED, Part, Row, Shards, open_source
from .base import EmbedderBackend, load_embedder
from .embed_corpus import Progress, details
from .shard_embedder import embed_rows

RECORD, SKIPPED, CARD = "records/embed.json", "skipped.jsonl", "README.md"


def embed_dataset(
    path: str | Path,
    settings: EmbedderSettings,
    out: str | Path,
    *,
    column: str = "audio",
    rows_per_shard: int = 1000,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Write `out`, a data set of `id`, `embedding` (float32 [dim]) and the columns of `path` that hold no audio.

    `path` is a data set on disk or on the Hub, or a folder of audio files (see `sources.open_source`).
    Goes on where it was stopped; audio that changed since, and another embedder, are refused unless `overwrite`.
    Clips that cannot be read (damaged, empty, with NaN samples) are left out and listed in `out`/skipped.jsonl; the
    record's `details["skipped"]` counts them. Files and rows of metadata that do not match are in `details["notes"]`,
    and counted in `details["metadata"]`. Raises DataError, RecipeError and BackendError.
    """
    if settings.augment:
        raise RecipeError("embedder.augment: only a corpus gets damaged copies", "leave out --augment, or --out")
    out = Path(out)
    if out.exists() and out.resolve() == Path(path).expanduser().resolve():
        raise DataError(f"{out}: is what would be embedded", "give another folder: --out DIR")
    plan = open_source(str(path), column, rows_per_shard)
    embedder = load_embedder(settings)
    with lock_folder(out / WORK):
        work = out / WORK
        for torn in work.glob(".*.part"):
            torn.unlink()
        if overwrite:
            _clear(out)
        done = _finished(out, plan, embedder)
        if done == set(plan) and (out / RECORD).exists():
            return RunRecord.read(out / RECORD)
        total = sum(len(part) for part in plan.values())
        ready = sum(len(plan[name]) for name in done)
        with record_run("embed") as record, ThreadPoolExecutor(count_cores()) as pool:
            progress(ready, total)

            def tick(count: int) -> None:
                nonlocal ready
                ready += count
                progress(ready, total)

            for name, part in plan.items():
                if name not in done:
                    _embed_part(work / name, part, embedder, settings.batch_size, pool, tick)
            footers = [read_footer(_place(out, name)) for name in plan]
            skipped = [fault for footer in footers for fault in footer["skipped"]]
            if len(skipped) == total:
                raise DataError(f"{path}: none of its {total} clips can be read; the first: {skipped[0]['reason']}")
            record.rows = total - len(skipped)
            record.details = details(embedder, sum(footer["seconds"] for footer in footers))
            record.details |= {"source": str(path), "skipped": len(skipped)}
            if plan.notes:
                record.details["notes"] = plan.notes
            if plan.metadata:
                record.details["metadata"] = plan.metadata
        for name in plan:  # a shard of which nothing could be read stays hidden: `datasets` cannot read an empty one
            if (work / name).exists() and pq.read_metadata(work / name).num_rows:
                (work / name).replace(out / name)
        write_text(out / SKIPPED, "".join(json.dumps(fault, ensure_ascii=False) + "\n" for fault in skipped))
        write_text(out / CARD, _card(out, embedder, plan, record))
        record.write(out / RECORD)
    return record


def _place(out: Path, name: str) -> Path:
    """Where a shard is: in its place once the whole run is finished, in the hidden work folder before."""
    return out / name if (out / name).exists() else out / WORK / name


def _shards(out: Path) -> list[Path]:
    return sorted([*out.glob("*.parquet"), *(out / WORK).glob("*.parquet")])


def _clear(out: Path) -> None:
    shards = _shards(out)
    for shard in shards:
        read_footer(shard)  # nothing of others is deleted
    for shard in shards:
        shard.unlink()


def _finished(out: Path, plan: Shards, embedder: EmbedderBackend) -> set[str]:
    """The shards that need not be made again. Raises DataError for any that is of something else."""
    done = set()
    mine = f"{embedder.name} of revision {embedder.revision}"
    for shard in _shards(out):
        footer = read_footer(shard)
        found = f"{footer.get('embedder')} of revision {footer.get('revision')}"
        if found != mine:
            raise DataError(
                f"{out}: holds embeddings of {found}, this is {mine}",
                "choose another folder, or replace them all: --overwrite",
            )
        part = plan.get(shard.name)
        if part is None or footer.get("source") != part.digest():
            raise DataError(
                f"{shard}: the audio that it was made from has changed since",
                "put it back, choose another folder, or embed everything again: --overwrite",
            )
        if footer.get("labels", part.labels) != part.labels:  # of version 0.1: not known
            raise DataError(
                f"{shard}: its labels or metadata have changed since",
                "choose another folder, or embed everything again: --overwrite",
            )
        done.add(shard.name)
    return done


def _embed_part(
    target: Path, part: Part, embedder: EmbedderBackend, batch_size: int, pool: ThreadPoolExecutor, tick: Tick
) -> None:
    """Some rows -> one shard, and in its footer what it was made from and what was left out."""
    from datasets import Features, List, Value

    first, *others = part.features().items()
    features = Features(dict([first, (RESERVED, List(Value("float32"), length=embedder.dim)), *others]))
    footer: dict[str, Any] = {"embedder": embedder.name, "revision": embedder.revision, "source": part.digest()}
    if part.labels:
        footer["labels"] = part.labels
    footer["skipped"] = []
    clock = monotonic()

    def embedded() -> Iterator[list[Row]]:
        batches = part.batches(batch_size)
        for rows, vectors, faults in embed_rows(batches, lambda row: row[part.column], embedder, batch_size, pool):
            footer["skipped"] += [{"id": rows[i]["id"], "reason": fault.message} for i, fault in faults.items()]
            tick(len(rows))
            yield [{**rows[i], RESERVED: vectors[i]} for i in range(len(rows)) if i not in faults]
        footer["seconds"] = round(monotonic() - clock, 3)

    write_shard(target, embedded(), features, footer)


def _card(out: Path, embedder: EmbedderBackend, plan: Shards, record: RunRecord) -> str:
    """README.md, by which `datasets` finds the splits."""
    names = dict.fromkeys(part.split for name, part in plan.items() if (out / name).exists())
    files = [{"split": name, "path": f"{name}-*-of-*.parquet"} for name in names]
    notes = "".join(f"- {escape_text(note)}\n" for note in plan.notes)
    return (
        f"{format_front_matter({'configs': [{'config_name': 'default', 'data_files': files}]})}"
        f"# Embeddings: {embedder.name}\n\n"
        f"`embedding` holds {embedder.dim} numbers for each of {record.rows:,} clips, joined to audio by `id`;\n"
        f"{record.details['skipped']} clips could not be read ([{SKIPPED}]({SKIPPED})).\n"
        f"{embedder.about} Revision `{embedder.revision}`.\n" + (f"\n{notes}" if notes else "")
    )
