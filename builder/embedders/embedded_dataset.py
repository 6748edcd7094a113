"""Embeddings on disk, read split by split: a corpus's, what `synthmir embed --out` wrote, or any data set's.

`embed_corpus` and `embed_dataset` write what is read here. A split is read when it is asked for, and of it only the
rows and columns that are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..configs import AUDIO
from ..corpus.corpus import BUILD_RECORD, SUMS, Corpus, group_shards, part_number
from ..errors import DataError
from ..io.columns import combine, is_list, merge_descriptions, name_labels, names_of, read_matrix
from ..io.hf_splits import is_saved, load_splits
from ..io.storage import is_folder, is_remote, path_exists, storage_errors, to_path
from ..names import find_group_column
from ..validation import suggest
from .augment import SUFFIX
from .stored_split import VERIFY, ArrowSplit, Footer, ParquetSplit, read_footer

EMBEDDING = "embedding"
Rows = Mapping[str, np.ndarray]
"""Some rows of some splits: int64 row numbers, ascending, by split."""


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column of labels as it is stored, with the ids of its rows."""

    where: str  # for messages
    ids: tuple[str, ...]
    values: pa.Array
    kind: dict[str, Any]  # as `datasets` describes the column: {"_type": "ClassLabel", "names": [...]}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str] | None:
        """The declared names of the classes, None for a column of strings or numbers."""
        return names_of(self.kind)

    def by_name(self) -> list[Any]:
        """Each row's label by its name (of a list, all of them), None for a row without one."""
        return list(name_labels(self.values, self.names).to_pylist())


