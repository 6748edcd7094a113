"""Untrusted text in Markdown: prompts and names are shown as they are, and cannot break a card."""

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
NUMBER = re.compile(r"[-+.]?[0-9][0-9a-zA-Z_.+-]*")  # begins like a number, so it is quoted: versions of YAML differ
CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+"
)  # and marks that change the direction of writing


def read_card(path: Path) -> str:
    """Read a card. Raises DataError if it does not exist or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", "write the card again") from error


def parse_front_matter(card: str) -> dict[str, Any]:
    """Parse the YAML at the head of a card. Raises DataError if there is none, or it is invalid."""
    match = FRONT.match(card)
    if match is None:
        raise DataError("README.md: has no YAML between --- lines", "write the card again")
    try:
        return dict(parse_yaml(match["yaml"]) or {})
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"README.md: its YAML cannot be read: {error}", "write the card again") from error


class _Dumper(yaml.SafeDumper):
    """Writes YAML whose text is text in YAML 1.2, too, where `1e3` and `0o7` are numbers."""


def _quote(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if NUMBER.fullmatch(value) else None)


_Dumper.add_representer(str, _quote)


def format_front_matter(head: dict[str, Any]) -> str:
    """Write the head of a card as YAML between --- lines. Raises DataError if it does not read back the same."""
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
    """Return text as one line without control characters, cut to `longest` characters."""
    words = " ".join(CONTROLS.sub(" ", str(value)).split())
    return words if longest is None or len(words) <= longest else words[: longest - 1].rstrip() + "…"


def escape_text(value: Any, longest: int | None = None) -> str:
    """Escape the marks of Markdown and HTML, for a sentence or the cell of a table."""
    return MARKS.sub(r"\\\g<0>", one_line(value, longest)).translate(ENTITIES)


def format_code(value: Any) -> str:
    """Format text as code in a sentence, between more backticks than it has in a row."""
    words = one_line(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", words)), default=0))
    pad = " " if not words or words[0] == "`" or words[-1] == "`" else ""
    return f"{fence}{pad}{words}{pad}{fence}"


def format_cell(value: Any) -> str:
    """Format text as code in the cell of a table, where bars are escaped: they separate cells within code, too."""
    return format_code(value).replace("|", r"\|")


def escape_tex(value: Any) -> str:
    """Escape text for the value of a BibTeX field."""
    return re.sub(r"([#$%&_])", r"\\\1", re.sub(r"[\\{}~^]", "", one_line(value)))


FILTERS: dict[str, Callable[..., str]] = {
    "text": escape_text,
    "code": format_code,
    "cell": format_cell,
    "tex": escape_tex,
}
