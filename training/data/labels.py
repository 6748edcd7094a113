"""A column of labels -> what a classifier learns: the problem, the classes, and each row's class, marks or number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.embedders.embedded_dataset import LabelColumn
from builder.errors import DataError, RecipeError

from ..models.classifier import MULTI, REGRESSION, SINGLE

QUANTITIES = ("tempo_bpm",)  # integer columns that are known to be quantities
NAMED_TYPES = ("string", "large_string", "bool")
LIST_TYPES = ("List", "LargeList", "Sequence")


@dataclass(frozen=True, slots=True)
class EncodedLabels:
    """The labels of some rows as numbers."""

    values: np.ndarray  # int64 [n], positions in the classes | float32 [n, classes], 0 or 1 | float32 [n]
    labelled: np.ndarray  # bool [n]: whether a row has a label; the value of one that has none means nothing


def choose_problem(kind: dict[str, Any], column: str, asked: str | None = None) -> str:
    """The problem that a column of labels poses.

    Args:
        kind: The column as `datasets` describes it.
        column: Its name.
        asked: The problem that the user names, if any.

    Returns:
        transformers' `problem_type`: single_label_classification, multi_label_classification or regression.

    Raises:
        DataError: The column does not hold labels.
        RecipeError: The column does not pose the problem that is asked for, or may pose several.
    """
    inner, many = (kind.get("feature") or {}, True) if kind.get("_type") in LIST_TYPES else (kind, False)
    dtype = str(inner.get("dtype", ""))
    named = inner.get("_type") == "ClassLabel" or dtype in NAMED_TYPES
    integer = not named and "int" in dtype
    possible: tuple[str, ...]
    if many:
        possible = (MULTI,) if named else ()
    elif named:
        possible = (SINGLE,)
    elif integer:
        possible = (REGRESSION,) if column in QUANTITIES else (REGRESSION, SINGLE)
    else:
        possible = (REGRESSION,) if dtype.startswith(("float", "double")) else ()
    if not possible:
        raise DataError(
            f"column {column!r} holds {_describe_type(kind)}: no labels",
            "give a column of labels (ClassLabel or string), of lists of labels, or of numbers",
        )
    if asked is not None and asked not in possible:
        raise RecipeError(
            f"training.problem: {asked} cannot be learnt from column {column!r}, which holds {_describe_type(kind)}",
            f"training.problem: {possible[0]}",
        )
    if asked is None and len(possible) > 1:
        raise RecipeError(
            f"training.problem: column {column!r} holds integers: quantities, or classes?",
            f"name the problem (--problem or training.problem): {' or '.join(possible)}",
        )
    return asked or possible[0]


def _describe_type(kind: dict[str, Any]) -> str:
    if kind.get("_type") in LIST_TYPES:
        return f"lists of {_describe_type(kind.get('feature') or {})}"
    return str(kind.get("dtype") if kind.get("_type") == "Value" else kind.get("_type") or "structures")


def encode_labels(
    problem: str, columns: Mapping[str, LabelColumn], task: str, known: Sequence[str] = ()
) -> tuple[list[str], dict[str, EncodedLabels]]:
    """Encode the label columns of one or more splits alike.

    Args:
        problem: See `choose_problem`.
        columns: The label columns by split.
        task: The name of the task, for messages.
        known: Classes that a column of strings may hold beside those that are in it.

    Returns:
        The classes (declared ones in their order, strings sorted; for a regression, the task alone), and each
        split's labels as positions in them, as marks, or as numbers.

    Raises:
        DataError: A column holds codes without a class, or infinite numbers.
    """
    if problem == REGRESSION:
        return [task], {split: _encode_numbers(column, task) for split, column in columns.items()}
    flat = {split: _flatten(column, problem) for split, column in columns.items()}
    declared = next(iter(columns.values())).names
    if declared is not None:
        names = declared
        codes = {split: _check_codes(columns[split], values, names, task, problem) for split, values in flat.items()}
    else:
        distinct = pa.chunked_array([values.cast(pa.string()) for values in flat.values()]).unique().drop_null()
        names = sorted({*distinct.to_pylist(), *known}, key=_sort_key)
        wanted = pa.array(names, pa.string())
        places = {split: pc.index_in(values.cast(pa.string()), wanted) for split, values in flat.items()}
        codes = {split: pc.fill_null(each, -1).to_numpy(zero_copy_only=False) for split, each in places.items()}
    if problem == SINGLE:
        return names, {split: EncodedLabels(code.astype(np.int64), code >= 0) for split, code in codes.items()}
    return names, {split: _encode_marks(columns[split], code, len(names)) for split, code in codes.items()}


def _sort_key(name: str) -> tuple[float, str]:
    """Numbers by value, then words by letter."""
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name


def _flatten(column: LabelColumn, problem: str) -> pa.Array:
    """All labels of all rows, one after the other."""
    return pc.list_flatten(column.values) if problem == MULTI else column.values


def _find_owner(column: LabelColumn, position: int, problem: str) -> str:
    """The id of the row whose label is at `position` of `_flatten`."""
    row = pc.list_parent_indices(column.values)[position].as_py() if problem == MULTI else position
    return column.ids[row]


def _check_codes(column: LabelColumn, values: pa.Array, names: list[str], task: str, problem: str) -> np.ndarray:
    """int64: positions in the declared names, -1 for a missing label."""
    if not pa.types.is_integer(values.type):
        first = next((i for i, value in enumerate(values.to_pylist()) if value is not None), 0)
        owner = _find_owner(column, first, problem) if len(values) else ""
        shown = f" ({task} of {owner!r} is {values[first].as_py()!r})" if len(values) else ""
        raise DataError(
            f"{column.where}: {task} is declared as ClassLabel and holds {values.type}{shown}",
            "store the labels' numbers, or declare the column as a string",
        )
    codes: np.ndarray = pc.fill_null(values, -1).to_numpy(zero_copy_only=False).astype(np.int64)  # -1: no label
    if (unnamed := np.flatnonzero((codes >= len(names)) | (codes < -1))).size:
        position = int(unnamed[0])
        raise DataError(
            f"{column.where}: {task} of {_find_owner(column, position, problem)!r} is {codes[position]}, but the "
            f"column names {len(names)} labels",
            "write the data again with a name for every code",
        )
    return codes


def _encode_marks(column: LabelColumn, codes: np.ndarray, classes: int) -> EncodedLabels:
    """1 where a row has the label. A row whose list is null is not labelled, one whose list is empty is."""
    marks = np.zeros((len(column), classes), np.float32)
    rows = pc.list_parent_indices(column.values).to_numpy(zero_copy_only=False)
    marks[rows[codes >= 0], codes[codes >= 0]] = 1.0
    return EncodedLabels(marks, column.values.is_valid().to_numpy(zero_copy_only=False))


def _encode_numbers(column: LabelColumn, task: str) -> EncodedLabels:
    """float32 [n]; a null or NaN is not labelled. Raises DataError for an infinite number."""
    values = column.values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if (infinite := np.flatnonzero(np.isinf(values))).size:
        row = int(infinite[0])
        raise DataError(
            f"{column.where}: {task} of {column.ids[row]!r} is {values[row]}", "correct the number, or leave it out"
        )
    return EncodedLabels(values.astype(np.float32), ~np.isnan(values))
