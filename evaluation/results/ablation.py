"""`ablation.json`: the cells of an ablation, their scores, and each cell's difference to the baseline."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .json_document import Document, Part
from .scores import Comparison, LinearProbes, Problem, Sampling, SeedScores

FILE = "ablation.json"
OWN, COMMON = "own validation", "baseline's validation"


class CellScores(Part):
    """One cell: the varied values, and its scores by place (a split or a benchmark) and metric."""

    name: str
    values: dict[str, Any]
    corpus: str
    models: str
    train_rows: int
    scores: dict[str, dict[str, SeedScores]]


class CellDifference(Comparison):
    """A cell minus the baseline on the same tracks, each the mean over its trainings."""

    cell: str


class BenchmarkProbes(Part):
    """Linear probes trained on real tracks of one benchmark, by one embedder."""

    benchmark: str
    embedder: str
    probes: LinearProbes


class Ablation(Document):
    """ablation.json. The first cell is the baseline."""

    model_config = ConfigDict(title="synthmir ablation")
    holds, command = "an ablation", "synthmir ablate"

    version: Literal[1] = Field(default=1, alias="schema")
    recipe: str
    task: str
    problem: Problem
    vary: dict[str, list[Any]]
    seeds: Annotated[int, Field(ge=1)]
    places: list[str]
    metric: str | None = None  # that tables and pictures show; None: the first that a place has
    sampling: dict[str, Sampling] = {}  # of the intervals, by place
    notes: list[str]
    cells: list[CellScores]
    differences: list[CellDifference]
    probes: list[BenchmarkProbes] = []  # where the recipe's `evaluation.probe` asks for them
    record: dict[str, Any]
