"""Names of labels as they are compared."""

from __future__ import annotations

import unicodedata


def label_key(name: str) -> str:
    """A label's name without what spellings differ in: "Hip-Hop", "hip_hop" and "HipHop" are one."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char not in " -_\t")
