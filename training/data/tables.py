"""Where training data lies: a corpus of ours, or any data set on disk with embeddings and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.corpus.corpus import BUILD_RECORD, SHARD_FILE, SUMS, Corpus, part_of
from builder.corpus.shards import FOOTER
from builder.embedders.augment import COLUMN, SUFFIX
from builder.errors import DataError
from builder.io.parquet_guard import check_parquet, parquet_errors
from builder.io.safe_files import parse_json, read_json
from builder.io.storage import is_remote, open_for_arrow, path_exists
from builder.names import SPLIT_KEYWORDS
from builder.recipe import SplitSettings
from builder.validation import suggest

SPLITS = ("train", "validation")
NAMES = {word: split for split, words in SPLIT_KEYWORDS.items() for word in words}  # what others call it
GROUPS = ("prompt_group", "group", "artist", "artist_id", "album", "album_id", "track_id", "speaker")
MEND = "see what is damaged: synthmir verify CORPUS"


@dataclass(frozen=True, slots=True)
class Table:
    """One split: everything but the embeddings, which are read when they are asked for."""

    where: str  # for messages
    rows: pa.Table  # id, label, group; of a corpus with damaged copies also damage, "" for clean
    kind: dict[str, Any]  # the label column as `datasets` describes it: {"_type": "ClassLabel", "names": [...]}
    vectors: Callable[[], Iterator[pa.Array]] = field(repr=False)  # the column of embeddings, part by part
    picked: np.ndarray | None = None  # bool [rows]: which rows are of the split, None for all

    def __post_init__(self) -> None:
        """Raise DataError where a file holds texts that are none, which Arrow tells only when asked."""
        try:
            self.rows.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.where}: {error}", MEND) from error


@dataclass(frozen=True, slots=True)
class Tables:
    """Both splits, and how they came apart: None where the data set says it itself."""

    train: Table
    validation: Table
    division: dict[str, Any] | None = None
    group: str | None = "prompt_group"  # the column of groups; None: every row is its own


def open_tables(path: Path, embedder: str, label: str, embedding: str, split: SplitSettings) -> Tables:
    """The training data in `path`: a corpus folder, or what `datasets` loads from a folder or a Parquet file.

    Raises DataError: nothing there, a column that is missing, shards of several embedders, a damaged file.
    """
    if not path_exists(path):
        raise DataError(f"{path}: there is no such folder", "build a corpus: synthmir build RECIPE --out DIR")
    if is_corpus(path):
        return _corpus(path, embedder, label, embedding)
    if is_remote(path):
        raise DataError(f"{path}: not a corpus that has embeddings", "another data set is read from a folder")
    return _dataset(path, embedder, label, embedding, split)


def is_corpus(path: Path) -> bool:
    """Whether `path` is a corpus of ours: embeddings lie in it under their embedder's name."""
    signs = ((path / name).exists() for name in (SUMS, BUILD_RECORD))
    return path.is_dir() and (any(signs) or bool(Corpus(path).embeddings()))


def _corpus(path: Path, embedder: str, label: str, embedding: str) -> Tables:
    """The Parquet files are read directly: what `datasets` says of the columns stands in their schema."""
    shards = _shards(path, embedder)
    for file in (file for files in shards.values() for file in files):
        check_parquet(file, ("id", label, "prompt_group", COLUMN, embedding))
    refuse_mixture([file for files in shards.values() for file in files])
    kind = None
    tables = []
    for split in SPLITS:
        parts = []
        for file in shards[split]:
            table, found = _read(file, label, embedding)
            kind = _wider(kind or found, found)
            if kind is None:
                raise DataError(f"{file}: column {label!r} is not described as in the other files", MEND)
            parts.append(table)
        rows = pa.concat_tables(parts)
        tables.append(Table(f"{path}: {embedder}/{split}", rows, kind or {}, _column_of(shards[split], embedding)))
    return Tables(tables[0], tables[1])


def _column_of(files: list[Path], embedding: str) -> Callable[[], Iterator[pa.Array]]:
    def read() -> Iterator[pa.Array]:
        for file in files:
            with parquet_errors(file):
                column = pq.read_table(open_for_arrow(file), columns=[embedding])[embedding].combine_chunks()
            yield column

    return read


