"""Export a corpus as audio files and tables: for mirdata, or as an `audiofolder` of `datasets`."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError, RecipeError
from ...executors import count_cores
from ...io.atomic import write_text
from ...io.hf_features import features_from_schema
from ...io.locks import lock_folder
from ...io.parquet_guard import FIX, check_parquet, read_batches
from ...io.safe_files import read_json
from ...io.storage import delete_temporary_files, make_folder, open_for_arrow, storage_errors, write_errors
from ...names import hide_split
from ..corpus import SHARD_FILE, Corpus, newest_shard
from ..schema import LONGEST
from ..shards import WORK, digest
from .tables import Clip, format_cells, safe_name, write_tables

LAYOUTS = ("mirdata", "audiofolder")
FORMATS = ("flac", "wav")
STATE = "export.json"  # in the work folder, which is kept: it identifies the export
PER_FOLDER = 5_000  # files in a folder; the Hub takes 10,000, and most file managers fewer
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Attributes:
        clips: Audio files in the export.
        kept: How many of them an earlier run had written.
        tables: The tables that list them.
    """

    clips: int
    kept: int
    tables: tuple[Path, ...]


def export_corpus(
    source: str | Path,
    layout: str,
    out: str | Path,
    *,
    audio: str = "flac",
    splits: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Export:
    """Export a corpus as audio files and tables. An export that was stopped resumes with the same call.

    Args:
        source: The corpus.
        layout: "mirdata": audio/GENRE/ID.flac, metadata.csv and NAME_index.json, as mirdata's loaders read them.
            "audiofolder": SPLIT/GENRE/ID.flac and SPLIT/metadata.csv, for `load_dataset("audiofolder",
            data_dir=...)`; metadata.parquet where a label such as `null` or `1990` would be misread in CSV.
        out: The folder to write to.
        audio: "flac": the bytes of the corpus. "wav": the same samples in 16 bits.
        splits: Export only these. Default: all.
        progress: Called with the number of clips written so far, and of all.

    Returns:
        What was written.

    Raises:
        RecipeError: An option has an invalid value.
        DataError: The corpus is unfinished or damaged, the folder holds something else, or the disk is full.
    """
    for name, value, known in (("layout", layout, LAYOUTS), ("audio format", audio, FORMATS)):
        if value not in known:
            raise RecipeError(f"{name} {value!r}: not known", f"one of {', '.join(known)}")
    if "://" in str(out):
        raise RecipeError(f"{out}: audio files can only be written to a folder of this machine", "give a path")
    corpus, root = Corpus.open(source), Path(out)
    with storage_errors(corpus.root):
        shards = _select_shards(corpus, splits)
        table, features = _read_rows(corpus, shards)
    clips = _assign_files(table, features, layout, audio)
    sums = corpus.sums()
    state = {
        "layout": layout,
        "audio": audio,
        "splits": sorted({clip.split for clip in clips}),
        "data": hashlib.sha256("".join(f"{sums.get(name)} {name}\n" for name in shards).encode()).hexdigest(),
    }
    _claim_folder(root, state)
    with lock_folder(root / WORK), storage_errors(corpus.root):
        delete_temporary_files(root)
        md5, kept = _write_clips(corpus, shards, sums, clips, root, audio, progress)
        tables = write_tables(corpus, layout, table, features, clips, md5, root)
    return Export(len(clips), kept, tables)


def _select_shards(corpus: Corpus, splits: Sequence[str]) -> list[str]:
    """The shards of the chosen splits."""
    by_split: dict[str, list[str]] = {}
    for name in corpus.shards():
        if (match := SHARD_FILE.match(name.rpartition("/")[2])) is None:
            raise DataError(f"{corpus.root}/{name}: not the name of a shard", f"see: synthmir verify {corpus.root}")
        by_split.setdefault(match["split"], []).append(name)
    if missing := [split for split in splits if split not in by_split]:
        raise DataError(f"{corpus.root}: has no split {missing[0]!r}", f"it has {', '.join(sorted(by_split))}")
    return [name for split, shards in by_split.items() if not splits or split in splits for name in shards]


def _read_rows(corpus: Corpus, shards: Sequence[str]) -> tuple[pa.Table, Any]:
    """All columns but the audio, with the split of each row; and the features of the columns."""
    parts = []
    for name in shards:
        try:
            check_parquet(corpus.root / name)
            file = pq.ParquetFile(open_for_arrow(corpus.root / name))
            part = file.read([column for column in file.schema_arrow.names if column != "audio"])
            part.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise _damage_error(corpus, name) from error
        kind = file.schema_arrow.field("audio").type if "audio" in file.schema_arrow.names else pa.null()
        stored = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if not stored or not {"id", "genre"} <= set(part.column_names):
            raise DataError(f"{corpus.root}/{name}: not a shard of clips: its columns are {part.column_names}", FIX)
        parts.append(part.append_column("split", pa.array([Path(name).name.split("-")[0]] * len(part), pa.string())))
    try:
        table = pa.concat_tables(parts)
    except pa.ArrowException as error:
        raise DataError(f"{corpus.root}: its shards differ in their columns: {error}", FIX) from error
    ids = table["id"].to_pylist()
    if twice := [id for id, times in Counter(ids).items() if times > 1]:
        raise DataError(f"{corpus.root}: id {twice[0]!r} occurs twice", f"see: synthmir verify {corpus.root}")
    last = newest_shard(shards)
    return table, features_from_schema(parts[shards.index(last)].schema, corpus.root / last)


def _damage_error(corpus: Corpus, name: str) -> DataError:
    fix = f"see how to make it again: synthmir verify {corpus.root}"
    return DataError(f"{corpus.root}/{name}: damaged or changed, its hash is not the one in SHA256SUMS", fix)


def _assign_files(table: pa.Table, features: Any, layout: str, audio: str) -> list[Clip]:
    """The file of each clip: by split in an audiofolder, by genre, and in numbered folders where a genre has many."""
    ids, splits = table["id"].to_pylist(), table["split"].to_pylist()
    genres = [safe_name(genre or "unlabelled") for genre in format_cells(table, features, "genre")]
    if layout == "audiofolder":  # a genre "test" would be read as a split
        folders = [f"{split}/{hide_split(genre)}" for split, genre in zip(splits, genres, strict=True)]
    else:
        folders = [f"audio/{genre}" for genre in genres]
    sizes = Counter(folders)
    numbers = {folder: count() for folder in sizes}
    clips = []
    for id, split, folder in zip(ids, splits, folders, strict=True):
        number = next(numbers[folder])
        below = f"{number // PER_FOLDER:03d}/" if sizes[folder] > PER_FOLDER else ""
        clips.append(Clip(id, split, f"{folder}/{below}{safe_name(id)}.{audio}"))
    return clips


def _claim_folder(root: Path, state: dict[str, Any]) -> None:
    """Begin an export in a folder, or resume one. Raises DataError where the folder holds something else."""
    marker = root / WORK / STATE
    try:
        if marker.is_file():
            if read_json(marker) != state:
                raise DataError(
                    f"{root}: holds another export (other corpus, layout, format or splits)", "choose another folder"
                )
            return
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root}: exists and holds something else", "choose a folder that is new or empty")
    except (OSError, ValueError) as error:
        raise DataError(f"{marker}: cannot be read: {error}", "choose another folder") from error
    write_text(marker, json.dumps(state, indent=1))


