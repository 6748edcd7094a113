"""A corpus that grows while it is disturbed: what of it was there before, and what a reader sees of it meanwhile."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from builder.corpus.corpus import STATE, Corpus
from builder.corpus.shards import WORK
from builder.corpus.verify import verify
from builder.errors import DataError

BEHIND = "lacks the clips that the corpus was extended by"  # they are not embedded yet
UNFINISHED = "this corpus is not finished"
LEFT = ".work: unfinished work; run the command that was stopped again"


@dataclass(frozen=True)
class Before:
    """A corpus before it grew: its shards by their hashes, and the clips of each config's folder."""

    shards: dict[str, str]
    clips: dict[str, frozenset[str]]

    @classmethod
    def of(cls, corpus: Path) -> Before:
        """That of a finished one."""
        folders = ("data", *Corpus.open(corpus).embeddings())
        return cls(hashes(corpus), {folder: clips(corpus, folder) for folder in folders})

    def list_damages(self, corpus: Path) -> list[str]:
        """Its shards that are not what they were, whatever else is at work there."""
        there = hashes(corpus)
        return [f"{name}: not what it was" for name, digest in self.shards.items() if there.get(name) != digest]

    def seen(self, corpus: Path, grown: frozenset[str]) -> list[str]:
        """What a reader would see, no run being at work, that it must not see: neither the corpus as it was nor the
        grown one (`grown`: its clips) by `datasets`, a fault by `verify`, or something else than words."""
        faults = self.list_damages(corpus)
        for folder, there in self.clips.items():
            loaded = by_datasets(corpus, "default" if folder == "data" else folder)
            if len(loaded) != len(set(loaded)) or set(loaded) not in (there, grown):
                faults.append(f"{folder}: {len(loaded)} clips, {len(there)} were there, {len(grown)} are to be")
        try:
            found = verify(corpus).faults
            faults += [] if LEFT in found else [fault for fault in found if BEHIND not in fault]
        except DataError as error:
            if UNFINISHED not in error.message or not (corpus / WORK / STATE).exists():
                faults.append(f"it is refused: {error.message}")
        return faults


def clips(corpus: Path, folder: str = "data") -> frozenset[str]:
    """The ids of the clips that its shards hold."""
    shards = (corpus / folder).glob("*.parquet")
    return frozenset(clip for shard in shards for clip in pq.read_table(shard, columns=["id"])["id"].to_pylist())


def hashes(corpus: Path) -> dict[str, str]:
    """The shards of all configs, by hash."""
    return {
        path.relative_to(corpus).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(corpus.glob("*/*.parquet"))
    }


def by_datasets(corpus: Path, config: str) -> list[str]:
    """The ids of the clips that `load_dataset` gives, none where it finds other numbers of them than the card says."""
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        try:
            found = datasets.load_dataset(str(corpus), config, cache_dir=cache)
        except datasets.exceptions.DatasetsError:
            return []
        return [name for split in found.values() for name in split["id"]]
