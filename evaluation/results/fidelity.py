"""`fidelity.json`: how far a corpus is from a reference, each value with n and, where known, its 95 % interval."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from . import json_document
from .json_document import Document

Count = Annotated[int, Field(ge=0)]
FILE = "fidelity.json"


class Part(json_document.Part):
    """A section of the file: every number is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Figure(Part):
    """A value, its 95 % interval where one is known, and the number of clips that it is computed from."""

    value: float
    low: float | None = None
    high: float | None = None
    n: Count  # clips of the corpus
    n_reference: Count | None = None


class Side(Part):
    """One of the two sets: the corpus or the reference."""

    name: str
    kind: Literal["corpus", "embeddings", "audio", "benchmark"]
    n: Count
    labels: dict[str, Count]  # clips of each genre
    unlabelled: Count
    fingerprint: str | None = None
    notes: list[str] = []


class Extrapolation(Part):
    """A line fitted to the distances of subsets over 1 / size, and its value at 1 / size = 0."""

    value: float
    low: float
    high: float
    r2: float
    slope: float
    sizes: list[Count]
    distances: list[float]
    straight: bool  # subsets of at least two clips a dimension, and r2 of at least 0.9; otherwise a rough estimate


class Frechet(Part):
    """Fréchet distance, and its extrapolation to infinitely large sets."""

    distance: Figure
    corpus_infinite: Extrapolation | None  # an infinite corpus, the reference as it is
    both_infinite: Figure | None  # both infinite, to first order
    reference_halves: float | None  # between two random halves of the reference, for comparison
    reference_halves_n: Count | None


class Kernel(Part):
    """Unbiased estimates of the squared maximum mean discrepancy."""

    rbf: Figure  # Gaussian kernel of the given bandwidth
    bandwidth: float
    polynomial: Figure  # polynomial kernel of degree 3, as in the kernel inception distance


class Manifold(Part):
    """Precision, recall, density and coverage by the balls that reach to each clip's k-th nearest neighbour."""

    k: Count
    precision: Figure
    recall: Figure
    density: Figure
    coverage: Figure


class Diversity(Part):
    """Vendi scores of equally many clips of both sets, standardised by the reference."""

    corpus: float
    reference: float
    n: Count


class Pair(Part):
    """Two clips that are near-duplicates, and their cosine; `audio` are the files that the page plays."""

    left: str
    right: str
    similarity: float
    left_genre: str | None = None
    right_genre: str | None = None
    audio: tuple[str, str] | None = None


class Duplicates(Part):
    """Near-duplicates. All pairs are in `duplicates-corpus.jsonl` or `duplicates-reference.jsonl`."""

    pairs: Count
    clips: Count  # of the corpus that have a duplicate
    spare: Count | None  # clips to remove so that one of each group remains; within the corpus only
    largest_group: Count | None
    n: Count
    n_reference: Count | None = None
    rule: str
    dimension: float | None
    ratio: float | None
    nearest_median: float  # median cosine between a clip and its nearest neighbour
    nearest_99: float  # 99th percentile of those cosines
    listed: list[Pair]  # the nearest pairs


class NearestRecording(Part):
    """A clip and the recording that its embedding is nearest to."""

    clip: str
    recording: str
    similarity: float  # cosine
    landmarks: Count | None  # in common (Wang 2003); None where the audio of one cannot be read
    speed: float | None  # at which they are in common, as a multiple of the recording's
    copy_found: bool | None  # whether so many are a copy


class AnnotatedCopy(Part):
    """A clip that `synthmir annotate --with copies:FOLDER` found to be a copy."""

    clip: str
    recording: str
    landmarks: Count


class AnnotatedCopies(Part):
    """The copies among all clips of a corpus, by its config `estimates`."""

    n: Count
    copies: Count
    listed: list[AnnotatedCopy]  # those with most landmarks in common


class Copies(Part):
    """Clips and their nearest recordings. Those of all clips are in `nearest-reference.jsonl`."""

    nearest: list[NearestRecording]  # the closest pairs
    searched: Count  # of them that were compared by landmarks
    copies: Count  # of those that are copies
    threshold: Count | None  # landmarks in common from which a clip is one
    annotated: AnnotatedCopies | None


class TwoSample(Part):
    """Classifier two-sample test: how often a classifier separates clips from recordings; 0.5 is chance."""

    accuracy: Figure
    auc: float
    p_value: float


class Adherence(Part):
    """Prompt adherence: how often a linear probe predicts the genre in the prompt."""

    probe: Literal["reference", "corpus"]  # what the probe was trained on
    accuracy: Figure
    probe_accuracy: Figure  # of the probe on held-out clips of what it was trained on
    labels: list[str]
    confusion_matrix: list[list[Count]]  # rows: genre in the prompt, columns: prediction


class TextAudio(Part):
    """Cosines between prompts and clips by a CLAP checkpoint."""

    checkpoint: str
    similarity: Figure
    shuffled: Figure  # of clips with prompts of other clips
    own_wins: Figure  # share of clips that are nearer to their own prompt than to another one


class TagAdherence(Part):
    """Prompt adherence of one label by a tagger: its tags' highest probability, of asked clips against the others."""

    column: str  # genre, vocals, mood, instruments
    label: str
    tags: list[str]
    asked: Count  # clips whose prompt asks for it
    auc: Figure  # area under the ROC curve; 0.5 is chance
    within_genres: Figure | None  # over pairs of clips of one genre
    reference: Figure | None  # the area of the reference's recordings, by their genre


class Tagging(Part):
    """Prompt adherence by a music tagger."""

    tagger: str
    labels: list[TagAdherence]


class Genre(Part):
    """One genre: the clips whose prompt has it, and the recordings labelled with it. None where there are too few."""

    genre: str
    n: Count
    n_reference: Count
    frechet: Figure | None = None
    kernel: Figure | None = None
    coverage: Figure | None = None
    density: Figure | None = None
    vendi: float | None = None
    vendi_n: Count | None = None
    two_sample: Figure | None = None
    adherence: Figure | None = None
    text_audio: Figure | None = None
    duplicates: Count = 0  # clips with a near-duplicate in the corpus


class Fidelity(Document):
    """The whole file."""

    model_config = ConfigDict(title="synthmir fidelity", allow_inf_nan=False)
    holds, command = "fidelity", "synthmir fidelity"

    version: Literal[1] = Field(default=1, alias="schema")
    corpus: Side
    reference: Side
    embedder: dict[str, Any]
    dim: Count
    constant_dims: Count  # dimensions that are constant in the reference
    frechet: Frechet
    kernel: Kernel
    manifold: Manifold | None
    diversity: Diversity
    within: Duplicates
    against: Duplicates
    copies: Copies | None = None  # not of the corpus's own validation split
    two_sample: TwoSample | None
    adherence: Adherence | None
    text_audio: TextAudio | None
    tagging: Tagging | None = None  # of embeddings of musicnn
    genres: list[Genre]
    left_out: list[str]  # which values are missing, and why
    pictures: dict[str, str]  # files beside this one
    record: dict[str, Any]  # the run record
