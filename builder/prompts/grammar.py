"""Prompts from templates that are filled with words of the taxonomy.

Every choice depends on a SHA-2 digest of (seed, genre, index) alone. A clip's prompt is therefore the same on every
machine and Python, and does not change when a recipe asks for more clips.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha512
from typing import TYPE_CHECKING, Any, TypeVar

from ..clip import Prompt
from ..errors import RecipeError
from ..taxonomy import Genre, Subgenre, Taxonomy

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..settings import PromptSettings

T = TypeVar("T")

TEMPO_SHARE = 0.7  # of the descriptions give a tempo
KEY_SHARE = 0.4  # of the descriptions give a key
SINGLE_SHARE = 0.2  # of the descriptions are one sentence, the others two
CLIPS_PER_DESCRIPTION = 4  # if a genre's clips share descriptions more than this, it has too few words

KEYS = {  # every key; those that players favor twice
    "major": ("C", "C", "Db", "D", "D", "Eb", "E", "E", "F", "F", "F#", "G", "G", "Ab", "A", "A", "Bb", "Bb", "B"),
    "minor": ("C", "C", "C#", "D", "D", "Eb", "E", "E", "F", "F#", "F#", "G", "G", "G#", "A", "A", "Bb", "B", "B"),
}
_RHYTHM = (("drums",), ("bass",))
_SUNG = frozenset({"song", "single", "anthem"})  # nouns that imply a singer
_VOCALS = (
    "It has expressive lead vocals.",
    "The vocals are up front.",
    "A lead vocalist carries the melody.",
    "It is sung throughout.",
)

# [part] is left out if one of its slots is empty; [part|other] is then `other`. a(n) becomes a or an.
SINGLES = (
    "A(n) {mood}[ {instrumental}] {subgenre} {noun}[ in {key}][ at {tempo} BPM][ for {instruments}], with {word}.",
    "A(n) {mood}[ {instrumental}] {subgenre} {noun}[ at {tempo} BPM][ in {key}] that evokes {scene}"
    "[, played on {instruments}].",
    "{mood}[ {instrumental}] {subgenre} music[ in {key}][ at {tempo} BPM][ featuring {instruments}],"
    " with {production}.",
    "A(n) {mood}[ {instrumental}] {subgenre} {noun}[ at {tempo} BPM][ in {key}][ featuring {instruments}],"
    " built on {word}.",
    "[{instruments} in a(n)|A(n)] {mood}[ {instrumental}] {subgenre} {noun}[ at {tempo} BPM][ in {key}] with {word}.",
)
OPENINGS = (
    "A(n) {mood}[ {instrumental}] {subgenre} {noun}[ in {key}][ at {tempo} BPM] with {word}.",
    "A(n) {mood}[ {instrumental}] {subgenre} {noun}[ at {tempo} BPM][ in {key}], built on {word}.",
    "A(n) {mood}[ {instrumental}] {subgenre} {noun}[ in {key}][ at {tempo} BPM], shaped by {word}[ and {more}].",
    "A(n) [{instrumental} ]{subgenre} {noun}[ in {key}][ at {tempo} BPM] with a(n) {mood} mood and {word}.",
    "{mood}[ {instrumental}] {subgenre} music[ in {key}][ at {tempo} BPM], with {word}[ and {more}].",
    "[At {tempo} BPM, a(n)|A(n)] {mood}[ {instrumental}] {subgenre} {noun}[ in {key}] with {word}[ and {more}].",
    "A(n) [{instrumental} ]{subgenre} {noun}[ in {key}][ at {tempo} BPM]: {mood}, with {word}[ and {more}].",
    "This[ {instrumental}] {subgenre} {noun} is {mood}[, set in {key}][, moving at {tempo} BPM]"
    " and built around {word}.",
)
CLOSINGS = (
    "It evokes {scene}[, with {instruments} out front].",
    "[Played on {instruments}, it|It] would suit {scene}.",
    "[{instruments} carry the arrangement, with|The arrangement has] {production}.",
    "[The line-up is {instruments}, with|It has] {production}.",
    "[It is played on {instruments} with|It has] {production} and brings {scene} to mind.",
    "Think of {scene}[, with {instruments} at the center].",
    "[{instruments} conjure up|It conjures up] {scene}.",
    "[{instruments} paint a picture of {scene},|It paints a picture of {scene},] with {production}.",
    "[It features {instruments}, along with|It comes with] {production}.",
    "[Led by {instruments}, it|It] feels like {scene}.",
    "[Arranged for {instruments}, it|It] could be the soundtrack to {scene}.",
    "[It blends {instruments} with|It has] {production}.",
)


@dataclass(frozen=True, slots=True)
class Wording:
    """How one clip's prompt is worded: the values that the recipe gives to it."""

    strategy: str
    vocals: str
    instrumentation: bool


