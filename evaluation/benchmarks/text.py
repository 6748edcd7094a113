"""Names for comparison and for display."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builder.names import normalize_label

__all__ = ["join_names", "normalize_label", "printable"]


def printable(name: str) -> str:
    """Return a file name as valid Unicode; invalid bytes and lone surrogates become the replacement character."""
    name = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", name)  # the others are Python's surrogate escapes of bytes
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def join_names(names: Sequence[str], limit: int = 8) -> str:
    """Join names for a sentence; of many only the first `limit`."""
    shown = ", ".join(printable(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
