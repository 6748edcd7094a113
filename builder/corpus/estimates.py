"""The config `estimates` of a corpus: which estimators filled its columns, and whether it is complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import DataError
from ..io.parquet_guard import check_parquet, read_batches
from ..io.storage import is_file, open_for_arrow
from .corpus import Corpus
from .shards import read_footer

CONFIG = "estimates"
RECORD = "records/annotate.json"


@dataclass(frozen=True, slots=True)
class EstimatorEntry:
    """An estimator of a corpus, as the record of `annotate` lists it.

    Attributes:
        name: Of the registry.
        source: Its checkpoint, None for those without.
        version: What its columns depend on beside the audio: its revision and, of some, the labels of the corpus.
        about: For cards.
        columns: Those that it fills.
    """

    name: str
    source: str | None
    version: str
    about: str
    columns: list[str]

    @property
    def revision(self) -> str:
        """The revision of the estimator alone."""
        return self.version.partition(" ")[0]

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON has it."""
        return asdict(self)


def read_entries(corpus: Corpus) -> dict[str, EstimatorEntry]:
    """Read which estimators' columns a corpus has, by name, from its record. Raises DataError for a damaged one."""
    if not corpus.shards(CONFIG):
        return {}
    try:
        entries = [EstimatorEntry(**entry) for entry in corpus.record(RECORD).get("details", {}).get("estimators", [])]
        return {str(entry.name): entry for entry in entries}
    except TypeError as error:
        raise DataError(
            f"{corpus.root / RECORD}: not a record of estimates: {error}", "copy the corpus again"
        ) from error


def annotate_command(corpus: Corpus) -> str:
    """The command that completes the estimates of a corpus."""
    return f"synthmir annotate {corpus.root}"


def count_missing(corpus: Corpus) -> int:
    """The number of shards of audio that have no shard of estimates yet; 0 for a corpus without estimates."""
    estimated = {name.split("/", 1)[1] for name in corpus.shards(CONFIG)}
    return len({name.split("/", 1)[1] for name in corpus.shards()} - estimated) if estimated else 0


def read_versions(shard: Path, sha256: str) -> dict[str, str]:
    """The versions of the estimators whose columns a finished shard has, by name.

    Args:
        shard: Its file, which may be missing or damaged.
        sha256: The hash of its shard of audio. A shard of other audio has no columns that count.
    """
    try:
        footer = read_footer(shard) if is_file(shard) else {}
    except DataError:
        return {}
    return list_versions(footer) if footer.get("source_sha256") == sha256 else {}


def list_versions(footer: Mapping[str, Any]) -> dict[str, str]:
    """The versions of estimators by name that the footer of a shard has."""
    versions = footer.get("estimators")
    return {str(name): str(version) for name, version in versions.items()} if isinstance(versions, dict) else {}


def find_estimate_faults(
    corpus: Corpus, ids: Mapping[str, list[str]], intact: set[str], sums: Mapping[str, str]
) -> Iterator[str]:
    """Find what is wrong with the estimates of a corpus.

    Args:
        corpus: The corpus.
        ids: The ids of each shard of audio that could be read.
        intact: The files whose hash is the listed one.
        sums: The listed hashes.
    """
    command, entries = annotate_command(corpus), read_entries(corpus)
    versions = {name: entry.version for name, entry in entries.items()}
    columns = ["id", *(column for entry in entries.values() for column in entry.columns)]
    if missing := count_missing(corpus):
        yield f"{CONFIG}: lacks the clips of {missing} shard(s) of audio; run: {command}"
    first: tuple[str, pa.Schema] | None = None
    for name in corpus.shards(CONFIG):
        if name not in intact:
            continue
        source = f"data/{name.split('/', 1)[1]}"
        try:
            footer = read_footer(corpus.root / name)
            check_parquet(corpus.root / name, columns)
            schema = pq.read_schema(open_for_arrow(corpus.root / name)).remove_metadata()
            found: list[str] = []
            non_finite: set[str] = set()
            for batch in read_batches(corpus.root / name, 1_000):
                found += batch["id"].to_pylist()
                non_finite |= {column for column in batch.schema.names if _has_non_finite(batch[column])}
        except (DataError, OSError, pa.ArrowException) as error:
            yield f"{name}: cannot be read: {error}"
            continue
        if footer.get("source_sha256") != sums.get(source):
            yield f"{name}: was made from other audio; to make it again: {command}"
        elif list_versions(footer) != versions:
            yield f"{name}: is of other estimators than {RECORD} lists; to make it again: {command}"
        first = first or (name, schema)
        if set(schema.names) != set(columns):
            yield f"{name}: its columns are not those that {RECORD} lists"
        elif not schema.equals(first[1]):
            other = [column for column in schema.names if schema.field(column).type != first[1].field(column).type]
            yield f"{name}: {', '.join(other)} {'has' if len(other) == 1 else 'have'} another type than in {first[0]}"
        if non_finite:
            yield f"{name}: {', '.join(sorted(non_finite))}: has values that are NaN or infinite"
        if source in ids and found != ids[source]:
            yield f"{name}: its ids are not those of {source}"


def _has_non_finite(values: pa.Array) -> bool:
    """Whether numbers, also in lists and structs, are NaN or infinite."""
    kind = values.type
    if pa.types.is_floating(kind):
        return bool(pc.any(pc.invert(pc.is_finite(values))).as_py())
    if pa.types.is_struct(kind):
        return any(map(_has_non_finite, values.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _has_non_finite(values.flatten())
    return False
