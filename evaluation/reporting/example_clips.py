"""Clips of a corpus to look at and listen to: of each genre one that the model got right and one that it got wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.corpus.corpus import Corpus
from builder.embedders.embedded_dataset import AUDIO, open_dataset
from builder.io.columns import name_labels, names_of

COLUMNS = ("id", "prompt", "genre", "subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals", "duration")
PER_GENRE = 2
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true of a clip and what the model said, in words, and whether that is right."""

    truth: str
    predicted: str
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One clip of the validation split."""

    id: str
    genre: str
    prompt: str
    labels: tuple[tuple[str, str], ...]  # what else the prompt asks for, in words
    audio: bytes
    verdict: Verdict | None  # of the model's task, where the model judged it


def pick(corpus: Path, verdicts: Mapping[str, Verdict], per_genre: int = PER_GENRE) -> list[Example]:
    """`per_genre` clips of each genre, in the corpus's order; [] without a validation split or its columns.

    `verdicts` by id. Only the chosen clips' audio is kept in memory.
    """
    if not Corpus(corpus).shards(AUDIO):
        return []
    clips = open_dataset(corpus, AUDIO)
    if "validation" not in clips.splits or not {"id", "audio", "genre"} <= set(clips.columns):
        return []
    columns = [name for name in COLUMNS if name in clips.columns]
    table = clips.read(columns, "validation")
    named = {name: name_labels(table[name], names_of(clips.describe(name))).to_pylist() for name in columns}
    by_genre: dict[str, list[Row]] = {}
    for values in zip(*named.values(), strict=True):
        row = dict(zip(named, values, strict=True))
        by_genre.setdefault(row["genre"] or "", []).append(row)
    chosen = [row for genre in sorted(by_genre) for row in _choose(by_genre[genre], verdicts, per_genre)]
    audio = clips.audio([row["id"] for row in chosen], ["validation"])
    return [_example(row, audio[row["id"]], verdicts.get(row["id"])) for row in chosen if row["id"] in audio]


def _choose(rows: list[Row], verdicts: Mapping[str, Verdict], count: int) -> list[Row]:
    """One right, one wrong, then right ones; fewer wrong than right if `count` is odd."""
    wrong_ids = {identity for identity, verdict in verdicts.items() if not verdict.right}
    right = [row for row in rows if row["id"] not in wrong_ids]
    wrong = [row for row in rows if row["id"] in wrong_ids]
    few = min(len(wrong), max(count // 2, count - len(right)))
    return [*right[: count - few], *wrong[:few]]


def _example(row: Row, audio: bytes, verdict: Verdict | None) -> Example:
    tempo, vocals = row.get("tempo_bpm"), row.get("vocals")
    labels = (
        ("sub-genre", row.get("subgenre")),
        ("mood", row.get("mood")),
        ("tempo", f"{tempo} bpm" if tempo else ""),
        ("key", row.get("key")),
        ("instruments", ", ".join(row.get("instruments") or ())),
        ("vocals", "" if vocals == "unspecified" else vocals),
    )
    return Example(
        id=row["id"],
        genre=row["genre"] or "",
        prompt=row.get("prompt") or "",
        labels=tuple((name, value) for name, value in labels if value),
        audio=audio,
        verdict=verdict,
    )
