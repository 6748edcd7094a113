"""What a benchmark is, and which ones there are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.errors import RecipeError
from builder.registry import Registry

BENCHMARKS = Registry("benchmark", folder="evaluation.benchmarks.folder:Folder")


@dataclass(frozen=True, slots=True)
class Track:
    """One recording with its true label."""

    id: str  # the path relative to the benchmark's root, with forward slashes
    path: Path
    label: int  # index into the model's labels


class Benchmark(Protocol):
    """Labelled recordings, told in the labels of the model that is judged."""

    name: str  # as it stands in scores: "folder:music/real"
    licence: str  # of the recordings
    citation: str  # how to cite it; empty where there is nothing to cite
    source: str  # where the recordings come from
    tracks: list[Track]  # sorted by id
    notes: list[str]  # plain sentences: what was left out and why

    def __init__(self, target: str, labels: Sequence[str]) -> None: ...


def load_benchmark(spec: str, labels: Sequence[str]) -> Benchmark:
    """The benchmark that `spec` (`NAME` or `NAME:TARGET`, `folder:PATH` say) names, for a model of these labels.

    Raises RecipeError for a name that there is not, DataError for a target that cannot be used.
    """
    name, _, target = spec.partition(":")
    if name not in BENCHMARKS:
        known = ", ".join(["validation", *(f"{key}:PATH" for key in sorted(BENCHMARKS))])
        raise RecipeError(f"there is no benchmark called {spec!r} in this version of synthmir", f"use one of: {known}")
    benchmark: Benchmark = BENCHMARKS.load(name)(target, labels)
    return benchmark


def label_key(name: str) -> str:
    """A label's name without what spellings differ in: "Hip-Hop", "hip_hop" and "HipHop" are one."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char not in " -_\t")


def printable(name: str) -> str:
    """A file name as valid Unicode: bytes that are no UTF-8 become the replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
