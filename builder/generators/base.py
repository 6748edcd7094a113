"""The protocol of generators, and how a recipe's is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from ..clip import Clip
from ..errors import BackendError, RecipeError
from ..registry import GENERATORS, SCORED_GENERATORS
from ..settings import AudioSettings
from .converting import ConvertingGenerator

if TYPE_CHECKING:
    import numpy as np

    from ..annotations.annotation import Annotation
    from ..recipe import Recipe
    from ..settings import GeneratorSettings
    from ..taxonomy import Taxonomy


class GeneratorBackend(Protocol):
    """Makes clips. A clip depends on its row (prompt, seed) and the settings, not on the other rows of the call.

    Settings that it cannot follow (`stereo`, `top_k`, ...) raise RecipeError in `__init__`. Those of `OPTIONS` are
    refused unless its class names them in an attribute `options`. One that makes clips
    a second time after a failure counts them in an attribute `retried`. One that reports how a clip was made has a
    method `describe(row: Clip) -> dict[str, str]`: values of the columns `soundfont` and `production`, which depend on
    the row and the settings alone. One that has a score also has the methods of `AnnotatingGenerator` and
    `StemGenerator`. One whose class has `resamples = True` resamples its clips itself: `sampling_rate` is set before
    the first one.
    """

    name: str
    revision: str  # of the weights, or of the code and data where there are no weights
    sampling_rate: int  # Hz
    license: str  # of the clips, an id that the Hub knows ("cc-by-4.0")
    about: str  # one or two sentences for cards: what makes the sound
    seconds: float  # of a clip: `settings.seconds`, or less where it is set for a short test
    samples: bool  # whether it uses guidance, temperature, top-k and top-p; with guidance alone it has `guidance`
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


class AnnotatingGenerator(GeneratorBackend, Protocol):
    """A generator that knows what is played in its clips, for the config `annotations`."""

    def annotate(self, row: Clip) -> Annotation:
        """Annotate the clip that `generate` makes of a row, exactly and without making it.

        Returns:
            The annotation with the id of the row. Its times are those of the audio.
        """
        ...


class StemGenerator(GeneratorBackend, Protocol):
    """A generator that makes a clip in parts, for the config `stems`."""

    def generate_stems(self, rows: Sequence[Clip]) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Make a clip for each row, and its stems.

        Returns:
            In order, the clip as `generate` makes it, bit for bit, and its stems by name (of
            `builder.annotations.annotation.STEMS`), each of the shape of the clip and in [-1, 1]. They add up to the
            clip within -60 dB. Silent stems are left out.

        Raises:
            BackendError: The back end fails.
        """
        ...


OPTIONS = ("steps", "negative_prompt", "offload")  # settings that few generators follow
METHODS = {"annotations": "annotate", "stems": "generate_stems"}  # that make a config


def can_make(generator: str, config: str) -> bool:
    """Return whether a generator has what makes a config, "annotations" or "stems".

    Raises:
        BackendError: An unknown generator, or one that needs a package that is not installed.
    """
    return hasattr(GENERATORS.load(generator), METHODS[config])


def is_able(generator: str, config: str) -> bool:
    """Return whether a generator can make a config here: one that is not known or not installed cannot."""
    try:
        return can_make(generator, config)
    except BackendError:
        return False


def check_generated_configs(recipe: Recipe) -> None:
    """Raise RecipeError if a recipe asks for annotations or stems, and its generator has no score."""
    for config in recipe.generated_configs:
        if not can_make(recipe.generator.name, config):
            raise RecipeError(
                f"{config}: generator {recipe.generator.name!r} has no score, so it cannot make {config}",
                f"remove `{config}: true`, or use a generator that has one: {', '.join(SCORED_GENERATORS)}",
            )


def check_settings(settings: GeneratorSettings) -> None:
    """Let a generator refuse what its settings name, such as a damaged file, before anything is made or loaded.

    It does so by a static method `check_settings(settings)`, which raises BackendError. Raises RecipeError for a
    setting of `OPTIONS` that it does not follow.
    """
    generator = GENERATORS.load(settings.name)
    _refuse_options(settings, generator)
    if check := getattr(generator, "check_settings", None):
        check(settings)


def describe_clip(generator: GeneratorBackend, row: Clip) -> dict[str, str]:
    """Return what a generator reports of a clip, by column (`soundfont`, `production`); {} if it reports nothing."""
    describe = getattr(generator, "describe", None)
    return describe(row) if describe else {}


def load_generator(
    settings: GeneratorSettings, taxonomy: Taxonomy, audio: AudioSettings | None = None
) -> GeneratorBackend:
    """Load the generator that a recipe names.

    Args:
        settings: The generator, and what it is to do.
        taxonomy: What prompts may name.
        audio: The sampling rate and the channels of its clips. Default: 32 kHz, and the generator's own channels.

    Raises:
        BackendError: An unknown name, a missing package, or weights that cannot be loaded.
        RecipeError: A setting that this generator has no use for.
    """
    kind, audio = GENERATORS.load(settings.name), audio or AudioSettings()
    _refuse_options(settings, kind)
    generator, made_channels = _make_generator(kind, settings, taxonomy, audio)
    if getattr(kind, "resamples", False):
        generator.sampling_rate = audio.sampling_rate
    channels = audio.channels or made_channels
    if (generator.sampling_rate, made_channels) == (audio.sampling_rate, channels):
        return generator
    converting = ConvertingGenerator(generator, audio.sampling_rate, made_channels, channels)
    return cast(GeneratorBackend, converting)


def _make_generator(
    kind: type, settings: GeneratorSettings, taxonomy: Taxonomy, audio: AudioSettings
) -> tuple[GeneratorBackend, int]:
    """Make a generator, in stereo where two channels are asked for and it can, and say how many channels it makes."""
    if audio.channels == 2 and not settings.stereo:
        try:
            return kind(settings.model_copy(update={"stereo": True}), taxonomy), 2
        except RecipeError:  # it is mono, or refuses other settings, too
            pass
    return kind(settings, taxonomy), settings.channels


def _refuse_options(settings: GeneratorSettings, kind: type) -> None:
    """Raise RecipeError if settings of `OPTIONS` are set that the generator's class does not name."""
    fields = type(settings).model_fields
    for key in OPTIONS:
        if getattr(settings, key) != fields[key].default and key not in getattr(kind, "options", ()):
            raise RecipeError(
                f"generator.{key}: generator {settings.name!r} does not use it", f"remove generator.{key}"
            )
