"""`scores.json`: what a model scored on what, with n and intervals. Reports and cards are rendered from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .json_document import Document, Part

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Octave = Literal["right", "double", "half", "triple", "third", "other"]
PerClass = Literal["precision", "recall", "f1"]
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
# The figures that a problem is known by, the first of them before all: their keys, and their names in words.
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
HEADLINES: dict[str, dict[str, str]] = {
    SINGLE: {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "balanced_accuracy": "Balanced accuracy"},
    MULTI: {
        "map": "mAP",
        "macro_roc_auc": "ROC-AUC, macro",
        "micro_roc_auc": "ROC-AUC, micro",
        "macro_f1": "Macro-F1",
        "micro_f1": "Micro-F1",
    },
    REGRESSION: {
        "accuracy_1": "Accuracy 1",
        "accuracy_2": "Accuracy 2",
        "mae": "Mean absolute error",
        "octave_error": "Octave error",
    },
}
SHARES = frozenset(key for keys in HEADLINES.values() for key in keys) - {"mae", "octave_error"}


class Proportion(Part):
    """A share over `n` tracks and its 95 % interval; the interval is null where no resample defines it."""

    value: Share
    low: Share | None
    high: Share | None
    n: Annotated[int, Field(ge=1)]


class Quantity(Part):
    """As Proportion, of what is no share: an error in bpm, a difference."""

    value: Number
    low: Number | None
    high: Number | None
    n: Annotated[int, Field(ge=1)]


class SeedScores(Part):
    """A figure: the mean over trainings with its 95 % interval over tracks, and what each training reached."""

    mean: Quantity
    seeds: list[float]


class Range(Part):
    """A 95 % interval."""

    low: Share
    high: Share


class Sampling(Part):
    """How the intervals came about: `units` artists or tracks drawn `resamples` times.

    With "bca" those of average precision and ROC-AUC are the jackknife's, each unit left out in turn. `exact` names
    the figures that no resample changes (as with no error): theirs are Clopper and Pearson's. Of a figure by label it
    lists the labels, of others nothing.
    """

    method: Literal["bca", "percentile"]
    over: Literal["tracks", "artists"]
    units: Annotated[int, Field(ge=1)]
    resamples: Annotated[int, Field(ge=1)]
    seed: int
    exact: dict[str, list[str]] = {}


class ClassScores(Part):
    """One class. A figure that is 0/0 stands as 0 and has no interval."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count
    intervals: dict[PerClass, Range | None] = {}


class TagScores(Part):
    """One tag: `support` tracks bear it. Precision, recall and F1 are those at the threshold, null without one."""

    label: str
    support: Count
    average_precision: Proportion | None  # null where no track bears the tag
    roc_auc: Proportion | None  # null, too, where every track bears it
    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None


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


class ReliabilityBin(Part):
    """`n` claims with a confidence from `low` to `high`: their mean, and the share of them that came true."""

    low: Share
    high: Share
    n: Annotated[int, Field(ge=1)]
    confidence: Share
    share: Share


class Calibration(Part):
    """The expected calibration error by bins of equal width and of equal mass.

    Claims are the chosen class with its probability; with many labels a track, every tag with its probability.
    """

    ece: Proportion
    ece_equal_mass: Proportion
    equal_width: list[ReliabilityBin]
    equal_mass: list[ReliabilityBin]


class Published(Part):
    """A figure that others published on this benchmark; `same_protocol` says whether ours may be held against it."""

    name: str
    metric: str
    value: Number
    source: str
    same_protocol: bool
    note: str = ""


class BenchmarkScores(Part):
    """What every problem's scores hold: figures over `n` tracks; `skipped` others could not be read."""

    name: str
    source: str = ""
    licence: str = ""
    citation: str = ""
    protocol: str = ""
    notes: list[str] = []
    left_out: dict[str, Count] = {}  # by the benchmark's own label: tracks that have no label of the model's
    published: list[Published] = []
    predictions: str  # the file of per-track predictions beside this one
    n: Annotated[int, Field(ge=1)]
    skipped: Count
    skips: list[Skip]
    sampling: Sampling
    labels: list[str]


class SingleLabelScores(BenchmarkScores):
    """One label a track: genre, mood, vocals, ..."""

    problem: Literal["single_label_classification"]
    accuracy: Proportion
    macro_f1: Proportion
    balanced_accuracy: Proportion
    per_class: list[ClassScores]
    confusion_matrix: list[list[Count]]  # rows true, columns predicted
    worst_pair: Pair | None
    calibration: Calibration


class MultiLabelScores(BenchmarkScores):
    """Many labels a track: instruments, tags. Means run over the tags that some track bears."""

    problem: Literal["multi_label_classification"]
    map: Proportion
    macro_roc_auc: Proportion | None
    micro_roc_auc: Proportion | None
    threshold: Share | None  # chosen on the validation split, never here
    macro_f1: Proportion | None
    micro_f1: Proportion | None
    per_tag: list[TagScores]
    calibration: Calibration


class RegressionScores(BenchmarkScores):
    """A number a track. Of a tempo also the shares within 4 % of it, or of it or a multiple, and the octaves off."""

    problem: Literal["regression"]
    unit: str  # "bpm" of a tempo, "" where none is known
    mae: Quantity
    accuracy_1: Proportion | None
    accuracy_2: Proportion | None
    octave_error: Quantity | None
    octaves: dict[Octave, Count] | None


class Comparison(Part):
    """One figure of the model less that of another model on the same tracks.

    `p` is two-sided, by random swaps of their answers; `p_holm` keeps the error rate over all comparisons of this
    figure in this file. A difference of shares that no resample changes (both answered alike on every track) has the
    interval that Clopper and Pearson's bound on how often they differ leaves.
    """

    benchmark: str
    against: str
    metric: str
    value: Number
    other: Number
    difference: Quantity
    p: Share
    p_holm: Share


class ScoredModel(Part):
    """The model that was judged. `aggregate` is how the windows of a track became one answer."""

    path: str
    task: str
    problem: Problem
    embedder: dict[str, Any]
    fingerprint: str | None
    labels: list[str]
    aggregate: str


AnyScores = Annotated[SingleLabelScores | MultiLabelScores | RegressionScores, Field(discriminator="problem")]


class Scores(Document):
    """The whole file."""

    model_config = ConfigDict(title="synthmir scores")
    holds, command = "scores", "synthmir evaluate"

    version: Literal[2] = Field(default=2, alias="schema")
    model: ScoredModel
    benchmarks: list[AnyScores]
    comparisons: list[Comparison] = []
    record: dict[str, Any]  # the run record of the evaluation
