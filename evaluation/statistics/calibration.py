"""Whether a model is as sure as it is right: reliability by bins of confidence (Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .metrics import MetricSet, MetricValues

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """What was claimed with a confidence between `low` and `high`."""

    low: float
    high: float
    n: int
    confidence: float  # mean of what was claimed
    share: float  # of it that was right


@dataclass(frozen=True, slots=True)
class Confidences:
    """Confidences and whether they came true: one a track, or with many labels an item one a track and label.

    `confidence` float64 [n, claims] in 0 .. 1, `right` bool of that shape.
    """

    confidence: np.ndarray
    right: np.ndarray

    @classmethod
    def from_top_class(cls, truth: np.ndarray, probabilities: np.ndarray) -> Confidences:
        """int64 [n] and float64 [n, classes]: the claim is the chosen class with its probability."""
        chosen = probabilities.argmax(axis=1)
        return cls(probabilities.max(axis=1, keepdims=True), (chosen == truth)[:, None])

    @classmethod
    def from_tags(cls, truth: np.ndarray, probabilities: np.ndarray) -> Confidences:
        """bool [n, tags] and float64 [n, tags]: every tag's probability is a claim that the track has it."""
        return cls(probabilities, truth.astype(bool))

    def equal_width(self, bins: int = BINS) -> np.ndarray:
        """Edges [bins + 1] that divide 0 .. 1 evenly."""
        return np.linspace(0.0, 1.0, bins + 1)

    def equal_mass(self, bins: int = BINS) -> np.ndarray:
        """Edges that put as many claims in each bin; fewer bins where confidences are the same."""
        inner = np.quantile(self.confidence, np.linspace(0.0, 1.0, bins + 1)[1:-1])
        return np.unique(np.concatenate([[0.0], inner, [1.0]]))

    def place(self, edges: np.ndarray) -> np.ndarray:
        """int64 [n, claims]: the bin of each claim; the upper edge belongs to a bin, as 0 does to the first."""
        places: np.ndarray = np.clip(np.searchsorted(edges, self.confidence, side="left") - 1, 0, len(edges) - 2)
        return places

    def reliability(self, edges: np.ndarray) -> list[Bin]:
        """The bins that hold claims."""
        places = self.place(edges).ravel()
        count = np.bincount(places, minlength=len(edges) - 1)
        claimed = np.bincount(places, self.confidence.ravel(), len(edges) - 1)
        came = np.bincount(places, self.right.ravel().astype(np.float64), len(edges) - 1)
        return [
            Bin(float(edges[i]), float(edges[i + 1]), int(n), float(claimed[i] / n), float(came[i] / n))
            for i, n in enumerate(count)
            if n
        ]

    def judge(self, name: str, edges: np.ndarray) -> MetricSet:
        """The expected calibration error by these bins: mean |share right - confidence| over claims."""
        tracks, claims = self.confidence.shape
        bins = len(edges) - 1
        cells = (np.arange(tracks)[:, None] * bins + self.place(edges)).ravel()
        gaps = np.bincount(cells, (self.right - self.confidence).ravel(), tracks * bins).reshape(tracks, bins)

        def judge(weights: np.ndarray) -> MetricValues:
            return {name: np.abs(weights @ gaps).sum(axis=1) / (claims * weights.sum(axis=1))}

        return MetricSet(judge, {name: (np.ones(tracks, bool),)})