def _write_clips(
    corpus: Corpus, shards: Sequence[str], sums: dict[str, str], clips: Sequence[Clip], root: Path, audio: str,
    progress: Callable[[int, int], None],
) -> tuple[list[str], int]:  # fmt: skip
    """Write the audio files; returns the MD5 of each, in the order of the clips, and how many existed already."""
    md5: list[str] = []
    kept = 0
    for folder in sorted({clip.file.rpartition("/")[0] for clip in clips}):
        make_folder(root / folder)

    def write_clip(row: dict[str, Any], clip: Clip) -> tuple[str, bool]:
        data = (row["audio"] or {}).get("bytes") or b""
        if audio == "wav":
            data = _convert_to_wav(data, clip.id)
        path = root / clip.file
        with write_errors(path):
            same = path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
            if not same:
                _write_file(path, data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest(), same

    with ThreadPoolExecutor(count_cores()) as pool:
        for name in shards:
            if digest(corpus.root / name) != sums.get(name):
                raise _damage_error(corpus, name)
            for batch in _read_audio(corpus, name):
                for made, same in pool.map(write_clip, batch.to_pylist(), clips[len(md5) : len(md5) + len(batch)]):
                    md5.append(made)
                    kept += same
                progress(len(md5), len(clips))
    return md5, kept


def _read_audio(corpus: Corpus, name: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from read_batches(corpus.root / name, ROWS_AT_ONCE, ["audio"])
    except pa.ArrowException as error:
        raise _damage_error(corpus, name) from error


def _write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, without syncing it: an export that resumes compares every byte."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _convert_to_wav(flac: bytes, id: str) -> bytes:
    """WAV with the same samples, read as integers: floats would be rounded."""
    import soundfile

    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(io.BytesIO(flac)) as audio:
            rate = audio.samplerate
            samples = audio.read(round(LONGEST * rate) + 1, dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, ValueError) as error:
        raise DataError(f"clip {id}: cannot be read as audio: {error}", "see: synthmir verify CORPUS") from error
    if len(samples) > LONGEST * rate:
        raise DataError(f"clip {id}: is longer than {LONGEST:g} s", "see: synthmir verify CORPUS")
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