def choose_wording(settings: PromptSettings, genre: str, index: int) -> Wording:
    """Choose the values of a clip where the recipe lists several, which get equal shares of each genre's clips.

    Args:
        settings: The recipe's section `prompts`.
        genre: The name of the clip's genre.
        index: Number of the clip in its genre, from 0.
    """

    def choose(key: str) -> Any:
        value = getattr(settings, key)
        return _deal(value, index, settings.seed, genre, key)[0] if isinstance(value, tuple) else value

    return Wording(choose("strategy"), choose("vocals"), choose("instrumentation"))


def generate_prompts(recipe: Recipe) -> Iterator[Prompt]:
    """Generate the prompts of a recipe, genre by genre in the taxonomy's order.

    Raises:
        RecipeError: If a genre has too few words: more than four clips for each distinct description.
    """
    taxonomy, settings = recipe.labels, recipe.prompts
    for name, count in count_clips(recipe).items():
        seen: set[str] = set()
        for index in range(count):
            prompt = compose_prompt(taxonomy, taxonomy.genres[name], settings, index)
            seen.add(prompt.description)
            if index + 1 > CLIPS_PER_DESCRIPTION * len(seen):
                raise RecipeError(
                    f"prompts: genre {name!r} is asked for {count} clips, but its words supply about {index}"
                    f" ({len(seen)} distinct descriptions, {CLIPS_PER_DESCRIPTION} clips each)",
                    "ask for fewer clips, or add sub-genres, words, scenes or productions to the genre's block",
                )
            yield prompt


def count_clips(recipe: Recipe) -> dict[str, int]:
    """Count the clips of each genre, in the taxonomy's order. They differ by one clip at most."""
    names, settings = recipe.labels.genre_names, recipe.prompts
    if settings.per_genre is not None:
        return dict.fromkeys(names, settings.per_genre)
    each, rest = divmod(settings.total or 0, len(names))
    return {name: each + (place < rest) for place, name in enumerate(names)}


def add_genre(strategy: str, tag: str, description: str) -> str:
    """Write a generator's input: a description with its genre in front.

    Args:
        strategy: "template" is `A {genre-tag} track. {track-description}` of arXiv 2311.09094, "repeat" names the
            genre twice, as arXiv 2407.02156 does, "tags" writes the genre as the first of several tags.
        tag: The genre as prompts write it: "Hip-Hop".
        description: Of the clip.
    """
    prefix = {"template": with_articles(f"A(n) {tag} track."), "repeat": f"{tag} {tag}", "tags": f"{tag},"}[strategy]
    return f"{prefix} {description}"