@dataclass(frozen=True)
class EmbeddedDataset:
    """A data set with a column of embeddings, whose splits are read when they are asked for.

    Methods take a split's name, for all of its rows, or `Rows`; what they return is in that order.

    Example:
        ```python
        dataset = open_dataset("corpus", "passt")
        vectors = dataset.embeddings("validation")  # float32 [n, 768]
        genres = dataset.labels("genre", "validation").by_name()
        ```
    """

    source: str
    config: str  # an embedder's name
    stored: Mapping[str, ParquetSplit | ArrowSplit]
    corpus: Path | None = None  # the folder of a corpus

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.stored)

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return next(iter(self.stored.values())).columns

    def __len__(self) -> int:
        return sum(map(len, self.stored.values()))

    def rows(self, *splits: str) -> Rows:
        """All rows of these splits, or of all."""
        return {split: np.arange(len(self.stored[split])) for split in splits or self.stored}

    def type_of(self, column: str) -> pa.DataType:
        """The Arrow type of a column."""
        return next(iter(self.stored.values())).type_of(column)

    def rename_splits(self, names: Mapping[str, str]) -> EmbeddedDataset:
        """The same data set with splits of other names."""
        return replace(self, stored={names.get(split, split): data for split, data in self.stored.items()})

    def describe(self, column: str) -> dict[str, Any]:
        """Describe a column as `datasets` does: {"_type": "ClassLabel", "names": [...]}, say.

        Raises:
            DataError: There is no such column, or the files describe it in ways that contradict one another.
        """
        self.require([column])
        kind: dict[str, Any] | None = None
        for data in self.stored.values():
            other = data.describe(column)
            if (kind := merge_descriptions(kind or other, other)) is None:
                raise DataError(f"{self.source}: column {column!r} is not described alike in all splits", VERIFY)
        return kind or {}

    def require(self, columns: Sequence[str]) -> None:
        """Raise DataError for a column that the data set does not have."""
        for name in columns:
            if name not in self.columns:
                raise DataError(
                    f"{self.source}: has no column {name!r}{suggest(name, self.columns)} "
                    f"(there: {', '.join(self.columns)})",
                    "name another: --task, --label-column or --embedding-column",
                )

    def read(self, columns: Sequence[str], rows: str | Rows) -> pa.Table:
        """Read columns of some rows.

        Raises:
            DataError: There is no such column, or a file is damaged.
        """
        self.require(columns)
        if tables := list(self._tables(columns, rows)):
            return pa.concat_tables(tables, promote_options="permissive")
        return pa.table({name: pa.array([], self.type_of(name)) for name in columns})

    def ids(self, rows: str | Rows) -> tuple[str, ...]:
        """The ids of some rows; a row without an id is called by its split and number."""
        if "id" in self.columns:
            return tuple(str(value) for value in self.read(["id"], rows)["id"].to_pylist())
        return tuple(f"{split}/{row}" for split, places in self._rows(rows).items() for row in places)

    def groups(self, rows: str | Rows, but: str = "") -> list[str | None]:
        """The group of each row (see `find_group_column`), None for a row of no group."""
        column = find_group_column(self.columns, but)
        if column is None:
            return [None] * sum(map(len, self._rows(rows).values()))
        return [None if value is None else str(value) for value in self.read([column], rows)[column].to_pylist()]

    def labels(self, column: str, rows: str | Rows) -> LabelColumn:
        """Read a column of labels, with the ids of its rows.

        Raises:
            DataError: There is no such column, or a file is damaged.
        """
        self.require([column])
        return LabelColumn(
            self.where(rows), self.ids(rows), combine(self.read([column], rows)[column]), self.describe(column)
        )

    def embeddings(
        self, rows: str | Rows, *, column: str = EMBEDDING, dim: int | None = None, fix: str = ""
    ) -> np.ndarray:
        """Read embeddings.

        Args:
            rows: A split's name, or row numbers by split.
            column: The column of embeddings.
            dim: The length that they must have; by default that of the first one.
            fix: What the user can do about a damaged row; by default to embed the data again.

        Returns:
            float32 [rows, dim], all finite.

        Raises:
            DataError: An embedding is null, of another length or not finite; there is no such column; a file is
                damaged.
        """
        self.require_embeddings(column)
        chosen = self._rows(rows)
        parts = (table[column] for table in self._tables([column], rows))
        fix = fix or (VERIFY if self.corpus is not None else "embed it again, or take the row out of the data")
        count = sum(map(len, chosen.values()))
        return read_matrix(parts, count, self.where(rows), lambda row: self.ids(rows)[row], dim=dim, fix=fix)

    def require_embeddings(self, column: str = EMBEDDING) -> None:
        """Raise DataError where there is no such column of embeddings."""
        if column not in self.columns and "audio" in self.columns:
            raise DataError(
                f"{self.source}: has audio, and no column {column!r}",
                "embed it, and train on what that writes: synthmir embed DATA --out DIR",
            )
        self.require([column])

    def find_embeddings(self, named: str = EMBEDDING) -> str:
        """The column `named`, or else the only one that holds lists of floats.

        Raises:
            DataError: There are several of them, or none.
        """
        types = {name: self.type_of(name) for name in self.columns}
        lists = [name for name, kind in types.items() if is_list(kind) and pa.types.is_floating(kind.value_type)]
        if named in lists or len(lists) == 1:
            return named if named in lists else lists[0]
        there = f"columns of numbers: {', '.join(lists)}" if lists else f"its columns are {', '.join(types)}"
        raise DataError(
            f"{self.source}: has no column {named!r}; {there}", "embed the audio: synthmir embed SOURCE --out DIR"
        )

    def audio(self, ids: Sequence[str], splits: Sequence[str] = ()) -> dict[str, bytes]:
        """The encoded audio of some clips by id, from a corpus's own shards or from a column `audio`.

        `splits` are those to search, by default all. Clips without stored audio are left out.

        Raises:
            DataError: A file is damaged, or the column `audio` does not hold files' bytes.
        """
        clips = self
        if self.corpus is not None and self.config != AUDIO:
            if not Corpus(self.corpus).shards(AUDIO):
                return {}
            clips = open_dataset(self.corpus, AUDIO)
        if not {"id", "audio"} <= set(clips.columns):
            return {}
        encoded: dict[str, bytes] = {}
        for split in splits or clips.splits:
            kind = clips.stored[split].type_of("audio")
            if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
                raise DataError(f"{clips.source}: its column 'audio' holds {kind}, not files' bytes", VERIFY)
            for identity, audio in clips.stored[split].read_audio(ids):
                if audio and audio.get("bytes"):
                    encoded[str(identity)] = audio["bytes"]
        return encoded

    def where(self, rows: str | Rows) -> str:
        """The place of some rows, for messages."""
        splits = list(self._rows(rows))
        split = splits[0] if len(splits) == 1 else ""
        if self.corpus is not None:
            return f"{self.source}: {self.config}{'/' * bool(split)}{split}"
        return f"{self.source}{': ' * bool(split)}{split}"

    def _rows(self, rows: str | Rows) -> Rows:
        return self.rows(rows) if isinstance(rows, str) else rows

    def _tables(self, columns: Sequence[str], rows: str | Rows) -> Iterator[pa.Table]:
        for split, places in self._rows(rows).items():
            whole = len(places) == len(self.stored[split])
            yield from self.stored[split].read(columns, None if whole else places)


