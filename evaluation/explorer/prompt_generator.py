"""Generates a clip from a typed prompt with the generator of a recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.clip import Clip, Prompt
from builder.errors import RecipeError

if TYPE_CHECKING:
    from builder.recipe import Recipe
    from builder.taxonomy import Taxonomy

MAX_LENGTH = 2_000  # characters of a prompt
ACCIDENTALS = {"♭": "b", "♯": "#"}
KEY = re.compile(r"\b([A-G](?:b|#|♭|♯)?)[ -](major|minor)\b")
TEMPO = re.compile(r"\b(\d{2,3})\s*bpm\b", re.IGNORECASE)
LABELS = {
    "subgenre": "sub-genre", "mood": "mood", "instruments": "instruments", "tempo_bpm": "tempo", "key": "key",
    "vocals": "vocals",
}  # fmt: skip

Setting = tuple[str, str, str]  # name, value, and where the value comes from


@dataclass(frozen=True, slots=True)
class GeneratedClip:
    """A new clip and what it was generated from."""

    samples: np.ndarray  # float32 [samples] or [samples, 2]
    sampling_rate: int
    loudness: float  # LUFS
    peak: float  # dBFS
    settings: tuple[Setting, ...]


class PromptGenerator:
    """The generator of a recipe, loaded with the first clip. It generates one clip at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self._lock = recipe, Lock()

    @property
    def uses_labels(self) -> bool:
        """Whether the generator reads labels instead of the prompt's text."""
        return self.recipe.generator.name == "arranger"

    @property
    def name(self) -> str:
        """The generator's name, with its model if the recipe names one."""
        settings = self.recipe.generator
        return f"{settings.name} ({settings.model})" if settings.model else settings.name

    @cached_property
    def _generator(self) -> Any:
        from builder.generators.base import load_generator

        return load_generator(self.recipe.generator, self.recipe.labels, self.recipe.audio)

    def generate(self, prompt: str, genre: str | None, seed: int, chosen: dict[str, Any]) -> GeneratedClip:
        """Generate a clip.

        Args:
            prompt: The text, at most `MAX_LENGTH` characters.
            genre: A genre of the recipe, or "" for the one that the text names.
            seed: The clip's seed.
            chosen: Labels that take precedence over those in the text: the keys of `LABELS`.

        Raises:
            RecipeError: The prompt is empty or too long, or the genre is missing or unknown.
            BackendError: The generator cannot be loaded.
        """
        from builder.audio import measure_loudness, measure_peak

        parsed, settings = self.parse(prompt, genre, chosen)
        clip = Clip("typed", parsed, "typed", seed, "train")
        with self._lock:
            samples = self._generator.generate([clip])[0]
            rate = self._generator.sampling_rate
        settings = [*settings, ("seed", str(seed), "chosen")]
        return GeneratedClip(samples, rate, measure_loudness(samples, rate), measure_peak(samples), tuple(settings))

    def parse(self, prompt: str, genre: str | None, chosen: dict[str, Any]) -> tuple[Prompt, list[Setting]]:
        """Turn typed text into a prompt as rows hold it, and list where each label comes from.

        A generator that reads labels gets the chosen ones, then those that the text names in the taxonomy's terms.
        A generator that reads text gets the text unchanged, and labels have no effect.

        Args:
            prompt: The typed text.
            genre: The chosen genre. None or "": the one that the text names.
            chosen: The other chosen labels by their key in `LABELS`. A missing or empty one is taken from the text.

        Returns:
            The prompt, and for each label its name, its value and where the value comes from.

        Raises:
            RecipeError: The text is empty or too long, the recipe lacks the genre, or a generator that reads labels
                gets no genre.
        """
        text = prompt.strip()
        if not text:
            raise RecipeError("the prompt is empty", "describe the clip")
        if len(text) > MAX_LENGTH:
            raise RecipeError(f"the prompt has {len(text)} characters", f"{MAX_LENGTH} at most")
        taxonomy = self.recipe.labels
        if genre and genre not in taxonomy.genres:
            raise RecipeError(f"the recipe has no genre {genre!r}", f"it has: {', '.join(taxonomy.genre_names)}")
        named_genre = find_genre(text, taxonomy)
        if not self.uses_labels:
            return Prompt(text, text, genre or named_genre or ""), [("text", text, "as typed")]
        origin = "chosen" if genre else "from the text"
        if not (genre := genre or named_genre):
            known = ", ".join(taxonomy.genre_names)
            raise RecipeError("the prompt names no genre, and none is chosen", f"choose one: {known}")
        named = find_labels(text, taxonomy, genre)
        settings = [("genre", genre, origin)]
        labels: dict[str, Any] = {}
        for key, name in LABELS.items():
            choice = chosen.get(key) or None
            value = choice if choice is not None else named.get(key)
            if value:
                labels[key] = tuple(value) if key == "instruments" else value
                shown = ", ".join(value) if key == "instruments" else str(value)
                settings.append((name, shown, "chosen" if choice is not None else "from the text"))
            else:
                settings.append((name, "not set", "drawn by the seed"))
        return Prompt(text=text, description=text, genre=genre, **labels), settings


def find_genre(text: str, taxonomy: Taxonomy) -> str | None:
    """Return the first genre that a text names by its name, tag or sub-genre."""
    names = {block.tag: name for name, block in taxonomy.genres.items()} | {name: name for name in taxonomy.genres}
    subgenres = {sub: name for name, block in taxonomy.genres.items() for sub in block.subgenres}
    for genre_of in (names, subgenres):
        if matches := _find_names(text, list(genre_of)):
            return genre_of[matches[0]]
    return None


def find_labels(text: str, taxonomy: Taxonomy, genre: str) -> dict[str, Any]:
    """Return the labels that a text names.

    Args:
        text: The typed text.
        taxonomy: The labels of the recipe.
        genre: The genre whose sub-genres are searched for.

    Returns:
        Labels by their key in `LABELS`: sub-genre, mood and instruments of the taxonomy, tempo (30 to 300 BPM), key
        and vocals. "instruments" is always there, other keys only if the text names a value.
    """
    block = taxonomy.genres[genre]
    labels: dict[str, Any] = {"instruments": tuple(_find_names(text, list(taxonomy.instruments)))}
    if subgenres := _find_names(text, list(block.subgenres)):
        labels["subgenre"] = subgenres[0]
    if moods := _find_names(text, list(taxonomy.moods)):
        labels["mood"] = moods[0]
    if (match := TEMPO.search(text)) and 30 <= int(match[1]) <= 300:
        labels["tempo_bpm"] = int(match[1])
    if match := KEY.search(text):
        labels["key"] = f"{match[1][0]}{ACCIDENTALS.get(match[1][1:], match[1][1:])} {match[2]}"
    lower = text.casefold()
    if re.search(r"\b(instrumental|no vocals|without vocals)\b", lower):
        labels["vocals"] = "instrumental"
    elif re.search(r"\b(vocals?|sung|singer|singing)\b", lower):
        labels["vocals"] = "with-vocals"
    return labels


def _find_names(text: str, names: Sequence[str]) -> list[str]:
    """The names that occur in a text, in its order. A name that is part of a longer one does not count."""
    rest = text.casefold()
    matches: list[tuple[int, str]] = []
    for name in sorted(names, key=len, reverse=True):
        pattern = r"(?<!\w)" + re.escape(name.casefold()).replace("\\-", "[- ]") + r"s?(?!\w)"
        if match := re.search(pattern, rest):
            matches.append((match.start(), name))
            rest = rest[: match.start()] + "\0" * (match.end() - match.start()) + rest[match.end() :]
    return [name for _, name in sorted(matches)]
