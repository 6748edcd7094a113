"""Verify a corpus: the hash of every file, the rows of every shard, and the audio of every clip."""

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
from ..configs import AUDIO, GENERATED
from ..errors import DataError
from ..executors import count_cores
from ..io.hf_features import features_from_schema
from ..io.parquet_guard import check_parquet, read_batches
from ..io.storage import open_for_arrow, storage_errors
from .corpus import GROWTH, SHARD_FILE, STATE, Corpus, list_corpus_files, part_number
from .estimates import CONFIG as ESTIMATES
from .estimates import find_estimate_faults
from .schema import LONGEST
from .shards import WORK, count_rows, hash_file, read_footer
from .verify_score_configs import find_score_faults

PEAK_TOLERANCE = 0.1  # dB: rounding to 16 bits
ROWS_AT_ONCE = 8  # clips of 30 s take 2 MB each


@dataclass
class Findings:
    """The result of `verify`.

    Attributes:
        files: Files that SHA256SUMS lists.
        shards: Shards of audio that were read.
        clips: Clips that were decoded.
        embeddings: Rows of each config of embeddings.
        estimates: Rows of the config of estimates.
        annotations: Rows of the config of annotations.
        stems: Rows of the config of stems.
        faults: Descriptions of all faults; empty for an intact corpus.
    """

    files: int = 0
    shards: int = 0
    clips: int = 0
    embeddings: dict[str, int] = field(default_factory=dict)
    estimates: int = 0
    annotations: int = 0
    stems: int = 0
    faults: list[str] = field(default_factory=list)


