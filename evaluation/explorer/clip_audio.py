"""The stored audio of a corpus's clips, read one clip at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import DataError

from .clip_labels import CorpusShard, read_error
from .corpus_source import REQUEST_BYTES, CorpusSource

CACHE_BYTES = 64 << 20  # of recently read audio
SUFFIXES = (".flac", ".wav", ".mp3", ".ogg")


class ClipAudio:
    """Reads the stored audio of clips from their row groups, up to the clip's place, and caches what it read last."""

    def __init__(self, source: CorpusSource, shards: Sequence[CorpusShard]) -> None:
        self._source, self._shards = source, shards
        self._groups: list[tuple[int, int]] = []  # shard and row group
        self._starts: list[int] = []  # the first clip of each
        count = 0
        for number, shard in enumerate(shards):
            for group in range(shard.footer.num_row_groups):
                self._groups.append((number, group))
                self._starts.append(count)
                count += shard.footer.row_group(group).num_rows
        self._cache: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self._lock = Lock()

    def read(self, row: int) -> tuple[bytes, str]:
        """Return a clip's bytes and file suffix, by its row in the whole corpus. Raises DataError or HubError."""
        with self._lock:
            if row in self._cache:
                self._cache.move_to_end(row)
                return self._cache[row]
        audio = (b"", "")
        for number, audio in self._read_group(self._group_of(row), row):  # the lock is free: others need not wait
            with self._lock:
                self._add_to_cache(number, audio)
        return audio

    def read_each(self, rows: Iterable[int]) -> Iterator[tuple[bytes, str]]:
        """Yield bytes and suffix of ascending rows. Each row group is read once, and nothing is cached."""
        for group, members in groupby(rows, self._group_of):
            wanted = list(members)
            yield from (audio for row, audio in self._read_group(group, wanted[-1]) if row in set(wanted))

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _read_group(self, group_index: int, last: int) -> Iterator[tuple[int, tuple[bytes, str]]]:
        """Yield the clips from the start of a row group to row `last`."""
        (number, group), row = self._groups[group_index], self._starts[group_index]
        shard = self._shards[number]
        path = f"{self._source.name}/{shard.name}"
        try:
            with self._source.open(shard.name) as handle:
                # A buffered reader does not read beyond the clip that is asked for.
                file = pq.ParquetFile(
                    handle,
                    metadata=shard.footer,
                    buffer_size=REQUEST_BYTES if self._source.kind == "hub" else 1 << 20,
                )
                for batch in file.iter_batches(1, row_groups=[group], columns=["audio"], use_threads=False):
                    yield row, _stored_audio(batch.column(0)[0].as_py(), f"{path}: clip {row}")
                    if row == last:
                        return
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise read_error(path, error) from error
        raise DataError(f"{path}: ends before clip {last}", "synthmir verify CORPUS")

    def _add_to_cache(self, row: int, audio: tuple[bytes, str]) -> None:
        self._cache[row] = audio
        self._cache.move_to_end(row)
        while len(self._cache) > 1 and sum(len(data) for data, _ in self._cache.values()) > CACHE_BYTES:
            self._cache.popitem(last=False)


def _stored_audio(audio: Any, where: str) -> tuple[bytes, str]:
    """Return the bytes in a cell and a suffix. The path in the cell only names the format: it is never opened."""
    if not isinstance(audio, dict) or not audio.get("bytes"):
        raise DataError(f"{where}: holds no audio", "give a corpus whose audio is in its Parquet files")
    suffix = PurePosixPath(str(audio.get("path") or "")).suffix.lower()
    return audio["bytes"], suffix if suffix in SUFFIXES else ".flac"
