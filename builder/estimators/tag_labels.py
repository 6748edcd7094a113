"""Which tags of a music tagger mean which labels of a corpus: `tag_labels.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..io.safe_files import read_yaml
from ..validation import Section, validate

TABLE = Path(__file__).with_name("tag_labels.yaml")
WITH_VOCALS, INSTRUMENTAL = "with-vocals", "instrumental"  # of the column `vocals`
Tags = dict[str, dict[str, list[str]]]  # tags by column and label


class TagTable(Section):
    """The tags of each data set's models that mean labels of a corpus."""

    groups: dict[str, list[str]]  # labels by the name that a row of several has
    MSD: Tags
    MTT: Tags


@dataclass(frozen=True, slots=True)
class LabelTags:
    """Labels of a column, of which a clip has one or more, and the tags that mean them."""

    column: str  # genre, vocals, mood, instruments
    name: str
    labels: tuple[str, ...]
    tags: tuple[str, ...]


@cache
def read_label_tags(dataset: str) -> tuple[LabelTags, ...]:
    """Read which tags mean which labels.

    Args:
        dataset: What the tagger was trained on: "MSD" or "MTT".
    """
    table = validate(TagTable, read_yaml(TABLE, words=True), str(TABLE))
    return tuple(
        LabelTags(column, name, tuple(table.groups.get(name, [name])), tuple(tags))
        for column, rows in getattr(table, dataset).items()
        for name, tags in rows.items()
    )


def find_vocal_tags(dataset: str) -> tuple[str, ...]:
    """The tags of a data set's models that mean singing."""
    rows = read_label_tags(dataset)
    return next(row.tags for row in rows if row.column == "vocals" and row.name == WITH_VOCALS)
