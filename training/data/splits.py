"""Which rows of a data set are learnt from, which stop the training, and which are kept for the end.

Two questions, two rules. A source has a train and a validation split, or one split that is divided in two by a seed.
A target is real music: its test part must be the same for every seed, and training gets nothing of it but the ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from builder.embedders.embedded_dataset import EmbeddedDataset, Rows, filter_rows
from builder.errors import DataError
from builder.names import GROUP_COLUMNS, SPLIT_KEYWORDS, find_group_column, match_split
from builder.settings import SplitSettings

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # of a target that makes no division itself
SPLIT = "split"  # a column that may name the part of each row


@dataclass(frozen=True, slots=True)
class SourceSplits:
    """The rows to learn from and to validate on."""

    dataset: EmbeddedDataset  # with its splits called train, validation and test
    train: Rows
    validation: Rows
    division: dict[str, Any] | None  # how one split was divided in two, None where the data set has both


def split_source(dataset: EmbeddedDataset, label: str, settings: SplitSettings) -> SourceSplits:
    """Find the train and validation rows of a source.

    A data set without a validation split is divided: whole groups in a drawn order, label by label, until validation
    has its share of the rows. Its test split is not touched.

    Args:
        dataset: A corpus, or any other data set.
        label: The column of labels.
        settings: The share of validation and the seed, for a data set that has no validation split.

    Raises:
        DataError: There is no train split, or a single row to divide.
    """
    if dataset.corpus is not None:
        for split in ("train", "validation"):
            if split not in dataset.splits:
                fix = f"synthmir embed {dataset.corpus} --embedder {dataset.config}"
                raise DataError(f"{dataset.corpus}: {dataset.config} has no {split} split", fix)
        dataset.require(["id", "prompt_group"])
        return SourceSplits(dataset, dataset.rows("train"), dataset.rows("validation"), None)
    dataset = dataset.rename_splits({name: match_split(name) or name for name in dataset.splits})
    if len(dataset.splits) == 1 and "validation" not in dataset.splits:
        dataset = dataset.rename_splits({dataset.splits[0]: "train"})  # all there is, whatever it is called
    if "train" not in dataset.splits:
        raise DataError(
            f"{dataset.source}: has no train split (there: {', '.join(dataset.splits)})",
            "name one of its splits train",
        )
    if "validation" in dataset.splits:
        return SourceSplits(dataset, dataset.rows("train"), dataset.rows("validation"), None)
    held_out = _draw_validation(dataset, label, settings)
    columns = dataset.columns
    by = next((name for name in GROUP_COLUMNS if name in columns), "id" if "id" in columns else "row")
    division = {"by": by, "validation": settings.validation, "seed": settings.seed}
    rows = dataset.rows("train")
    return SourceSplits(dataset, filter_rows(rows, ~held_out), filter_rows(rows, held_out), division)


def _draw_validation(dataset: EmbeddedDataset, label: str, settings: SplitSettings) -> np.ndarray:
    """The rows of the split "train" that become validation, bool [rows]."""
    ids, groups = dataset.ids("train"), dataset.groups("train", but=label)
    if len(ids) < 2:
        raise DataError(
            f"{dataset.source}: train: {len(ids)} row(s) cannot be divided into train and validation",
            "give a data set with more rows",
        )
    names = [group or identity for group, identity in zip(groups, ids, strict=True)]
    kind = dataset.describe(label)
    stratified = kind.get("_type") == "ClassLabel" or kind.get("dtype") in ("string", "large_string", "bool")
    labels = dataset.read([label], "train")[label].to_pylist() if stratified else [None] * len(ids)
    of_group: dict[str, Any] = {}
    sizes: Counter[str] = Counter()
    for group, value in zip(names, labels, strict=True):
        of_group.setdefault(group, value)
        sizes[group] += 1
    strata: dict[Any, list[str]] = {}
    for group in sorted(of_group, key=lambda name: hashlib.sha256(f"{settings.seed} {name}".encode()).digest()):
        strata.setdefault(of_group[group], []).append(group)
    chosen: set[str] = set()
    for members in strata.values():
        wanted = max(1, round(settings.validation * sum(sizes[group] for group in members)))
        for group in members[: len(members) - 1]:  # one stays to be learnt from
            if wanted <= 0:
                break
            chosen.add(group)
            wanted -= sizes[group]
    return np.array([group in chosen for group in names])


@dataclass(frozen=True, slots=True)
class TargetSplits:
    """Which rows of a target may be learnt from and validated on; of its test part there are only the ids."""

    train: Rows
    validation: Rows
    train_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    how: str  # a sentence
    made_here: bool  # the data set names no test part of its own
    group_column: str | None
    groups: int  # in all parts; a row of no group counts as one
    rows_without_group: int
    shared_groups: int  # groups with rows in more than one part


def split_target(dataset: EmbeddedDataset) -> TargetSplits:
    """Divide a target into train, validation and test.

    By its own splits, else by its column `split`, else here: 60, 20 and 20 % by the hash of the group. Where only
    validation is missing, a quarter of train becomes it. What is divided here depends only on the groups' names (the
    ids where there are no groups), so it is the same for every seed and strategy.

    Raises:
        DataError: A split has no known name, a part is empty, or an id is in two parts.
    """
    group_column = find_group_column(dataset.columns)
    by_column = len(dataset.splits) == 1 and SPLIT in dataset.columns
    rows, source = dataset.rows(), dataset.source
    ids = dataset.ids(rows)
    if by_column:
        names = _read_split_column(dataset)
    else:
        names = [split for split, places in rows.items() for _ in places]
    parts = [_find_part(source, name) for name in names]
    groups = dataset.groups(rows)
    if all(group is None for group in groups):
        group_column = None
    # A row of no group is a group of its own.
    keys = [
        f"row {identity}" if group is None else f"group {group}" for identity, group in zip(ids, groups, strict=True)
    ]
    by = group_column or "id"
    made_here = False
    if set(parts) == {"train"}:
        parts, made_here = _divide(source, keys, parts, SHARES), True
        how = f"divided here by hash of {by}: 60 % train, 20 % validation, 20 % test"
    elif "validation" not in parts and "train" in parts:
        parts = _divide(source, keys, parts, {"train": 0.75, "validation": 0.25})
        how = f"its own train and test; a quarter of train, by hash of {by}, is validation"
    else:
        how = f"its own column {SPLIT!r}" if by_column else "its own splits"
    if missing := [part for part in ("train", "validation") if part not in parts]:
        raise DataError(f"{source}: has no {missing[0]} part", "give it splits, or none at all")
    _check_ids(source, ids, parts)

    def rows_of(part: str) -> Rows:
        chosen = filter_rows(rows, np.array([mine == part for mine in parts]))
        return {split: places for split, places in chosen.items() if len(places)}

    def ids_of(part: str) -> tuple[str, ...]:
        return tuple(identity for identity, mine in zip(ids, parts, strict=True) if mine == part)

    return TargetSplits(
        *(rows_of("train"), rows_of("validation")),
        *(ids_of("train"), ids_of("validation"), ids_of("test")),
        how=how,
        made_here=made_here,
        group_column=group_column,
        groups=len(set(keys)),
        rows_without_group=sum(group is None for group in groups) if group_column else 0,
        shared_groups=len(set(zip(keys, parts, strict=True))) - len(set(keys)),
    )


def _read_split_column(dataset: EmbeddedDataset) -> list[str]:
    """The column `split` by name, also where it is a ClassLabel."""
    column = dataset.labels(SPLIT, dataset.rows())
    names = column.by_name()
    if None in names:
        row = names.index(None)
        value = column.values[row].as_py()
        if value is not None and column.names is not None:
            raise DataError(
                f"{dataset.source}: column {SPLIT!r} holds {value}, and has {len(column.names)} names",
                "embed it again",
            )
        raise DataError(f"{dataset.source}: column {SPLIT!r} of row {row} is empty", "name the part of each row")
    return [str(name) for name in names]


def _find_part(source: str, name: str) -> str:
    if (part := match_split(name)) is None:
        known = ", ".join(word for synonyms in SPLIT_KEYWORDS.values() for word in synonyms)
        raise DataError(f"{source}: {name!r} is not the name of a train, validation or test part", f"known: {known}")
    return part


def _divide(source: str, keys: list[str], parts: list[str], shares: dict[str, float]) -> list[str]:
    """Train rows divided: groups in order of their hash fill one part after the other."""
    sizes = Counter(key for key, part in zip(keys, parts, strict=True) if part == "train")
    total, done, of_group = sum(sizes.values()), 0, {}
    edges = np.cumsum(list(shares.values())) * total
    for key in sorted(sizes, key=lambda key: hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()):
        place = int(np.searchsorted(edges, done + sizes[key] / 2, side="right"))
        of_group[key] = list(shares)[min(place, len(edges) - 1)]
        done += sizes[key]
    if empty := [part for part in shares if part not in of_group.values()]:
        raise DataError(
            f"{source}: {len(sizes)} group(s) of {total} rows are too few to divide: {empty[0]} would be empty",
            "give more real music, or a column `split`",
        )
    return [of_group[key] if part == "train" else part for key, part in zip(keys, parts, strict=True)]


def _check_ids(source: str, ids: tuple[str, ...], parts: list[str]) -> None:
    """Raise DataError for an id in two parts."""
    first: dict[str, str] = {}
    for identity, part in zip(ids, parts, strict=True):
        if first.setdefault(identity, part) != part:
            raise DataError(
                f"{source}: {identity!r} is in {first[identity]} and in {part}",
                "training would be validated or tested on rows that it learnt from: take it out of one of them",
            )
