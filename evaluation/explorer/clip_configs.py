"""What a corpus has of a clip beside its audio and labels: annotation, stems and production, one clip at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from builder.annotations.annotation import Annotation
from builder.configs import AUDIO
from builder.errors import DataError
from builder.io.hf_features import read_label_names

from .clip_audio import ClipAudio
from .clip_labels import VERIFY, CorpusShard, read_error, read_footer
from .corpus_source import CorpusSource

ANNOTATIONS, STEMS = "annotations", "stems"
KEPT = 4  # shards of stems whose index is kept, with the audio read last
MAX_ANNOTATIONS = 64  # that are kept


@dataclass(frozen=True, slots=True)
class StemShard:
    """The rows of a shard of stems by clip, and its audio."""

    rows: dict[str, dict[str, int]]  # by id of the clip: row of each stem
    audio: ClipAudio


class ClipConfigs:
    """Reads the rows of a clip from the shards that have the names of those of its audio."""

    def __init__(self, source: CorpusSource, shards: Sequence[CorpusShard]) -> None:
        self._source, self._shards = source, shards
        self._starts = [0, *accumulate(shard.footer.num_rows for shard in shards)]
        self._files = frozenset(source.files())
        self._stem_shards: OrderedDict[str, StemShard] = OrderedDict()
        self._checked: set[tuple[str, str]] = set()
        self._group: tuple[tuple[Any, ...], int, pa.Table] | None = None  # read last: what, its first row, its rows
        self.read_annotation = lru_cache(MAX_ANNOTATIONS)(self._read_annotation)

    @property
    def has_annotations(self) -> bool:
        """Whether the corpus has the config `annotations`."""
        return any(name.startswith(f"{ANNOTATIONS}/") for name in self._files)

    def _read_annotation(self, row: int, identity: str) -> Annotation | None:
        """Read what is played in a clip; None where the corpus does not say.

        Args:
            row: Of the clip in the whole corpus.
            identity: Its id.

        Raises:
            DataError: The shard cannot be read, or has another clip in this row.
            HubError: The repository cannot be read.
        """
        number, local = self._locate(row)
        name = self._name(number, ANNOTATIONS)
        if name not in self._files:
            return None
        content = self._read_row(name, local, None)
        try:
            if content["id"] == identity:
                return Annotation.from_row(content)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise read_error(f"{self._source.name}/{name}", error) from error
        raise DataError(f"{self._source.name}/{name}: row {local} is not of {identity!r}", VERIFY)

    def read_production(self, row: int) -> str:
        """Read how a clip was produced, the JSON of its column `production`; "" where the corpus does not say."""
        number, local = self._locate(row)
        shard = self._shards[number]
        if "production" not in shard.footer.schema.to_arrow_schema().names:
            return ""
        return str(self._read_row(shard.name, local, ("production",))["production"] or "")

    def list_stems(self, row: int, identity: str) -> tuple[str, ...]:
        """Name the stems of a clip; () where the corpus has none."""
        shard = self._open_stems(row)
        return () if shard is None else tuple(shard.rows.get(identity, ()))

    def read_stem(self, row: int, identity: str, stem: str) -> tuple[bytes, str]:
        """Read the bytes of a stem and their file suffix. Raises DataError where there is no such stem."""
        shard = self._open_stems(row)
        if shard is None or stem not in shard.rows.get(identity, ()):
            raise DataError(f"{self._source.name}: clip {identity!r} has no stem {stem!r}")
        return shard.audio.read(shard.rows[identity][stem])

    def _locate(self, row: int) -> tuple[int, int]:
        number = bisect_right(self._starts, row) - 1
        return number, row - self._starts[number]

    def _name(self, number: int, config: str) -> str:
        return f"{config}/{self._shards[number].name.removeprefix(f'{AUDIO}/')}"

    def _check(self, name: str, columns: Sequence[str]) -> None:
        """Check columns of a shard once."""
        if unchecked := [column for column in columns if (name, column) not in self._checked]:
            self._source.check_parquet(name, unchecked)
            self._checked |= {(name, column) for column in unchecked}

    def _read_row(self, name: str, local: int, columns: tuple[str, ...] | None) -> dict[str, Any]:
        """Read a row of a shard, by its row group, which is kept: clips are often shown in order."""
        path, what = f"{self._source.name}/{name}", (name, columns)
        last = self._group
        if last is not None and last[0] == what and 0 <= local - last[1] < len(last[2]):
            return dict(last[2].slice(local - last[1], 1).to_pylist()[0])
        try:
            with self._source.open(name) as handle:
                file = pq.ParquetFile(handle, metadata=read_footer(handle, path), pre_buffer=True)
                self._check(name, columns or file.schema_arrow.names)
                first = 0
                for group in range(file.num_row_groups):
                    if local - first < (count := file.metadata.row_group(group).num_rows):
                        table = file.read_row_group(group, columns=columns)
                        table.validate(full=True)
                        self._group = (what, first, table)
                        return dict(table.slice(local - first, 1).to_pylist()[0])
                    first += count
        except (pa.ArrowException, OSError) as error:
            raise read_error(path, error) from error
        raise DataError(f"{path}: has fewer rows than the clips", VERIFY)

    def _open_stems(self, row: int) -> StemShard | None:
        number, _ = self._locate(row)
        name = self._name(number, STEMS)
        if name not in self._files:
            return None
        if name not in self._stem_shards:
            self._stem_shards[name] = self._read_stem_index(name, self._shards[number].split)
            while len(self._stem_shards) > KEPT:
                self._stem_shards.popitem(last=False)
        return self._stem_shards[name]

    def _read_stem_index(self, name: str, split: str) -> StemShard:
        path = f"{self._source.name}/{name}"
        self._check(name, ("id", "stem", "audio"))
        try:
            with self._source.open(name) as handle:
                file = pq.ParquetFile(handle, metadata=read_footer(handle, path), pre_buffer=True)
                names = read_label_names(file.schema_arrow.metadata)["stem"]
                table = file.read(columns=["id", "stem"])
            table.validate(full=True)
            rows: dict[str, dict[str, int]] = {}
            for row, (identity, stem) in enumerate(
                zip(table["id"].to_pylist(), table["stem"].to_pylist(), strict=True)
            ):
                rows.setdefault(identity, {})[names[stem]] = row
        except (pa.ArrowException, OSError, KeyError, IndexError, TypeError) as error:
            raise read_error(path, error) from error
        return StemShard(rows, ClipAudio(self._source, [CorpusShard(name, split, file.metadata)]))
