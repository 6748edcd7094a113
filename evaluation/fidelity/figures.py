"""`fidelity.json`: how far a corpus is from a reference, each figure with n and, where one is known, its interval."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ..results import json_document as document
from ..results.json_document import Document

Count = Annotated[int, Field(ge=0)]
FILE = "fidelity.json"


class Part(document.Part):
    """A piece of the file: every number finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Figure(Part):
    """A figure, its 95 % interval where one is known, and over how many clips it runs."""

    value: float
    low: float | None = None
    high: float | None = None
    n: Count  # clips of the corpus
    n_reference: Count | None = None


class Side(Part):
    """One of the two sets."""

    name: str
    kind: Literal["corpus", "embeddings", "audio", "benchmark"]
    n: Count
    labels: dict[str, Count]  # clips by genre
    unlabelled: Count
    fingerprint: str | None = None
    notes: list[str] = []


class Extrapolation(Part):
    """A line through distances of subsets over 1 / size, and its value where 1 / size is zero."""

    value: float
    low: float
    high: float
    r2: float
    slope: float
    sizes: list[Count]
    distances: list[float]
    straight: bool  # subsets of two clips a dimension or more, and r2 of 0.9 or more: else a rough guide


class Frechet(Part):
    """The Fréchet distance, and what is left of it for sets without end."""

    distance: Figure
    corpus_infinite: Extrapolation | None  # the corpus without end, the reference as it is
    both_infinite: Figure | None  # both without end, to first order
    reference_halves: float | None  # of two random halves of the reference: what no difference looks like
    reference_halves_n: Count | None


class Kernel(Part):
    """Squared maximum mean discrepancies, unbiased."""

    rbf: Figure  # Gaussian kernel of the given bandwidth
    bandwidth: float
    polynomial: Figure  # of degree 3, as in the kernel inception distance


class Manifold(Part):
    """Precision, recall, density and coverage by balls that reach to the k-th neighbour."""

    k: Count
    precision: Figure
    recall: Figure
    density: Figure
    coverage: Figure


class Diversity(Part):
    """Vendi scores of as many clips of both sets, standardised by the reference."""

    corpus: float
    reference: float
    n: Count


class Pair(Part):
    """Two clips that are near-duplicates, with their cosine; `audio` are players beside the page."""

    left: str
    right: str
    similarity: float
    left_genre: str | None = None
    right_genre: str | None = None
    audio: tuple[str, str] | None = None


class Duplicates(Part):
    """Near-duplicates, all of which stand in `duplicates.jsonl`; here the nearest."""

    pairs: Count
    clips: Count  # of the corpus that have a duplicate
    spare: Count | None  # clips that would go if one of each group stayed; of the corpus alone
    largest_group: Count | None
    n: Count
    n_reference: Count | None = None
    rule: str
    dimension: float | None
    ratio: float | None
    nearest_median: float  # cosine of a clip and its nearest neighbour
    nearest_99: float  # its 99th percentile
    listed: list[Pair]


class TwoSample(Part):
    """How often a classifier tells a clip from a recording: 0.5 is not at all."""

    accuracy: Figure
    auc: float
    p_value: float


class Adherence(Part):
    """How often a linear probe hears the genre that was asked for."""

    probe: Literal["reference", "corpus"]  # what it learnt from
    accuracy: Figure
    probe_accuracy: Figure  # of the probe on clips of its own kind that it did not learn from
    labels: list[str]
    confusion_matrix: list[list[Count]]  # rows asked, columns heard


class TextAudio(Part):
    """Cosines of prompts and clips by a CLAP checkpoint."""

    checkpoint: str
    similarity: Figure
    shuffled: Figure  # of clips and prompts of other clips
    own_wins: Figure  # share of clips that are nearer to their own prompt than to another's


class Genre(Part):
    """One genre: clips that ask for it, and recordings that bear it. None where there are too few."""

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
    constant_dims: Count  # dimensions that never vary in the reference
    frechet: Frechet
    kernel: Kernel
    manifold: Manifold | None
    diversity: Diversity
    within: Duplicates
    against: Duplicates
    two_sample: TwoSample | None
    adherence: Adherence | None
    text_audio: TextAudio | None
    genres: list[Genre]
    left_out: list[str]  # plain sentences: which figures are not here, and why
    pictures: dict[str, str]  # files beside this one
    record: dict[str, Any]  # the run record
