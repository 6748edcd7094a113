"""The arranger: composes a clip from its row by rules and plays it with a General-MIDI sound font."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...clip import Clip
from ...errors import RecipeError
from .compose import compose
from .mix import mix
from .revision import make_revision
from .sampler import Sampler
from .score import Note, Score, Track
from .style import Vocabulary, read_styles

if TYPE_CHECKING:
    from ...recipe import GeneratorSettings
    from ...taxonomy import Taxonomy

__all__ = ["Arranger", "Note", "Score", "Track"]

_NOT_USED = ("model", "revision", "guidance", "temperature", "top_k", "top_p", "stereo", "dtype")


class Arranger:
    """The default generator: no weights, no download, 32 kHz mono.

    Raises RecipeError for settings that it has no use for, and for faults in the taxonomy's style data, all at once.
    """

    name = "arranger"
    sampling_rate = 32_000
    license = "cc-by-4.0"
    samples = False
    single_core = True
    about = (
        "General-MIDI arrangements, composed by rules from the prompt's own attributes and played with the TimGM6mb "
        "sound font. No neural model is involved: the clips stand for music in tests and lessons, not for MusicGen's."
    )

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        _refuse_unused(settings)
        self.seconds = settings.seconds
        self.rows_at_once = settings.batch_size or 16
        self._taxonomy = taxonomy
        self._vocabulary = Vocabulary.load()
        self._styles = read_styles(taxonomy, self._vocabulary)

    @cached_property
    def revision(self) -> str:
        """The same where the same clips are made: see `make_revision`."""
        return make_revision(json.dumps(self._taxonomy.model_dump(mode="json"), sort_keys=True).encode())

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.sampling_rate, self._vocabulary)

    def compose(self, clip: Clip) -> Score:
        """The score of a row. Raises RecipeError for a prompt that asks for what the taxonomy does not have."""
        return compose(clip, self._taxonomy, self._styles, self._vocabulary, self.seconds)

    def render(self, score: Score) -> np.ndarray:
        """A score as sound: float32 [samples], mono, in [-0.9, 0.9]."""
        return mix(score, self.seconds, self._sampler, self._vocabulary)

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """One float32 [samples] in [-1, 1] a row, `settings.seconds` long at 32 kHz, in order."""
        return [self.render(self.compose(row)) for row in rows]


def _refuse_unused(settings: GeneratorSettings) -> None:
    """Settings that another generator would obey must not pass as if they had been obeyed here."""
    defaults = type(settings)()
    faults = [
        f"generator.{field}: {getattr(settings, field)!r} means nothing to the arranger"
        for field in _NOT_USED
        if getattr(settings, field) != getattr(defaults, field)
    ]
    if settings.device not in ("auto", "cpu"):
        faults.append(f"generator.device: {settings.device!r}, but the arranger plays on the CPU")
    if faults:
        raise RecipeError("\n".join(faults), "leave these lines out, or name the generator that they are for")
