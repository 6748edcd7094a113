"""Calibration: whether a model's confidence is the share of its predictions that are correct.

Reliability bins and the expected calibration error are those of Guo, Pleiss, Sun and Weinberger, *On Calibration of
Modern Neural Networks*, ICML 2017; bins of equal mass are those of Nguyen and O'Connor, EMNLP 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.metrics import MetricValues

from .metrics import MetricSet

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions with a confidence between `low` and `high`."""

    low: float
    high: float
    n: int
    confidence: float  # mean confidence
    share: float  # of the predictions that are correct


@dataclass(frozen=True, slots=True)
class Confidences:
    """Confidences of predictions, and whether each prediction is correct.

    Attributes:
        confidence: float64 [n, predictions a track], 0 to 1.
        correct: bool of that shape.
    """

    confidence: np.ndarray
    correct: np.ndarray

    @classmethod
    def from_top_class(cls, truth: np.ndarray, probabilities: np.ndarray) -> Confidences:
        """Take the most probable class of each track as one prediction.

        Args:
            truth: int64 [n].
            probabilities: float64 [n, classes].
        """
        chosen = probabilities.argmax(axis=1)
        return cls(probabilities.max(axis=1, keepdims=True), (chosen == truth)[:, None])

    @classmethod
    def from_tags(cls, truth: np.ndarray, probabilities: np.ndarray) -> Confidences:
        """Take the probability of each tag as one prediction that the track has it.

        Args:
            truth: bool [n, tags].
            probabilities: float64 [n, tags].
        """
        return cls(probabilities, truth.astype(bool))

    def equal_width(self, bins: int = BINS) -> np.ndarray:
        """Return the edges, float64 [bins + 1], of bins of equal width from 0 to 1."""
        return np.linspace(0.0, 1.0, bins + 1)

    def equal_mass(self, bins: int = BINS) -> np.ndarray:
        """Return the edges of bins with equally many predictions; fewer bins where confidences are equal."""
        inner = np.quantile(self.confidence, np.linspace(0.0, 1.0, bins + 1)[1:-1])
        return np.unique(np.concatenate([[0.0], inner, [1.0]]))

    def assign_bins(self, edges: np.ndarray) -> np.ndarray:
        """Return the bin of each prediction, int64 [n, predictions]. Bins hold their upper edge; the first also 0."""
        bins: np.ndarray = np.clip(np.searchsorted(edges, self.confidence, side="left") - 1, 0, len(edges) - 2)
        return bins

    def reliability_bins(self, edges: np.ndarray) -> list[Bin]:
        """Summarise the predictions of each bin that is not empty."""
        bins = self.assign_bins(edges).ravel()
        count = np.bincount(bins, minlength=len(edges) - 1)
        confidence = np.bincount(bins, self.confidence.ravel(), len(edges) - 1)
        correct = np.bincount(bins, self.correct.ravel().astype(np.float64), len(edges) - 1)
        return [
            Bin(float(edges[i]), float(edges[i + 1]), int(n), float(confidence[i] / n), float(correct[i] / n))
            for i, n in enumerate(count)
            if n
        ]

    def calibration_error(self, name: str, edges: np.ndarray) -> MetricSet:
        """Return the expected calibration error over bins with these edges, as a metric called `name`.

        It is the mean over bins, weighted by their predictions, of |share correct - mean confidence|, 0 to 1.
        """
        tracks, predictions = self.confidence.shape
        bins = len(edges) - 1
        cells = (np.arange(tracks)[:, None] * bins + self.assign_bins(edges)).ravel()
        gaps = np.bincount(cells, (self.correct - self.confidence).ravel(), tracks * bins).reshape(tracks, bins)

        def compute(weights: np.ndarray) -> MetricValues:
            return {name: np.abs(weights @ gaps).sum(axis=1) / (predictions * weights.sum(axis=1))}

        return MetricSet(compute, {name: (np.ones(tracks, bool),)})
