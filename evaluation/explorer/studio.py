"""A clip from a typed prompt, by the generator that the recipe names."""

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

LONGEST = 2_000  # characters of a prompt
FLATS = {"♭": "b", "♯": "#"}
KEY = re.compile(r"\b([A-G](?:b|#|♭|♯)?)[ -](major|minor)\b")
TEMPO = re.compile(r"\b(\d{2,3})\s*bpm\b", re.IGNORECASE)

Used = tuple[str, str, str]  # what, which, where from


@dataclass(frozen=True, slots=True)
class Made:
    """A new clip: its sound, and what it was made from."""

    samples: np.ndarray  # float32 [samples] or [samples, 2]
    sampling_rate: int
    loudness: float
    peak: float
    used: tuple[Used, ...]


class Studio:
    """The recipe's generator, loaded when it first plays; it makes one clip at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self._lock = recipe, Lock()

    @property
    def composes(self) -> bool:
        """Whether it plays from labels, and not from the text."""
        return self.recipe.generator.name == "arranger"

    @property
    def name(self) -> str:
        """The generator, and its model where there are several."""
        settings = self.recipe.generator
        return f"{settings.name} ({settings.model})" if settings.model else settings.name

    @cached_property
    def _generator(self) -> Any:
        from builder.generators.base import load_generator

        return load_generator(self.recipe.generator, self.recipe.labels)

    def make(self, prompt: str, genre: str | None, seed: int, chosen: dict[str, Any]) -> Made:
        """A clip of a prompt, and of the labels that were chosen beside it. Raises RecipeError, BackendError."""
        from builder.audio import loudness, peak_dbfs

        asked, used = self.read(prompt, genre, chosen)
        clip = Clip("typed", asked, "typed", seed, "train")
        with self._lock:
            samples = self._generator.generate([clip])[0]
            rate = self._generator.sampling_rate
        return Made(samples, rate, loudness(samples, rate), peak_dbfs(samples), (*used, ("seed", str(seed), "chosen")))

    def read(
        self, prompt: str, genre: str | None, chosen: dict[str, Any]
    ) -> tuple[Prompt, list[tuple[str, str, str]]]:
        """The prompt as a row holds it, and an account of it. Raises RecipeError.

        A generator that plays from labels gets those chosen, then those that the text names in the taxonomy's words;
        one that reads gets the text as it stands, and no label changes what it plays.
        """
        words = prompt.strip()
        if not words:
            raise RecipeError("the prompt is empty", "type what the clip should be")
        if len(words) > LONGEST:
            raise RecipeError(f"the prompt has {len(words)} characters", f"{LONGEST} at most")
        taxonomy = self.recipe.labels
        if genre and genre not in taxonomy.genres:
            raise RecipeError(f"the recipe has no genre {genre!r}", f"it has: {', '.join(taxonomy.genre_names)}")
        said = named_genre(words, taxonomy)
        if not self.composes:
            return Prompt(words, words, genre or said or ""), [("text", words, "as typed")]
        origin = "chosen" if genre else "from the text"
        if not (genre := genre or said):
            known = ", ".join(taxonomy.genre_names)
            raise RecipeError("the prompt names no genre, and none is chosen", f"choose one: {known}")
        found = named(words, taxonomy, genre)
        used = [("genre", genre, origin)]
        labels: dict[str, Any] = {}
        for key, name in LABELS.items():
            picked = chosen.get(key) or None
            value = picked if picked is not None else found.get(key)
            if value:
                labels[key] = tuple(value) if key == "instruments" else value
                shown = ", ".join(value) if key == "instruments" else str(value)
                used.append((name, shown, "chosen" if picked is not None else "from the text"))
            else:
                used.append((name, "left open", "drawn by the seed"))
        return Prompt(text=words, description=words, genre=genre, **labels), used


LABELS = {
    "subgenre": "sub-genre", "mood": "mood", "instruments": "instruments", "tempo_bpm": "tempo", "key": "key",
    "vocals": "vocals",
}  # fmt: skip


def named_genre(words: str, taxonomy: Taxonomy) -> str | None:
    """The first genre that a text names, by name, tag or sub-genre."""
    names = {block.tag: name for name, block in taxonomy.genres.items()} | {name: name for name in taxonomy.genres}
    under = {sub: name for name, block in taxonomy.genres.items() for sub in block.subgenres}
    for known in (names, under):
        if found := _there(words, list(known)):
            return known[found[0]]
    return None


def named(words: str, taxonomy: Taxonomy, genre: str) -> dict[str, Any]:
    """The labels that a text asks for by the taxonomy's own words, longest names first."""
    block = taxonomy.genres[genre]
    found: dict[str, Any] = {}
    if subgenres := _there(words, list(block.subgenres)):
        found["subgenre"] = subgenres[0]
    if moods := _there(words, list(taxonomy.moods)):
        found["mood"] = moods[0]
    found["instruments"] = tuple(_there(words, list(taxonomy.instruments)))
    if (match := TEMPO.search(words)) and 30 <= int(match[1]) <= 300:
        found["tempo_bpm"] = int(match[1])
    if match := KEY.search(words):
        found["key"] = f"{match[1][0]}{FLATS.get(match[1][1:], match[1][1:])} {match[2]}"
    low = words.casefold()
    if re.search(r"\b(instrumental|no vocals|without vocals)\b", low):
        found["vocals"] = "instrumental"
    elif re.search(r"\b(vocals?|sung|singer|singing)\b", low):
        found["vocals"] = "with-vocals"
    return found


def _there(words: str, names: Sequence[str]) -> list[str]:
    """The names that stand in a text, in its order; a name within a longer one does not count."""
    rest = words.casefold()
    places: list[tuple[int, str]] = []
    for name in sorted(names, key=len, reverse=True):
        pattern = r"(?<!\w)" + re.escape(name.casefold()).replace("\\-", "[- ]") + r"s?(?!\w)"
        if match := re.search(pattern, rest):
            places.append((match.start(), name))
            rest = rest[: match.start()] + "\0" * (match.end() - match.start()) + rest[match.end() :]
    return [name for _, name in sorted(places)]
