"""Random choices from a clip's seed, the same on every machine and Python."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class SeededRandom:
    """The random choices of a clip. Only `random.Random.random` is used, whose sequence Python guarantees."""

    def __init__(self, seed: int, stream: str = "") -> None:
        """Start at a seed.

        Args:
            seed: The clip's.
            stream: Names what is drawn, so that more draws there change nothing elsewhere. The composition's has none.
        """
        if stream:
            seed = int.from_bytes(hashlib.sha256(f"{seed} {stream}".encode()).digest()[:8])
        self._random = random.Random(seed).random

    def happens(self, probability: float) -> bool:
        """Whether an event of this probability happens."""
        return self._random() < probability

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high), uniformly distributed."""
        return low + (high - low) * self._random()

    def bell_curve(self, spread: float) -> float:
        """A number around 0 with standard deviation `spread` and at most 3 of it away: a sum of three uniforms."""
        return spread * 2.0 * (self._random() + self._random() + self._random() - 1.5)

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int((high - low + 1) * self._random())

    def choice(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[int(len(items) * self._random())]

    def weighted_choice(self, weights: Mapping[T, float]) -> T:
        """One of the keys, with a probability proportional to its weight."""
        at = self._random() * sum(weights.values())
        for item, weight in weights.items():
            at -= weight
            if at < 0:
                return item
        return next(reversed(list(weights)))
