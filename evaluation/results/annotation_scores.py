"""`annotation_scores.json`: scores of predicted annotations, of a model and of its peers on the same tracks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .json_document import Document, Part
from .scores import Comparison, Count, Quantity, Sampling, Skip

FILE = "annotation_scores.json"
# The scores of each task, the most important first: their keys and their names. All are from 0 to 1.
SCORES: dict[str, dict[str, str]] = {
    "beats": {
        "f_measure": "F-measure",
        "cmlt": "CMLt",
        "amlt": "AMLt",
        "information_gain": "Information gain",
        "downbeat_f_measure": "Downbeat F-measure",
    },
    "tempo": {"accuracy_1": "Accuracy 1", "accuracy_2": "Accuracy 2"},
    "time_signature": {"accuracy": "Accuracy"},
    "chords": {
        "majmin": "WCSR majmin",
        "root": "WCSR root",
        "sevenths": "WCSR sevenths",
        "seg": "Segmentation",
    },
    "key": {"weighted_score": "Weighted score", "accuracy": "Accuracy"},
    "melody": {
        "overall_accuracy": "Overall accuracy",
        "raw_pitch": "Raw pitch",
        "raw_chroma": "Raw chroma",
        "voicing_recall": "Voicing recall",
        "voicing_false_alarm": "Voicing false alarm",
    },
    "notes": {
        "f_measure": "F-measure, onset",
        "f_measure_with_offset": "F-measure, offset",
        "f_measure_with_velocity": "F-measure, velocity",
        "precision": "Precision",
        "recall": "Recall",
    },
    "instruments": {"f_measure": "F-measure", "precision": "Precision", "recall": "Recall"},
}


class SystemScores(Part):
    """The mean scores of one system, with 95 % intervals. `n`: the tracks that it was scored on.

    Chord scores are weighted by the seconds that are scored. A score is null where no track defines it. `failed` are
    tracks that the system could not process.
    """

    name: str
    about: str = ""
    n: Annotated[int, Field(ge=1)]
    failed: Count = 0
    scores: dict[str, Quantity | None]


class TaskScores(Part):
    """The systems on one task, the model first, and the model's scores minus those of each peer."""

    task: str
    systems: list[SystemScores]
    comparisons: list[Comparison] = []


class SourceScores(Part):
    """The scores on one source of annotated tracks. `n` tracks were scored; `skips` could not be read."""

    name: str
    source: str = ""
    licence: str = ""
    citation: str = ""
    protocol: str = ""
    notes: list[str] = []
    n: Annotated[int, Field(ge=1)]
    seconds: float  # of audio
    skips: list[Skip] = []
    sampling: Sampling
    tasks: list[TaskScores]


class AnnotationScores(Document):
    """annotation_scores.json."""

    model_config = ConfigDict(title="synthmir annotation scores")
    holds, command = "annotation scores", "synthmir evaluate"

    version: Literal[1] = Field(default=1, alias="schema")
    model: str
    tasks: list[str]
    sources: list[SourceScores]
    record: dict[str, Any]  # the run record of the evaluation
