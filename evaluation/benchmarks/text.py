"""Names as they are compared and as they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builder.names import normalize_label

__all__ = ["listed", "normalize_label", "printable"]


def printable(name: str) -> str:
    """A file name as valid Unicode: bytes that are no UTF-8 and halves of letters become the replacement character."""
    name = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", name)  # the rest are how Python holds such bytes
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Names in a sentence, the first few of many."""
    shown = ", ".join(printable(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
