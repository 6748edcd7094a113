"""The validation split's own audio as a benchmark, for what its stored embeddings cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from builder.corpus.corpus import newest_shard
from builder.errors import DataError
from builder.io.parquet_guard import check_parquet, read_label_names

from ..benchmarks.track import Track

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

T = TypeVar("T")
MEND = "see what is damaged: synthmir verify CORPUS"


@dataclass
class Clips:
    """Clips of a corpus, told in the labels of the model that is judged (see `benchmarks.base.Benchmark`)."""

    name: str
    source: str
    licence: str
    tracks: Sequence[Track]
    notes: list[str] = field(default_factory=list)
    covered: tuple[int, ...] = ()


def validation_clips(corpus: Path, labels: Sequence[str], task: str, limit: int, seed: int) -> Clips:
    """`limit` clips at most of the validation split, drawn with `seed`. Only their audio is read.

    Raises DataError where the corpus has no such split or column, or a label that the model does not know.
    """
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq

    files = sorted(str(path) for path in (corpus / "data").glob("validation-*.parquet"))
    if not files:
        raise DataError(f"{corpus}: has no validation split with audio", "give a benchmark instead: --on NAME:PATH")
    for file in files:
        check_parquet(Path(file), ("id", "audio", task))
    try:
        data = pads.dataset(files, format="parquet", schema=pq.read_schema(newest_shard(files)))
        return _drawn(corpus, data, labels, task, limit, seed)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"{corpus}: its validation split cannot be read: {error}", MEND) from error


def _drawn(corpus: Path, data: Dataset, labels: Sequence[str], task: str, limit: int, seed: int) -> Clips:
    if task not in data.schema.names:
        raise DataError(f"{corpus}: has no column {task!r}", f"there: {', '.join(data.schema.names)}")
    kind = data.schema.field("audio").type if "audio" in data.schema.names else pa.null()
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(f"{corpus}: its column 'audio' holds {kind}, not files' bytes", MEND)
    names = read_label_names(data.schema.metadata).get(task)
    table = data.to_table(columns=["id", task])
    table.validate(full=True)
    told = [_label(value, names, labels) for value in table[task].to_pylist()]
    known = np.array([label is not None for label in told])
    chosen = sample(np.flatnonzero(known).tolist(), limit, seed)
    if not chosen:
        raise DataError(f"{corpus}: no validation clip has a {task} that the model knows")
    rows = data.take(chosen, columns=["id", "audio"]).to_pylist()
    tracks = [
        Track(row["id"], None, told[index], "validation", data=(row["audio"] or {}).get("bytes"))  # type: ignore[arg-type]
        for index, row in zip(chosen, rows, strict=True)
    ]
    notes = []
    if left := int((~known).sum()):
        notes.append(f"left out {left} clip(s) without a {task} that the model knows")
    if len(chosen) < known.sum():
        notes.append(f"{len(chosen)} of {int(known.sum())} clips, drawn with seed {seed}")
    return Clips("validation", str(corpus), "", tracks, notes)


def sample(items: Sequence[T], limit: int, seed: int) -> list[T]:
    """`limit` items at most, in their order: the same ones for the same seed."""
    if len(items) <= limit:
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return [items[index] for index in np.sort(chosen)]


def _label(value: Any, names: list[str] | None, labels: Sequence[str]) -> int | tuple[int, ...] | float | None:
    """A value of the column in the model's labels; None for one it does not know."""
    if value is None or value == -1:
        return None
    if isinstance(value, list):
        words = [_word(item, names) if names else str(item) for item in value]
        return tuple(labels.index(word) for word in words if word in labels)
    word = _word(value, names) if names else value
    if word in labels:
        return labels.index(word)
    return float(value) if names is None and isinstance(value, int | float) else None


def _word(value: Any, names: list[str]) -> str:
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DataError(f"a label is {value!r:.60}, and there are names for {len(names)}", MEND)
    return names[value]
