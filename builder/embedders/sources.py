"""What can be embedded that is not a corpus of ours: any data set with audio, and any folder of audio files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..audio import AUDIO_SUFFIXES
from ..errors import DataError
from ..parquet import look_over
from ..storage import there

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
        """Rows, `size` at a time; under `column` stands where each row's audio is: Path, bytes or None."""
        wanted = [name for name in {**self.features(), self.column: None} if name in self.data.column_names]
        table = self.data.select_columns(wanted).with_format("arrow")
        for begin in range(self.start, self.stop, size):
            rows = table[begin : min(begin + size, self.stop)].to_pylist()
            for number, row in enumerate(rows, begin):
                row[self.column] = _audio(row[self.column])
                row.setdefault("id", f"{self.split}/{number}")
            yield rows

    def digest(self) -> str:
        """A hash of the audio: of bytes as they are, of files by name, size and time of change."""
        found = hashlib.sha256()
        for rows in self.batches(64):
            for row in rows:
                found.update(_state(row[self.column]))
        return found.hexdigest()


def _audio(value: Any) -> Path | bytes | None:
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


def open_source(path: str, column: str, rows: int) -> dict[str, Part]:
    """The shards that `path` makes, by file name, with `rows` rows each.

    `path` is what `save_to_disk` or `to_parquet` wrote, a folder of audio files, or an id on the Hub. In a plain
    folder each file is a row: its path within the folder is the `id`, its folder's name the `label`, and what
    `metadata.csv` says of its `file_name` comes along. Raises DataError, also where `column` holds no audio.
    """
    from datasets import Dataset

    found = _load(path)
    splits = {"train": found} if isinstance(found, Dataset) else dict(found)
    for data in splits.values():
        _check(path, data, column)
    if not any(len(data) for data in splits.values()):
        raise DataError(f"{path}: holds no rows")
    return {
        f"{name}-{i:05d}-of-{-(-len(data) // rows):05d}.parquet": Part(
            name, data, column, start, min(start + rows, len(data))
        )
        for name, data in splits.items()
        for i, start in enumerate(range(0, len(data), rows))
    }


def _load(path: str) -> Any:
    from ..hf_audio import load_dataset, load_from_disk

    place = Path(path).expanduser()
    if not there(place) and (path.startswith((".", "/", "~")) or len(path) > MAX_ID):
        raise DataError(f"{path}: there is no such folder")
    if place.is_file() and place.suffix != ".parquet":
        raise DataError(f"{path}: not a folder and not a Parquet file", "give a data set, or a folder of audio")
    saved = any((place / name).exists() for name in ("dataset_dict.json", "dataset_info.json"))
    if place.is_dir() and not saved and not any(place.rglob("*.parquet")):
        return _folder(place)
    try:
        for file in (place,) if place.is_file() else place.rglob("*.parquet"):
            look_over(file)
        if saved:
            return load_from_disk(place)
        if place.is_file():
            return load_dataset("parquet", data_files=str(place))
        return load_dataset(str(place) if place.is_dir() else path)
    except Exception as error:  # whatever a data set's files make `datasets` raise
        raise DataError(
            f"{path}: cannot be loaded as a data set: {_reason(error)}", "check the path or the id"
        ) from error


def _folder(folder: Path) -> Dataset:
    import pandas as pd
    from datasets import Dataset

    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    if not files:
        raise DataError(f"{folder}: holds no audio files", f"of these kinds: {', '.join(sorted(AUDIO_SUFFIXES))}")
    names = [file.relative_to(folder).as_posix() for file in files]
    labels = [file.parent.name if file.parent != folder else None for file in files]
    table = pd.DataFrame({"id": names, "label": labels, "audio": [str(file) for file in files]})
    if (folder / "metadata.csv").is_file():
        try:
            extra = pd.read_csv(folder / "metadata.csv", dtype={"file_name": str})
        except (OSError, ValueError) as error:  # pandas' own are ValueErrors
            raise DataError(f"{folder / 'metadata.csv'}: cannot be read as a table: {_reason(error)}") from error
        if "file_name" not in extra:
            raise DataError(f"{folder / 'metadata.csv'}: has no column 'file_name'")
        if odd := [name for name in map(str, extra.columns) if "\0" in name]:
            raise DataError(f"{folder / 'metadata.csv'}: the name of column {odd[0]!r:.60} holds NUL", "mend the file")
        extra = extra.drop_duplicates("file_name").drop(columns=["id", "audio"], errors="ignore")
        table = table.drop(columns=[name for name in ("label",) if name in extra])
        table = table.merge(extra, how="left", left_on="id", right_on="file_name").drop(columns="file_name")
    try:
        return Dataset.from_pandas(table, preserve_index=False)
    except (ValueError, OverflowError, pa.ArrowException) as error:  # a number of many digits, say
        raise DataError(
            f"{folder}: its file names and metadata.csv cannot be held as a table: {_reason(error)}",
            "mend metadata.csv, or name the files in UTF-8",
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