def verify(path: str | Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Findings:
    """Verify a finished corpus.

    Compares the hashes of all files with SHA256SUMS, and finds files that are not listed. Checks the footers, numbers,
    row counts and columns of shards, and ids, which are unique and the same in every config. Decodes every clip, and
    compares its sampling rate, length and peak with its row. Checks that embeddings are finite, that annotations are
    within their clips, and that stems add up to theirs.

    Args:
        path: The corpus folder, or its address in a store.
        progress: Called with the number of clips checked so far, and of all.

    Returns:
        What was checked, and all faults.

    Raises:
        DataError: There is no finished corpus.
    """
    corpus = Corpus.open(path)
    with storage_errors(corpus.root):
        return _verify(corpus, progress)


def _verify(corpus: Corpus, progress: Callable[[int, int], None]) -> Findings:
    findings = Findings()
    total = int(corpus.record().get("rows", 0))
    intact = _check_files(corpus, findings)
    ids: dict[str, list[str]] = {}
    schemas: dict[int, dict[str, pa.Schema]] = {}
    with ThreadPoolExecutor(count_cores()) as pool:
        for name in corpus.shards():
            if name in intact:
                _check_shard(corpus, name, findings, ids, schemas, pool, lambda done: progress(done, total))
        configs = corpus.configs()
        for kind in (kind for kind in GENERATED if kind in configs):
            findings.faults += find_score_faults(corpus, kind, ids, intact, pool)
            shards = [corpus.root / name for name in corpus.shards(kind) if name in intact]
            setattr(findings, kind, sum(map(_count_readable, shards)))
    findings.faults += _compare_schemas(schemas)
    all_ids = [clip for shard in ids.values() for clip in shard]
    if len(set(all_ids)) < len(all_ids):
        findings.faults.append(f"data: {len(all_ids) - len(set(all_ids))} id(s) occur twice")
    for config in corpus.embeddings():
        _check_embeddings(corpus, config, findings, ids, intact)
    if shards := [corpus.root / name for name in corpus.shards(ESTIMATES) if name in intact]:
        findings.faults += find_estimate_faults(corpus, ids, intact, corpus.sums())
        findings.estimates = sum(map(_count_readable, shards))
    return findings


def _count_readable(shard: Path) -> int:
    """The rows of a shard; 0 of one that is damaged, which is a fault of its own."""
    try:
        return count_rows(shard)
    except (OSError, pa.ArrowException):
        return 0


def _check_files(corpus: Corpus, findings: Findings) -> set[str]:
    """Compare the files with their sums, and return the names of those that are intact."""
    sums, files = corpus.sums(), list_corpus_files(corpus.root)
    findings.files = len(sums)
    work = corpus.root / WORK
    if work.exists() and not (work / GROWTH / STATE).exists():  # an extension under way is not part of it yet
        findings.faults.append(f"{WORK}: unfinished work; run the command that was stopped again")
    findings.faults += [f"{name}: not listed in SHA256SUMS (foreign file?)" for name in files if name not in sums]
    findings.faults += [f"{name}: missing" for name in sums if name not in files]
    with ThreadPoolExecutor(count_cores()) as pool:
        listed = sorted(set(sums) & set(files))
        actual = dict(zip(listed, pool.map(lambda name: hash_file(corpus.root / name), listed), strict=True))
    findings.faults += [
        f"{name}: damaged or changed (its hash is not the listed one)" for name in listed if actual[name] != sums[name]
    ]
    for name in {AUDIO: "audio"} | corpus.configs():
        findings.faults += _check_numbers(corpus.shards(name), name)
    for config, part in corpus.incomplete_embeddings().items():
        findings.faults.append(
            f"{config}: lacks the clips that the corpus was extended by (part {part}); "
            f"run: {corpus.embed_command(config)}"
        )
    return {name for name in listed if actual[name] == sums[name]}


def _check_numbers(names: list[str], config: str) -> Iterator[str]:
    """Faults in the numbers of a config's shards, which run from 0 to the total in every split and part."""
    totals: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        match = SHARD_FILE.match(name.split("/", 1)[1])
        if match is None:
            yield f"{name}: not the name of a shard"
        else:
            totals.setdefault((match["split"], match["part"] or "", match["total"]), set()).add(int(match["index"]))
    if not totals:
        yield f"{config}: has no shard"
    for (split, part, total), indices in totals.items():
        if (first := next(number for number in count() if number not in indices)) < int(total):
            named = f"split {split!r}" + (f", part {int(part)}," if part else "")
            yield f"{config}: {named} lacks shard {first} of {int(total)}"


def _check_shard(
    corpus: Corpus,
    name: str,
    findings: Findings,
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
        description = str(schema) + str((schema.metadata or {}).get(b"huggingface"))
        schemas.setdefault(part_number(name), {})[description] = schema
        recipes = [part["fingerprint"] for part in corpus.parts()]
        wanted = recipes[part_number(name)] if part_number(name) < len(recipes) else "none"
        if footer["fingerprint"] != wanted:
            findings.faults.append(f"{name}: made from another recipe ({footer['fingerprint']}, not {wanted})")
        if footer["shard"] != name:
            findings.faults.append(f"{name}: was written as {footer['shard']}")
        if file.metadata.num_rows != footer["planned"] - len(footer["rejected"]):
            findings.faults.append(f"{name}: {file.metadata.num_rows} rows, {footer['planned']} planned")
        ids[name] = []
        columns = ["id", "audio", "duration", "peak"]
        rate = features_from_schema(schema, name)["audio"].sampling_rate
        for batch in read_batches(path, ROWS_AT_ONCE, columns):
            rows = batch.to_pylist()
            ids[name] += [row["id"] for row in rows]
            find_fault = partial(_find_clip_fault, wanted_rate=rate, channels=footer.get("channels", 1))
            findings.faults += [f"{name}: {fault}" for fault in pool.map(find_fault, rows) if fault]
            findings.clips += len(rows)
            progress(findings.clips)
        findings.shards += 1
    except (DataError, LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        findings.faults.append(f"{name}: cannot be read: {error}")


def _compare_schemas(schemas: dict[int, dict[str, pa.Schema]]) -> Iterator[str]:
    """Faults in the columns: equal within a part, and between parts but for class names that were appended."""
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
        if list(older) != list(newer) or any(not _is_continued(older[name], newer[name]) for name in older):
            yield f"data: part {part} differs in its columns or features from the part before"


def _is_continued(older: Any, newer: Any) -> bool:
    """Whether a column is equal, or has the same class names and more after them."""
    names, more = (getattr(getattr(kind, "feature", kind), "names", None) for kind in (older, newer))
    if names is None or more is None:
        return bool(older == newer)
    return bool(more[: len(names)] == names)


def _find_clip_fault(row: dict[str, Any], wanted_rate: int, channels: int) -> str | None:
    try:
        samples, rate = decode_audio(row["audio"]["bytes"], seconds=LONGEST)
    except DataError as error:
        return f"clip {row['id']}: {error.message}"
    if (rate, samples.shape[1]) != (wanted_rate, channels):
        wanted = f"{wanted_rate} Hz {'stereo' if channels == 2 else 'mono'}"
        return f"clip {row['id']}: {rate} Hz, {samples.shape[1]} channel(s), not {wanted}"
    if abs(len(samples) / rate - row["duration"]) > 1 / rate:
        return f"clip {row['id']}: {len(samples) / rate:.3f} s long, its row has {row['duration']:.3f}"
    if abs(measure_peak(samples) - row["peak"]) > PEAK_TOLERANCE:
        return f"clip {row['id']}: peaks at {measure_peak(samples):.2f} dBFS, its row has {row['peak']:.2f}"
    return None


def _check_embeddings(
    corpus: Corpus, config: str, findings: Findings, ids: dict[str, list[str]], intact: set[str]
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
            findings.faults.append(f"{name}: cannot be read: {error}")
            continue
        rows += len(table)
        if footer.get("source_sha256") != sums.get(source):
            options = "".join(f" --augment {damage}" for damage in damages)
            command = f"synthmir embed {corpus.root} --embedder {footer.get('embedder', config)}{options}"
            findings.faults.append(f"{name}: was made from other audio; to make it again: {command}")
        copies = ["", *damages] if source.startswith("data/train-") else [""]  # of each clip, in this order
        if source in ids and table["id"].to_pylist() != [clip for clip in ids[source] for _ in copies]:
            findings.faults.append(f"{name}: its ids are not those of {source}")
        if damages and table["damage"].to_pylist() != copies * (len(table) // len(copies)):
            findings.faults.append(f"{name}: its damages are not {', '.join(damages)}, each clip clean first")
        values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if not np.isfinite(values).all():
            findings.faults.append(f"{name}: embeddings have values that are not finite")
    findings.embeddings[config] = rows
