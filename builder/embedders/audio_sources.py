"""Audio that is not a synthmir corpus: any data set with an audio column, and any folder of audio files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..io.hf_splits import is_saved, load_splits
from ..io.parquet_guard import BATCH_BYTES
from ..io.storage import path_exists
from .audio_folder import AudioFolder, read_folder
from .file_table import is_table

if TYPE_CHECKING:
    from datasets import Dataset, Features

Row = dict[str, Any]
RESERVED = "embedding"
MAX_ID = 255  # characters; a Hub id has at most 193


@dataclass(frozen=True)
class AudioShard:
    """Rows of one split that become one shard of embeddings. Audio is read as it is stored, not decoded."""

    split: str
    data: Dataset
    column: str
    start: int
    stop: int
    labels: str = ""  # of a folder: a hash of its labels and metadata

    def __len__(self) -> int:
        return self.stop - self.start

    def features(self) -> Features:
        """The columns to keep: `id` first, then all that hold no audio and no images."""
        from datasets import Features, Value

        kept = {
            name: kind
            for name, kind in self.data.features.items()
            if name not in ("id", self.column) and not hasattr(kind, "decode")
        }
        return Features({"id": self.data.features.get("id", Value("string")), **kept})

    def read_batches(self, size: int) -> Iterator[list[Row]]:
        """Read the rows in batches of `size`, fewer where rows are large; audio becomes a Path, bytes or None."""
        wanted = [name for name in {**self.features(), self.column: None} if name in self.data.column_names]
        table = self.data.select_columns(wanted).with_format("arrow")
        row_bytes = self.data.data.nbytes // max(len(self.data.data), 1)  # on average
        size = max(1, min(size, BATCH_BYTES // max(row_bytes, 1)))
        for begin in range(self.start, self.stop, size):
            rows = table[begin : min(begin + size, self.stop)].to_pylist()
            for number, row in enumerate(rows, begin):
                row[self.column] = audio_value(row[self.column])
                row.setdefault("id", f"{self.split}/{number}")
            yield rows

    def hash_audio(self) -> str:
        """The SHA-256 of the audio: bytes count by content, files by name, size and time of modification."""
        digest = hashlib.sha256()
        for rows in self.read_batches(64):
            for row in rows:
                digest.update(_hash_source(row[self.column]))
        return digest.hexdigest()


def audio_value(value: Any) -> Path | bytes | None:
    """A row's audio as `datasets` stores it ({"bytes", "path"}, a path or bytes): the file, its bytes, or None."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return Path(value) if isinstance(value, str) else value


def _hash_source(source: Path | bytes | None) -> bytes:
    """A hash of audio bytes, or of a file's name, size and time of modification."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    if source is None or not source.is_file():
        return b"none"
    state = f"{source.name} {source.stat().st_size} {source.stat().st_mtime_ns}"
    return hashlib.sha256(state.encode(errors="surrogateescape")).digest()


class AudioShards(dict[str, AudioShard]):
    """The shards of a source by their file names, with notes about the source for the record and the card."""

    def __init__(
        self, parts: dict[str, AudioShard], notes: Sequence[str] = (), metadata: dict[str, int] | None = None
    ):
        super().__init__(parts)
        self.notes = list(notes)
        self.metadata = dict(metadata or {})  # counts for a folder with metadata: see AudioFolder


def open_source(path: str, column: str, rows: int) -> AudioShards:
    """Open a data set or a folder of audio files, and cut it into shards.

    Args:
        path: What `save_to_disk` or `to_parquet` wrote, a folder of audio files, or a Hub id. In a folder each file
            is a row, and its path within the folder is the `id`: see `audio_folder.read_folder`.
        column: The column that holds the audio.
        rows: Rows in a shard, at most.

    Raises:
        DataError: Nothing that can be loaded is there, it has no rows, or `column` holds no audio.
    """
    source = _load(path)
    folder = source if isinstance(source, AudioFolder) else AudioFolder()
    splits = source.splits if isinstance(source, AudioFolder) else source
    for data in splits.values():
        _check_column(path, data, column)
    if not any(len(data) for data in splits.values()):
        raise DataError(f"{path}: holds no rows")
    parts = {
        f"{name}-{i:05d}-of-{-(-len(data) // rows):05d}.parquet": AudioShard(
            name, data, column, start, min(start + rows, len(data)), folder.digest
        )
        for name, data in splits.items()
        for i, start in enumerate(range(0, len(data), rows))
    }
    return AudioShards(parts, folder.notes, folder.counts)


def is_audio_folder(place: Path) -> bool:
    """Whether a folder is read file by file: not a saved data set, and without Parquet except metadata."""
    return place.is_dir() and not is_saved(place) and all(map(is_table, place.rglob("*.parquet")))


def _load(path: str) -> AudioFolder | dict[str, Dataset]:
    place = Path(path).expanduser()
    if not path_exists(place) and (path.startswith((".", "/", "~")) or len(path) > MAX_ID):
        raise DataError(f"{path}: there is no such folder")
    if is_audio_folder(place):
        return read_folder(place)
    return load_splits(place if path_exists(place) else path)


def _check_column(path: str, data: Dataset, column: str) -> None:
    """Raise DataError if a column is missing or holds no audio."""
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
        raise DataError(f"{path}: column {column!r} holds {kind}, not audio", "name another: --column NAME")
    if RESERVED in features:
        raise DataError(f"{path}: has a column {RESERVED!r} already", "rename it, or embed the data set it came from")
