"""A config of embeddings: each shard of audio gives one shard of embeddings, with an embedder that is loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.corpus import embed_record
from ..corpus.schema import LABELS, embedding_features
from ..corpus.shard_map import ShardTask, count_rows
from ..corpus.shards import read_footer, write_shard
from ..degradations import Damage
from ..errors import BackendError, DataError
from ..executors import Tick
from ..io.hf_features import features_from_schema
from ..io.parquet_guard import check_parquet, read_batches
from ..io.storage import open_for_arrow
from ..settings import EmbedderSettings
from .augment import CLEAN, COLUMN, SPLIT, SUFFIX, read_damaged, repeat_for_damages
from .base import EmbedderBackend, load_embedder
from .windows import embed_streams, read_ahead

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
VERIFY = "list the damage with synthmir verify CORPUS"


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """A config of embeddings: `<embedder>`, or with damages `<embedder>-augmented`."""

    embedder: EmbedderBackend
    settings: EmbedderSettings
    damages: tuple[Damage, ...] = ()

    @property
    def name(self) -> str:
        """The name of the config and of its folder."""
        return self.embedder.name + (SUFFIX if self.damages else "")

    command = "embed"

    @property
    def record_name(self) -> str:
        """The file of its run record."""
        return embed_record(self.name)

    @property
    def made_with(self) -> str:
        """What the embeddings depend on beside the audio: the revision and the damages."""
        return describe_revision(self.embedder.revision, [str(damage) for damage in self.damages])

    def count_work(self, source: Path) -> int:
        """How many clips are embedded for a shard of audio; an augmented config copies its clean rows."""
        check_parquet(source, ("id", "audio", *LABELS))
        try:
            clips = count_rows(source)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{source}: cannot be read: {error}", VERIFY) from error
        return len(self.damages_of(source)) * clips if self.damages else clips

    def damages_of(self, source: Path) -> tuple[Damage, ...]:
        """The damages that a shard's clips get: none outside of the train split."""
        return self.damages if source.name.startswith(f"{SPLIT}-") else ()

    def make_shard(self, task: ShardTask, target: Path, pool: ThreadPoolExecutor, tick: Tick) -> None:
        """Embed one shard of audio and write it to `target`."""
        _embed_shard(task.source, target, self, task.sha256, pool, tick)

    def read_made_with(self, footer: dict[str, Any]) -> str:
        """What the embeddings of a finished shard depend on beside the audio, by its footer."""
        return describe_revision(footer.get("revision", ""), footer.get("augment", ()))

    def describe(self, seconds: float) -> dict[str, Any]:
        """The `details` of the run record."""
        damages = {"augment": [str(damage) for damage in self.damages]} if self.damages else {}
        return embedder_details(self.embedder, seconds) | damages

    def loader(self) -> Callable[[], EmbeddingConfig]:
        """A function that loads the same config in another process."""
        return partial(_load_config, self.settings, self.damages, self.embedder.revision)


def _load_config(settings: EmbedderSettings, damages: tuple[Damage, ...], revision: str) -> EmbeddingConfig:
    """The config in another process. Raises DataError if that process finds another revision of the embedder."""
    embedder = load_embedder(settings)
    if embedder.revision != revision:
        raise DataError(
            f"embedder {embedder.name!r} has revision {embedder.revision} on {node()}, and {revision} where this run "
            "started",
            "use the same weights on all machines",
        )
    return EmbeddingConfig(embedder, settings, damages)


def embedder_details(embedder: EmbedderBackend, seconds: float) -> dict[str, Any]:
    """The `details` of a run's record: the embedder's attributes, and the seconds that its shards took."""
    keys = ("name", "revision", "dim", "sampling_rate", "window_seconds", "about")
    return {"embedder": {key: getattr(embedder, key) for key in keys}, "seconds": round(seconds, 3)}


def _embed_shard(
    source: Path, target: Path, config: EmbeddingConfig, sha256: str, pool: ThreadPoolExecutor, tick: Tick
) -> None:
    """Write the embeddings of a shard of audio, with the same ids in the same order."""
    footer = {
        "embedder": config.embedder.name,
        "revision": config.embedder.revision,
        "source_sha256": sha256,
        "fingerprint": read_footer(source)["fingerprint"],
    }
    features = _features(source, config.embedder.dim)
    if not config.damages:
        write_shard(target, _embed_clean(source, list(features), config, pool, tick), features, footer)
        return
    from datasets import Features, Value

    footer["augment"] = [str(damage) for damage in config.damages]
    clean = source.parent.with_name(config.embedder.name) / source.name
    columns = Features({**features, COLUMN: Value("string")})
    write_shard(target, _embed_copies(clean, source, config, pool, tick), columns, footer)


