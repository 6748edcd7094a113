"""Figures that others published on these benchmarks, as data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypedDict, cast

from builder.io.safe_files import read_yaml


class Published(TypedDict):
    """One figure of somebody else's."""

    name: str  # the model and how it was used
    metric: str
    value: float
    source: str
    same_protocol: bool  # the same tracks, and the benchmark's own labels learnt from its own train part
    note: str


@cache
def _all() -> dict[str, list[Published]]:
    return cast("dict[str, list[Published]]", read_yaml(Path(__file__).with_name("published.yaml")))


def published(name: str, variant: str) -> list[Published]:
    """The figures on `NAME@VARIANT`, and on `NAME` whatever the variant. Of another protocol, each says so."""
    figures = _all()
    exact = f"{name}@{variant}" if variant else name
    return [*figures.get(exact, []), *(figures.get(name, []) if exact != name else [])]
