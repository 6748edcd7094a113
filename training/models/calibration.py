"""Calibrate a classifier on recordings without labels: their statistics replace those of the training set.

This is adaptive batch normalisation (Li et al. 2016, arXiv 1603.04779) for the one normalisation that the classifier
has, its standardisation. As in Schneider et al. 2020 (arXiv 2006.16971), the statistics of the training set count as
some more recordings, which guards against few recordings and against those of few classes. The result is stored where
the statistics of the training set were, so that whatever reads the model (pipeline, ONNX, remote code) applies it.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from builder.errors import DataError
from builder.names import format_count

from .classifier import SynthmirClassifier

MIN_RECORDINGS = 20
STATISTICS = "statistics"  # the method, in config.json
PRIOR = 30  # recordings that the training set's statistics count as


class RecordingStatistics:
    """Running mean and variance of the windows of recordings. Each recording has the same weight, whatever its length.

    Attributes:
        recordings: How many were added.
        windows: How many windows they have together.
    """

    def __init__(self, dim: int) -> None:
        self.recordings = self.windows = 0
        self._mean = np.zeros(dim)
        self._within = np.zeros(dim)  # sum of the variances within recordings
        self._between = np.zeros(dim)  # sum of squared distances of the recordings' means from their mean

    @classmethod
    def of(cls, recordings: Iterable[np.ndarray], dim: int) -> RecordingStatistics:
        """Compute the statistics of recordings, float32 [windows, dim] each."""
        statistics = cls(dim)
        for windows in recordings:
            statistics.add(windows)
        return statistics

    def add(self, windows: np.ndarray) -> None:
        """Add a recording.

        Args:
            windows: float32 [windows, dim], its embeddings.
        """
        rows = np.asarray(windows, np.float64)
        mean = rows.mean(axis=0)
        self.recordings += 1
        self.windows += len(rows)
        step = mean - self._mean
        self._mean = self._mean + step / self.recordings
        self._between = self._between + step * (mean - self._mean)
        self._within = self._within + rows.var(axis=0)

    @property
    def mean(self) -> np.ndarray:
        """float64 [dim]."""
        return self._mean

    @property
    def variance(self) -> np.ndarray:
        """float64 [dim], within recordings and between them."""
        return (self._within + self._between) / max(self.recordings, 1)


def check_recordings(count: int, where: str) -> None:
    """Check that there are enough recordings to calibrate on.

    Args:
        count: How many can be read.
        where: What holds them, for the message.

    Raises:
        DataError: There are fewer than `MIN_RECORDINGS`.
    """
    if count < MIN_RECORDINGS:
        raise DataError(
            f"{where}: {format_count(count, 'recording')} to calibrate on, at least {MIN_RECORDINGS} are needed",
            "give more recordings of the kind that will be classified, or use the model without calibration",
        )


def blend_statistics(
    mean: torch.Tensor, std: torch.Tensor, target_mean: torch.Tensor, target_variance: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend the statistics of a source with those of a target, which have the weight n / (n + `PRIOR`).

    Args:
        mean: float32 [dim], of the source.
        std: float32 [dim], the standard deviation of the source.
        target_mean: float [dim].
        target_variance: float [dim].
        count: The number n of rows or recordings that the target's statistics are of.

    Returns:
        Mean and standard deviation, float32 [dim] each. The blend is of the variances.
    """
    weight = count / (count + PRIOR)
    return mean.lerp(target_mean.to(mean), weight), std.square().lerp(target_variance.to(std), weight).sqrt()


def calibrate_classifier(
    model: SynthmirClassifier, statistics: RecordingStatistics, source: str
) -> SynthmirClassifier:
    """Make a copy of a classifier that standardises by the statistics of recordings.

    The statistics of the training set are blended with those of the recordings; see `blend_statistics`.

    Args:
        model: A classifier that is not calibrated yet.
        statistics: Of the recordings.
        source: The recordings' name, which the model's config and card report.

    Returns:
        The copy. Its config has the key `calibration`.

    Raises:
        DataError: There are too few recordings, or the model is calibrated already.
    """
    check_not_calibrated(model)
    check_recordings(statistics.recordings, source)
    calibrated = deepcopy(model)
    mean, variance = torch.from_numpy(statistics.mean), torch.from_numpy(statistics.variance)
    blended = blend_statistics(model.mean, model.std, mean, variance, statistics.recordings)
    calibrated.mean.copy_(blended[0])
    calibrated.std.copy_(blended[1])
    calibrated.config.calibration = describe_calibration(statistics, source)
    return calibrated


def check_not_calibrated(model: SynthmirClassifier) -> None:
    """Raise DataError if a classifier is calibrated already."""
    if used := model.config.calibration:
        raise DataError(
            f"the model is calibrated already, on {format_count(used['recordings'], 'recording')} of {used['source']}",
            "calibrate the model that it was made from",
        )


def describe_calibration(statistics: RecordingStatistics, source: str) -> dict[str, Any]:
    """Describe a calibration for config.json, the card and the scores."""
    return {
        "method": STATISTICS,
        "source": source,
        "recordings": statistics.recordings,
        "windows": statistics.windows,
    }