def _shards(corpus: Path, embedder: str) -> dict[str, list[Path]]:
    """The Parquet files of each split, in order. Raises DataError if there is none or the set is incomplete."""
    mend = f"synthmir embed {corpus} --embedder {embedder}"
    there = Corpus(corpus).embeddings()
    if embedder not in there:
        if (plain := embedder.removesuffix(SUFFIX)) != embedder:
            mend = f"synthmir embed {corpus} --embedder {plain} --augment noise:20 ..., or as the recipe has it"
        raise DataError(f"{corpus}: holds no embeddings of {embedder!r} (there: {', '.join(there) or 'none'})", mend)
    shards: dict[str, list[Path]] = {split: [] for split in SPLITS}
    totals: dict[str, set[tuple[int, int]]] = {split: set() for split in SPLITS}  # of each part that the corpus has
    for name in Corpus(corpus).shards(embedder):
        match = SHARD_FILE.match(name.rpartition("/")[2])
        if match and match["split"] in SPLITS:
            shards[match["split"]].append(corpus / name)
            totals[match["split"]].add((int(match["part"] or 0), int(match["total"])))
    for split, files in shards.items():
        if not files:
            raise DataError(f"{corpus}: {embedder} has no {split} split", mend)
        if sum(total for _, total in totals[split]) != len(files):
            counted = sorted(total for _, total in totals[split])
            raise DataError(f"{corpus}: {embedder}/{split}: {len(files)} shards of {counted}", mend)
    audio = {part_of(name) for name in Corpus(corpus).shards()}
    if audio - {part for found in totals.values() for part, _ in found}:
        raise DataError(f"{corpus}: has grown since {embedder} embedded it: not all of its clips are there", mend)
    return shards


