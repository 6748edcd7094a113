"""The config `estimates` of a corpus: each shard of audio gives one shard of estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.estimates import CONFIG, RECORD, EstimatorEntry, list_versions, read_versions
from ..corpus.shard_map import ShardTask, count_rows
from ..corpus.shards import read_footer, write_shard
from ..errors import DataError
from ..executors import Tick
from ..io.hf_features import features_from_schema
from ..io.parquet_guard import check_parquet, read_batches
from ..io.storage import open_for_arrow
from .base import Estimator, EstimatorSettings, load_estimator
from .measure import Row, measure_clips

if TYPE_CHECKING:
    from datasets import Features

BATCH = 16  # clips that are decoded at a time
VERIFY = "list the damage with synthmir verify CORPUS"


def describe_estimator(estimator: Estimator, settings: EstimatorSettings) -> EstimatorEntry:
    """Describe a loaded estimator for the record."""
    version = f"{estimator.revision} {getattr(estimator, 'variant', '')}".strip()
    return EstimatorEntry(settings.name, settings.source, version, estimator.about, list(estimator.columns()))


@dataclass(frozen=True, slots=True)
class EstimatesConfig:
    """The config `estimates` with the columns of some estimators.

    Attributes:
        root: The corpus.
        settings: How each estimator is loaded, by its name.
        entries: All estimators whose columns the config has, by name.
        loaded: Those that shards are estimated with; the columns of the others are copied from finished shards.
    """

    root: Path
    settings: Mapping[str, EstimatorSettings]
    entries: Mapping[str, EstimatorEntry]
    loaded: Mapping[str, Estimator]

    name = CONFIG
    record_name = RECORD
    command = "annotate"

    @property
    def made_with(self) -> str:
        """The estimators and their versions."""
        return _describe({name: entry.version for name, entry in self.entries.items()})

    def count_work(self, source: Path) -> int:
        """The number of clips of a shard of audio."""
        check_parquet(source, ("id", "audio", "prompt"))
        try:
            return count_rows(source)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{source}: cannot be read: {error}", VERIFY) from error

    def missing(self, name: str, sha256: str) -> list[str]:
        """The estimators that must run for a shard, as no finished shard of this audio has their columns."""
        there = read_versions(self.root / name, sha256)
        return [one for one, entry in sorted(self.entries.items()) if there.get(one) != entry.version]

    def make_shard(self, task: ShardTask, target: Path, pool: ThreadPoolExecutor, tick: Tick) -> None:
        """Estimate the clips of a shard of audio; columns that a finished shard of the same audio has are copied."""
        finished, fresh = self.root / task.name, self.missing(task.name, task.sha256)
        copied = [column for name, entry in self.entries.items() if name not in fresh for column in entry.columns]
        features = make_features([self.loaded[name] for name in fresh])
        if copied:
            stored = features_from_schema(pq.read_schema(open_for_arrow(finished)), finished)
            features = type(features)(features | {column: stored[column] for column in copied})
        footer = {
            "estimators": {name: entry.version for name, entry in self.entries.items()},
            "source_sha256": task.sha256,
            "fingerprint": read_footer(task.source).get("fingerprint"),
        }
        rows = self._measure(task.source, fresh, pool, tick)
        if copied:
            rows = _join(rows, _read_rows(finished, ["id", *copied]), finished)
        write_shard(target, rows, sort_columns(features), footer)

    def _measure(
        self, source: Path, names: Sequence[str], pool: ThreadPoolExecutor, tick: Tick
    ) -> Iterator[list[Row]]:
        """Yield the ids of a shard's clips with their estimates."""
        batches = (batch.to_pylist() for batch in read_batches(source, BATCH, ["id", "audio", "prompt"]))
        for rows, estimates, faults in measure_clips([self.loaded[name] for name in names], batches, pool):
            for index, fault in faults.items():
                raise DataError(f"{source}: clip {rows[index]['id']}: {fault.message}", VERIFY)
            tick(len(rows))
            yield [{"id": row["id"], **estimate} for row, estimate in zip(rows, estimates, strict=True)]

    def read_made_with(self, footer: dict[str, Any]) -> str:
        """The estimators of a finished shard and their versions."""
        return _describe(list_versions(footer))

    def describe(self, seconds: float) -> dict[str, Any]:
        """The `details` of the run record."""
        entries = [entry.to_dict() for _, entry in sorted(self.entries.items())]
        return {"estimators": entries, "seconds": round(seconds, 3)}

    def loader(self) -> Callable[[], EstimatesConfig]:
        """A function that loads the same estimators in another process."""
        return partial(_load_config, self.root, dict(self.settings), dict(self.entries), tuple(self.loaded))


def _load_config(
    root: Path,
    settings: Mapping[str, EstimatorSettings],
    entries: Mapping[str, EstimatorEntry],
    names: tuple[str, ...],
) -> EstimatesConfig:
    """The config in another process. Raises DataError if an estimator has another version there."""
    loaded = {name: load_estimator(settings[name]) for name in names}
    for name, estimator in loaded.items():
        if (version := describe_estimator(estimator, settings[name]).version) != entries[name].version:
            raise DataError(
                f"estimator {name!r} has version {version} on {node()}, and {entries[name].version} where this run "
                "started",
                "use the same weights on all machines",
            )
    return EstimatesConfig(root, settings, entries, loaded)


def make_features(estimators: Sequence[Estimator]) -> Features:
    """Make the features of `id` and the columns of some estimators."""
    from datasets import Features, Value

    columns = {name: kind for estimator in estimators for name, kind in estimator.columns().items()}
    return Features({"id": Value("string"), **columns})


def sort_columns(features: Features) -> Features:
    """Return the features with `id` first and the others by name: their order does not depend on the runs."""
    return type(features)({name: features[name] for name in sorted(features, key=lambda name: (name != "id", name))})


def _describe(versions: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _read_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    for batch in read_batches(path, BATCH, columns):
        yield from batch.to_pylist()


def _join(batches: Iterator[list[Row]], finished: Iterator[Row], path: Path) -> Iterator[list[Row]]:
    """Add the columns of a finished shard to rows with the same ids in the same order."""
    for rows in batches:
        joined = [row | next(finished, {"id": None}) for row in rows]
        if [row["id"] for row in joined] != [row["id"] for row in rows]:
            raise DataError(f"{path}: its ids are not those of the audio", f"delete {path}, and run the command again")
        yield joined
