"""The protocol of generators, and how a recipe's is loaded."""

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
    """Makes clips. A clip depends on its row (prompt, seed) and the settings, not on the other rows of the call.

    Settings that it cannot follow (`stereo`, `top_k`, ...) raise RecipeError in `__init__`. One that makes clips
    a second time after a failure counts them in an attribute `retried`. One that reports how a clip was made has a
    method `describe(row: Clip) -> dict[str, str]`: values of the columns `soundfont` and `production`, which depend on
    the row and the settings alone.
    """

    name: str
    revision: str  # of the weights, or of the code and data where there are no weights
    sampling_rate: int  # Hz
    license: str  # of the clips, an id that the Hub knows ("cc-by-4.0")
    about: str  # one or two sentences for cards: what makes the sound
    seconds: float  # of a clip: `settings.seconds`, or less where it is set for a short test
    samples: bool  # whether it uses guidance, temperature, top-k and top-p
    rows_at_once: int  # the best number of rows for one call of `generate`
    single_core: bool  # whether one process uses one core only, so that several are faster

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None: ...

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Make a clip for each row.

        Returns:
            In order, float32 [samples] in [-1, 1], mono, `seconds` long at `sampling_rate`; with `settings.stereo`
            float32 [samples, 2].

        Raises:
            BackendError: The back end fails.
        """
        ...


def describe_clip(generator: GeneratorBackend, row: Clip) -> dict[str, str]:
    """Return what a generator reports of a clip, by column (`soundfont`, `production`); {} if it reports nothing."""
    describe = getattr(generator, "describe", None)
    return describe(row) if describe else {}


def load_generator(settings: GeneratorSettings, taxonomy: Taxonomy) -> GeneratorBackend:
    """Load the generator that a recipe names.

    Raises:
        BackendError: An unknown name, a missing package, or weights that cannot be loaded.
        RecipeError: A setting that this generator has no use for.
    """
    generator: GeneratorBackend = GENERATORS.load(settings.name)(settings, taxonomy)
    return generator
