"""Clips of a corpus to look at and listen to: of each genre one that the model got right and one that it got wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pyarrow.parquet as pq

from builder.corpus.corpus import newest_shard
from builder.io.parquet_guard import check_parquet, read_batches, read_label_names

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
    suffix: str  # ".flac"
    verdict: Verdict | None  # of the model's task, where the model judged it


def pick(corpus: Path, verdicts: Mapping[str, Verdict], per_genre: int = PER_GENRE) -> list[Example]:
    """`per_genre` clips of each genre, in the corpus's order; [] without a validation split or its columns.

    `verdicts` by id. Only the chosen clips' audio is kept in memory.
    """
    files = sorted(str(path) for path in (corpus / "data").glob("validation-*.parquet"))
    if not files:
        return []
    for file in files:
        check_parquet(Path(file), (*COLUMNS, "audio"))
    data = pads.dataset(files, format="parquet", schema=pq.read_schema(newest_shard(files)))
    if not {"id", "audio", "genre"} <= set(data.schema.names):
        return []
    names = read_label_names(data.schema.metadata)
    rows = data.to_table(columns=[name for name in COLUMNS if name in data.schema.names]).to_pylist()
    by_genre: dict[Any, list[Row]] = {}
    for row in rows:
        by_genre.setdefault(row["genre"], []).append(row)
    chosen = [row for genre in sorted(by_genre, key=str) for row in _choose(by_genre[genre], verdicts, per_genre)]
    ids = [row["id"] for row in chosen]
    sound: dict[str, Any] = {}
    for file in files:
        for batch in read_batches(Path(file), 64, ["id", "audio"], ids):
            sound |= {row["id"]: row["audio"] for row in batch.to_pylist()}
    return [_example(row, sound[row["id"]], verdicts.get(row["id"]), names) for row in chosen]


def _choose(rows: list[Row], verdicts: Mapping[str, Verdict], count: int) -> list[Row]:
    """One right, one wrong, then right ones; fewer wrong than right if `count` is odd."""
    wrong_ids = {identity for identity, verdict in verdicts.items() if not verdict.right}
    right = [row for row in rows if row["id"] not in wrong_ids]
    wrong = [row for row in rows if row["id"] in wrong_ids]
    few = min(len(wrong), max(count // 2, count - len(right)))
    return [*right[: count - few], *wrong[:few]]


def _example(row: Row, audio: dict[str, Any], verdict: Verdict | None, names: Mapping[str, list[str]]) -> Example:
    def word(key: str) -> str:
        value = row.get(key)
        if value is None or value in ("", [], -1):
            return ""
        if isinstance(value, list):
            return ", ".join(names[key][item] if key in names else str(item) for item in value)
        return names[key][value] if key in names else str(value)

    tempo = row.get("tempo_bpm")
    told = (
        ("sub-genre", word("subgenre")),
        ("mood", word("mood")),
        ("tempo", f"{tempo} bpm" if tempo else ""),
        ("key", word("key")),
        ("instruments", word("instruments")),
        ("vocals", "" if word("vocals") == "unspecified" else word("vocals")),
    )
    return Example(
        id=row["id"],
        genre=word("genre"),
        prompt=row.get("prompt") or "",
        labels=tuple((name, value) for name, value in told if value),
        audio=audio["bytes"],
        suffix=Path(audio.get("path") or "clip.flac").suffix or ".flac",
        verdict=verdict,
    )
