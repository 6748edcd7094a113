"""`agreement.json`: how far the sound of a corpus agrees with what its prompts asked for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from . import json_document
from .fidelity import Figure
from .json_document import Document

Count = Annotated[int, Field(ge=0)]
FILE = "agreement.json"


class Part(json_document.Part):
    """A section of the file: every number is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Truth(Part):
    """What the corpus's exact annotations say of a label: who is to blame for a disagreement."""

    estimator: Figure  # estimates that agree with the annotation, whatever was asked for
    generator: Figure  # annotations that agree with what was asked for
    disagreeing: Count  # clips with all three, whose estimate does not agree with what was asked for
    not_played: Count  # of these, clips whose annotation does not agree with it either
    misestimated: Count  # of these, clips whose annotation agrees: the estimator is wrong


class Word(Part):
    """A word of prompts, or a sub-genre, that goes with more or less agreement."""

    word: str
    n: Count  # clips whose prompt has it
    difference: Figure  # agreement with the word minus agreement without it
    p_holm: float | None = None  # of no difference, by Holm (1979) over all that were tested


class LabelAgreement(Part):
    """Agreement of one label, as a mean over the clips that were asked for it."""

    name: str  # of the column of `agrees`
    about: str
    share: bool  # whether it is a share of clips
    all: Figure
    genres: dict[str, Figure]
    subgenres: dict[str, Figure]
    words: list[Word]  # those whose interval does not have 0, the largest differences first
    words_tested: Count
    subgenre_differences: list[Word] = []  # each sub-genre's clips against the others, the largest differences first
    truth: Truth | None = None


class DisagreeingClip(Part):
    """A clip whose estimates disagree with most of what its prompt asked for."""

    id: str
    genre: str
    prompt: str
    labels: list[str]  # the columns of `agrees` that are false
    compared: Count  # labels that were asked for and estimated
    audio: str | None = None  # an excerpt beside this file


class TagAgreement(Part):
    """How often a clip with a label has higher probabilities of its tags than one without (area under the ROC)."""

    column: str
    label: str
    tags: list[str]
    against: Literal["asked", "played"]  # what the label is: that of the prompt, or that of the annotations
    positive: Count
    auc: Figure


class Agreement(Document):
    """The file."""

    holds = "agreement"
    command = "synthmir agreement"
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    corpus: str
    fingerprint: str | None
    n: Count
    estimators: list[dict[str, Any]]
    labels: list[LabelAgreement]
    tags: list[TagAgreement]
    disagreeing: list[DisagreeingClip] = []  # those with most labels that disagree
    annotated: bool  # whether the corpus has exact annotations
    record: dict[str, Any]