def _wider(kind: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """Of two descriptions of a label column the one with more names after the other's; None if they contradict."""
    if kind == other:
        return kind
    one, two = (each.get("feature", each) for each in (kind, other))
    if not one.get("names") or not two.get("names") or one["_type"] != two["_type"]:
        return None
    short, long = sorted((one["names"], two["names"]), key=len)
    return None if long[: len(short)] != short else kind if one["names"] == long else other


def _read(file: Path, label: str, embedding: str) -> tuple[pa.Table, dict[str, Any]]:
    with parquet_errors(file):
        schema = pq.read_schema(open_for_arrow(file))
        _check_columns(str(file), schema.names, ("id", label, "prompt_group", embedding))
        damage = [COLUMN] if COLUMN in schema.names else []
        table = pq.read_table(
            open_for_arrow(file), columns=list(dict.fromkeys(["id", label, "prompt_group", *damage]))
        )
    columns = {"id": table["id"], "label": table[label], "group": table["prompt_group"]}
    columns |= {name: table[name] for name in damage}
    return pa.table(columns), _described(schema, label)


def _described(schema: pa.Schema, label: str) -> dict[str, Any]:
    """The label column as `datasets` wrote it into the file, or as its Arrow type says it."""
    try:
        told = dict(parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"][label])
        one = told.get("feature", told)
        if not isinstance(one["_type"], str) or not all(isinstance(name, str) for name in one.get("names") or ()):
            raise ValueError("no feature of datasets")
        return told
    except (KeyError, ValueError, TypeError, AttributeError):
        from datasets import Features

        plain = pa.schema([schema.field(label)])
        return dict(Features.from_arrow_schema(plain).to_dict()[label])


def _check_columns(where: str, there: list[str], wanted: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in there:
            raise DataError(
                f"{where}: has no column {name!r}{suggest(name, there)} (there: {', '.join(there)})",
                "name another: --task, --label-column or --embedding-column",
            )


def refuse_mixture(files: list[Path]) -> None:
    """Raise DataError where shards were made by more than one embedder, or by several revisions of one."""
    first: tuple[Path, str] | None = None
    for file in files:
        try:
            footer = parse_json((pq.read_metadata(open_for_arrow(file)).metadata or {}).get(FOOTER, b"{}"))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(f"{file}: not a readable Parquet file: {error}", MEND) from error
        if not isinstance(footer, dict) or "embedder" not in footer:
            continue
        made = f"{footer['embedder']} of revision {footer.get('revision')}"
        first = first or (file, made)
        if made != first[1]:
            raise DataError(
                f"{file}: holds embeddings of {made}, but {first[0].name} those of {first[1]}",
                "train on embeddings of one embedder: embed everything again with --overwrite",
            )


def _dataset(path: Path, embedder: str, label: str, embedding: str, split: SplitSettings) -> Tables:
    splits = {NAMES.get(name, name): data for name, data in _load(path, embedder).items() if data is not None}
    if path.is_dir():
        refuse_mixture(sorted(path.rglob("*-of-*.parquet")))
    if "train" not in splits and len(splits) == 1 and "validation" not in splits:
        splits = {"train": next(iter(splits.values()))}  # all there is, whatever it is called
    if "train" not in splits:
        raise DataError(f"{path}: has no train split (there: {', '.join(splits)})", "name one of its splits train")
    tables = {name: _table(f"{path}: {name}", name, splits[name], label, embedding)
              for name in SPLITS if name in splits}  # fmt: skip
    if "validation" in tables:
        return Tables(tables["train"], tables["validation"], group=_group(splits["train"].column_names, label))
    return _divided(tables["train"], splits["train"].column_names, split)


def _load(path: Path, embedder: str) -> dict[str, Any]:
    import datasets

    from builder.io.hf_audio import load_dataset, load_from_disk

    if path.is_file() and path.suffix != ".parquet":
        raise DataError(f"{path}: not a folder and not a Parquet file", "give a corpus or a data set on disk")
    saved = any((path / name).exists() for name in ("dataset_dict.json", "dataset_info.json", "state.json"))
    if path.is_dir() and not saved and not any(path.rglob("*")):
        raise DataError(f"{path}: the folder is empty", "give a corpus or a data set on disk")
    for file in (path,) if path.is_file() else path.rglob("*.parquet"):
        check_parquet(file)
    try:
        if (path / "dataset_dict.json").exists():
            names = read_json(path / "dataset_dict.json")["splits"]
            return {name: _saved(path, name) for name in names}
        if saved:
            found = load_from_disk(path)
        elif path.is_file():
            found = load_dataset("parquet", data_files=str(path))
        else:
            names = datasets.get_dataset_config_names(str(path))
            if embedder not in names and len(names) > 1:
                raise DataError(f"{path}: has no config {embedder!r} (there: {', '.join(names)})", "--embedder NAME")
            found = load_dataset(str(path), embedder if embedder in names else names[0])
    except DataError:
        raise
    except Exception as error:  # whatever a data set's files make `datasets` raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise DataError(f"{path}: cannot be loaded as a data set: {reason}", "give a corpus or a data set") from error
    return {"train": found} if isinstance(found, datasets.Dataset) else dict(found)


def _saved(path: Path, split: str) -> Any:
    """One split of what `datasets` saved, which cannot read one without rows: None, where it is of no use to us."""
    if read_json(path / split / "state.json")["_data_files"]:
        from builder.io.hf_audio import load_from_disk

        return load_from_disk(path / split)
    if NAMES.get(split, split) in SPLITS:
        raise DataError(f"{path}: {split}: the split is empty", "put rows into it, or leave it out")
    return None


def _group(columns: list[str], label: str) -> str | None:
    """The column that says which rows belong together."""
    return next((name for name in GROUPS if name in columns and name != label), None)


def _table(where: str, split: str, data: Any, label: str, embedding: str) -> Table:
    """One split of a data set; a row without an id is called by its split and number."""
    if embedding not in data.column_names and "audio" in data.column_names:
        raise DataError(
            f"{where}: has audio, and no column {embedding!r}",
            "embed it, and train on what that writes: synthmir embed DATA --out DIR",
        )
    _check_columns(where, data.column_names, (label, embedding))
    group = _group(data.column_names, label)
    wanted = list(dict.fromkeys(name for name in ("id", label, group) if name in data.column_names))
    arrow = data.select_columns(wanted).with_format("arrow")[:]
    count = len(data)
    ids = arrow["id"].cast(pa.string()) if "id" in wanted else pa.array([f"{split}/{i}" for i in range(count)])
    groups = arrow[group].cast(pa.string()) if group else pa.nulls(count, pa.string())
    rows = pa.table({"id": ids, "label": arrow[label], "group": groups})

    def vectors() -> Iterator[pa.Array]:
        for part in data.select_columns([embedding]).with_format("arrow").iter(4096):
            yield part[embedding].combine_chunks()

    return Table(where, rows, dict(data.features.to_dict()[label]), vectors)


def _divided(table: Table, columns: list[str], split: SplitSettings) -> Tables:
    """One split made two: groups of rows in a drawn order, label by label, until the share of rows is reached."""
    count = len(table.rows)
    if count < 2:
        raise DataError(f"{table.where}: {count} row(s) cannot be divided into train and validation")
    groups = pc.fill_null(table.rows["group"], "").to_pylist()
    groups = [group or identity for group, identity in zip(groups, table.rows["id"].to_pylist(), strict=True)]
    one = table.kind.get("_type") == "ClassLabel" or table.kind.get("dtype") in ("string", "large_string", "bool")
    labels = table.rows["label"].to_pylist() if one else [None] * count
    of_group: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for group, label in zip(groups, labels, strict=True):
        of_group.setdefault(group, label)
        sizes[group] = sizes.get(group, 0) + 1
    strata: dict[Any, list[str]] = {}
    for group in sorted(of_group, key=lambda name: hashlib.sha256(f"{split.seed} {name}".encode()).digest()):
        strata.setdefault(of_group[group], []).append(group)
    held: set[str] = set()
    for members in strata.values():
        wanted = max(1, round(split.validation * sum(sizes[group] for group in members)))
        for group in members[: len(members) - 1]:  # one stays to be learnt from
            if wanted <= 0:
                break
            held.add(group)
            wanted -= sizes[group]
    mask = np.array([group in held for group in groups])
    by = next((name for name in GROUPS if name in columns), "id" if "id" in columns else "row")
    told = {"by": by, "validation": split.validation, "seed": split.seed}
    return Tables(replace(table, picked=~mask), replace(table, picked=mask), told)
