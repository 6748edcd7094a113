"""Is a corpus what it says it is? Every file's hash, every shard's rows, every clip decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..audio import decode_audio, measure_peak
from ..errors import DataError
from ..executors import count_cores
from ..io.parquet_guard import check_parquet, features_from_schema, read_batches
from ..io.storage import open_for_arrow, storage_errors
from .corpus import GROWTH, SHARD_FILE, STATE, Corpus, list_corpus_files, part_number
from .schema import LONGEST, SAMPLING_RATE
from .shards import WORK, hash_file, read_footer

PEAK_TOLERANCE = 0.1  # dB: 16 bits round a sample
ROWS_AT_ONCE = 8  # clips of 30 s take 2 MB each


@dataclass
class Findings:
    """What `verify` saw. `faults` is empty for a sound corpus."""

    files: int = 0
    shards: int = 0
    clips: int = 0
    embeddings: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def verify(path: str | Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Findings:
    """Check a finished corpus whole; `progress` is told how many clips were checked so far, and of how many.

    Hashes of all files against SHA256SUMS, files that are not listed, footers, shard numbers and counts, schemas, ids
    (unique, and the same in every config), every clip decoded with the rate, length and peak its row gives, embeddings
    finite. Raises DataError only where there is no corpus to check; faults are listed in the findings.
    """
    corpus = Corpus.open(path)
    with storage_errors(corpus.root):
        return _verify(corpus, progress)


def _verify(corpus: Corpus, progress: Callable[[int, int], None]) -> Findings:
    found = Findings()
    total = int(corpus.record().get("rows", 0))
    intact = _check_files(corpus, found)
    ids: dict[str, list[str]] = {}
    schemas: dict[int, dict[str, pa.Schema]] = {}
    with ThreadPoolExecutor(count_cores()) as pool:
        for name in corpus.shards():
            if name in intact:
                _check_shard(corpus, name, found, ids, schemas, pool, lambda done: progress(done, total))
    found.faults += _differences(schemas)
    everything = [clip for part in ids.values() for clip in part]
    if len(set(everything)) < len(everything):
        found.faults.append(f"data: {len(everything) - len(set(everything))} id(s) stand twice")
    for config in corpus.embeddings():
        _check_embeddings(corpus, config, found, ids, intact)
    return found


def _check_files(corpus: Corpus, found: Findings) -> set[str]:
    """Compare the files with their sums; returns the names of those that are there and intact."""
    sums, there = corpus.sums(), list_corpus_files(corpus.root)
    found.files = len(sums)
    work = corpus.root / WORK
    if work.exists() and not (work / GROWTH / STATE).exists():  # what it is being extended by is no part of it yet
        found.faults.append(f"{WORK}: unfinished work is left here; run the command that was stopped again")
    found.faults += [f"{name}: not listed in SHA256SUMS (foreign file?)" for name in there if name not in sums]
    found.faults += [f"{name}: missing" for name in sums if name not in there]
    with ThreadPoolExecutor(count_cores()) as pool:
        both = sorted(set(sums) & set(there))
        actual = dict(zip(both, pool.map(lambda name: hash_file(corpus.root / name), both), strict=True))
    found.faults += [
        f"{name}: damaged or changed (its hash is not the listed one)" for name in both if actual[name] != sums[name]
    ]
    for config in ("data", *corpus.embeddings()):
        found.faults += _numbering(corpus.shards(config), config)
    for config, part in corpus.behind().items():
        found.faults.append(
            f"{config}: lacks the clips that the corpus has grown by (part {part}); "
            f"run: {corpus.embed_command(config)}"
        )
    return {name for name in both if actual[name] == sums[name]}


def _numbering(names: list[str], config: str) -> Iterator[str]:
    """Faults in a config's shard numbers: every split, and every part of it, goes from 0 to its total."""
    totals: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        match = SHARD_FILE.match(name.split("/", 1)[1])
        if match is None:
            yield f"{name}: not a shard's name"
        else:
            totals.setdefault((match["split"], match["part"] or "", match["total"]), set()).add(int(match["index"]))
    if not totals:
        yield f"{config}: holds no shard"
    for (split, part, total), indices in totals.items():
        if (first := next(number for number in count() if number not in indices)) < int(total):
            named = f"split {split!r}" + (f", part {int(part)}," if part else "")
            yield f"{config}: {named} lacks shard {first} of {int(total)}"


