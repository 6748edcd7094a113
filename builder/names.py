"""Names of labels, of splits and of columns that group rows, and how they are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

SPLIT_KEYWORDS = {  # those of `datasets` (data_files.SPLIT_KEYWORDS), which a test compares
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLITS = tuple(SPLIT_KEYWORDS)
GROUP_COLUMNS = ("prompt_group", "group", "artist", "artist_id", "album", "album_id", "track_id", "speaker")
_SPLITS = {word: split for split, words in SPLIT_KEYWORDS.items() for word in words}
_KEYWORD = re.compile(rf"(?:^|(?<=[-._ 0-9]))(?:{'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?=[-._ 0-9]|$)")


def normalize_label(name: str) -> str:
    """A label's name without what spellings differ in: "Hip-Hop", "hip_hop" and "HipHop" are one."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char not in " -_\t")


def match_split(name: str) -> str | None:
    """The split whose name, or a synonym of it, this is: "dev" is "validation"; None for any other word."""
    return _SPLITS.get(name.casefold())


def find_group_column(columns: Collection[str], but: str = "") -> str | None:
    """The column that says which rows belong together (a description, an artist, ...); `but` is never taken for it."""
    return next((name for name in GROUP_COLUMNS if name in columns and name != but), None)


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
