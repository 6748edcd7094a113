"""A data set of embeddings on disk, divided: rows to learn from, rows to stop by, and a test part of which training
learns the ids alone.

What is here opens tables and says which rows are whose. Nothing in `training` reads a test row's embedding or label:
`Division` has no rows of it to ask for.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from builder.corpus.corpus import newest_shard
from builder.embedders.audio_sources import is_saved
from builder.errors import DataError
from builder.io.parquet_guard import check_parquet, features_from_schema
from builder.io.storage import path_exists
from builder.names import SPLIT_KEYWORDS

from .tables import GROUPS, is_corpus, refuse_mixture

if TYPE_CHECKING:
    from datasets import Features as Columns

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # where the data set itself makes no division
SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Parts:
    """The splits of a data set as they are stored: nothing is read before it is asked for."""

    source: str
    splits: dict[str, pds.Dataset]

    @property
    def columns(self) -> Columns:
        """The columns and what `datasets` says they hold."""
        return features_from_schema(next(iter(self.splits.values())).schema, self.source)

    def take(self, rows: dict[str, np.ndarray], columns: list[str]) -> pa.Table:
        """These columns of these rows (int64, by split), in order of split and row."""
        with self._told():
            found = [self.splits[split].take(pa.array(at), columns=columns) for split, at in rows.items()]
            table = pa.concat_tables(found, promote_options="permissive")
            table.validate(full=True)  # else texts that are none are told by whoever reads them
            return table

    def whole(self, split: str, columns: list[str]) -> dict[str, list[Any]]:
        """These columns of all rows of a split, as lists."""
        with self._told():
            table = self.splits[split].to_table(columns=columns)
            table.validate(full=True)
            return dict(table.to_pydict())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.source}: cannot be read: {error}", "embed it again") from error


@dataclass(frozen=True, slots=True)
class Division:
    """Which rows may be learnt from and stopped by; of the test part the ids alone."""

    train: dict[str, np.ndarray]  # int64 row numbers by split
    validation: dict[str, np.ndarray]
    train_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    how: str  # a sentence
    made_here: bool  # the data set names no test part of its own
    group_column: str | None
    shared_groups: int  # groups with rows in more than one part


def open_parts(path: Path | str, embedder: str) -> Parts:
    """A corpus folder (its config `embedder`), what `synthmir embed --out` wrote, or a data set on disk.

    Raises DataError for a path that is none of these, and for a corpus without these embeddings.
    """
    place = Path(path).expanduser()
    if not path_exists(place):
        raise DataError(
            f"{path}: there is no such folder",
            "embed real music and give that folder: synthmir embed SOURCE --out DIR",
        )
    try:
        if place.is_file():
            splits = _stored({"train": [place]}) if place.suffix == ".parquet" else {}
        elif is_corpus(place):
            splits = _stored(_by_split(place / embedder))
            if not splits:
                raise DataError(
                    f"{path}: holds no embeddings of {embedder!r}", f"synthmir embed {path} --embedder {embedder}"
                )
        else:
            splits = _stored(_by_split(place)) or _loaded(place)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable: {error}", "embed it again") from error
    if not any(data.count_rows() for data in splits.values()):
        raise DataError(f"{path}: holds no rows with embeddings", "embed real music: synthmir embed SOURCE --out DIR")
    return Parts(str(path), splits)


def _by_split(folder: Path) -> dict[str, list[Path]]:
    """`<split>-00000-of-00002.parquet` files, in order."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*-*-of-*.parquet")):
        split = re.sub(r"-p\d\d$", "", file.name.rsplit("-", 3)[0])  # a part that a corpus has grown by is no split
        found.setdefault(split, []).append(file)
    return found


def _stored(files: dict[str, list[Path]]) -> dict[str, pds.Dataset]:
    for file in (file for names in files.values() for file in names):
        check_parquet(file)
    refuse_mixture([file for names in files.values() for file in names])
    return {
        split: pds.dataset([str(file) for file in names], format="parquet", schema=pq.read_schema(newest_shard(names)))
        for split, names in files.items()
    }


def _loaded(place: Path) -> dict[str, pds.Dataset]:
    """What `datasets` reads there, memory-mapped."""
    import datasets

    from builder.io.hf_audio import load_dataset, load_from_disk

    for file in place.rglob("*.parquet"):
        check_parquet(file)
    try:
        found: Any = load_from_disk(place) if is_saved(place) else load_dataset(str(place))
    except Exception as error:  # whatever a data set's files make `datasets` raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise DataError(f"{place}: cannot be loaded as a data set: {reason}", "check the path") from error
    splits = {"train": found} if isinstance(found, datasets.Dataset) else dict(found)
    return {name: pds.dataset(data.flatten_indices().data.table) for name, data in splits.items()}


