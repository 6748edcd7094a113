"""Embed any audio data set or folder into Parquet: ids, embeddings and all columns except the audio."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow.parquet as pq

from ..corpus.shards import WORK, read_footer, write_shard
from ..errors import DataError, RecipeError
from ..executors import Tick, count_cores
from ..io.atomic import write_text
from ..io.locks import lock_folder
from ..io.markdown import escape_text, format_front_matter
from ..records import RunRecord, record_run
from ..settings import EmbedderSettings
from .audio_sources import RESERVED, AudioShard, AudioShards, Row, open_source
from .base import EmbedderBackend, load_embedder
from .embed_corpus import Progress
from .shard_embedder import embed_rows, embedder_details

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
    """Embed a data set into the folder `out`, itself a data set of `id`, `embedding` and the columns without audio.

    A run that was stopped resumes. Clips that cannot be read (damaged, empty, NaN samples) are left out, listed in
    `out`/skipped.jsonl and counted in the record's `details["skipped"]`. Files and rows of metadata that do not match
    are described in `details["notes"]` and counted in `details["metadata"]`.

    Args:
        path: A data set on disk or on the Hub, or a folder of audio files: see `audio_sources.open_source`.
        settings: The embedder and its options.
        out: The folder to write, which `datasets.load_dataset` opens. `embedding` is float32 [dim].
        column: The column that holds the audio.
        rows_per_shard: Rows in a Parquet file, at most.
        overwrite: Embed everything again where the audio has changed or another embedder was used, which is refused
            otherwise.
        progress: Called with the clips embedded so far and in total.

    Returns:
        The run's record.

    Raises:
        DataError: No data set, no audio in `column`, audio that has changed, or not one clip that can be read.
        RecipeError: Settings that are not valid; `augment` is for corpora.
        BackendError: The embedder cannot be loaded or fails.
    """
    if settings.augment:
        raise RecipeError("embedder.augment: damaged copies are for a corpus only", "leave out --augment, or --out")
    out = Path(out)
    if out.exists() and out.resolve() == Path(path).expanduser().resolve():
        raise DataError(f"{out}: is the data set to embed", "give another folder: --out DIR")
    plan = open_source(str(path), column, rows_per_shard)
    embedder = load_embedder(settings)
    with lock_folder(out / WORK):
        work = out / WORK
        for partial_file in work.glob(".*.part"):
            partial_file.unlink()
        if overwrite:
            _delete_shards(out)
        done = _list_finished(out, plan, embedder)
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
                    _embed_shard(work / name, part, embedder, settings.batch_size, pool, tick)
            footers = [read_footer(_find_shard(out, name)) for name in plan]
            skipped = [fault for footer in footers for fault in footer["skipped"]]
            if len(skipped) == total:
                raise DataError(f"{path}: none of its {total} clips can be read; the first: {skipped[0]['reason']}")
            record.rows = total - len(skipped)
            record.details = embedder_details(embedder, sum(footer["seconds"] for footer in footers))
            record.details |= {"source": str(path), "skipped": len(skipped)}
            if plan.notes:
                record.details["notes"] = plan.notes
            if plan.metadata:
                record.details["metadata"] = plan.metadata
        for name in plan:  # a shard without a row stays hidden: `datasets` cannot read it
            if (work / name).exists() and pq.read_metadata(work / name).num_rows:
                (work / name).replace(out / name)
        write_text(out / SKIPPED, "".join(json.dumps(fault, ensure_ascii=False) + "\n" for fault in skipped))
        write_text(out / CARD, _make_card(out, embedder, plan, record))
        record.write(out / RECORD)
    return record


def _find_shard(out: Path, name: str) -> Path:
    """Where a shard is: in `out` once the run is finished, before that in the hidden work folder."""
    return out / name if (out / name).exists() else out / WORK / name


def _list_shards(out: Path) -> list[Path]:
    return sorted([*out.glob("*.parquet"), *(out / WORK).glob("*.parquet")])


def _delete_shards(out: Path) -> None:
    shards = _list_shards(out)
    for shard in shards:
        read_footer(shard)  # raises for a file that synthmir did not write
    for shard in shards:
        shard.unlink()


def _list_finished(out: Path, plan: AudioShards, embedder: EmbedderBackend) -> set[str]:
    """The shards that are finished. Raises DataError for one of another embedder or of other audio or labels."""
    done = set()
    this = f"{embedder.name} of revision {embedder.revision}"
    for shard in _list_shards(out):
        footer = read_footer(shard)
        other = f"{footer.get('embedder')} of revision {footer.get('revision')}"
        if other != this:
            raise DataError(
                f"{out}: holds embeddings of {other}, this is {this}",
                "choose another folder, or replace them all: --overwrite",
            )
        part = plan.get(shard.name)
        if part is None or footer.get("source") != part.hash_audio():
            raise DataError(
                f"{shard}: the audio that it was made from has changed since",
                "put it back, choose another folder, or embed everything again: --overwrite",
            )
        if footer.get("labels", part.labels) != part.labels:  # version 0.1 did not write it
            raise DataError(
                f"{shard}: its labels or metadata have changed since",
                "choose another folder, or embed everything again: --overwrite",
            )
        done.add(shard.name)
    return done


def _embed_shard(
    target: Path, part: AudioShard, embedder: EmbedderBackend, batch_size: int, pool: ThreadPoolExecutor, tick: Tick
) -> None:
    """Write one shard of embeddings; its footer says what it was made from and which rows were left out."""
    from datasets import Features, List, Value

    first, *others = part.features().items()
    features = Features(dict([first, (RESERVED, List(Value("float32"), length=embedder.dim)), *others]))
    footer: dict[str, Any] = {"embedder": embedder.name, "revision": embedder.revision, "source": part.hash_audio()}
    if part.labels:
        footer["labels"] = part.labels
    footer["skipped"] = []
    clock = monotonic()

    def embed_batches() -> Iterator[list[Row]]:
        batches = part.read_batches(batch_size)
        for rows, vectors, faults in embed_rows(batches, lambda row: row[part.column], embedder, batch_size, pool):
            footer["skipped"] += [{"id": rows[i]["id"], "reason": fault.message} for i, fault in faults.items()]
            tick(len(rows))
            yield [{**rows[i], RESERVED: vectors[i]} for i in range(len(rows)) if i not in faults]
        footer["seconds"] = round(monotonic() - clock, 3)

    write_shard(target, embed_batches(), features, footer)


def _make_card(out: Path, embedder: EmbedderBackend, plan: AudioShards, record: RunRecord) -> str:
    """The README.md in which `datasets` finds the splits."""
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
