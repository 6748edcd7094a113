"""A corpus as audio files beside a table, for tools that read no Parquet: mirdata's index, or `audiofolder`."""

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
from ...io.locks import lock_folder
from ...io.parquet_guard import FIX, check_parquet, features_from_schema, read_batches
from ...io.safe_files import read_json
from ...io.storage import delete_temporary_files, make_folder, open_for_arrow, storage_errors, write_errors
from ...names import hide_split
from ..corpus import SHARD_FILE, Corpus, newest_shard
from ..schema import LONGEST
from ..shards import WORK, digest
from .tables import Clip, format_cells, safe_name, write_tables

LAYOUTS = ("mirdata", "audiofolder")
FORMATS = ("flac", "wav")
STATE = "export.json"  # in the work folder, which stays: an export is known by it
PER_FOLDER = 5_000  # files; the Hub takes 10,000 a folder, and most file managers fewer
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Export:
    """What was written: `clips` audio files, of which `kept` were there already, and the tables that list them."""

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
    """Write a corpus to the folder `out` as audio files and tables. Stopped anywhere, the same call goes on.

    `layout` "mirdata": audio/GENRE/ID.flac, metadata.csv and NAME_index.json, as mirdata's loaders read it.
    "audiofolder": SPLIT/GENRE/ID.flac and SPLIT/metadata.csv, which `load_dataset("audiofolder", data_dir=...)` opens;
    metadata.parquet where readers of CSV would take a label, as `null` or `1990`, for something else.
    FLAC is the corpus's own bytes; "wav" has the same samples in 16 bits. `splits`: only these, default all.

    Raises RecipeError for an option that is none; DataError for a corpus that is unfinished or damaged, a folder that
    holds something else or another export, ids that stand twice, and a disk that is full.
    """
    for name, value, known in (("layout", layout, LAYOUTS), ("audio format", audio, FORMATS)):
        if value not in known:
            raise RecipeError(f"{name} {value!r}: not known", f"one of {', '.join(known)}")
    if "://" in str(out):
        raise RecipeError(f"{out}: audio files go to a folder of this machine", "give a path")
    corpus, root = Corpus.open(source), Path(out)
    with storage_errors(corpus.root):
        shards = _shards(corpus, splits)
        table, features = _read_rows(corpus, shards)
    clips = _place(table, features, layout, audio)
    sums = corpus.sums()
    state = {
        "layout": layout,
        "audio": audio,
        "splits": sorted({clip.split for clip in clips}),
        "data": hashlib.sha256("".join(f"{sums.get(name)} {name}\n" for name in shards).encode()).hexdigest(),
    }
    _claim(root, state)
    with lock_folder(root / WORK), storage_errors(corpus.root):
        delete_temporary_files(root)
        md5, kept = _write_clips(corpus, shards, sums, clips, root, audio, progress)
        tables = write_tables(corpus, layout, table, features, clips, md5, root)
    return Export(len(clips), kept, tables)


def _shards(corpus: Corpus, splits: Sequence[str]) -> list[str]:
    """The shards of the splits that are wanted."""
    by_split: dict[str, list[str]] = {}
    for name in corpus.shards():
        if (match := SHARD_FILE.match(name.rpartition("/")[2])) is None:
            raise DataError(f"{corpus.root}/{name}: not a shard's name", f"see: synthmir verify {corpus.root}")
        by_split.setdefault(match["split"], []).append(name)
    if missing := [split for split in splits if split not in by_split]:
        raise DataError(f"{corpus.root}: has no split {missing[0]!r}", f"there are {', '.join(sorted(by_split))}")
    return [name for split, shards in by_split.items() if not splits or split in splits for name in shards]


def _read_rows(corpus: Corpus, shards: Sequence[str]) -> tuple[pa.Table, Any]:
    """Everything but the audio, with the split of each row; and the columns' features."""
    parts = []
    for name in shards:
        try:
            check_parquet(corpus.root / name)
            file = pq.ParquetFile(open_for_arrow(corpus.root / name))
            part = file.read([column for column in file.schema_arrow.names if column != "audio"])
            part.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(corpus, name) from error
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
        raise DataError(f"{corpus.root}: id {twice[0]!r} stands twice", f"see: synthmir verify {corpus.root}")
    last = newest_shard(shards)
    return table, features_from_schema(parts[shards.index(last)].schema, corpus.root / last)


def _damaged(corpus: Corpus, name: str) -> DataError:
    fix = f"synthmir verify {corpus.root} tells how to make it anew"
    return DataError(f"{corpus.root}/{name}: damaged or changed, it is not what SHA256SUMS lists", fix)


def _place(table: pa.Table, features: Any, layout: str, audio: str) -> list[Clip]:
    """Where each clip's file goes: by split or not, by genre, and by number where a genre has many."""
    ids, splits = table["id"].to_pylist(), table["split"].to_pylist()
    genres = [safe_name(genre or "unlabelled") for genre in format_cells(table, features, "genre")]
    if layout == "audiofolder":  # a genre "test" would be a split as well
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


def _claim(root: Path, state: dict[str, Any]) -> None:
    """Take the folder, or go on in it. Raises DataError for one that is not ours or holds another export."""
    marker = root / WORK / STATE
    try:
        if marker.is_file():
            if read_json(marker) != state:
                raise DataError(
                    f"{root}: holds another export (other corpus, layout, format or splits)", "choose another folder"
                )
            return
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(
                f"{root}: is there already and holds something else", "choose a folder that is new or empty"
            )
    except (OSError, ValueError) as error:
        raise DataError(f"{marker}: cannot be read: {error}", "choose another folder") from error
    write_text(marker, json.dumps(state, indent=1))


def _write_clips(
    corpus: Corpus, shards: Sequence[str], sums: dict[str, str], clips: Sequence[Clip], root: Path, audio: str,
    progress: Callable[[int, int], None],
) -> tuple[list[str], int]:  # fmt: skip
    """The audio files; returns each one's MD5, in the clips' order, and how many were there already."""
    md5: list[str] = []
    kept = 0
    for folder in sorted({clip.file.rpartition("/")[0] for clip in clips}):
        make_folder(root / folder)

    def put(row: dict[str, Any], clip: Clip) -> tuple[str, bool]:
        data = (row["audio"] or {}).get("bytes") or b""
        if audio == "wav":
            data = _wav(data, clip.id)
        path = root / clip.file
        with write_errors(path):
            same = path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
            if not same:
                _put(path, data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest(), same

    with ThreadPoolExecutor(count_cores()) as pool:
        for name in shards:
            if digest(corpus.root / name) != sums.get(name):
                raise _damaged(corpus, name)
            for batch in _audio(corpus, name):
                for made, same in pool.map(put, batch.to_pylist(), clips[len(md5) : len(md5) + len(batch)]):
                    md5.append(made)
                    kept += same
                progress(len(md5), len(clips))
    return md5, kept


def _audio(corpus: Corpus, name: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from read_batches(corpus.root / name, ROWS_AT_ONCE, ["audio"])
    except pa.ArrowException as error:
        raise _damaged(corpus, name) from error


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all. Not synced clip by clip: an export that is gone on with compares every byte."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _wav(flac: bytes, id: str) -> bytes:
    """The same samples, as integers: floats would be rounded to others."""
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
