"""Make a `datasets.Dataset` of recordings, with the same columns for every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, Features

    from .track import Recording


def columns(names: Sequence[str], multi_label: bool) -> Features:
    """Return the columns. Without names of labels the label is a number."""
    from datasets import Audio, ClassLabel, Features, List, Value

    label: Any = ClassLabel(names=list(names)) if names else Value("float32")
    return Features(
        {
            "id": Value("string"),
            "audio": Audio(decode=False),
            **({"labels": List(label)} if multi_label and names else {"label": label}),
            "split": Value("string"),
            "artist": Value("string"),
        }
    )


def recordings_to_dataset(recordings: Sequence[Recording], names: Sequence[str], multi_label: bool) -> Dataset:
    """Make rows of recordings. Audio files are referenced, not copied.

    Args:
        recordings: The recordings. One without a split is put into "train".
        names: The classes of the label column. Empty: the labels are numbers.
        multi_label: Whether a recording has any number of labels, and not exactly one.

    Returns:
        A row for each recording with id, audio, label (or labels), split and artist.
    """
    from builder.io.hf_audio import make_dataset

    index = {name: number for number, name in enumerate(names)}
    features = columns(names, multi_label)
    values: list[Any]
    if not names:
        values = [one.value for one in recordings]
    elif multi_label:
        values = [[index[name] for name in one.labels] for one in recordings]
    else:
        values = [index[one.labels[0]] for one in recordings]
    data: dict[str, list[Any]] = {
        "id": [one.id for one in recordings],
        "audio": [one.path and one.path.absolute() for one in recordings],
        "labels" if "labels" in features else "label": values,
        "split": ["train" if one.split in (None, "all") else one.split for one in recordings],
        "artist": [one.artist for one in recordings],
    }
    return make_dataset(data, features)
