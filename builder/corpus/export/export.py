"""Export a corpus as files and tables that other tools read: audio, annotations and stems."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError, RecipeError
from ...executors import count_cores
from ...io.hf_features import features_from_schema
from ...io.locks import lock_folder
from ...io.parquet_guard import FIX, check_parquet, read_batches
from ...io.storage import delete_temporary_files, make_folder, open_for_arrow, storage_errors, write_errors
from ...validation import suggest
from ..corpus import SHARD_FILE, Corpus, newest_shard
from ..shards import EXPORT_STATE, WORK, claim_folder, digest
from .layouts import ANNOTATIONS, LAYOUTS, STEMS, choose_folder, convert_to_wav, make_files, name_file
from .tables import Clip, format_cells, safe_name, write_tables

FORMATS = ("flac", "wav")
PER_FOLDER = 5_000  # files in a folder; the Hub takes 10,000, and most file managers fewer
ROWS_AT_ONCE = 64
PLAYED = {"tempo_bpm": pa.float64(), "key": pa.string(), "time_signature": pa.string()}  # columns of the tables, too


ClipRows = tuple[bytes, dict[str, Any] | None, list[dict[str, Any]]]  # audio, row of annotations, rows of stems


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Attributes:
        clips: Clips in the export.
        kept: How many of them an earlier run had written, with all of their files.
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
    """Export a corpus as files and tables. An export that was stopped resumes with the same call.

    Where the corpus has the config `annotations`, tables also have the tempo, the key and the time signature that are
    played: `played_tempo_bpm`, `played_key`, `played_time_signature`.

    Args:
        source: The corpus.
        layout: "mirdata": audio/GENRE/ID.flac, metadata.csv and NAME_index.json, as mirdata's loaders read them; with
            annotations also annotations/GENRE/ID.beats, .lab (chords), .sections.lab, .key, .bpm and .mid.
            "audiofolder": SPLIT/GENRE/ID.flac and SPLIT/metadata.csv, for `load_dataset("audiofolder",
            data_dir=...)`; metadata.parquet where a label such as `null` or `1990` would be misread in CSV; with
            annotations also the same files beside the audio.
            "jams": SPLIT/GENRE/ID.flac, ID.jams and metadata.csv.
            "midi": SPLIT/GENRE/ID.mid and metadata.csv.
            "musdb": SPLIT/ID/mixture.wav, drums.wav, bass.wav, other.wav, vocals.wav and metadata.csv, in stereo, as
            musdb and museval read them; the split `validation` is `test`; a silent stem is left out.
        out: The folder to write to.
        audio: "flac": the bytes of the corpus. "wav": the same samples in 16 bits. "musdb" is always WAV.
        splits: Export only these. Default: all.
        progress: Called with the number of clips written so far, and of all.

    Returns:
        What was written.

    Raises:
        RecipeError: An option has an invalid value.
        DataError: The corpus is unfinished or damaged, or lacks the config that the layout needs; the folder holds
            something else, or the disk is full.
        BackendError: The layout is "jams", and the package jams is not installed.
    """
    for name, value, known in (("layout", layout, LAYOUTS), ("audio format", audio, FORMATS)):
        if value not in known:
            raise RecipeError(f"{name} {value!r}: not known{suggest(value, known)}", f"one of {', '.join(known)}")
    if "://" in str(out):
        raise RecipeError(f"{out}: audio files can only be written to a folder of this machine", "give a path")
    corpus, root = Corpus.open(source), Path(out)
    with storage_errors(corpus.root):
        shards = _select_shards(corpus, splits)
        configs = _find_configs(corpus, shards, layout)
        table, features = _read_rows(corpus, shards)
        if ANNOTATIONS in configs:
            table, features = _add_played(corpus, shards, configs[ANNOTATIONS], table, features)
    per_clip = 1 + len(LAYOUTS[layout].files) if ANNOTATIONS in configs else 1
    clips = _assign_files(table, features, layout, audio, PER_FOLDER // per_clip)
    sums = corpus.sums()
    state = {
        "layout": layout,
        "audio": audio,
        "splits": sorted({clip.split for clip in clips}),
    }
    for config in ("data", *configs):
        listed = "".join(f"{sums.get(_of_config(name, config))} {_of_config(name, config)}\n" for name in shards)
        state[config] = hashlib.sha256(listed.encode()).hexdigest()
    claim_folder(root, EXPORT_STATE, state, "holds another export (other corpus, layout, format or splits)")
    with lock_folder(root / WORK), storage_errors(corpus.root):
        delete_temporary_files(root)
        files, kept = _write_clips(corpus, shards, configs, sums, clips, root, layout, audio, progress)
        tables = write_tables(corpus, layout, table, features, clips, files, root)
    return Export(len(clips), kept, tables)


def _of_config(shard: str, config: str) -> str:
    """The shard of a config that has the clips of a shard of `data`."""
    return f"{config}/{Path(shard).name}"


def _find_configs(corpus: Corpus, shards: Sequence[str], layout: str) -> dict[str, set[str]]:
    """The configs that a layout uses beside the audio, with their shards.

    Raises DataError if the corpus lacks a shard of one that the layout needs. Parts of an extended corpus may lack
    those of others.
    """
    needs = LAYOUTS[layout].needs
    found = {}
    for config in ((ANNOTATIONS,) if LAYOUTS[layout].files else ()) + ((STEMS,) if needs == STEMS else ()):
        there = set(corpus.shards(config))
        missing = [name for name in shards if _of_config(name, config) not in there]
        if missing and needs == config:
            lacks = f"{config} of {missing[0]}" if there else config
            raise DataError(
                f"{corpus.root}: has no {lacks}, which {layout} is made of",
                f"set `{config}: true` in its recipe, and run: synthmir build RECIPE --out {corpus.root}",
            )
        if there:
            found[config] = there
    return found


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


def _add_played(
    corpus: Corpus, shards: Sequence[str], annotated: set[str], table: pa.Table, features: Any
) -> tuple[pa.Table, Any]:
    """Add the tempo, key and time signature that are played to the rows, as columns of their own."""
    from datasets import Value

    parts, done = [], 0
    for shard, name in ((shard, _of_config(shard, ANNOTATIONS)) for shard in shards):
        rows = pq.ParquetFile(open_for_arrow(corpus.root / shard)).metadata.num_rows
        ids, done = table["id"].slice(done, rows), done + rows
        if name not in annotated:
            parts.append(pa.table({"id": ids} | {column: pa.nulls(rows, kind) for column, kind in PLAYED.items()}))
            continue
        try:
            check_parquet(corpus.root / name, ["id", *PLAYED])
            file = pq.ParquetFile(open_for_arrow(corpus.root / name))
            part = file.read(["id", *PLAYED])
            part.validate(full=True)
            parts.append(part.cast(pa.schema({"id": pa.string(), **PLAYED})))
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise _damage_error(corpus, name) from error
        if part["id"].to_pylist() != ids.to_pylist():
            raise DataError(f"{corpus.root}/{name}: is of other clips", f"see: synthmir verify {corpus.root}")
    played = pa.concat_tables(parts)
    features = features.copy()
    for column, kind in PLAYED.items():
        table = table.append_column(f"played_{column}", played[column])
        features[f"played_{column}"] = Value("float64" if pa.types.is_floating(kind) else "string")
    return table, features


def _damage_error(corpus: Corpus, name: str) -> DataError:
    fix = f"see how to make it again: synthmir verify {corpus.root}"
    return DataError(f"{corpus.root}/{name}: damaged or changed, its hash is not the one in SHA256SUMS", fix)


def _assign_files(table: pa.Table, features: Any, layout: str, audio: str, per_folder: int) -> list[Clip]:
    """The file of each clip: by split in an audiofolder, by genre, and in numbered folders where a genre has many."""
    ids, splits = table["id"].to_pylist(), table["split"].to_pylist()
    genres = [safe_name(genre or "unlabelled") for genre in format_cells(table, features, "genre")]
    folders = [choose_folder(layout, split, genre) for split, genre in zip(splits, genres, strict=True)]
    sizes = Counter(folders)
    numbers = {folder: count() for folder in sizes}
    clips = []
    for id, split, folder in zip(ids, splits, folders, strict=True):
        number = next(numbers[folder])
        # musdb reads the clips of one folder only.
        below = f"/{number // per_folder:03d}" if sizes[folder] > per_folder and layout != "musdb" else ""
        clips.append(Clip(id, split, name_file(layout, f"{folder}{below}", safe_name(id), audio)))
    return clips


def _write_clips(
    corpus: Corpus, shards: Sequence[str], configs: Mapping[str, set[str]], sums: dict[str, str],
    clips: Sequence[Clip], root: Path, layout: str, audio: str, progress: Callable[[int, int], None],
) -> tuple[list[dict[str, tuple[str, str]]], int]:  # fmt: skip
    """Write the files; returns path and MD5 by kind, in the order of the clips, and how many clips existed already."""
    written: list[dict[str, tuple[str, str]]] = []
    kept = 0

    def write_clip(rows: ClipRows, clip: Clip) -> tuple[dict[str, tuple[str, str]], bool]:
        data, all_same, made = rows[0], True, {}
        if layout == "musdb" or (audio == "wav" and LAYOUTS[layout].audio):
            data = convert_to_wav(data, clip.id, 2 if layout == "musdb" else None)
        for kind, (name, content) in make_files(layout, clip.file, data, rows[1], rows[2]).items():
            path = root / name
            with write_errors(path):
                same = path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
                if not same:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _write_file(path, content)
            made[kind] = (name, hashlib.md5(content, usedforsecurity=False).hexdigest())
            all_same &= same
        return made, all_same

    make_folder(root)
    with ThreadPoolExecutor(count_cores()) as pool:
        for name in shards:
            for part in (name, *_list_beside(name, configs)):
                if digest(corpus.root / part) != sums.get(part):
                    raise _damage_error(corpus, part)
            rows = _read_clips(corpus, name, configs, clips[len(written) :])
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                for made, same in pool.map(write_clip, batch, clips[len(written) : len(written) + len(batch)]):
                    written.append(made)
                    kept += same
                progress(len(written), len(clips))
    return written, kept


def _list_beside(shard: str, configs: Mapping[str, set[str]]) -> list[str]:
    """The shards of the configs that have the clips of a shard of `data`."""
    names = {config: _of_config(shard, config) for config in configs}
    return [name for config, name in names.items() if name in configs[config]]


def _read_clips(
    corpus: Corpus, shard: str, configs: Mapping[str, set[str]], clips: Sequence[Clip]
) -> Iterator[ClipRows]:
    """The audio of each clip of a shard, its row of annotations and its rows of stems."""
    beside = _list_beside(shard, configs)
    annotations, stems = (
        _read_shard(corpus, name) if (name := _of_config(shard, config)) in beside else iter(())
        for config in (ANNOTATIONS, STEMS)
    )
    groups = groupby(stems, key=lambda row: row["id"])
    waiting = next(groups, None)
    for row, clip in zip(_read_shard(corpus, shard, ["audio"]), clips, strict=False):
        own: list[dict[str, Any]] = []
        if waiting and waiting[0] == clip.id:
            own, waiting = list(waiting[1]), next(groups, None)
        yield (row["audio"] or {}).get("bytes") or b"", next(annotations, None), own
    if waiting:
        fix = f"see: synthmir verify {corpus.root}"
        raise DataError(
            f"{corpus.root}/{_of_config(shard, STEMS)}: has stems of another clip, {waiting[0]!r:.80}", fix
        )


def _read_shard(corpus: Corpus, name: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a shard, with the names of classes of the column `stem`."""
    try:
        if columns is None:
            check_parquet(corpus.root / name)
        names = _stem_names(corpus, name) if name.startswith(f"{STEMS}/") else None
        for batch in read_batches(corpus.root / name, ROWS_AT_ONCE, columns):
            for row in batch.to_pylist():
                yield row if names is None else row | {"stem": names[row["stem"]]}
    except (OSError, TypeError, IndexError, pa.ArrowException) as error:
        raise _damage_error(corpus, name) from error


def _stem_names(corpus: Corpus, name: str) -> list[str]:
    schema = pq.ParquetFile(open_for_arrow(corpus.root / name)).schema_arrow
    names = getattr(features_from_schema(schema, corpus.root / name).get("stem"), "names", None)
    if names is None or not {"id", "audio"} <= set(schema.names):
        raise DataError(f"{corpus.root}/{name}: not a shard of stems: its columns are {schema.names}", FIX)
    return list(names)


def _write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, without syncing it: an export that resumes compares every byte."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