def divide(stored: Parts) -> Division:
    """By the data set's own splits, else by its column `split`, else here: 60, 20 and 20 %, by hash of the group.

    Where only validation is missing a quarter of train becomes it. What is divided here depends on nothing but the
    groups' names (the ids where there are no groups): it is the same for every seed and strategy. Raises DataError for
    a split of no known name, an empty part, and an id that stands in two parts.
    """
    columns = stored.columns
    group_column = next((name for name in GROUPS if name in columns), None)
    by_column = len(stored.splits) == 1 and SPLIT in columns
    keys = [name for name in ("id", SPLIT if by_column else None, group_column) if name and name in columns]
    places, ids, parts, groups = [], [], [], []
    for split, data in stored.splits.items():
        table = stored.whole(split, keys) if keys else {}
        rows = range(data.count_rows())
        places += [(split, row) for row in rows]
        ids += [str(value) for value in table.get("id", [f"{split}/{row}" for row in rows])]
        named = _names(stored.source, columns, table[SPLIT]) if by_column else [split] * len(rows)
        parts += [_part(stored.source, str(name)) for name in named]
        groups += [
            None if value is None else str(value) for value in table.get(group_column or "", [None] * len(rows))
        ]
    # A row of no group is a group of its own.
    keyed = [f"row {id}" if group is None else f"group {group}" for id, group in zip(ids, groups, strict=True)]
    kept = group_column or "id"
    here = False
    if set(parts) == {"train"}:
        parts, here = _cut(stored.source, keyed, parts, SHARES), True
        how = f"divided here by hash of {kept}: 60 % train, 20 % validation, 20 % test"
    elif "validation" not in parts and "train" in parts:
        parts = _cut(stored.source, keyed, parts, {"train": 0.75, "validation": 0.25})
        how = f"its own train and test; a quarter of train, by hash of {kept}, is validation"
    else:
        how = f"its own column {SPLIT!r}" if by_column else "its own splits"
    if missing := [part for part in ("train", "validation") if part not in parts]:
        raise DataError(f"{stored.source}: has no {missing[0]} part", "give it splits, or none at all")
    _check_ids(stored.source, ids, parts)
    shared = len({(key, part) for key, part in zip(keyed, parts, strict=True)}) - len(set(keyed))

    def rows_of(part: str) -> dict[str, np.ndarray]:
        found: dict[str, list[int]] = {}
        for (split, row), mine in zip(places, parts, strict=True):
            if mine == part:
                found.setdefault(split, []).append(row)
        return {split: np.array(rows, dtype=np.int64) for split, rows in found.items()}

    def ids_of(part: str) -> tuple[str, ...]:
        return tuple(id for id, mine in zip(ids, parts, strict=True) if mine == part)

    return Division(
        *(rows_of("train"), rows_of("validation")),
        *(ids_of("train"), ids_of("validation"), ids_of("test")),
        how=how,
        made_here=here,
        group_column=group_column,
        shared_groups=shared,
    )


def _names(where: str, columns: Columns, values: list[Any]) -> list[Any]:
    """The column `split` in words, also where it is a ClassLabel."""
    if None in values:
        raise DataError(f"{where}: column {SPLIT!r} of row {values.index(None)} is empty", "name the part of each row")
    names = getattr(columns[SPLIT], "names", None)
    if names is None:
        return values
    if odd := [value for value in values if not 0 <= value < len(names)]:
        raise DataError(f"{where}: column {SPLIT!r} holds {odd[0]}, and has {len(names)} names", "embed it again")
    return [names[value] for value in values]


def _part(where: str, name: str) -> str:
    for part, names in SPLIT_KEYWORDS.items():
        if name.casefold() in names:
            return part
    known = ", ".join(name for names in SPLIT_KEYWORDS.values() for name in names)
    raise DataError(f"{where}: {name!r} is no part that can be learnt from or kept for the end", f"known: {known}")


def _cut(where: str, keys: list[str], parts: list[str], shares: dict[str, float]) -> list[str]:
    """Train rows divided anew: groups in order of their hash fill one part after the other."""
    sizes = Counter(key for key, part in zip(keys, parts, strict=True) if part == "train")
    total, done, of_group = sum(sizes.values()), 0, {}
    edges = np.cumsum(list(shares.values())) * total
    for key in sorted(sizes, key=lambda key: hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()):
        place = int(np.searchsorted(edges, done + sizes[key] / 2, side="right"))
        of_group[key] = list(shares)[min(place, len(edges) - 1)]
        done += sizes[key]
    if empty := [part for part in shares if part not in of_group.values()]:
        raise DataError(
            f"{where}: {len(sizes)} group(s) of {total} rows are too few to divide: {empty[0]} would be empty",
            "give more real music, or a column `split`",
        )
    return [of_group[key] if part == "train" else part for key, part in zip(keys, parts, strict=True)]


def _check_ids(where: str, ids: list[str], parts: list[str]) -> None:
    """No row may stand in two parts."""
    first: dict[str, str] = {}
    for id, part in zip(ids, parts, strict=True):
        if first.setdefault(id, part) != part:
            raise DataError(
                f"{where}: {id!r} stands in {first[id]} and in {part}",
                "what is learnt from would be judged on: take it out of one of them",
            )
