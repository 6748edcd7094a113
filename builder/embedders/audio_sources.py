"""What can be embedded that is not a corpus of ours: any data set with audio, and any folder of audio files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..io.parquet_guard import BATCH_BYTES, check_parquet
from ..io.storage import path_exists
from .audio_folder import METADATA, AudioFolder, read_folder

if TYPE_CHECKING:
    from datasets import Dataset, Features

Row = dict[str, Any]
RESERVED = "embedding"
MAX_ID = 255  # letters; of the Hub at most 193


@dataclass(frozen=True)
class Part:
    """Some rows of one split: what becomes one shard. Read as they are stored, no audio is decoded here."""

    split: str
    data: Dataset
    column: str
    start: int
    stop: int
    labels: str = ""  # a hash of a folder's labels and metadata

    def __len__(self) -> int:
        return self.stop - self.start

    def features(self) -> Features:
        """The columns that stay: `id` first, nothing that holds audio or pictures."""
        from datasets import Features, Value

        kept = {
            name: kind
            for name, kind in self.data.features.items()
            if name not in ("id", self.column) and not hasattr(kind, "decode")
        }
        return Features({"id": self.data.features.get("id", Value("string")), **kept})

    def batches(self, size: int) -> Iterator[list[Row]]:
        """Rows, `size` at a time or fewer large ones; under `column` each row's audio: a Path, bytes or None."""
        wanted = [name for name in {**self.features(), self.column: None} if name in self.data.column_names]
        table = self.data.select_columns(wanted).with_format("arrow")
        row_bytes = self.data.data.nbytes // max(len(self.data.data), 1)  # of the mean row
        size = max(1, min(size, BATCH_BYTES // max(row_bytes, 1)))
        for begin in range(self.start, self.stop, size):
            rows = table[begin : min(begin + size, self.stop)].to_pylist()
            for number, row in enumerate(rows, begin):
                row[self.column] = audio_value(row[self.column])
                row.setdefault("id", f"{self.split}/{number}")
            yield rows

    def digest(self) -> str:
        """A hash of the audio: of bytes as they are, of files by name, size and time of change."""
        found = hashlib.sha256()
        for rows in self.batches(64):
            for row in rows:
                found.update(_state(row[self.column]))
        return found.hexdigest()


def audio_value(value: Any) -> Path | bytes | None:
    """A row's audio as `datasets` stores it ({"bytes", "path"}, a path or bytes): the file, its bytes, or None."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return Path(value) if isinstance(value, str) else value


def _state(source: Path | bytes | None) -> bytes:
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    if source is None or not source.is_file():
        return b"none"
    told = f"{source.name} {source.stat().st_size} {source.stat().st_mtime_ns}"
    return hashlib.sha256(told.encode(errors="surrogateescape")).digest()


class Shards(dict[str, Part]):
    """The parts of a source by the file names of the shards that they become, and what is to be reported of it."""

    def __init__(self, parts: dict[str, Part], notes: Sequence[str] = (), metadata: dict[str, int] | None = None):
        super().__init__(parts)
        self.notes = list(notes)
        self.metadata = dict(metadata or {})  # counts, where a folder of audio has metadata: see AudioFolder


def open_source(path: str, column: str, rows: int) -> Shards:
    """The shards that `path` makes, with `rows` rows each.

    `path` is what `save_to_disk` or `to_parquet` wrote, a folder of audio files, or an id on the Hub. In a plain
    folder each file is a row, and its path within the folder is the `id`: see `audio_folder.read_folder`. Raises
    DataError, also where `column` holds no audio.
    """
    from datasets import Dataset

    found = _load(path)
    folder = found if isinstance(found, AudioFolder) else AudioFolder()
    splits = folder.splits or ({"train": found} if isinstance(found, Dataset) else dict(found))
    for data in splits.values():
        _check(path, data, column)
    if not any(len(data) for data in splits.values()):
        raise DataError(f"{path}: holds no rows")
    parts = {
        f"{name}-{i:05d}-of-{-(-len(data) // rows):05d}.parquet": Part(
            name, data, column, start, min(start + rows, len(data)), folder.digest
        )
        for name, data in splits.items()
        for i, start in enumerate(range(0, len(data), rows))
    }
    return Shards(parts, folder.notes, folder.counts)


def is_audio_folder(place: Path) -> bool:
    """Whether a folder is read file by file: it is no saved data set and holds no Parquet but metadata."""
    return place.is_dir() and not is_saved(place) and all(file.name in METADATA for file in place.rglob("*.parquet"))


def is_saved(place: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return any((place / name).exists() for name in ("dataset_dict.json", "dataset_info.json"))


def _load(path: str) -> Any:
    from ..io.hf_audio import load_dataset, load_from_disk

    place = Path(path).expanduser()
    if not path_exists(place) and (path.startswith((".", "/", "~")) or len(path) > MAX_ID):
        raise DataError(f"{path}: there is no such folder")
    if place.is_file() and place.suffix != ".parquet":
        raise DataError(f"{path}: not a folder and not a Parquet file", "give a data set, or a folder of audio")
    if is_audio_folder(place):
        return read_folder(place)
    try:
        for file in (place,) if place.is_file() else place.rglob("*.parquet"):
            check_parquet(file)
        if is_saved(place):
            return load_from_disk(place)
        if place.is_file():
            return load_dataset("parquet", data_files=str(place))
        return load_dataset(str(place) if place.is_dir() else path)
    except Exception as error:  # whatever a data set's files make `datasets` raise
        raise DataError(
            f"{path}: cannot be loaded as a data set: {_reason(error)}", "check the path or the id"
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _check(path: str, data: Dataset, column: str) -> None:
    from datasets import Audio, Value

    features = data.features
    if column not in features:
        audio = [name for name, kind in features.items() if isinstance(kind, Audio)]
        raise DataError(
            f"{path}: has no column {column!r}; its columns are {', '.join(features)}",
            f"--column {audio[0]}" if audio else "name the column that holds the audio: --column NAME",
        )
    kind = features[column]
    fields = set(kind) if isinstance(kind, dict) else set()
    plain = isinstance(kind, Value) and kind.dtype in ("string", "large_string", "binary", "large_binary")
    if not (isinstance(kind, Audio) or plain or fields & {"bytes", "path"}):
        raise DataError(f"{path}: column {column!r} holds no audio but {kind}", "name another: --column NAME")
    if RESERVED in features:
        raise DataError(f"{path}: has a column {RESERVED!r} already", "rename it, or embed the data set it came from")
