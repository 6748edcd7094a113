"""`scores.json`: what a model scored on what, with n and intervals. Reports and cards are rendered from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from builder.atomic import write_text
from builder.errors import DataError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A piece of the file: nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(Part):
    """A figure between 0 and 1 and its bootstrap 95 % interval."""

    value: Share
    low: Share
    high: Share


class Range(Part):
    """A 95 % interval."""

    low: Share
    high: Share


class ClassScores(Part):
    """One class. A figure that is 0/0 stands as 0 and has no interval."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count
    intervals: dict[Literal["precision", "recall", "f1"], Range | None] = {}


class Pair(Part):
    """The two classes most often mixed up: `count` tracks of `truth`, `share` of all its tracks."""

    truth: str
    predicted: str
    count: Count
    share: Share


class Skip(Part):
    """A track that could not be read."""

    id: str
    reason: str


class BenchmarkScores(Part):
    """One benchmark: figures over `n` tracks, `skipped` others could not be read."""

    name: str
    source: str = ""
    licence: str = ""
    citation: str = ""
    notes: list[str] = []
    predictions: str  # the file of per-track predictions beside this one
    n: Annotated[int, Field(ge=1)]
    skipped: Count
    skips: list[Skip]
    accuracy: Figure
    macro_f1: Figure
    balanced_accuracy: Figure
    labels: list[str]
    per_class: list[ClassScores]
    confusion_matrix: list[list[Count]]  # rows true, columns predicted
    worst_pair: Pair | None


class JudgedModel(Part):
    """The model that was judged."""

    path: str
    task: str
    embedder: dict[str, Any]
    fingerprint: str | None
    labels: list[str]


class Scores(Part):
    """The whole file."""

    model_config = ConfigDict(title="synthmir scores")

    version: Literal[1] = Field(default=1, alias="schema")
    model: JudgedModel
    benchmarks: list[BenchmarkScores]
    record: dict[str, Any]  # the run record of the evaluation

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read what `write` wrote. Raises DataError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", "synthmir evaluate writes it") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "(top)"
            raise DataError(
                f"{path}: not a file of scores: {where}: {first['msg']}", "write it anew: synthmir evaluate"
            ) from None


def json_schema() -> str:
    """The JSON Schema of `scores.json`, which stands beside this file as scores.schema.json."""
    return json.dumps(Scores.model_json_schema(by_alias=True), indent=2) + "\n"