def _features(source: Path, dim: int) -> Features:
    """The columns of a shard of embeddings, with the labels of its shard of audio."""
    columns = features_from_schema(pq.read_schema(open_for_arrow(source)), source)
    if missing := [name for name in ("id", "audio", *LABELS) if name not in columns]:
        raise DataError(f"{source}: has no column {missing[0]!r}", VERIFY)
    return embedding_features({name: columns[name] for name in LABELS}, dim)


def _embed_clean(
    source: Path, columns: list[str], config: EmbeddingConfig, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[Row]]:
    """Yield rows with their embeddings, a batch at a time."""
    size = config.settings.batch_size
    batches = _read_batches(source, ["audio", *(name for name in columns if name != "embedding")], size)
    for rows, vectors, faults in embed_rows(batches, lambda row: row["audio"]["bytes"], config.embedder, size, pool):
        _refuse_faults(source, rows, faults)
        for row, vector in zip(rows, vectors, strict=True):
            del row["audio"]
            row["embedding"] = vector
        tick(len(rows))
        yield rows


def _embed_copies(
    clean: Path, source: Path, config: EmbeddingConfig, pool: ThreadPoolExecutor, tick: Tick
) -> Iterator[list[Row]]:
    """Yield each clip's clean row, copied from the embedder's config, followed by one row for each damage."""
    damages, size = config.damages_of(source), config.settings.batch_size
    if not damages:
        for rows in _read_batches(clean, None, size):
            yield [{**row, COLUMN: CLEAN} for row in rows]
        return
    originals = (row for rows in _read_batches(clean, None, size) for row in rows)
    clips = _read_batches(
        source, ["id", "audio"], max(1, size // len(damages))
    )  # memory must not grow with the damages
    batches = (repeat_for_damages(rows, damages) for rows in clips)
    for rows, vectors, faults in embed_rows(batches, lambda row: row, config.embedder, size, pool, read_damaged):
        _refuse_faults(source, rows, faults)
        augmented: list[Row] = []
        for place, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
            if place % len(damages) == 0:
                original = next(originals)
                augmented.append({**original, COLUMN: CLEAN})
            augmented.append({**original, "embedding": vector, COLUMN: str(row[COLUMN])})
        tick(len(rows))
        yield augmented


def _refuse_faults(source: Path, rows: list[Row], faults: dict[int, DataError]) -> None:
    """Raise the first fault, with the shard and the clip."""
    for index, fault in faults.items():
        raise DataError(f"{source}: clip {rows[index]['id']}: {fault.message}", VERIFY)


def embed_rows(
    batches: Iterator[list[Row]],
    audio_of: Callable[[Row], Any],
    embedder: EmbedderBackend,
    batch_size: int,
    pool: ThreadPoolExecutor,
    read: Callable[[Any, int], Iterator[np.ndarray]] = read_ahead,
) -> Iterator[tuple[list[Row], np.ndarray, dict[int, DataError]]]:
    """Embed the audio of rows, batch by batch. The next batch is decoded while one is embedded.

    Args:
        batches: Rows, as many as are to be decoded at once.
        audio_of: Takes from a row what `read` takes: by default a Path, bytes or None.
        embedder: What embeds.
        batch_size: Windows in one call of the embedder.
        pool: The threads that decode.
        read: Turns audio and a rate in Hz into blocks of float32 [samples].

    Yields:
        The rows of a batch; their embeddings, float32 [rows, dim]; and why rows cannot be read, by their place in the
        batch. The embedding of such a row is NaN.

    Raises:
        BackendError: The embedder gave NaN or infinite values.
    """

    def open_rows(rows: list[Row]) -> list[Future[Iterator[np.ndarray]]]:
        return [pool.submit(read, audio_of(row), embedder.sampling_rate) for row in rows]

    ahead = ((rows, open_rows(rows)) for rows in batches)
    following = next(ahead, None)
    while following is not None:
        rows, opened = following
        following = next(ahead, None)
        vectors, faults = embed_streams(embedder, [future.result for future in opened], batch_size)
        failed = [place for place in np.flatnonzero(~np.isfinite(vectors).all(axis=1)) if place not in faults]
        if failed:
            name = rows[failed[0]].get("id", failed[0])
            raise BackendError(f"embedder {embedder.name!r} gave NaN or infinite values for clip {name}")
        yield rows, vectors, faults


def _read_batches(source: Path, columns: list[str] | None, batch_size: int) -> Iterator[list[Row]]:
    for batch in read_batches(source, batch_size, columns):
        yield batch.to_pylist()


def describe_revision(revision: str, augment: Sequence[str]) -> str:
    """What embeddings depend on beside the audio, as text: "2", "2 with noise:20, mp3:64"."""
    return f"{revision} with {', '.join(augment)}" if augment else revision