def filter_rows(rows: Rows, keep: np.ndarray) -> Rows:
    """The rows for which `keep`, bool [rows], is true."""
    ends = np.cumsum([len(places) for places in rows.values()])
    parts = np.split(keep, ends[:-1])
    return {split: places[part] for (split, places), part in zip(rows.items(), parts, strict=True)}


def is_corpus(path: Path) -> bool:
    """Whether `path` is a synthmir corpus: its embeddings are in a folder of their embedder's name."""
    return is_folder(path) and (
        any((path / name).exists() for name in (SUMS, BUILD_RECORD)) or bool(Corpus(path).embeddings())
    )


def open_dataset(path: str | Path, config: str) -> EmbeddedDataset:
    """Open a data set of embeddings. Of Parquet files only the footers are read.

    Args:
        path: A corpus folder or its address; a folder that `synthmir embed --out` wrote; what `datasets` saved or
            loads from a folder; or a Parquet file.
        config: The embedder's name: of a corpus the config of that name, of another data set the config to load where
            it has several.

    Raises:
        DataError: There is nothing, a file is damaged, shards are missing or of several embedders, or a corpus has no
            such embeddings.
    """
    path = to_path(path)
    if not path_exists(path):
        raise DataError(
            f"{path}: there is no such folder",
            "build a corpus (synthmir build RECIPE --out DIR), or embed real music (synthmir embed SOURCE --out DIR)",
        )
    with storage_errors(path):
        corpus = path if is_corpus(path) else None
        if corpus is None and is_remote(path):
            raise DataError(f"{path}: not a corpus that has embeddings", "read another data set from a folder")
        shards = _find_corpus_shards(path, config) if corpus is not None else _find_shards(path)
        stored: dict[str, ParquetSplit | ArrowSplit] = {}
        footers: list[tuple[Path, Footer]] = []
        for split, files in shards.items():
            stored[split] = parquet = ParquetSplit(files)
            footers += zip(files, parquet.footers, strict=True)
        if not shards:
            stored.update({split: ArrowSplit(data) for split, data in load_splits(path, config).items()})
            footers = [(file, read_footer(file)) for file in sorted(path.rglob("*-of-*.parquet"))]
        _refuse_mixture(footers)
    return EmbeddedDataset(str(path), config, stored, corpus)


def _find_shards(path: Path) -> dict[str, list[Path]]:
    """A Parquet file, or a folder's `<split>-00000-of-00002.parquet` files, by split."""
    if path.is_file():
        return {"train": [path]} if path.suffix == ".parquet" else {}
    shards: dict[str, list[Path]] = {}
    for file in [] if is_saved(path) else sorted(path.glob("*-*-of-*.parquet")):
        split = re.sub(r"-p\d\d$", "", file.name.rsplit("-", 3)[0])  # a part that a corpus has grown by is no split
        shards.setdefault(split, []).append(file)
    return shards


def _find_corpus_shards(corpus: Path, config: str) -> dict[str, list[Path]]:
    """The Parquet files of each split, in order. Raises DataError if there is none or the set is incomplete."""
    fix = f"synthmir embed {corpus} --embedder {config}"
    configs = [AUDIO, *Corpus(corpus).embeddings()]
    if config not in configs:
        if (plain := config.removesuffix(SUFFIX)) != config:
            fix = f"synthmir embed {corpus} --embedder {plain} --augment noise:20 ..., or as the recipe has it"
        raise DataError(
            f"{corpus}: holds no embeddings of {config!r} (there: {', '.join(configs[1:]) or 'none'})", fix
        )
    names = Corpus(corpus).shards(config)
    if not names:
        raise DataError(f"{corpus}: holds no clips", VERIFY)
    shards = group_shards(names, f"{corpus}: {config}", fix)
    if {part_number(name) for name in Corpus(corpus).shards()} - {part_number(name) for name in names}:
        raise DataError(f"{corpus}: has grown since {config} embedded it: not all of its clips are there", fix)
    return {split: [corpus / name for name in files] for split, files in shards.items()}


def _refuse_mixture(files: Sequence[tuple[Path, Footer]]) -> None:
    """Raise DataError where shards were made by more than one embedder, or by several revisions of one."""
    first: tuple[Path, str] | None = None
    for file, footer in files:
        if "embedder" not in footer.made:
            continue
        made = f"{footer.made['embedder']} of revision {footer.made.get('revision')}"
        first = first or (file, made)
        if made != first[1]:
            raise DataError(
                f"{file}: holds embeddings of {made}, but {first[0].name} those of {first[1]}",
                "train on embeddings of one embedder: embed everything again with --overwrite",
            )
