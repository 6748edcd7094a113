"""`label_noise.json`: the labels of a corpus that its sound contradicts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from . import json_document
from .json_document import Document

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
FILE = "label_noise.json"


class DoubtfulClip(json_document.Part):
    """A clip whose label is probably wrong."""

    id: str
    split: str
    label: str
    probability: Share  # of its label, by a classifier that did not see its prompt group
    predicted: str  # the most probable label
    predicted_probability: Share
    audio: str | None = None  # an excerpt beside this file, of the most doubtful ones


class LabelPair(json_document.Part):
    """How often clips with one label are of another one."""

    label: str
    actual: str
    share: Share  # of the clips with `label`, by the estimated joint distribution
    doubtful: Count  # clips of the list with `label` whose most probable label is `actual`


class LabelNoise(Document):
    """The file."""

    holds = "label noise"
    command = "synthmir label-noise"
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    corpus: str
    fingerprint: str | None
    column: str
    embedder: str
    folds: Count
    n: Count
    unlabelled: Count  # rows without a label, which are left out
    labels: dict[str, Count]  # clips of each
    accuracy: Share  # of the out-of-fold predictions, by the labels as they are
    noise: Share  # of all clips, the estimated share of wrong labels
    pairs: list[LabelPair]  # the largest shares first
    doubtful: list[DoubtfulClip]  # the most doubtful first
    record: dict[str, Any]