def _check_shard(
    corpus: Corpus,
    name: str,
    found: Findings,
    ids: dict[str, list[str]],
    schemas: dict[int, dict[str, pa.Schema]],
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None],
) -> None:
    path = corpus.root / name
    try:
        check_parquet(path)
        footer, file = read_footer(path), pq.ParquetFile(open_for_arrow(path))
        schema = file.schema_arrow
        told = str(schema) + str((schema.metadata or {}).get(b"huggingface"))
        schemas.setdefault(part_number(name), {})[told] = schema
        recipes = [part["fingerprint"] for part in corpus.parts()]
        wanted = recipes[part_number(name)] if part_number(name) < len(recipes) else "none"
        if footer["fingerprint"] != wanted:
            found.faults.append(f"{name}: made from another recipe ({footer['fingerprint']}, not {wanted})")
        if footer["shard"] != name:
            found.faults.append(f"{name}: was written as {footer['shard']}")
        if file.metadata.num_rows != footer["planned"] - len(footer["rejected"]):
            found.faults.append(f"{name}: {file.metadata.num_rows} rows, {footer['planned']} planned")
        ids[name] = []
        columns = ["id", "audio", "duration", "peak"]
        for batch in read_batches(path, ROWS_AT_ONCE, columns):
            rows = batch.to_pylist()
            ids[name] += [row["id"] for row in rows]
            fault_of = partial(_fault_of_clip, channels=footer.get("channels", 1))
            found.faults += [f"{name}: {fault}" for fault in pool.map(fault_of, rows) if fault]
            found.clips += len(rows)
            progress(found.clips)
        found.shards += 1
    except (DataError, LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        found.faults.append(f"{name}: cannot be read: {error}")


def _differences(schemas: dict[int, dict[str, pa.Schema]]) -> Iterator[str]:
    """Faults in the columns: of one kind within a part; from part to part names of labels are appended, no more."""

    if any(len(kinds) > 1 for kinds in schemas.values()):
        yield "data: shards differ in their columns or features"
        return
    try:
        parts = {
            part: features_from_schema(next(iter(kinds.values())), "data") for part, kinds in sorted(schemas.items())
        }
    except DataError as error:
        yield error.message
        return
    for (_, older), (part, newer) in pairwise(parts.items()):
        if list(older) != list(newer) or any(not _goes_on(older[name], newer[name]) for name in older):
            yield f"data: part {part} differs in its columns or features from the one before"


def _goes_on(older: Any, newer: Any) -> bool:
    names, more = (getattr(getattr(kind, "feature", kind), "names", None) for kind in (older, newer))
    if names is None or more is None:
        return bool(older == newer)
    return bool(more[: len(names)] == names)


def _fault_of_clip(row: dict[str, Any], channels: int) -> str | None:
    try:
        samples, rate = decode_audio(row["audio"]["bytes"], seconds=LONGEST)
    except DataError as error:
        return f"clip {row['id']}: {error.message}"
    if (rate, samples.shape[1]) != (SAMPLING_RATE, channels):
        wanted = f"{SAMPLING_RATE} Hz {'stereo' if channels == 2 else 'mono'}"
        return f"clip {row['id']}: {rate} Hz, {samples.shape[1]} channel(s), not {wanted}"
    if abs(len(samples) / rate - row["duration"]) > 1 / rate:
        return f"clip {row['id']}: {len(samples) / rate:.3f} s long, its row says {row['duration']:.3f}"
    if abs(measure_peak(samples) - row["peak"]) > PEAK_TOLERANCE:
        return f"clip {row['id']}: peaks at {measure_peak(samples):.2f} dBFS, its row says {row['peak']:.2f}"
    return None


def _check_embeddings(
    corpus: Corpus, config: str, found: Findings, ids: dict[str, list[str]], intact: set[str]
) -> None:
    rows = 0
    sums = corpus.sums()
    for name in corpus.shards(config):
        if name not in intact:
            continue
        source = f"data/{name.split('/', 1)[1]}"
        try:
            footer = read_footer(corpus.root / name)
            damages = footer.get("augment", [])
            columns = ["id", "embedding", *(["damage"] if damages else [])]
            check_parquet(corpus.root / name, columns)
            table = pq.read_table(open_for_arrow(corpus.root / name), columns=columns)
        except (DataError, OSError, pa.ArrowException) as error:
            found.faults.append(f"{name}: cannot be read: {error}")
            continue
        rows += len(table)
        if footer.get("source_sha256") != sums.get(source):
            options = "".join(f" --augment {damage}" for damage in damages)
            embedder = f"{footer.get('embedder', config)}{options}"
            found.faults.append(
                f"{name}: was made from other audio; run: synthmir embed {corpus.root} --embedder {embedder}"
            )
        copies = ["", *damages] if source.startswith("data/train-") else [""]  # of each clip, one after the other
        if source in ids and table["id"].to_pylist() != [clip for clip in ids[source] for _ in copies]:
            found.faults.append(f"{name}: its ids are not those of {source}")
        if damages and table["damage"].to_pylist() != copies * (len(table) // len(copies)):
            found.faults.append(f"{name}: its damages are not {', '.join(damages)}, each clip clean first")
        values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if not np.isfinite(values).all():
            found.faults.append(f"{name}: embeddings hold values that are no numbers")
    found.embeddings[config] = rows