def compose_prompt(taxonomy: Taxonomy, genre: Genre, settings: PromptSettings, index: int) -> Prompt:
    """Compose the prompt of one clip. It does not depend on other clips.

    Args:
        taxonomy: The taxonomy.
        genre: The genre of the clip.
        settings: The recipe's section `prompts`: the seed, the strategy, vocals and more.
        index: Number of the clip in its genre, from 0.

    Returns:
        The prompt: its text, its description, and the labels that it states.
    """
    wording = choose_wording(settings, genre.name, index)
    subgenre = _deal(tuple(genre.subgenres), index, settings.seed, genre.name)[0]
    turn = index // len(genre.subgenres)  # how often the sub-genre had its turn before
    place = (settings.seed, genre.name, subgenre)
    rolls = _rolls(*place, turn)
    slots = _slots(taxonomy, genre, wording, turn, place, rolls)
    size = 2 + int(3 * rolls[0])
    instruments = _ensemble(taxonomy, genre.subgenres[subgenre], wording, turn, size, place)
    slots["instruments"] = _listed(instruments)
    if wording.strategy == "tags":
        description = _tags(slots, instruments, wording.vocals)
    else:
        groups = (SINGLES,) if rolls[1] < SINGLE_SHARE else (OPENINGS, CLOSINGS)
        sentences = [_fill(_pick(group, roll), slots) for group, roll in zip(groups, rolls[2:4], strict=False)]
        if wording.vocals == "with-vocals":
            sentences.append(_pick(_VOCALS, rolls[4]))
        description = " ".join(sentences)
    return Prompt(
        text=add_genre(wording.strategy, genre.tag, description),
        description=description,
        genre=genre.name,
        subgenre=subgenre,
        mood=slots["mood"],
        instruments=instruments,
        tempo_bpm=int(slots["tempo"]) if slots["tempo"] else None,
        key=slots["key"] or None,
        vocals=wording.vocals,
    )


def derive_seed(*place: object) -> int:
    """Derive a seed in [0, 2**63) from some values, the same on every machine."""
    return int.from_bytes(_digest(*place)[:8], "big") >> 1


def _slots(
    taxonomy: Taxonomy,
    genre: Genre,
    wording: Wording,
    turn: int,
    place: tuple[int, str, str],
    rolls: Sequence[float],
) -> dict[str, str]:
    """Choose what fills the templates' slots, except the instruments; "" for what the text does not mention."""
    name = place[-1]
    subgenre = genre.subgenres[name]
    instrumental = wording.vocals == "instrumental"
    nouns = tuple(word for word in genre.nouns if not (instrumental and word in _SUNG)) or ("piece",)
    used = set(_stems(name))

    def unlike(options: Sequence[str]) -> str:
        """Return the first option that repeats no word of the text so far."""
        chosen = next((option for option in options if not _stems(option) & used), options[0])
        used.update(_stems(chosen))
        return chosen

    mood = unlike(_deal(subgenre.moods or genre.moods, turn, *place, "mood"))
    word = unlike(_deal(subgenre.words, turn, *place, "word"))
    more = unlike(_turned(subgenre.words, rolls[5]))
    low, high = subgenre.tempo
    mode = taxonomy.moods[mood].mode
    return {
        "mood": mood,
        "subgenre": name,
        "instrumental": "instrumental" if instrumental else "",
        "tempo": str(low + int(rolls[6] * (high - low + 1))) if rolls[7] < TEMPO_SHARE else "",
        "key": f"{_pick(KEYS[mode], rolls[8])} {mode}" if rolls[9] < KEY_SHARE else "",
        "word": word,
        "more": "" if more == word or " and " in word + more else more,
        "noun": unlike(_turned(nouns, rolls[10])),
        "production": unlike(_turned(genre.productions, rolls[11])),
        "scene": unlike(_turned(genre.scenes, rolls[12])),
    }


def _ensemble(
    taxonomy: Taxonomy, subgenre: Subgenre, wording: Wording, turn: int, size: int, place: tuple[object, ...]
) -> tuple[str, ...]:
    """Choose two to four instruments of the sub-genre's line-up, in its order.

    There is at most one drum kit and one bass, and never these two alone. Instrumental music has no voices.
    """
    if not wording.instrumentation:
        return ()
    voiceless = wording.vocals == "instrumental"
    line_up = tuple(n for n in subgenre.instruments if not (voiceless and taxonomy.instruments[n].is_voice))
    if len(line_up) < 2:
        return ()
    chosen: dict[str, tuple[str, ...]] = {}
    for name in (_deal(line_up, turn, *place, "first")[0], *_shuffled(line_up, *place, "ensemble", turn)):
        roles = taxonomy.instruments[name].roles
        rhythm = [other for other in chosen.values() if other in _RHYTHM]
        fits = roles not in _RHYTHM or (roles not in rhythm and len(rhythm) < size - 1)
        if len(chosen) < size and fits:
            chosen[name] = roles
    return tuple(name for name in line_up if name in chosen) if len(chosen) > 1 else ()


