"""What a build's record tells: of each part, and of the whole that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...records import RunRecord
from ..shards import Ledger
from .extend import CorpusPart, combine_fingerprints

SUMMED = ("clips", "rejected", "retried", "shards", "worker_seconds", "audio_seconds")
OF_EACH = ("generator", "workers")
OF_ITS_OWN = ("started", "wall_seconds", "device", "versions")  # of the build that made a part


def describe_part(
    part: CorpusPart, footers: Sequence[dict[str, Any]], ledger: Ledger, record: RunRecord, workers: int
) -> dict[str, Any]:
    """What there is to tell of a part that was just made."""
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
        "worker_seconds": round(sum(e.seconds for e in ledger.entries.values() if e.name in made), 3),
        "audio_seconds": part.recipe.generator.seconds * clips,
        **{key: getattr(record, key) for key in OF_ITS_OWN},
    }


def complete_record(record: RunRecord, parts: list[dict[str, Any]], before: dict[str, Any] | None) -> RunRecord:
    """The record of a corpus of these parts, the last of them just made; `before` is that of the corpus without it."""
    newest = parts[-1]
    record.fingerprint = combine_fingerprints([part["fingerprint"] for part in parts])
    record.details = {
        "identity": {key: newest[key] for key in ("name", "fingerprint", "split", "clips_per_shard")},
        "generator": _generator([part["generator"] for part in parts]),
        "workers": newest["workers"],
        **{key: round(sum(part.get(key, 0) for part in parts), 3) for key in SUMMED},
    }
    record.rows = record.details["clips"]
    if before:
        record.wall_seconds = round(record.wall_seconds + before["wall_seconds"], 3)
        record.details["parts"] = [
            {key: part[key] for key in (*record.details["identity"], *OF_EACH, *SUMMED, *OF_ITS_OWN) if key in part}
            for part in parts
        ]
        if mended := before["details"].get("mended_shards"):
            record.details["mended_shards"] = mended
    return record


def _generator(made_by: list[dict[str, str]]) -> dict[str, str]:
    """What made the whole: where parts differ, all of them, under the licence that allows least."""
    different = list({(each["name"], each["revision"]): each for each in made_by}.values())
    if len(different) == 1:
        return made_by[-1]
    abouts = {each["name"]: each["about"] for each in different}
    return {
        "name": ", ".join(abouts),
        "revision": ", ".join(each["revision"] for each in different),
        "license": _license([each["license"] for each in different]),
        "about": " ".join(f"`{name}`: {about}" if len(abouts) > 1 else about for name, about in abouts.items()),
    }


def _license(names: list[str]) -> str:
    bound = [name for name in names if "-nc" in name]
    different = set(bound or names)
    return different.pop() if len(different) == 1 else "other"
