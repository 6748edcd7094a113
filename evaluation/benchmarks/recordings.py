"""The recordings of one part of a benchmark: usable ones, and others with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.names import format_count

from .text import join_names

if TYPE_CHECKING:
    from .track import Recording


@dataclass(slots=True)
class PartRecordings:
    """The recordings of one part: usable ones, and the ids of others."""

    usable: list[Recording] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)  # without a label
    missing_files: list[str] = field(default_factory=list)  # in the lists, not on disk
    damaged: dict[str, str] = field(default_factory=dict)  # with a known fault, by id
    duplicates: list[str] = field(default_factory=list)  # ids that are in the lists twice

    @classmethod
    def of(cls, recordings: Iterable[Recording]) -> PartRecordings:
        """Sort recordings. Of several with one id the first counts."""
        part_recordings, seen = cls(), set()
        for one in recordings:
            if one.id in seen:
                part_recordings.duplicates.append(one.id)
                continue
            seen.add(one.id)
            if one.fault:
                part_recordings.damaged[one.id] = one.fault
            elif one.path is None and one.row is None:
                part_recordings.missing_files.append(one.id)
            elif not one.labels and one.value is None:
                part_recordings.unlabelled.append(one.id)
            else:
                part_recordings.usable.append(one)
        return part_recordings

    @property
    def total(self) -> int:
        """The number of recordings in the lists, each once."""
        return len(self.usable) + len(self.unlabelled) + len(self.missing_files) + len(self.damaged)

    def notes(self) -> list[str]:
        """Return sentences about what cannot be used."""
        reasons = [
            (self.missing_files, "whose audio is not on disk"),
            (self.unlabelled, "without a label"),
            (self.duplicates, "whose id is in the lists twice"),
        ]
        notes = [f"left out {_list_tracks(ids, f' {why}')}" for ids, why in reasons if ids]
        by_fault: dict[str, list[str]] = {}
        for identity, fault in self.damaged.items():
            by_fault.setdefault(fault, []).append(identity)
        return notes + [f"left out {_list_tracks(ids, f', {fault}')}" for fault, ids in by_fault.items()]


def _list_tracks(ids: list[str], why: str) -> str:
    """How many tracks, why, and the first of them."""
    return f"{format_count(len(ids), 'track')}{why}: {join_names(ids, 5)}"
