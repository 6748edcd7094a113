"""The protocol of estimators, and how those that a command or a recipe names are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import RecipeError
from ..registry import ESTIMATORS
from ..validation import suggest

if TYPE_CHECKING:
    from .sound import Sound

Estimate = dict[str, Any]
"""The columns of one clip by name. None where the sound has nothing to measure, as the tempo of silence."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels that the clips of a corpus can have, for estimators that choose among them."""

    genre: tuple[str, ...] = ()
    mood: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EstimatorSettings:
    """Which estimator, and how it runs.

    Attributes:
        name: Of the registry: "tempo", "clap".
        source: What follows the name in "clap:laion/clap-htsat-unfused": a checkpoint. None for those without.
        device: "auto", "cpu" or "cuda".
        labels: The labels of the corpus.
    """

    name: str
    source: str | None = None
    device: str = "auto"
    labels: LabelSet = LabelSet()

    @classmethod
    def parse(cls, text: str, device: str = "auto", labels: LabelSet | None = None) -> EstimatorSettings:
        """Read "tempo" or "clap:ID".

        Raises:
            RecipeError: There is no estimator of this name.
        """
        name, _, source = text.strip().partition(":")
        if name not in ESTIMATORS:
            known = ", ".join(sorted(ESTIMATORS))
            raise RecipeError(
                f"estimates: there is no estimator called {name!r:.60}{suggest(name, ESTIMATORS)}",
                f"use some of: {known}",
            )
        return cls(name, source or None, device, labels or LabelSet())

    def refuse_source(self) -> None:
        """Raise RecipeError if a source is given to an estimator that has no use for one."""
        if self.source is not None:
            raise RecipeError(
                f"estimates: {self.name} has no checkpoints to choose from, and {self.source!r:.60} is given",
                f"write {self.name}",
            )

    def __str__(self) -> str:
        return self.name if self.source is None else f"{self.name}:{self.source}"


class Estimator(Protocol):
    """Measures something in the sound of clips. An estimate depends on its clip only, not on the others of a batch."""

    name: str  # as in the registry
    revision: str  # changes when the estimates do
    about: str  # one or two plain sentences for cards, with the source of the method
    light: bool  # takes about as long as decoding: threads each estimate what they decode

    def __init__(self, settings: EstimatorSettings) -> None: ...

    def columns(self) -> dict[str, Any]:
        """Return the columns that it fills, as features of `datasets` by name."""
        ...

    def estimate(self, sounds: Sequence[Sound]) -> list[Estimate]:
        """Estimate clips.

        Args:
            sounds: The clips, of any length from one sample on.

        Returns:
            The columns of each clip, in order. Numbers are finite or None.
        """
        ...


def load_estimator(settings: EstimatorSettings) -> Estimator:
    """Load an estimator.

    Raises:
        BackendError: A package or weights that are missing.
        RecipeError: A source that this estimator has no use for.
    """
    estimator: Estimator = ESTIMATORS.load(settings.name)(settings)
    return estimator


def parse_estimators(
    names: Iterable[str], device: str = "auto", labels: LabelSet | None = None
) -> list[EstimatorSettings]:
    """Read the names of estimators, each given once.

    Raises:
        RecipeError: An unknown name, or one that is given twice.
    """
    settings = [EstimatorSettings.parse(name, device, labels) for name in names]
    counted = [one.name for one in settings]
    if twice := [name for name in dict.fromkeys(counted) if counted.count(name) > 1]:
        raise RecipeError(f"estimates: {twice[0]} is given twice", "name each estimator once")
    return settings
