"""Tables as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def align_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Pad cells so that columns line up, and join each row into a line. A row may lack its last cells."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
