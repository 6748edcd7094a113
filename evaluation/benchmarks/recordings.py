"""Recordings parted into those that can be used and those that cannot, each counted with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .text import listed

if TYPE_CHECKING:
    from .track import Recording


@dataclass(slots=True)
class SplitRecordings:
    """One part of a benchmark: what can be used, and the ids of what cannot."""

    kept: list[Recording] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)  # there, but without a label
    absent: list[str] = field(default_factory=list)  # named by the lists, not on disk
    faulty: dict[str, str] = field(default_factory=dict)  # known to be damaged: id -> how
    repeated: list[str] = field(default_factory=list)  # ids that stood there before

    @classmethod
    def of(cls, recordings: Iterable[Recording]) -> SplitRecordings:
        """Part them. Of several with one id the first counts."""
        sieve, seen = cls(), set()
        for one in recordings:
            if one.id in seen:
                sieve.repeated.append(one.id)
                continue
            seen.add(one.id)
            if one.fault:
                sieve.faulty[one.id] = one.fault
            elif one.path is None and one.row is None:
                sieve.absent.append(one.id)
            elif not one.labels and one.value is None:
                sieve.unlabelled.append(one.id)
            else:
                sieve.kept.append(one)
        return sieve

    @property
    def listed(self) -> int:
        """Recordings that the lists name, each once."""
        return len(self.kept) + len(self.unlabelled) + len(self.absent) + len(self.faulty)

    def notes(self) -> list[str]:
        """What could not be used, in sentences."""
        told = [
            (self.absent, "whose audio is not on disk"),
            (self.unlabelled, "without a label"),
            (self.repeated, "whose id stood there before"),
        ]
        notes = [f"left out {len(ids)} track(s) {why}: {listed(ids, 5)}" for ids, why in told if ids]
        by_fault: dict[str, list[str]] = {}
        for identity, fault in self.faulty.items():
            by_fault.setdefault(fault, []).append(identity)
        return notes + [f"left out {len(ids)} track(s), {fault}: {listed(ids, 5)}" for fault, ids in by_fault.items()]
