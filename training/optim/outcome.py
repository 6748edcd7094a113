"""What a training gives: the model, and how it came to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..models.classifier import SynthmirClassifier

Epoch = dict[str, Any]
"""One point of the learning curve: epoch, train_loss, validation_loss, and the metrics of the task."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A finished training: the model holds the weights of `best`."""

    model: SynthmirClassifier
    curve: list[Epoch]  # empty where nothing is learnt by epochs
    best: Epoch
    stopped_early: bool
    search: list[Epoch] = field(default_factory=list)  # what was tried instead, and how validation found it
