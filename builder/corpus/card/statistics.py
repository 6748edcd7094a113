"""The statistics in a dataset card, counted from the shards of the corpus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...io.parquet_guard import check_parquet, parquet_errors
from ...io.storage import open_for_arrow
from ..schema import LABELS

if TYPE_CHECKING:
    from datasets import Features

LEVELS = {"loudness": "loudness (LUFS)", "peak": "peak (dBFS)"}
COLUMNS = ("id", "prompt", *LABELS, "guidance", "duration", *LEVELS, "attempts")  # all but the audio
MOST = 5  # values of a label that are listed


@dataclass(frozen=True, slots=True)
class CorpusTable:
    """A corpus without its audio.

    Attributes:
        rows: The columns in COLUMNS, and `split`.
        features: The columns and their types.
        soundfonts: Clips by sound font; empty where the generator has none.
    """

    rows: pa.Table
    features: Features
    soundfonts: Counter[str]

    @classmethod
    def read(cls, root: Path, features: Features) -> CorpusTable:
        """Read all shards of the corpus in the folder `root`, in order."""
        parts = []
        soundfonts: Counter[str] = Counter()
        for path in sorted((root / "data").glob("*.parquet")):
            check_parquet(path, (*COLUMNS, "audio"))  # plots show some of the audio
            with parquet_errors(path):
                part = pq.read_table(open_for_arrow(path), columns=[*COLUMNS, *({"soundfont"} & set(features))])
            if "soundfont" in part.column_names:  # corpora of 0.1 do not have it
                soundfonts.update(part["soundfont"].drop_null().to_pylist())
                part = part.drop_columns("soundfont")
            parts.append(part.append_column("split", pa.repeat(path.name.split("-")[0], len(part))))
        return cls(pa.concat_tables(parts).replace_schema_metadata(None), features, soundfonts)

    def __len__(self) -> int:
        return len(self.rows)

    def names(self, column: str) -> list[str]:
        """The classes of a ClassLabel column, or of a list of them."""
        kind = self.features[column]
        return list(getattr(kind, "feature", kind).names)

    def values(self, column: str) -> list[Any]:
        """The values of a column, class labels by name."""
        values = self.rows[column].to_pylist()
        kind = self.features.get(column)
        if hasattr(kind, "feature"):
            names = self.names(column)
            return [[names[code] for code in row or ()] for row in values]
        if hasattr(kind, "names"):
            names = self.names(column)
            return [None if code is None else names[code] for code in values]
        return values

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers as float64 [n], without nulls."""
        return self.rows[column].drop_null().to_numpy().astype(np.float64)


def count_splits(table: CorpusTable) -> list[dict[str, Any]]:
    """Count the clips of each split, and those of each genre in it."""
    genres = table.names("genre")
    counted = Counter(zip(table.values("split"), table.values("genre"), strict=True))
    return [
        {
            "name": name,
            "clips": sum(n for (split, _), n in counted.items() if split == name),
            "genres": {genre: counted[name, genre] for genre in genres},
        }
        for name in sorted({split for split, _ in counted})
    ]


def count_labels(table: CorpusTable) -> list[dict[str, Any]]:
    """Count the values of each label column other than the genre."""
    return [_count_label(table, name) for name in ("subgenre", "mood", "instruments", "key", "vocals")]


def _count_label(table: CorpusTable, column: str) -> dict[str, Any]:
    values = table.values(column)
    many = isinstance(values[0], list) if values else False
    lists = values if many else [[] if value is None else [value] for value in values]
    counted = Counter(value for row in lists for value in row)
    known = table.names(column) if column in ("mood", "instruments", "vocals") else None
    return {
        "name": column,
        "clips": sum(bool(row) for row in lists),
        "mean": sum(map(len, lists)) / len(lists) if many and lists else None,
        "used": len(counted),
        "of": None if known is None else len(known),
        "rare": sum(n < 10 for n in counted.values()),  # values of fewer than ten clips
        "counts": dict(counted),
        "most": sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST],
    }


def summarize_tempo(table: CorpusTable) -> dict[str, Any] | None:
    """Range and median of the tempi that prompts ask for, None where none does."""
    tempi = table.numbers("tempo_bpm")
    if not len(tempi):
        return None
    low, mid, high = np.percentile(tempi, [0, 50, 100])
    return {"clips": len(tempi), "low": low, "mid": mid, "high": high}


def summarize_levels(table: CorpusTable) -> list[dict[str, Any]]:
    """5th, 50th and 95th percentiles of loudness and peak."""
    summaries = []
    for column, name in LEVELS.items():
        if len(values := table.numbers(column)):
            low, mid, high = np.percentile(values, [5, 50, 95])
            summaries.append({"column": column, "name": name, "low": low, "mid": mid, "high": high})
    return summaries


def list_examples(table: CorpusTable) -> list[dict[str, Any]]:
    """List the first prompt of each genre."""
    codes = table.rows["genre"].combine_chunks()
    places = [pc.index(codes, code).as_py() for code in range(len(table.names("genre")))]
    return [
        {"genre": genre, "prompt": table.rows["prompt"][place].as_py()}
        for genre, place in zip(table.names("genre"), places, strict=True)
        if place >= 0
    ]
