"""The record of a build: of each part, and of the whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...configs import GENERATED
from ...io.storage import map_parallel
from ...records import RunRecord
from ..corpus import Corpus
from ..shards import Ledger, count_rows
from .extend import CorpusPart, combine_fingerprints

SUMMED = ("clips", "rejected", "retried", "shards", "worker_seconds", "audio_seconds")
PART_KEYS = ("generator", "workers")
RUN_KEYS = ("started", "wall_seconds", "device", "versions")  # of the run that made a part


def describe_part(
    part: CorpusPart, footers: Sequence[dict[str, Any]], ledger: Ledger, record: RunRecord, workers: int
) -> dict[str, Any]:
    """Describe a part that was just made, from the footers of its shards and the ledger.

    Args:
        part: The part.
        footers: The footers of all its shards, at least one.
        ledger: The ledger of the build, which has the seconds that each shard took.
        record: The record of the run that made the part: its start, its wall time, the device and the versions.
        workers: Number of workers, at most.

    Returns:
        The part's entry in the record of the corpus.
    """
    rejected = sum(len(footer["rejected"]) for footer in footers)
    made = {shard.name for shard in part.shards}
    clips = part.clips - rejected
    return {
        **part.identity,
        "generator": footers[0]["generator"],
        "clips": clips,
        "rejected": rejected,
        "retried": sum(footer.get("retried", 0) for footer in footers),
        "shards": len(part.shards),
        "workers": workers,
        "worker_seconds": round(sum(entry.seconds for entry in ledger.entries.values() if entry.name in made), 3),
        "audio_seconds": part.recipe.generator.seconds * clips,
        **{key: getattr(record, key) for key in RUN_KEYS},
    }


def complete_record(record: RunRecord, parts: list[dict[str, Any]], before: dict[str, Any] | None) -> RunRecord:
    """Complete the record of a corpus.

    Args:
        record: The record of the run that made the last part.
        parts: All parts, as `describe_part` gives them.
        before: The record of the corpus without the last part; None in a first build.
    """
    newest = parts[-1]
    record.fingerprint = combine_fingerprints([part["fingerprint"] for part in parts])
    record.details = {
        "identity": {key: newest[key] for key in ("name", "fingerprint", "split", "clips_per_shard")},
        "generator": _describe_generators([part["generator"] for part in parts]),
        "workers": newest["workers"],
        **{key: round(sum(part.get(key, 0) for part in parts), 3) for key in SUMMED},
    }
    record.rows = record.details["clips"]
    if before:
        record.wall_seconds = round(record.wall_seconds + before["wall_seconds"], 3)
        record.details["parts"] = [
            {key: part[key] for key in (*record.details["identity"], *PART_KEYS, *SUMMED, *RUN_KEYS) if key in part}
            for part in parts
        ]
        for key in ("mended_shards", "configs"):
            if kept := before["details"].get(key):
                record.details[key] = kept
    return record


def describe_configs(root: Path, ledger: Ledger, before: dict[str, Any]) -> dict[str, Any]:
    """Describe the annotations and stems of a corpus.

    Args:
        root: The corpus folder, with all shards in their places.
        ledger: The ledger of the build, which has the seconds that each shard took.
        before: What this returned of the corpus before the build.

    Returns:
        Rows, and seconds of work, of each config by its name.
    """
    described = {}
    for name, kind in Corpus(root).configs().items():
        if kind not in GENERATED:
            continue
        shards = [root / shard for shard in Corpus(root).shards(name)]
        seconds = sum(entry.seconds for entry in ledger.entries.values() if entry.name.startswith(f"{name}/"))
        described[name] = {
            "rows": sum(map_parallel(count_rows, shards, root)),
            "worker_seconds": round(before.get(name, {}).get("worker_seconds", 0) + seconds, 3),
        }
    return described


def _describe_generators(made_by: list[dict[str, str]]) -> dict[str, str]:
    """Describe the generator of the whole corpus: all of them, under the strictest licence."""
    different = list({(made["name"], made["revision"]): made for made in made_by}.values())
    if len(different) == 1:
        return made_by[-1]
    abouts = {made["name"]: made["about"] for made in different}
    return {
        "name": ", ".join(abouts),
        "revision": ", ".join(made["revision"] for made in different),
        "license": _choose_license([made["license"] for made in different]),
        "about": " ".join(f"`{name}`: {about}" if len(abouts) > 1 else about for name, about in abouts.items()),
    }


def _choose_license(names: list[str]) -> str:
    bound = [name for name in names if "-nc" in name]
    different = set(bound or names)
    return different.pop() if len(different) == 1 else "other"
