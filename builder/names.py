"""Names of labels and of splits as they are compared."""

from __future__ import annotations

import re
import unicodedata

SPLIT_KEYWORDS = {  # those of `datasets` (data_files.SPLIT_KEYWORDS), which a test compares
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLITS = {word: split for split, words in SPLIT_KEYWORDS.items() for word in words}
_KEYWORD = re.compile(rf"(?:^|(?<=[-._ 0-9]))(?:{'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?=[-._ 0-9]|$)")


def normalize_label(name: str) -> str:
    """A label's name without what spellings differ in: "Hip-Hop", "hip_hop" and "HipHop" are one."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char not in " -_\t")


def find_split(name: str) -> str | None:
    """The split that a folder or file name names, as `datasets` reads it: "train", "Val", "my-test_2"; else None.

    A keyword counts where it is the whole name or is set off by one of "-._ " or a digit; case does not matter. A name
    of two splits names none.
    """
    found = {_SPLITS[word] for word in _KEYWORD.findall(name.lower())}
    return found.pop() if len(found) == 1 else None


def hide_split(name: str) -> str:
    """A folder name in which `datasets` finds no split: "test" becomes "xtestx"; others are returned as they are."""
    return _KEYWORD.sub(lambda match: f"x{match[0]}x", name)
