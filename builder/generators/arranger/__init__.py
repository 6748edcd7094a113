"""The arranger: composes a clip from its labels by rules, and plays it with a General-MIDI sound font."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...clip import Clip
from ...errors import RecipeError
from .compose import compose_score
from .mix import mix_score
from .revision import make_revision
from .sampler import Sampler
from .score import Note, Score, Track
from .style import Vocabulary, read_styles

if TYPE_CHECKING:
    from ...settings import GeneratorSettings
    from ...taxonomy import Taxonomy

__all__ = ["Arranger", "Note", "Score", "Track"]

_NOT_USED = ("model", "revision", "guidance", "temperature", "top_k", "top_p", "stereo", "dtype")


class Arranger:
    """The default generator: no weights, no download, 32 kHz mono.

    What a prompt leaves open (key, tempo, instruments, ...) is drawn from the genre's style data by the clip's seed.

    Raises:
        RecipeError: Settings that the arranger has no use for, or faults in the taxonomy's style data; all are listed.
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
        """Equal for equal clips: see `make_revision`."""
        return make_revision(json.dumps(self._taxonomy.model_dump(mode="json"), sort_keys=True).encode())

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.sampling_rate, self._vocabulary)

    def compose(self, clip: Clip) -> Score:
        """Compose a clip's score. Raises RecipeError for a prompt that names what the taxonomy does not have."""
        return compose_score(clip, self._taxonomy, self._styles, self._vocabulary, self.seconds)

    def render(self, score: Score) -> np.ndarray:
        """Play a score: float32 [samples], mono, in [-0.9, 0.9]."""
        return mix_score(score, self.seconds, self._sampler, self._vocabulary)

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Make a clip for each row: float32 [samples] in [-1, 1], `settings.seconds` long at 32 kHz."""
        return [self.render(self.compose(row)) for row in rows]


def _refuse_unused(settings: GeneratorSettings) -> None:
    """Raise RecipeError for settings that only other generators follow."""
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
