"""A label column -> what a classifier learns: the problem, the labels' names, and codes, marks or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.errors import DataError, RecipeError

from ..models.classifier import MULTI, REGRESSION, SINGLE
from .tables import Table

NUMBERS = ("tempo_bpm",)  # integer columns that are known to be quantities
WORDS = ("string", "large_string", "bool")
LISTS = ("List", "LargeList", "Sequence")


@dataclass(frozen=True, slots=True)
class Column:
    """One split's labels: `values` int64 [n] | float32 [n, labels] | float32 [n], where `kept` (bool [n]) says so."""

    values: np.ndarray
    kept: np.ndarray


def problem_of(kind: dict[str, Any], column: str, asked: str | None) -> str:
    """The problem that a column of this kind poses. Raises DataError for one that poses none, or not the one asked."""
    inner, many = (kind.get("feature") or {}, True) if kind.get("_type") in LISTS else (kind, False)
    dtype = str(inner.get("dtype", ""))
    named = inner.get("_type") == "ClassLabel" or dtype in WORDS
    integer = not named and "int" in dtype
    possible: tuple[str, ...]
    if many:
        possible = (MULTI,) if named else ()
    elif named:
        possible = (SINGLE,)
    elif integer:
        possible = (REGRESSION,) if column in NUMBERS else (REGRESSION, SINGLE)
    else:
        possible = (REGRESSION,) if dtype.startswith(("float", "double")) else ()
    if not possible:
        raise DataError(
            f"column {column!r} holds {_told(kind)}: no labels",
            "give a column of labels (ClassLabel or string), of lists of labels, or of numbers",
        )
    if asked is not None and asked not in possible:
        raise RecipeError(
            f"training.problem: {asked} cannot be learnt from column {column!r}, which holds {_told(kind)}",
            f"training.problem: {possible[0]}",
        )
    if asked is None and len(possible) > 1:
        raise RecipeError(
            f"training.problem: column {column!r} holds integers: quantities, or classes?",
            f"say it (--problem or training.problem): {' or '.join(possible)}",
        )
    return asked or possible[0]


def _told(kind: dict[str, Any]) -> str:
    if kind.get("_type") in LISTS:
        return f"lists of {_told(kind.get('feature') or {})}"
    return str(kind.get("dtype") if kind.get("_type") == "Value" else kind.get("_type") or "structures")


def encode(problem: str, tables: dict[str, Table], task: str) -> tuple[list[str], dict[str, Column]]:
    """The names of all labels, and each split's labels as positions in them (a regression: one name, and numbers)."""
    if problem == REGRESSION:
        return [task], {split: _numbers(table, task) for split, table in tables.items()}
    kind = next(iter(tables.values())).kind
    inner = kind.get("feature") if kind.get("_type") in LISTS else kind
    flat = {split: _flat(table, problem) for split, table in tables.items()}
    if inner and inner.get("_type") == "ClassLabel":
        names = [str(name) for name in inner["names"]]
        codes = {split: _codes(tables[split], values, names, task, problem) for split, values in flat.items()}
    else:
        distinct = pa.chunked_array([values.cast(pa.string()) for values in flat.values()]).unique().drop_null()
        names = sorted(distinct.to_pylist(), key=_natural)
        wanted = pa.array(names, pa.string())
        found = {split: pc.index_in(values.cast(pa.string()), wanted) for split, values in flat.items()}
        codes = {split: pc.fill_null(each, -1).to_numpy(zero_copy_only=False) for split, each in found.items()}
    if problem == SINGLE:
        return names, {split: Column(code.astype(np.int64), code >= 0) for split, code in codes.items()}
    return names, {split: _marks(tables[split], code, len(names)) for split, code in codes.items()}


def _natural(name: str) -> tuple[float, str]:
    """Numbers in their order, then words in theirs."""
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name


def _flat(table: Table, problem: str) -> pa.Array:
    """The labels one after the other, whoever has them."""
    column = table.rows["label"].combine_chunks()
    return pc.list_flatten(column) if problem == MULTI else column


def _owner(table: Table, position: int, problem: str) -> str:
    """The id of the row whose label stands at `position` of `_flat`."""
    row = position
    if problem == MULTI:
        row = pc.list_parent_indices(table.rows["label"].combine_chunks())[position].as_py()
    return str(table.rows["id"][row].as_py())


def _codes(table: Table, values: pa.Array, names: list[str], task: str, problem: str) -> np.ndarray:
    """int64: positions in the declared names, -1 for none."""
    if not pa.types.is_integer(values.type):
        first = next((i for i, value in enumerate(values.to_pylist()) if value is not None), 0)
        shown = f" ({task} of {_owner(table, first, problem)!r} is {values[first].as_py()!r})" if len(values) else ""
        raise DataError(
            f"{table.where}: {task} is declared as ClassLabel and holds {values.type}{shown}",
            "store the labels' numbers, or declare the column as a string",
        )
    codes = pc.fill_null(values, -1).to_numpy(zero_copy_only=False).astype(np.int64)  # -1: how `datasets` says "none"
    if (foreign := np.flatnonzero((codes >= len(names)) | (codes < -1))).size:
        where = int(foreign[0])
        raise DataError(
            f"{table.where}: {task} of {_owner(table, where, problem)!r} is {codes[where]}, but the column names "
            f"{len(names)} labels"
        )
    return codes


def _marks(table: Table, codes: np.ndarray, labels: int) -> Column:
    """float32 [n, labels]: 1 where a row has the label. A row whose list is missing is not kept, an empty one is."""
    column = table.rows["label"].combine_chunks()
    marks = np.zeros((len(column), labels), np.float32)
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    marks[rows[codes >= 0], codes[codes >= 0]] = 1.0
    return Column(marks, column.is_valid().to_numpy(zero_copy_only=False))


def _numbers(table: Table, task: str) -> Column:
    """float32 [n]; missing or NaN is not kept. Raises DataError for an infinite one."""
    values = table.rows["label"].combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)
    if (odd := np.flatnonzero(np.isinf(values))).size:
        raise DataError(f"{table.where}: {task} of {table.rows['id'][int(odd[0])].as_py()!r} is {values[odd[0]]}")
    return Column(values.astype(np.float32), ~np.isnan(values))
