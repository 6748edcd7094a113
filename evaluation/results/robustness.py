"""`robustness.json`: a model's scores on the same tracks, clean and at each level of each damage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .json_document import Document, Part
from .scores import Comparison, Problem, Quantity, Skip

FILE = "robustness.json"


class Level(Part):
    """The scores at one level of one damage. `drops` are damaged minus clean on the same tracks, by metric."""

    kind: str
    level: float
    unit: str
    about: str
    figures: dict[str, Quantity | None]
    drops: list[Comparison]


class Robustness(Document):
    """robustness.json. Intervals are as in scores.json: Clopper and Pearson's where no resample changes a score."""

    model_config = ConfigDict(title="synthmir robustness")
    holds, command = "robustness", "synthmir robustness"

    version: Literal[1] = Field(default=1, alias="schema")
    model: str
    task: str
    problem: Problem
    benchmark: str
    source: str
    licence: str
    notes: list[str]
    n: Annotated[int, Field(ge=1)]
    skips: list[Skip]
    clean: dict[str, Quantity | None]
    levels: list[Level]
    record: dict[str, Any]
