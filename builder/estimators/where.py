"""Expressions that choose clips by what estimators measured: "clap > 0.3 and agrees.genre"."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RecipeError
from ..validation import suggest

MAX_LENGTH = 1000  # characters
MAX_DEPTH = 50  # of nested parts
SYNTAX = "use comparisons of columns with numbers or 'text', and, or, not, ( ): clap > 0.3 and agrees.genre"
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, several: value in several,
    ast.NotIn: lambda value, several: value not in several,
}
SAME_KIND = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


@dataclass(frozen=True, slots=True)
class Where:
    """An expression over the columns of `iterate_compared_rows`.

    A column is named as it is in `estimates` (`tempo`, `tags["female vocalists"]`, `clap_genre.pop`), or in one of the
    other parts (`agrees.genre`, `asked.mood`, `split`). A label of the prompt that no estimate is named as needs no
    `asked.`. A comparison with a value that is missing is neither true nor false, as in SQL.

    Attributes:
        text: As it was given.
        columns: Those that it names, in its order.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Where:
        """Parse an expression. Nothing of it is executed as Python.

        Raises:
            RecipeError: It does not parse: the message shows the place.
        """
        if len(text) > MAX_LENGTH:
            raise RecipeError(f"where: {len(text):,} characters are too many", f"use {MAX_LENGTH:,} at most")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            offset = getattr(error, "offset", None)  # 0 or None: at the end
            raise _fault(text, offset - 1 if offset else len(text), str(getattr(error, "msg", error))) from None
        columns: dict[str, None] = {}
        for name in _check(text, tree, MAX_DEPTH):
            columns[name] = None
        if not columns:
            raise _fault(text, 0, "names no column")
        return cls(text, tuple(columns), tree)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the expression is true of a row of `iterate_compared_rows`.

        Raises:
            RecipeError: It compares a number with text.
        """
        return _truth(self._value(self._tree, row)) is True

    def _value(self, node: ast.expr, row: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.BoolOp):
            truths = [_truth(self._value(part, row)) for part in node.values]
            decides = isinstance(node.op, ast.Or)
            return decides if decides in truths else None if None in truths else not decides
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand, row)
            if isinstance(node.op, ast.Not):
                truth = _truth(value)
                return None if truth is None else not truth
            return -value
        if isinstance(node, ast.Compare):
            return self._compare(node, row)
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self._value(part, row) for part in node.elts]
        if isinstance(node, ast.Constant):
            return node.value
        return find_value(row, _name_parts(node))

    def _compare(self, node: ast.Compare, row: Mapping[str, Any]) -> bool | None:
        values = [self._value(part, row) for part in (node.left, *node.comparators)]
        if None in values:
            return None
        for left, right, comparison in zip(values[:-1], values[1:], node.ops, strict=True):
            try:
                if isinstance(comparison, SAME_KIND) and isinstance(left, str) != isinstance(right, str):
                    raise TypeError
                if not COMPARISONS[type(comparison)](left, right):
                    return False
            except TypeError:
                place = node.left.col_offset
                raise _fault(self.text, place, f"{left!r:.40} cannot be compared with {right!r:.40}") from None
        return True


def find_value(row: Mapping[str, Any], parts: tuple[str, ...]) -> Any:
    """The value of a column of `iterate_compared_rows` by its dotted name; None for one that is missing."""
    value: Any = row if parts[0] in row else row.get("asked") or {}
    for part in parts:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def list_columns(row: Mapping[str, Any]) -> set[str]:
    """The columns that an expression can name: those of estimates, and `agrees.genre`, `asked.mood`, `genre`, ..."""
    names: set[str] = set()
    for key, value in row.items():
        names.add(key)
        if isinstance(value, Mapping):
            names.update(f"{key}.{inner}" for inner in value)
    return names | set(row.get("asked") or {})


def check_columns(where: Where, known: set[str]) -> None:
    """Raise RecipeError for a column that an expression names and no row has; it suggests the nearest."""
    for name in where.columns:
        if name not in known:
            raise _fault(
                where.text,
                max(where.text.find(name.partition(".")[0]), 0),
                f"there is no column {name!r}{suggest(name, sorted(known))}",
                f"name one of {', '.join(sorted(known)[:40])}, or measure it: synthmir annotate CORPUS --with ...",
            )


def _check(text: str, node: ast.AST, depth: int) -> Iterator[str]:
    """Yield the columns that a part names. Raises RecipeError for what is not allowed."""
    place = getattr(node, "col_offset", 0)
    if depth == 0:
        raise _fault(text, place, "is nested too deeply")
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        parts = _name_parts(node)
        if not parts or len(parts) > 2:
            raise _fault(text, place, "is not the name of a column")
        yield ".".join(parts)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str)):
        return
    parts_of: list[ast.AST]
    if isinstance(node, ast.BoolOp):
        parts_of = list(node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        parts_of = [node.operand]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_number(node.operand):
        return
    elif isinstance(node, ast.Compare) and all(type(comparison) in COMPARISONS for comparison in node.ops):
        parts_of = [node.left, *node.comparators]
    elif isinstance(node, (ast.List, ast.Tuple)) and all(isinstance(part, ast.Constant) for part in node.elts):
        parts_of = list(node.elts)
    else:
        raise _fault(text, place, "is not allowed here")
    for part in parts_of:
        yield from _check(text, part, depth - 1)


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _name_parts(node: ast.AST) -> tuple[str, ...]:
    """The parts of a dotted name, () for what is none."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute) and (parts := _name_parts(node.value)):
        return (*parts, node.attr)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return (*parts, node.slice.value) if (parts := _name_parts(node.value)) else ()
    return ()


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _fault(text: str, place: int, what: str, fix: str = SYNTAX) -> RecipeError:
    """The error of an expression, with a mark below its place."""
    line = text.strip().replace("\n", " ")
    return RecipeError(f"where: {what}\n  {line}\n  {' ' * min(place, len(line))}^", fix)
