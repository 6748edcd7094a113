"""Audio columns of `datasets`, kept as they are stored: {"bytes", "path"}. Neither torchcodec nor FFmpeg is used.

`datasets` decodes and encodes audio through torchcodec, which is often not installed, or cannot load its libraries (no
FFmpeg, another build of PyTorch). synthmir decodes with libsndfile, so whatever it opens with `datasets` comes through
here, and no row of it is touched before its audio columns are `StoredAudio`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import numpy as np
import pyarrow as pa
from datasets.table import InMemoryTable

from ..audio import encode_flac
from ..errors import DataError


class StoredAudio(datasets.Audio):
    """An `Audio(decode=False)` that also encodes without torchcodec. Saved and loaded again it is a plain `Audio`."""

    def encode_example(self, value: Any) -> dict[str, Any]:
        """Store one value: a path, bytes, {"bytes", "path"}, or {"array": float [samples] or [channels, samples],
        "sampling_rate": Hz}, which becomes 16-bit FLAC. Raises DataError for anything else."""
        if isinstance(value, str | Path):
            return {"bytes": None, "path": str(value)}
        if isinstance(value, bytes | bytearray):
            return {"bytes": bytes(value), "path": None}
        if isinstance(value, dict) and "array" in value:
            flac = encode_flac(np.asarray(value["array"]).T, value["sampling_rate"])
            return {"bytes": flac, "path": Path(value.get("path") or "audio").with_suffix(".flac").name}
        if isinstance(value, dict) and (value.get("bytes") is not None or value.get("path") is not None):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        raise DataError(f"not audio: {value!r:.80}", 'give a path, bytes, or {"array": SAMPLES, "sampling_rate": HZ}')


def stored_audio(data: Any) -> Any:
    """Let a data set (`Dataset`, `IterableDataset`, or a dictionary of splits) give its audio as it is stored."""
    if isinstance(data, dict):
        return type(data)({split: stored_audio(part) for split, part in data.items()})
    for column, kind in (data.features or {}).items():
        if isinstance(kind, datasets.Audio):
            data = data.cast_column(column, StoredAudio(kind.sampling_rate, decode=False))
    return data


def load_dataset(*place: Any, **options: Any) -> Any:
    """Call `datasets.load_dataset`, and give the audio as it is stored."""
    with patch.object(datasets.Audio, "encode_example", StoredAudio.encode_example):  # for what is not Parquet
        return stored_audio(datasets.load_dataset(*place, **options))


def load_from_disk(folder: str | Path) -> Any:
    """Open what `save_to_disk` wrote, and give the audio as it is stored.

    Raises whatever `datasets` raises, and ArrowInvalid for damaged files: Arrow trusts the offsets in its files when a
    row is read, so they are checked here.
    """
    loaded = datasets.load_from_disk(str(folder))
    for data in [loaded] if isinstance(loaded, datasets.Dataset) else loaded.values():
        data.data.table.validate(full=True)
    return stored_audio(loaded)


def make_dataset(columns: dict[str, list[Any]], features: datasets.Features) -> datasets.Dataset:
    """Make a data set in memory. Audio values may be whatever `StoredAudio` encodes, and are given as stored."""
    audio = StoredAudio()
    encoded = {
        name: [None if value is None else audio.encode_example(value) for value in columns[name]]
        if isinstance(kind, datasets.Audio)
        else columns[name]
        for name, kind in features.items()
    }
    stored = {
        k: datasets.Audio(v.sampling_rate, decode=False) if isinstance(v, datasets.Audio) else v
        for k, v in features.items()
    }
    return datasets.Dataset(InMemoryTable(pa.table(encoded, schema=datasets.Features(stored).arrow_schema)))
