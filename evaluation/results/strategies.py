"""`strategies.json`: training strategies scored on the test part of real music, and their differences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .json_document import Document, Part
from .scores import Problem, Quantity, Sampling, SeedScores

FILE = "strategies.json"


class StrategyScores(Part):
    """One strategy: its scores on the target's test part, and the record of its first training."""

    name: str
    models: str  # folder with a model for each seed
    rows: dict[str, int]  # of the last stage: trained on, and used for early stopping
    selected_on: str
    figures: dict[str, SeedScores]


class StrategyDifference(Part):
    """A strategy minus another on the same tracks, each the mean over its trainings.

    `p_holm` is adjusted over all pairs of one metric.
    """

    strategy: str
    other: str
    metric: str
    difference: Quantity
    p: Annotated[float, Field(ge=0.0, le=1.0)]
    p_holm: Annotated[float, Field(ge=0.0, le=1.0)]


class StrategyComparison(Document):
    """strategies.json. The strategies are in order of `metric`, the best first."""

    model_config = ConfigDict(title="synthmir strategies")
    holds, command = "strategies", "synthmir compare"

    version: Literal[1] = Field(default=1, alias="schema")
    task: str
    problem: Problem
    target: str
    n: Annotated[int, Field(ge=1)]
    metric: str  # that orders the strategies
    shots: int | None
    seeds: list[int]
    upper: str | None  # the strategy that is trained on all of the real music
    notes: list[str]
    sampling: Sampling | None = None  # of the intervals; None in files of version 0.1
    strategies: list[StrategyScores]
    differences: list[StrategyDifference]
    record: dict[str, Any]
