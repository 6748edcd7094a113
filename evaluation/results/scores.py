"""`scores.json`: a model's scores on each benchmark, with n and intervals. Reports and cards are rendered from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from builder.names import format_count

from .json_document import Document, Part

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Octave = Literal["right", "double", "half", "triple", "third", "other"]
PerClass = Literal["precision", "recall", "f1"]
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
# The headline metrics of each problem, the most important first: their keys and their names.
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
SECOND = {SINGLE: "balanced_accuracy"}  # shown beside the first: labels of real music are seldom equally frequent
SHARES = frozenset(key for keys in HEADLINES.values() for key in keys) - {"mae", "octave_error"}


class Proportion(Part):
    """A share over `n` tracks with its 95 % confidence interval, null where no resample defines it."""

    value: Share
    low: Share | None
    high: Share | None
    n: Annotated[int, Field(ge=1)]


class Quantity(Part):
    """A number that is no share, as an error in bpm or a difference, with its 95 % confidence interval."""

    value: Number
    low: Number | None
    high: Number | None
    n: Annotated[int, Field(ge=1)]


class SeedScores(Part):
    """A score over several trainings: the mean with its 95 % interval over tracks, and each training's score."""

    mean: Quantity
    seeds: list[float]


class Range(Part):
    """A 95 % interval."""

    low: Share
    high: Share


class Sampling(Part):
    """How the intervals were computed: `units` artists or tracks, drawn `resamples` times.

    Of artists, `alone` units are tracks of unknown artist, each drawn by itself.
    With "bca" the intervals of average precision and ROC-AUC are the jackknife's. `exact` names the metrics that no
    resample changes, as where there is no error: their intervals are Clopper and Pearson's. For a metric with a value
    for each label it lists these labels.
    """

    method: Literal["bca", "percentile"]
    over: Literal["tracks", "artists"]
    units: Annotated[int, Field(ge=1)]
    alone: Count = 0
    resamples: Annotated[int, Field(ge=1)]
    seed: int
    exact: dict[str, list[str]] = {}

    def describe(self) -> str:
        """Return what the intervals are over: "41 tracks", "12 artists and 3 tracks of unknown artist"."""
        if self.over == "tracks":
            return format_count(self.units, "track")
        alone = f" and {format_count(self.alone, 'track')} of unknown artist" if self.alone else ""
        return format_count(self.units - self.alone, "artist") + alone


class ClassScores(Part):
    """One class. A score that is 0/0 is given as 0, without an interval."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count
    intervals: dict[PerClass, Range | None] = {}


class TagScores(Part):
    """One tag, which `support` tracks have. Precision, recall and F1 are at the threshold, null without one."""

    label: str
    support: Count
    average_precision: Proportion | None  # null where no track has the tag
    roc_auc: Proportion | None  # also null where every track has it
    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None


class Pair(Part):
    """The most common confusion: `count` tracks of `truth`, `share` of all its tracks."""

    truth: str
    predicted: str
    count: Count
    share: Share


class Skip(Part):
    """A track that could not be read."""

    id: str
    reason: str


class ReliabilityBin(Part):
    """`n` predictions with a confidence from `low` to `high`: their mean confidence, and the share that is correct."""

    low: Share
    high: Share
    n: Annotated[int, Field(ge=1)]
    confidence: Share
    share: Share


class Calibration(Part):
    """The expected calibration error by bins of equal width and of equal mass.

    Predictions are the most probable class of each track; with many labels a track, every tag of every track.
    """

    ece: Proportion
    ece_equal_mass: Proportion
    equal_width: list[ReliabilityBin]
    equal_mass: list[ReliabilityBin]


class Published(Part):
    """A score that others published on this benchmark. `same_protocol`: whether it is comparable with the model's."""

    name: str
    metric: str
    value: Number
    source: str
    same_protocol: bool
    note: str = ""


class ProbeScores(Part):
    """Linear probes on `shots` real recordings of each label, the mean over draws. `rows`: of all labels together.

    `fewer`: labels with fewer recordings to train on, with their mean number.
    """

    shots: Annotated[int, Field(ge=1)] | Literal["all"]
    rows: Number
    fewer: dict[str, Number]
    scores: dict[str, SeedScores]


class Worth(Part):
    """How many real recordings of each label, on average, give a linear probe the model's score `value`.

    `bound`: "more" than `tracks`, which is all of them, or "fewer" than `tracks`, the fewest that were tried.
    """

    metric: str
    value: Share
    tracks: Number
    bound: Literal["more", "fewer"] | None

    def describe(self) -> str:
        """Return it as text: "about 5.3", "more than 32.6"."""
        return f"{'about' if self.bound is None else f'{self.bound} than'} {self.tracks:.1f}"


class LinearProbes(Part):
    """Logistic regressions on the same embeddings, trained on real recordings of other artists.

    Each of `draws` times the recordings are divided into `folds` by artist, and each fold is predicted by a probe that
    was trained on recordings of the others.
    """

    draws: Annotated[int, Field(ge=1)]
    folds: Annotated[int, Field(ge=2)]
    seed: int
    points: list[ProbeScores]
    worth: Worth | None  # None for a single number of recordings


class BenchmarkScores(Part):
    """Scores on one benchmark, over `n` tracks; `skipped` others could not be read. Fields of every problem."""

    name: str
    source: str = ""
    licence: str = ""
    citation: str = ""
    protocol: str = ""
    notes: list[str] = []
    left_out: dict[str, Count] = {}  # tracks without a label of the model's, by the benchmark's label
    published: list[Published] = []
    predictions: str  # the file of per-track predictions beside this one
    n: Annotated[int, Field(ge=1)]
    skipped: Count
    skips: list[Skip]
    sampling: Sampling
    labels: list[str]
    probes: LinearProbes | None = None  # with one label a track


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
    """Many labels a track: instruments, tags. Means are over the tags that some track has."""

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
    """A number for each track. For a tempo also the shares within 4 % of it or of a multiple, and octave errors."""

    problem: Literal["regression"]
    unit: str  # "bpm" of a tempo, "" where none is known
    mae: Quantity
    accuracy_1: Proportion | None
    accuracy_2: Proportion | None
    octave_error: Quantity | None
    octaves: dict[Octave, Count] | None


class Comparison(Part):
    """A metric of the model minus that of another model on the same tracks.

    `p` is two-sided, from random swaps of their predictions. `p_holm` is adjusted over all comparisons of this metric
    in this file. Where no resample changes a difference of shares, as where both predict the same on every track, the
    interval is Clopper and Pearson's for how often they differ.
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
    """The model that was evaluated. `aggregate` is how the windows of a track become one prediction.

    `calibration` says whose statistics standardise the embeddings: null for the training set's, else the `method` and
    the `source`, which is "benchmark" where each benchmark's own recordings are used, and the `recordings` of another.
    """

    path: str
    task: str
    problem: Problem
    embedder: dict[str, Any]
    fingerprint: str | None
    labels: list[str]
    aggregate: str
    calibration: dict[str, Any] | None = None


AnyScores = Annotated[SingleLabelScores | MultiLabelScores | RegressionScores, Field(discriminator="problem")]


class Scores(Document):
    """scores.json."""

    model_config = ConfigDict(title="synthmir scores")
    holds, command = "scores", "synthmir evaluate"

    version: Literal[2] = Field(default=2, alias="schema")
    model: ScoredModel
    benchmarks: list[AnyScores]
    comparisons: list[Comparison] = []
    record: dict[str, Any]  # the run record of the evaluation
