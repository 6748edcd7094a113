"""`Generator`: make labelled clips from prompts in Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from ..clip import Clip, Prompt
from ..errors import RecipeError
from ..recipe import Recipe
from ..settings import AudioSettings, GeneratorSettings
from ..soundfonts import DEFAULT
from ..taxonomy import Taxonomy
from ..validation import validate
from .base import GENERATORS, GeneratorBackend, describe_clip, load_generator


@dataclass(frozen=True, slots=True)
class GeneratedClip:
    """A clip, its prompt with the labels that were asked for, its seed, and how it was made."""

    audio: np.ndarray  # float32 [samples], or [2, samples] in stereo, in [-1, 1]
    sampling_rate: int  # Hz
    prompt: Prompt
    seed: int
    soundfont: str | None = None  # that plays it, of generators that have sound fonts
    production: str | None = None  # JSON: how it is mixed and mastered, of generators that say so


class Generator:
    """Makes clips from prompts. A clip follows from its prompt, its seed and the settings, not from its neighbours.

    The same prompt, seed and settings give the sound that `synthmir build` gives, which is stored as FLAC of 16 bits.
    (A build replaces a clip that is silent or clipped by one of another seed; that seed is in its row.)
    The back end is loaded at the first clip, or by `with`.

    Args:
        name: The generator: "arranger" (composes by rules, no download), "musicgen", "audiocraft" or
            "diffusers" (Stable Audio, ACE-Step, AudioLDM 2).
        taxonomy: The genres, moods and instruments that prompts may name: a shipped taxonomy or a YAML file. What the
            arranger plays follows from its style data.
        seconds: The length of a clip, 1 to 30.
        model: A checkpoint, a Hub id or a folder ("musicgen", "audiocraft", "diffusers").
        revision: The checkpoint's commit, tag or branch; of the arranger "1" or "2", the version of its sound.
        soundfont: Sound fonts of the arranger by name or path; each clip draws one by its seed.
        guidance: Classifier-free guidance scale. Default: 3; of "diffusers", what suits the model.
        temperature: Sampling temperature.
        top_k: How many tokens a draw is among; 0: all.
        top_p: The probability mass that a draw is among; 1: all.
        stereo: Two channels, of the arranger or a stereo checkpoint. Default: one.
        dtype: "float32", "bfloat16", "float16" or "auto".
        batch_size: Clips that are made at once. Default: what suits the generator and the device.
        device: "cpu", "cuda", "mps" or "auto".
        steps: Denoising steps of "diffusers". Default: what suits the model.
        negative_prompt: What the sound of "diffusers" is steered away from.
        offload: Keep only the part of a model of "diffusers" that computes in the GPU's memory.
        sampling_rate: Of the clips, in Hz: 16000, 22050, 32000, 44100 or 48000. They are resampled where the
            generator plays at another.
        channels: 1: mono. 2: stereo where the generator can play it, else two equal channels. Default: as `stereo`
            says.

    Raises:
        RecipeError: An argument that is not valid, or that this generator has no use for.
        BackendError: An unknown generator, or a package that it needs and that is not installed.

    Examples:
        >>> with Generator("arranger", seconds=5) as generator:
        ...     clip = generator(Prompt("A rock track.", "", genre="rock", tempo_bpm=120), seed=3)
        >>> clip.audio.shape, clip.sampling_rate
        ((160000,), 32000)
        >>> recipe = Recipe.load("demo")
        >>> for clip in Generator.from_recipe(recipe).generate(make_prompts(recipe)):
        ...     print(clip.prompt.genre, clip.seed)
    """

    def __init__(
        self,
        name: str = "arranger",
        *,
        taxonomy: str = "paper",
        seconds: float = 10.0,
        model: str | None = None,
        revision: str | None = None,
        soundfont: str | Sequence[str] = DEFAULT,
        guidance: float | None = None,
        temperature: float = 1.0,
        top_k: int = 250,
        top_p: float = 1.0,
        stereo: bool = False,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        batch_size: int | None = None,
        device: str = "auto",
        steps: int | None = None,
        negative_prompt: str | None = None,
        offload: bool = False,
        sampling_rate: Literal[16000, 22050, 32000, 44100, 48000] = 32000,
        channels: Literal[1, 2] | None = None,
    ) -> None:
        options = {
            "name": name,
            "seconds": seconds,
            "model": model,
            "revision": revision,
            "soundfont": soundfont,
            "guidance": guidance,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "stereo": stereo,
            "dtype": dtype,
            "batch_size": batch_size,
            "device": device,
            "steps": steps,
            "negative_prompt": negative_prompt,
            "offload": offload,
        }
        where = f"Generator({name!r})"
        audio = validate(AudioSettings, {"sampling_rate": sampling_rate, "channels": channels}, where)
        self._set_up(validate(GeneratorSettings, options, where), Taxonomy.load(taxonomy), audio)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Generator:
        """The generator of a recipe, with its settings, its taxonomy and its sampling rate and channels."""
        generator = cls.__new__(cls)
        generator._set_up(recipe.generator, recipe.labels, recipe.audio)
        return generator

    def _set_up(self, settings: GeneratorSettings, taxonomy: Taxonomy, audio: AudioSettings) -> None:
        GENERATORS.load(settings.name)
        self.settings, self.audio, self._taxonomy = settings, audio, taxonomy
        self._backend: GeneratorBackend | None = None

    @property
    def sampling_rate(self) -> int:
        """Of the clips, in Hz. Loads the back end."""
        return self._load().sampling_rate

    @property
    def revision(self) -> str:
        """The version of the weights, or of the rules where there are no weights. Loads the back end."""
        return self._load().revision

    @property
    def license(self) -> str:
        """The licence of the clips, as the Hub names it ("cc-by-4.0"). Loads the back end."""
        return self._load().license

    def __call__(self, prompt: Prompt | Clip | str, seed: int = 0) -> GeneratedClip:
        """Make one clip; see `generate`."""
        return next(self.generate([prompt], seed))

    def generate(self, prompts: Iterable[Prompt | Clip | str], seed: int = 0) -> Iterator[GeneratedClip]:
        """Make clips one after the other, as many at once as suits the back end.

        Args:
            prompts: Prompts with their labels, as `make_prompts(recipe)` gives them. A text alone is enough for
                generators that read it; the arranger plays from the labels. A `Clip` of `plan(recipe)` has a seed of
                its own.
            seed: Of the first clip; the next one has `seed + 1`, and so on.

        Yields:
            The clips, in the order of their prompts.

        Raises:
            RecipeError: A prompt that names what the taxonomy does not have.
            BackendError: The back end cannot be loaded, or fails.
        """
        clips = (_to_clip(prompt, seed + place, f"prompt {place}") for place, prompt in enumerate(prompts))
        backend = self._load()
        while batch := list(islice(clips, backend.rows_at_once)):
            for clip, samples in zip(batch, backend.generate(batch), strict=True):
                audio = samples if samples.ndim == 1 else np.ascontiguousarray(samples.T)
                details = describe_clip(backend, clip)
                yield GeneratedClip(audio, backend.sampling_rate, clip.prompt, clip.seed, **details)

    def close(self) -> None:
        """Let go of the back end. A later call loads it again."""
        self._backend = None

    def __enter__(self) -> Generator:
        self._load()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """The settings: another process loads the back end itself."""
        return {**self.__dict__, "_backend": None}

    def _load(self) -> GeneratorBackend:
        if self._backend is None:
            self._backend = load_generator(self.settings, self._taxonomy, self.audio)
        return self._backend


def _to_clip(prompt: Prompt | Clip | str, seed: int, name: str) -> Clip:
    """A prompt as the row that a back end takes. Raises RecipeError for a seed out of range."""
    if isinstance(prompt, Clip):
        return prompt
    if not 0 <= seed < 2**63:
        raise RecipeError(f"seed: {seed}", "give a whole number from 0 to 2**63 - 1")
    if isinstance(prompt, str):
        prompt = Prompt(prompt, prompt, genre="")
    return Clip(name, prompt, "", seed, "train")
