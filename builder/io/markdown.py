"""Words of others in Markdown: shown as they are, whatever they hold. No prompt or name can break a card."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError
from .safe_files import parse_yaml

FRONT = re.compile(r"\A---\n(?P<yaml>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # snake_case needs no mark
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
NUMBER = re.compile(r"[-+.]?[0-9][0-9a-zA-Z_.+-]*")  # begins as a number: quoted in YAML, whatever its version
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")  # and what turns the direction


def read_card(path: Path) -> str:
    """A card's text. Raises DataError for one that is not there or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", "write the card anew") from error


def parse_front_matter(card: str) -> dict[str, Any]:
    """The YAML in a card's head. Raises DataError for a card without."""
    match = FRONT.match(card)
    if match is None:
        raise DataError("README.md: has no YAML between --- lines", "write the card anew")
    try:
        return dict(parse_yaml(match["yaml"]) or {})
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"README.md: its YAML cannot be read: {error}", "write the card anew") from error


class _Dumper(yaml.SafeDumper):
    """Safe YAML whose texts are texts for readers of YAML 1.2 as well, which take `1e3` and `0o7` for numbers."""


def _quote(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if NUMBER.fullmatch(value) else None)


_Dumper.add_representer(str, _quote)


def format_front_matter(head: dict[str, Any]) -> str:
    """The YAML head of a card, with the --- lines around it. Raises DataError where it does not read back the same."""
    try:
        dumped = yaml.dump(head, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    except yaml.YAMLError as error:
        raise DataError(
            f"README.md: its head cannot be written as YAML: {error!s:.300}", "rename the label"
        ) from error
    card = f"---\n{dumped}---\n"
    read = parse_front_matter(f"{card}\n")
    if changed := [key for key in head if head[key] != read.get(key)]:
        raise DataError(
            f"README.md: {changed[0]} reads back from YAML as {read.get(changed[0])!r:.200}",
            "rename the labels that YAML cannot hold",
        )
    return card


def one_line(value: Any, longest: int | None = None) -> str:
    """One line without control characters, cut to `longest` characters."""
    words = " ".join(CONTROLS.sub(" ", str(value)).split())
    return words if longest is None or len(words) <= longest else words[: longest - 1].rstrip() + "…"


def escape_text(value: Any, longest: int | None = None) -> str:
    """As words of a sentence or of a table's cell: every mark of Markdown and HTML is escaped."""
    return MARKS.sub(r"\\\g<0>", one_line(value, longest)).translate(ENTITIES)


def format_code(value: Any) -> str:
    """As code in a sentence, in a fence longer than any run of backticks in it."""
    words = one_line(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", words)), default=0))
    pad = " " if not words or words[0] == "`" or words[-1] == "`" else ""
    return f"{fence}{pad}{words}{pad}{fence}"


def format_cell(value: Any) -> str:
    """As code in a table's cell: a table is cut at its bars before code is looked for."""
    return format_code(value).replace("|", r"\|")


def escape_tex(value: Any) -> str:
    """As a field's value of BibTeX."""
    return re.sub(r"([#$%&_])", r"\\\1", re.sub(r"[\\{}~^]", "", one_line(value)))


FILTERS: dict[str, Callable[..., str]] = {
    "text": escape_text,
    "code": format_code,
    "cell": format_cell,
    "tex": escape_tex,
}
