"""One shard of audio -> one shard of embeddings, by an embedder that is loaded once for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from platform import node
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.schema import LABELS, embedding_features
from ..corpus.shards import Entry, digest, read_footer, write_shard
from ..degradations import Damage
from ..errors import BackendError, DataError
from ..executors import Tick, count_cores
from ..io.parquet_guard import check_parquet, features_from_schema, read_batches
from ..io.storage import open_for_arrow, storage_errors
from ..recipe import EmbedderSettings
from .augment import CLEAN, COLUMN, SPLIT, SUFFIX, copies, damaged
from .base import EmbedderBackend, load_embedder
from .windows import embed_streams, read_ahead

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Config:
    """One config of embeddings: the embedder's own, or with damages the one that has damaged copies too."""

    embedder: EmbedderBackend
    settings: EmbedderSettings
    damages: tuple[Damage, ...] = ()

    @property
    def name(self) -> str:
        """Of the config and its folder."""
        return self.embedder.name + (SUFFIX if self.damages else "")

    @property
    def made(self) -> str:
        """What the rows follow from, beside the audio."""
        return made_of(self.embedder.revision, [str(damage) for damage in self.damages])

    def work(self, source: Path) -> int:
        """How often a clip of a shard of audio is embedded: clean rows are copied from the embedder's own config."""
        check_parquet(source, ("id", "audio", *LABELS))
        try:
            clips = rows_in(source)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{source}: cannot be read: {error}", "synthmir verify tells the damage") from error
        return len(self.damages_of(source)) * clips if self.damages else clips

    def damages_of(self, source: Path) -> tuple[Damage, ...]:
        """Those that the clips of a shard are put through."""
        return self.damages if source.name.startswith(f"{SPLIT}-") else ()


@dataclass(frozen=True, slots=True)
class Part:
    """One shard to embed: its audio, the audio's hash, and the file that its embeddings become."""

    source: Path
    sha256: str
    name: str


class ShardEmbedder:
    """Embeds shards into the folder `place`: the embedder is loaded once and used for all of them."""

    def __init__(self, config: Config, place: Path) -> None:
        self.config, self.place = config, place
        self.pool = ThreadPoolExecutor(count_cores())

    def __call__(self, part: Part, tick: Tick) -> Entry:
        """Embed one shard and put it in its place."""
        clock = monotonic()
        target = self.place / part.name
        with storage_errors(target):
            _embed_shard(part.source, target, self.config, part.sha256, self.pool, tick)
            seconds = round(monotonic() - clock, 3)
            return Entry(part.name, digest(target), seconds, rows_in(target), f"{part.sha256} {self.config.made}")


@dataclass(frozen=True)
class Hired:
    """Makes a ShardEmbedder: here of the embedder that is loaded, in another process of one that is loaded there."""

    config: Config
    place: Path

    def __call__(self) -> ShardEmbedder:
        """A worker."""
        return ShardEmbedder(self.config, self.place)

    def __reduce__(self) -> tuple[Any, ...]:
        config = self.config
        return partial, (_hired_elsewhere, config.settings, config.damages, config.embedder.revision, self.place)


def _hired_elsewhere(
    settings: EmbedderSettings, damages: tuple[Damage, ...], revision: str, place: Path
) -> ShardEmbedder:
    embedder = load_embedder(settings)
    if embedder.revision != revision:
        raise DataError(
            f"embedder {embedder.name!r} is of revision {embedder.revision} on {node()}, of {revision} where this "
            "run was begun",
            "use the same weights everywhere",
        )
    return ShardEmbedder(Config(embedder, settings, damages), place)


def _embed_shard(source: Path, target: Path, config: Config, made: str, pool: ThreadPoolExecutor, tick: Tick) -> None:
    """One shard of audio -> one shard of embeddings with the same ids, in the same order."""
    footer = {
        "embedder": config.embedder.name,
        "revision": config.embedder.revision,
        "source_sha256": made,
        "fingerprint": read_footer(source)["fingerprint"],
    }
    features = _features(source, config.embedder.dim)
    if not config.damages:
        write_shard(target, _rows(source, list(features), config, pool, tick), features, footer)
        return
    from datasets import Features, Value

    footer["augment"] = [str(damage) for damage in config.damages]
    clean = source.parent.with_name(config.embedder.name) / source.name
    columns = Features({**features, COLUMN: Value("string")})
    write_shard(target, _with_copies(clean, source, config, pool, tick), columns, footer)


