"""Copies of recordings: the nearest recording of each clip by embedding, and what both have in common as sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from builder.audio import load_audio
from builder.corpus.corpus import Corpus
from builder.corpus.estimates import CONFIG, read_entries
from builder.embedders.embedded_dataset import is_corpus
from builder.errors import DataError
from builder.estimators.copies import LONGEST, CopySearch, Match
from builder.estimators.landmarks import LANDMARK_RATE, Peaks, find_peaks
from builder.io.atomic import write_text
from builder.io.parquet_guard import check_parquet, read_batches

from ..results import fidelity as results
from .duplicates import Duplicates
from .embedded_sets import Audio, EmbeddedSet

NEAREST = "nearest-reference.jsonl"
SEARCHED = 50  # pairs of a clip and its nearest recording, the closest ones, that are compared by landmarks
ROWS_AT_ONCE = 1_000


def measure_copies(
    out: Path, duplicates: Duplicates, clips: EmbeddedSet, recordings: EmbeddedSet, corpus: Path
) -> results.Copies:
    """Write the nearest recording of every clip, and search the closest ones for copies.

    Args:
        out: The folder of fidelity.json, which gets `NEAREST`.
        duplicates: Of the clips with the recordings.
        clips: The corpus.
        recordings: The reference.
        corpus: The folder of the corpus. Its estimates of `copies` are counted.

    Returns:
        The closest pairs. Those whose audio can be read have the number of landmarks in common.
    """
    cosines, neighbours = duplicates.nearest, duplicates.neighbours
    lines = (
        json.dumps(
            {"clip": clip, "recording": recordings.ids[row], "similarity": round(float(cosine), 7)}, ensure_ascii=False
        )
        for clip, row, cosine in zip(clips.ids, neighbours.tolist(), cosines, strict=True)
    )
    write_text(out / NEAREST, "".join(f"{line}\n" for line in lines))
    closest = np.argsort(-cosines, kind="stable")[:SEARCHED].tolist()
    matches, threshold = _search(clips, recordings, [(row, int(neighbours[row])) for row in closest])
    pairs = [
        results.NearestRecording(
            clip=clips.ids[row],
            recording=recordings.ids[neighbours[row]],
            similarity=float(cosines[row]),
            landmarks=matches[row].landmarks if row in matches else None,
            speed=matches[row].speed if row in matches else None,
            copy_found=matches[row].landmarks >= threshold if row in matches else None,
        )
        for row in closest
    ]
    return results.Copies(
        nearest=pairs,
        searched=len(matches),
        copies=sum(pair.copy_found is True for pair in pairs),
        threshold=threshold if matches else None,
        annotated=count_annotated(corpus),
    )


def _search(clips: EmbeddedSet, recordings: EmbeddedSet, pairs: list[tuple[int, int]]) -> tuple[dict[int, Match], int]:
    """Compare each clip with its recording by landmarks.

    Returns:
        What is in common, by the row of the clip, of pairs whose audio can be read; and the threshold of a copy.
    """
    clip_audio = clips.read_audio(sorted({clips.ids[row] for row, _ in pairs}))
    recording_audio = recordings.read_audio(sorted({recordings.ids[row] for _, row in pairs}))
    known = {
        row: peaks for row in {row for _, row in pairs} if (peaks := _read_peaks(recording_audio, recordings.ids[row]))
    }
    if not known:
        return {}, 0
    threshold = CopySearch(list(known.values())).threshold
    alone = {row: CopySearch([peaks]) for row, peaks in known.items()}
    found = {}
    for row, recording in pairs:
        if recording in alone and (peaks := _read_peaks(clip_audio, clips.ids[row])):
            found[row] = alone[recording].search(peaks)
    return found, threshold


def _read_peaks(audio: Audio, identity: str) -> Peaks | None:
    """The spectral peaks of a clip; None where its audio cannot be read."""
    try:
        return find_peaks(load_audio(audio[identity], LANDMARK_RATE, LONGEST))
    except (KeyError, DataError):
        return None


def count_annotated(root: Path) -> results.AnnotatedCopies | None:
    """Count the copies that `synthmir annotate --with copies:FOLDER` found; None without that column."""
    if not is_corpus(root):
        return None
    corpus = Corpus.open(root)
    if "copies" not in read_entries(corpus):
        return None
    n = 0
    found: list[results.AnnotatedCopy] = []
    for name in corpus.shards(CONFIG):
        check_parquet(corpus.root / name, ("id", "copies"))
        for batch in read_batches(corpus.root / name, ROWS_AT_ONCE, ["id", "copies"]):
            for row in batch.to_pylist():
                n += 1
                match = row["copies"] or {}
                if match.get("copy"):
                    found.append(
                        results.AnnotatedCopy(
                            clip=row["id"], recording=str(match.get("nearest")), landmarks=match.get("landmarks") or 0
                        )
                    )
    found.sort(key=lambda one: (-one.landmarks, one.clip))
    return results.AnnotatedCopies(n=n, copies=len(found), listed=found[:SEARCHED])
