"""The clips of a corpus as columns of numbers: agreement, estimator accuracy, and what is played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from builder.annotations.annotation import Annotation
from builder.corpus.corpus import Corpus
from builder.estimators.agreement import AGREES, Evidence, compare_labels, iterate_compared_rows
from builder.estimators.tag_labels import INSTRUMENTAL, WITH_VOCALS, LabelTags
from builder.io.parquet_guard import check_parquet, read_batches
from builder.names import normalize_label

ANNOTATIONS = "annotations"
TRUE_LABELS = ("tempo", "tempo_octave", "key", "key_score", "vocals")  # that annotations can confirm
VOICE = "voice"  # an instrument of annotations
ROWS_AT_ONCE = 64


@dataclass(slots=True)
class ClipTable:
    """The clips of a corpus. Values that are not defined are NaN."""

    ids: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    genres: list[str] = field(default_factory=list)
    subgenres: list[str | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    agrees: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in AGREES})
    estimator: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TRUE_LABELS})
    generator: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TRUE_LABELS})
    tags: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # by column and label
    tag_rows: dict[tuple[str, str], LabelTags] = field(default_factory=dict)
    asked: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # 1, 0, NaN where nothing is said
    played: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    annotated: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def read_clips(path: Path) -> ClipTable:
    """Read the clips of a corpus that has estimates; with what is played, where it has annotations.

    Raises:
        DataError: It has no estimates, or not of all clips.
    """
    corpus, table = Corpus.open(path), ClipTable()
    table.annotated = bool(corpus.shards(ANNOTATIONS)) and len(corpus.shards(ANNOTATIONS)) == len(corpus.shards())
    truths = _read_truths(corpus) if table.annotated else repeat(None)
    for row, truth in zip(iterate_compared_rows(path), truths, strict=False):
        _add_row(table, row, truth)
    return table


def _add_row(table: ClipTable, row: dict[str, Any], truth: dict[str, Any] | None) -> None:
    asked = row["asked"]
    table.ids.append(row["id"])
    table.prompts.append(asked["prompt"] or "")
    table.genres.append(asked["genre"] or "")
    table.subgenres.append(asked["subgenre"])
    table.groups.append(asked["prompt_group"])
    for name, value in row["agrees"].items():
        table.agrees[name].append(_number(value))
    measured = compare_labels(truth, row) if truth else {}
    played = compare_labels(asked, {"tempo": truth["tempo_bpm"], "key": truth["key"]}) if truth else {}
    if truth and asked["vocals"] in (WITH_VOCALS, INSTRUMENTAL):
        played["vocals"] = asked["vocals"] == truth["vocals"]
    for name in TRUE_LABELS:
        table.estimator[name].append(_number(measured.get(name)))
        table.generator[name].append(_number(played.get(name)))
    evidence = Evidence.of(row)
    for label in (*evidence.tagged("genre"), *evidence.tagged("vocals"), *evidence.tagged("instruments")):
        key = (label.column, label.name)
        table.tag_rows[key] = label
        table.tags.setdefault(key, []).append(evidence.score(label))
        table.asked.setdefault(key, []).append(_has(label, asked[label.column]))
        table.played.setdefault(key, []).append(_has(label, truth[label.column]) if truth else np.nan)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _has(label: LabelTags, value: Any) -> float:
    """Whether a label, or one of a list, is one that the tags mean: 1 or 0; NaN where nothing is said."""
    values = {normalize_label(one) for one in (value if isinstance(value, list) else [value]) if one}
    values.discard("unspecified")
    return float(bool(values & {normalize_label(one) for one in label.labels})) if values else np.nan


def _read_truths(corpus: Corpus) -> Iterator[dict[str, Any]]:
    """What is played in each clip, as labels, in the order of the clips."""
    for name in corpus.shards():
        path = corpus.root / ANNOTATIONS / name.split("/", 1)[1]
        columns = ["id", "duration", "tempo_bpm", "key", "instruments_active"]
        check_parquet(path, columns)
        for batch in read_batches(path, ROWS_AT_ONCE, columns):
            for row in batch.to_pylist():
                yield describe_played(Annotation.from_row(row))


def describe_played(annotation: Annotation) -> dict[str, Any]:
    """What is played in a clip, as the labels that a prompt could ask for."""
    instruments = {track.instrument for track in annotation.tracks if len(track.start)}
    return {
        "id": annotation.id,
        "genre": None,
        "tempo_bpm": annotation.tempo_bpm,
        "key": annotation.key,
        "instruments": sorted(instruments - {VOICE}),
        "vocals": WITH_VOCALS if VOICE in instruments else INSTRUMENTAL,
    }