def _tags(slots: dict[str, str], instruments: tuple[str, ...], vocals: str) -> str:
    word, production = (re.sub(r"^(an?|the) ", "", slots[slot]).replace(",", "") for slot in ("word", "production"))
    tempo = f"{slots['tempo']} BPM" if slots["tempo"] else ""
    voice = {"instrumental": "instrumental", "with-vocals": "vocals"}.get(vocals, "")
    tags = (slots["subgenre"], slots["mood"], *instruments, word, production, tempo, slots["key"], voice)
    return ", ".join(tag for tag in tags if tag)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    return ", ".join(names[:-1]) + (", and " if len(names) > 2 else " and ") + names[-1]


_OPTION = re.compile(r"\[([^\]|]*)(?:\|([^\]]*))?\]")
_SLOT = re.compile(r"{(\w+)}")


def _fill(template: str, slots: dict[str, str]) -> str:
    def option(match: re.Match[str]) -> str:
        part, other = match.groups()
        return part if all(slots[slot] for slot in _SLOT.findall(part)) else other or ""

    text = with_articles(_SLOT.sub(lambda match: slots[match[1]], _OPTION.sub(option, template)))
    return text[0].upper() + text[1:]


def with_articles(text: str) -> str:
    """Replace `a(n) X` by `a X` or `an X`, as X begins with a consonant or a vowel sound."""
    return re.sub(r"\b([Aa])\(n\) (\S+)", lambda m: f"{m[1]}{'n' if _is_open(m[2]) else ''} {m[2]}", text)


def _is_open(word: str) -> bool:
    """Return whether a word begins with a vowel sound: uplifting, R&B, 808; not euphoric, UK, one-chord."""
    if re.match(r"(eu|uk|uni(?!n)|us[aei]|one\b|one-|once)", word, re.IGNORECASE):
        return False
    spelled = re.match(r"[FHLMNRSX](?![a-z])(?![A-Z]*[AEIOU])", word)  # read letter by letter
    return bool(spelled or re.match(r"([aeiou]|8|11\b|18\b|hour|honest)", word, re.IGNORECASE))


@lru_cache(maxsize=65536)
def _stems(phrase: str) -> frozenset[str]:
    """Return the words of a phrase that should not be repeated."""
    return frozenset(word.rstrip("s") for word in re.findall(r"[a-z]{3,}", phrase.lower())) - {"the", "and", "with"}


def _turned(options: Sequence[T], roll: float) -> Sequence[T]:
    start = int(roll * len(options))
    return (*options[start:], *options[:start])


def _pick(options: Sequence[T], roll: float) -> T:
    return options[int(roll * len(options))]


def _digest(*place: object) -> bytes:
    return sha512("\x1f".join(map(str, place)).encode()).digest()


def _rolls(*place: object) -> tuple[float, ...]:
    """Derive sixteen numbers in [0, 1) from some values."""
    return tuple(word / 2**32 for word in struct.unpack(">16I", _digest(*place)))


def _deal(options: tuple[T, ...], index: int, *place: object) -> tuple[T, ...]:
    """Deal cards from shuffled decks, each option once in a deck: return card `index`, then the rest of its deck."""
    deck, card = divmod(index, len(options))
    cards = _shuffled(options, *place, deck)
    return (*cards[card:], *cards[:card])


@lru_cache(maxsize=4096)
def _shuffled(options: tuple[T, ...], *place: object) -> tuple[T, ...]:
    order = sorted(range(len(options)), key=lambda card: _digest(*place, card))
    return tuple(options[card] for card in order)
