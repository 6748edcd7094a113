"""What a generator is, and which ones there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..clip import Clip
from ..registry import GENERATORS

if TYPE_CHECKING:
    import numpy as np

    from ..settings import GeneratorSettings
    from ..taxonomy import Taxonomy


class GeneratorBackend(Protocol):
    """Makes clips. A clip depends on its row (prompt, seed) and the settings, never on its neighbours in the call.

    A setting that it cannot obey (`stereo`, `top_k`, ...) it refuses with RecipeError when it is made. One that makes
    clips again after a failure of its own counts them in an attribute `retried`.
    """

    name: str
    revision: str  # of the weights, or of the code and data where there are no weights
    sampling_rate: int  # Hz
    license: str  # of the clips, an SPDX-like id the Hub knows ("cc-by-4.0")
    about: str  # one or two plain sentences for cards: what makes the sound
    seconds: float  # of a clip: `settings.seconds`, until it is set to less for a short probe
    samples: bool  # whether guidance, temperature, top-k and top-p mean something to it
    rows_at_once: int  # how many rows `generate` is best given at once
    single_core: bool  # whether one process keeps one core busy, so that several pay

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None: ...

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """One float32 [samples] in [-1, 1] a row, mono, `seconds` long at `sampling_rate`, in order.

        Where `settings.stereo` asks for it, [samples, 2]: left and right.
        Raises BackendError if the back end fails.
        """
        ...


def load_generator(settings: GeneratorSettings, taxonomy: Taxonomy) -> GeneratorBackend:
    """The generator that the recipe names, ready to play. Raises BackendError."""
    generator: GeneratorBackend = GENERATORS.load(settings.name)(settings, taxonomy)
    return generator