def _features(source: Path, dim: int) -> Features:

    columns = features_from_schema(pq.read_schema(open_for_arrow(source)), source)
    if missing := [name for name in ("id", "audio", *LABELS) if name not in columns]:
        raise DataError(f"{source}: has no column {missing[0]!r}", "synthmir verify tells the damage")
    return embedding_features({name: columns[name] for name in LABELS}, dim)


def _rows(
    source: Path, columns: list[str], config: Config, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[Row]]:
    """Rows with embeddings, a batch at a time."""
    size = config.settings.batch_size
    batches = _batches(source, ["audio", *(name for name in columns if name != "embedding")], size)
    for rows, vectors, faults in embed_rows(batches, lambda row: row["audio"]["bytes"], config.embedder, size, pool):
        _refuse_faults(source, rows, faults)
        for row, vector in zip(rows, vectors, strict=True):
            del row["audio"]
            row["embedding"] = vector
        tick(len(rows))
        yield rows


def _with_copies(
    clean: Path, source: Path, config: Config, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[Row]]:
    """Each clip's clean row, from the embedder's own config, and after it one for each damage."""
    damages, size = config.damages_of(source), config.settings.batch_size
    if not damages:
        for rows in _batches(clean, None, size):
            yield [{**row, COLUMN: CLEAN} for row in rows]
        return
    originals = (row for rows in _batches(clean, None, size) for row in rows)
    clips = _batches(source, ["id", "audio"], max(1, size // len(damages)))  # so that memory does not grow with them
    batches = (copies(rows, damages) for rows in clips)
    for rows, vectors, faults in embed_rows(batches, lambda row: row, config.embedder, size, pool, damaged):
        _refuse_faults(source, rows, faults)
        found: list[Row] = []
        for place, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
            if place % len(damages) == 0:
                original = next(originals)
                found.append({**original, COLUMN: CLEAN})
            found.append({**original, "embedding": vector, COLUMN: str(row[COLUMN])})
        tick(len(rows))
        yield found


def _refuse_faults(source: Path, rows: list[Row], faults: dict[int, DataError]) -> None:
    for index, fault in faults.items():
        raise DataError(f"{source}: clip {rows[index]['id']}: {fault.message}", "synthmir verify tells the damage")


def embed_rows(
    batches: Iterator[list[Row]],
    audio_of: Callable[[Row], Any],
    embedder: EmbedderBackend,
    batch_size: int,
    pool: ThreadPoolExecutor,
    read: Callable[[Any, int], Iterator[np.ndarray]] = read_ahead,
) -> Iterator[tuple[list[Row], np.ndarray, dict[int, DataError]]]:
    """Each batch of rows with float32 [rows, dim], and the faults of those that cannot be read, by their place.

    `read` makes of what `audio_of` gives, a Path or bytes, blocks of float32 [samples] at a rate in Hz.
    The next batch is decoded while this one is embedded. Raises BackendError where an embedder gives no numbers.
    """

    def reading(rows: list[Row]) -> list[Future[Iterator[np.ndarray]]]:
        return [pool.submit(read, audio_of(row), embedder.sampling_rate) for row in rows]

    ahead = ((rows, reading(rows)) for rows in batches)
    following = next(ahead, None)
    while following is not None:
        rows, opened = following
        following = next(ahead, None)
        vectors, faults = embed_streams(embedder, [future.result for future in opened], batch_size)
        bad = [i for i in np.flatnonzero(~np.isfinite(vectors).all(axis=1)) if i not in faults]
        if bad:
            name = rows[bad[0]].get("id", bad[0])
            raise BackendError(f"embedder {embedder.name!r} gave values that are no numbers for clip {name}")
        yield rows, vectors, faults


def _batches(source: Path, columns: list[str] | None, batch_size: int) -> Iterator[list[Row]]:
    for batch in read_batches(source, batch_size, columns):
        yield batch.to_pylist()


def rows_in(path: Path) -> int:
    """Of a shard, by its footer."""
    return int(pq.read_metadata(open_for_arrow(path)).num_rows)


def made_of(revision: str, augment: Sequence[str]) -> str:
    """What embeddings follow from, beside the audio: an embedder's revision, and damages."""
    return f"{revision} with {', '.join(augment)}" if augment else revision
