"""Cards as a reader's renderer sees them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def body(text: str) -> str:
    """A card without its YAML head."""
    return re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)


def html(text: str) -> str:
    """A card's body as HTML; raw HTML in it would pass through."""
    return str(PARSER.render(body(text)))


def plain(text: str) -> str:
    """The words of a piece of Markdown."""
    return unescape(re.sub(r"<[^>]*>", "", html(text))).strip("\n")


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a card, rows of cells in plain words."""
    return [
        [
            [
                unescape(re.sub(r"<[^>]*>", "", cell))
                for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            ]
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", html(text), re.DOTALL)
    ]


def ragged(text: str) -> list[str]:
    """Lines of tables, as they are written, that have another number of cells than their table's head."""
    bad = []
    for block in re.findall(r"(?:^\|.*\n)+", body(text), re.MULTILINE):
        lines = block.splitlines()
        widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
        bad += [line for line, width in zip(lines, widths, strict=True) if width != widths[0]]
        if len(lines) < 2 or not re.fullmatch(r"\|(:?-+:?\|)+", lines[1].replace(" ", "")):
            bad.append(lines[0])
    return bad


def broken_links(text: str, folder: Path) -> list[str]:
    """Links and pictures that lead nowhere: to no file of `folder`, or to what is no address."""
    page = html(text)
    bad = []
    for link in re.findall(r'(?:href|src)="([^"]*)"', page):
        parts = urlsplit(unescape(link))
        if parts.scheme:
            good = parts.scheme == "https" and "." in parts.netloc
        else:
            good = not parts.path.startswith("/") and (folder / parts.path).is_file()
        bad += [] if good else [link]
    return bad
