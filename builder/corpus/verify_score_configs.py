"""Verify the annotations and stems of a corpus: joined to the audio by id, intact, and true to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..annotations.annotation import STEMS, annotation_features
from ..audio import decode_audio
from ..errors import DataError
from ..io.hf_features import features_from_schema
from ..io.parquet_guard import check_parquet, read_batches
from ..io.storage import open_for_arrow
from .building.score_configs import find_stem_fault
from .corpus import Corpus, part_number
from .schema import LONGEST, stem_features
from .shards import read_footer

READ_ERRORS = (DataError, LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException)
LATEST = 1e-3  # seconds after the end of its clip that a time may be, for rounding
TIMES = {  # the fields of each column that are times
    "beats": ("time", "time"),
    "chords": ("start", "end"),
    "sections": ("start", "end"),
    "notes": ("onset", "offset"),
}
Row = dict[str, Any]


def find_score_faults(
    corpus: Corpus, config: str, ids: Mapping[str, list[str]], intact: set[str], pool: ThreadPoolExecutor
) -> Iterator[str]:
    """Find what is wrong with the annotations or the stems of a corpus.

    Args:
        corpus: The corpus.
        config: "annotations" or "stems".
        ids: The ids of each shard of audio that could be read.
        intact: The files whose hash is the listed one. Others are not read.
        pool: Decodes audio.
    """
    fingerprints = [part["fingerprint"] for part in corpus.parts()]
    for name in corpus.shards(config):
        source = f"data/{name.split('/', 1)[1]}"
        if name not in intact:
            continue
        try:
            check_parquet(corpus.root / name)
            footer = read_footer(corpus.root / name)
            part = part_number(name)
            wanted = fingerprints[part] if part < len(fingerprints) else "none"
            if footer["fingerprint"] != wanted:
                yield f"{name}: made from another recipe ({footer['fingerprint']}, not {wanted})"
            if footer["shard"] != name:
                yield f"{name}: was written as {footer['shard']}"
            if config == "annotations":
                features = annotation_features()
            elif source in ids:
                features = stem_features(_read_rate(corpus.root / source))
            else:  # its rate is not known
                continue
            if features_from_schema(pq.read_schema(open_for_arrow(corpus.root / name)), name) != features:
                yield (
                    f"{name}: has the columns of another version of synthmir; to make them again, delete "
                    f"{corpus.root / config}, then run the command that built the corpus"
                )
                continue
            if source not in ids:
                continue
            if config == "annotations":
                yield from _check_annotations(corpus.root, name, source, ids[source])
            else:
                yield from _check_stems(corpus.root, name, source, ids[source], footer.get("channels", 1), pool)
        except READ_ERRORS as error:
            yield f"{name}: cannot be read: {error}"


def _read_rate(source: Path) -> int:
    """The sampling rate of a shard of audio, in Hz."""
    return int(features_from_schema(pq.read_schema(open_for_arrow(source)), source)["audio"].sampling_rate)


def _check_annotations(root: Path, name: str, source: str, ids: list[str]) -> Iterator[str]:
    """Faults in the ids and times of a shard of annotations."""
    table = pq.read_table(open_for_arrow(root / name), columns=["id", "duration", *TIMES])
    if table["id"].to_pylist() != ids:
        yield f"{name}: its ids are not those of {source}"
        return
    durations = table["duration"].to_numpy()
    audio = pq.read_table(open_for_arrow(root / source), columns=["duration"])["duration"].to_numpy()
    if np.abs(durations - audio).max(initial=0) > LATEST:
        yield f"{name}: has durations that are not those of the audio"
    for column, (start, end) in TIMES.items():
        values = table[column].combine_chunks()
        rows, stretches = pc.list_parent_indices(values).to_numpy(), values.flatten()
        first, last = (stretches.field(key).to_numpy(zero_copy_only=False) for key in (start, end))
        ordered = (first <= last if start == end else first < last) & (first >= 0)
        late = last > durations[rows] + LATEST
        if wrong := np.flatnonzero(~ordered | (late & (column != "notes"))).tolist():
            yield f"{name}: clip {ids[rows[wrong[0]]]}: its {column} have times that are not possible"


def _check_stems(
    root: Path, name: str, source: str, ids: list[str], channels: int, pool: ThreadPoolExecutor
) -> Iterator[str]:
    """Faults in the ids and audio of a shard of stems, which add up to their clips."""
    stems = groupby(_read_rows(root / name, ["id", "stem", "audio"]), lambda row: row["id"])
    grouped = ((identity, list(rows)) for identity, rows in stems)
    clips = _read_rows(root / source, ["id", "audio"])
    found: list[str] = []

    def next_pair() -> Iterator[tuple[Row, list[Row]]]:
        for identity, rows in grouped:
            found.append(identity)
            clip = next(clips, None)
            if clip is None or clip["id"] != identity:
                return
            yield clip, rows

    pairs = next_pair()
    find = partial(_find_fault, channels=channels)
    while batch := [pair for pair, _ in zip(pairs, range(8), strict=False)]:
        yield from (f"{name}: {fault}" for fault in pool.map(find, batch) if fault)
    if found != ids:
        yield f"{name}: its ids are not those of {source}"


def _read_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    for batch in read_batches(path, 8, columns):
        yield from batch.to_pylist()


def _find_fault(pair: tuple[Row, list[Row]], channels: int) -> str | None:
    """The fault of a clip's stems, None if there is none."""
    clip, rows = pair
    numbers = [row["stem"] for row in rows]
    if numbers != sorted(set(numbers)):
        return f"clip {clip['id']}: its stems are not in order, each once"
    try:
        mix, wanted_rate = decode_audio(clip["audio"]["bytes"], seconds=LONGEST)
        sounds = [decode_audio(row["audio"]["bytes"], seconds=LONGEST) for row in rows]
    except DataError as error:
        return f"clip {clip['id']}: {error.message}"
    stems: dict[str, np.ndarray] = {}
    for number, (samples, rate) in zip(numbers, sounds, strict=True):
        if (rate, samples.shape[1]) != (wanted_rate, channels):
            return f"clip {clip['id']}, {STEMS[number]}: {rate} Hz, {samples.shape[1]} channel(s)"
        stems[STEMS[number]] = samples
    fault = find_stem_fault(mix, stems)
    return f"clip {clip['id']}: {fault}" if fault else None
