"""Choices from a clip's seed, the same on every machine and Python."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """All of a clip's choices. Only `random.Random.random` is used: Python guarantees its sequence for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def happens(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return low + (high - low) * self._random()

    def bell(self, spread: float) -> float:
        """A number around 0 with standard deviation `spread`, never beyond 2.5 of it (sum of three uniforms)."""
        return spread * 2.0 * (self._random() + self._random() + self._random() - 1.5)

    def integer(self, low: int, high: int) -> int:
        """A whole number, `low` and `high` included."""
        return low + int((high - low + 1) * self._random())

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[int(len(items) * self._random())]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """One of the keys, in proportion to its weight."""
        at = self._random() * sum(weights.values())
        for item, weight in weights.items():
            at -= weight
            if at < 0:
                return item
        return next(reversed(list(weights)))
