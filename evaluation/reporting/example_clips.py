"""Choose example clips of a corpus for the report: of each genre one that the model got right, and one wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from builder.annotations.annotation import Annotation
from builder.configs import AUDIO
from builder.corpus.corpus import Corpus, embed_record
from builder.embedders.embedded_dataset import open_dataset
from builder.embedders.tagger import TAGGER, load_tagger
from builder.errors import BackendError, DataError
from builder.io.columns import name_labels, names_of
from builder.io.parquet_guard import check_parquet, parquet_errors, read_batches

from ..classify import rank_labels

COLUMNS = ("id", "prompt", "genre", "subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals", "duration")
PER_GENRE, TAGS = 2, 4
ROWS_AT_ONCE = 64
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A clip's true and predicted label as text, and whether the prediction is correct."""

    truth: str
    predicted: str
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One clip of the validation split."""

    id: str
    genre: str
    prompt: str
    labels: tuple[tuple[str, str], ...]  # other labels of the prompt, as text
    audio: bytes
    prediction: Prediction | None  # of the model, where there is one
    annotation: Annotation | None = None  # what is played, where the corpus says
    tags: tuple[tuple[str, float], ...] = ()  # by musicnn, where the corpus has its embeddings


def choose_examples(corpus: Path, predictions: Mapping[str, Prediction], per_genre: int = PER_GENRE) -> list[Example]:
    """Choose example clips of the validation split, misclassified ones among them.

    Args:
        corpus: A corpus folder.
        predictions: The model's predictions by id of the clip.
        per_genre: Clips of each genre.

    Returns:
        The clips by genre, in the corpus's order; none without a validation split. Only their audio is read.
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
    chosen = [row for genre in sorted(by_genre) for row in _choose(by_genre[genre], predictions, per_genre)]
    audio = clips.audio([row["id"] for row in chosen], ["validation"])
    tags = _predict_tags(Corpus(corpus), list(audio))
    played = _read_annotations(Corpus(corpus), list(audio))
    return [
        replace(
            _example(row, audio[row["id"]], predictions.get(row["id"])),
            annotation=played.get(row["id"]),
            tags=tags.get(row["id"], ()),
        )
        for row in chosen
        if row["id"] in audio
    ]


def _read_annotations(corpus: Corpus, ids: Sequence[str]) -> dict[str, Annotation]:
    """The annotations of some validation clips by id; none where the corpus has none."""
    found: dict[str, Annotation] = {}
    for name in corpus.shards("annotations"):
        if name.startswith("annotations/validation-") and len(found) < len(ids):
            check_parquet(corpus.root / name)
            with parquet_errors(corpus.root / name):
                for batch in read_batches(corpus.root / name, ROWS_AT_ONCE, ids=ids):
                    found |= {row["id"]: Annotation.from_row(row) for row in batch.to_pylist()}
    return found


def _predict_tags(corpus: Corpus, ids: Sequence[str]) -> dict[str, tuple[tuple[str, float], ...]]:
    """The most probable tags of some validation clips by id; none without embeddings of musicnn or its weights."""
    if TAGGER not in corpus.embedders():
        return {}
    try:
        tagger = load_tagger(corpus.record(embed_record(TAGGER)).get("details", {}).get("embedder") or {})
    except (BackendError, DataError):
        return {}
    dataset = open_dataset(corpus.root, TAGGER)
    rows = {identity: row for row, identity in enumerate(dataset.ids("validation")) if identity in set(ids)}
    chosen = {"validation": np.array(sorted(rows.values()), np.int64)}
    probabilities = tagger.predict_tags(dataset.embeddings(chosen))
    return {
        identity: rank_labels(tagger.tag_names, own, TAGS)
        for identity, own in zip(dataset.ids(chosen), probabilities, strict=True)
    }


def _choose(rows: list[Row], predictions: Mapping[str, Prediction], count: int) -> list[Row]:
    """Choose `count` clips, half of them misclassified where there are enough; of an odd number fewer are."""
    wrong_ids = {identity for identity, prediction in predictions.items() if not prediction.right}
    right = [row for row in rows if row["id"] not in wrong_ids]
    wrong = [row for row in rows if row["id"] in wrong_ids]
    few = min(len(wrong), max(count // 2, count - len(right)))
    return [*right[: count - few], *wrong[:few]]


def _example(row: Row, audio: bytes, prediction: Prediction | None) -> Example:
    tempo, vocals = row.get("tempo_bpm"), row.get("vocals")
    labels = (
        ("sub-genre", row.get("subgenre")),
        ("mood", row.get("mood")),
        ("tempo", f"{tempo} BPM" if tempo else ""),
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
        prediction=prediction,
    )
