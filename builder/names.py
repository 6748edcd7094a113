"""Names of labels, of splits and of columns that group rows, and how they are compared; counts in messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

SPLIT_KEYWORDS = {  # those of `datasets` (data_files.SPLIT_KEYWORDS); a test compares them
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLITS = tuple(SPLIT_KEYWORDS)
MODEL_TYPES = ("synthmir", "synthmir_frames")  # in config.json: classifiers of embeddings, frame models
GROUP_COLUMNS = ("prompt_group", "group", "artist", "artist_id", "album", "album_id", "track_id", "speaker")
_SPLITS = {keyword: split for split, keywords in SPLIT_KEYWORDS.items() for keyword in keywords}
_KEYWORD = re.compile(rf"(?:^|(?<=[-._ 0-9]))(?:{'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?=[-._ 0-9]|$)")


def normalize_label(name: str) -> str:
    """Return a label's name without case, spaces and hyphens: "Hip-Hop", "hip_hop" and "HipHop" are equal."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char not in " -_\t")


def format_count(count: int, noun: str) -> str:
    """Format a count with its noun, which takes an s in the plural: "1 track", "1,200 tracks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_rate(sampling_rate: float) -> str:
    """Format a sampling rate or a frequency in Hz: "22.05 kHz"."""
    return f"{sampling_rate / 1000:g} kHz"


def match_split(name: str) -> str | None:
    """The split whose name, or a synonym of it, this is: "dev" is "validation"; None for any other word."""
    return _SPLITS.get(name.casefold())


def find_group_column(columns: Collection[str], but: str = "") -> str | None:
    """The column that says which rows belong together (a description, an artist, ...), other than `but`."""
    return next((name for name in GROUP_COLUMNS if name in columns and name != but), None)


def find_split(name: str) -> str | None:
    """Find the split that `datasets` reads from the name of a folder or file: "train", "Val", "my-test_2".

    A keyword counts if it is the whole name, or is separated by one of "-._ " or a digit. Case does not matter.

    Returns:
        "train", "validation" or "test"; None for no split, and for more than one.
    """
    found = {_SPLITS[word] for word in _KEYWORD.findall(name.lower())}
    return found.pop() if len(found) == 1 else None


def hide_split(name: str) -> str:
    """Change a folder name so that `datasets` finds no split in it: "test" becomes "xtestx"."""
    return _KEYWORD.sub(lambda match: f"x{match[0]}x", name)
