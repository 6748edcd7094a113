"""Published scores on these benchmarks, as data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypedDict, cast

from builder.io.safe_files import read_yaml


class Published(TypedDict):
    """A published score."""

    name: str  # the model and how it was used
    metric: str
    value: float
    source: str
    same_protocol: bool  # the same tracks, and a model trained on the benchmark's own train part
    note: str


@cache
def _all() -> dict[str, list[Published]]:
    return cast("dict[str, list[Published]]", read_yaml(Path(__file__).with_name("published.yaml")))


def published(name: str, variant: str) -> list[Published]:
    """Return the scores on a variant of a benchmark, and those on the benchmark without a variant."""
    figures = _all()
    exact = f"{name}@{variant}" if variant else name
    return [*figures.get(exact, []), *(figures.get(name, []) if exact != name else [])]
