"""`strategies.json`: training strategies scored on the test part of real music, and their differences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .json_document import Document, Part
from .scores import Problem, Quantity, SeedScores

FILE = "strategies.json"


class StrategyScores(Part):
    """One strategy: its figures on the target's test part, and what its first training says of itself."""

    name: str
    models: str  # folder of one model a seed
    rows: dict[str, int]  # that the last stage learnt from and was stopped by
    selected_on: str
    figures: dict[str, SeedScores]


class StrategyDifference(Part):
    """A strategy less another, on the same tracks, the mean over trainings on both sides; p-values as they are, and by
    Holm over all pairs of one figure."""

    strategy: str
    other: str
    metric: str
    difference: Quantity
    p: Annotated[float, Field(ge=0.0, le=1.0)]
    p_holm: Annotated[float, Field(ge=0.0, le=1.0)]


class StrategyComparison(Document):
    """The whole file. Strategies stand in order, the best first, by the first figure."""

    model_config = ConfigDict(title="synthmir strategies")
    holds, command = "strategies", "synthmir compare"

    version: Literal[1] = Field(default=1, alias="schema")
    task: str
    problem: Problem
    target: str
    n: Annotated[int, Field(ge=1)]
    metric: str  # the first figure: what the order is by
    shots: int | None
    seeds: list[int]
    upper: str | None  # the strategy that learns from all of the real music
    notes: list[str]
    strategies: list[StrategyScores]
    differences: list[StrategyDifference]
    record: dict[str, Any]
