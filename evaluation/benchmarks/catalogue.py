"""List the benchmarks, and compare one on disk with what was published, as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from builder.errors import DataError
from builder.names import format_count

from .base import ALL, BENCHMARKS, load_benchmark
from .mapping import VOCABULARIES, vocabulary_labels
from .text import join_names

if TYPE_CHECKING:
    from .base import Benchmark, PartCount


def list_benchmarks() -> Iterator[str]:
    """Yield lines about each benchmark: what it is, how to write it, licence, citation, how to get it."""
    for name in BENCHMARKS:
        kind = BENCHMARKS.load(name)
        yield f"{name}: {kind.title}. {kind.about[:1].upper()}{kind.about[1:]}."
        facts = {
            "write": kind.__doc__.partition("\n")[0].rstrip("."),
            "get it": kind.how_to_get,
            "licence": kind.licence,
            "source": kind.homepage,
            "cite": kind.citation,
        }
        for key, text in facts.items():
            if text:
                yield textwrap.fill(
                    text, 110, initial_indent=f"  {key:<9}", subsequent_indent=" " * 11, break_on_hyphens=False,
                    break_long_words=False,
                )  # fmt: skip
        yield ""


def find(spec: str, vocabulary: str | None) -> tuple[Benchmark, list[str] | None]:
    """Open a benchmark, and return it with the labels of a vocabulary. Raises RecipeError and DataError."""
    if vocabulary is None:
        return load_benchmark(spec, None), None
    names = vocabulary_labels(vocabulary)
    return load_benchmark(spec, None, VOCABULARIES[vocabulary]), names


def check_files(benchmark: Benchmark) -> Iterator[str]:
    """Yield lines that compare what is on disk with what was published.

    Raises:
        DataError: After the last line, where the counts differ by more than known faults.
    """
    yield f"{benchmark.title}, {benchmark.source}"
    yield f"licence: {benchmark.licence}"
    if benchmark.citation:
        yield f"cite: {benchmark.citation}"
    yield benchmark.protocol
    yield ""
    counts = benchmark.check()
    source = "published" if benchmark.published_sizes else "in lists"
    yield f"{'part':<12}{source:>10}{'on disk':>10}{'known faults':>22}"
    for count in counts:
        yield f"{count.split:<12}{_number(count.published):>10}{_number(count.on_disk):>10}{count.known_faulty:>22,}"
    recordings, empty = benchmark.part(ALL), {part: benchmark.empty(part) for part in benchmark.parts}
    labels = {name for one in recordings for name in one.labels}
    usable = len(recordings) - sum(map(len, empty.values()))
    yield f"\n{format_count(usable, 'usable track')} with {format_count(len(labels), 'label')}"
    parts: dict[str, set[str | None]] = {}
    for one in recordings:
        if one.artist is not None:
            parts.setdefault(one.artist, set()).add(one.split)
    if parts:
        shared = sum(len(splits) > 1 for splits in parts.values())
        yield f"{len(parts):,} artists, {shared:,} of them in more than one part"
        if unknown := sum(one.artist is None for one in recordings):
            yield f"{format_count(unknown, 'track')} of unknown artist"
    yield from benchmark.notes
    for part in benchmark.parts:
        yield from (
            f"{part}: {note}" for note in (*benchmark.part_recordings(part).notes(), *benchmark.ignored_notes(part))
        )
        if ids := empty[part]:
            yield f"{part}: {format_count(len(ids), 'file')} of 0 bytes: {join_names(ids, 5)}"
    if differ := [count for count in counts if count.differs]:
        raise _difference(benchmark, differ, sum(map(len, empty.values())))
    if not usable:
        raise benchmark.no_tracks_error()


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _difference(benchmark: Benchmark, differ: list[PartCount], empty: int) -> DataError:
    counts = "; ".join(f"{_number(one.on_disk)} of {_number(one.published)} in {one.split}" for one in differ)
    reason = f" ({benchmark.extra_reason})" if benchmark.extra_reason else ""
    zero = f"; {format_count(empty, 'file')} of 0 bytes" if empty else ""
    return DataError(
        f"{benchmark.name}: has {counts}{reason}{zero}",
        "download or unpack what is missing; a missing part does not affect scores on another",
    )
