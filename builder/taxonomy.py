"""Taxonomies: the genres, moods and instruments that prompts ask for, and the words for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .errors import RecipeError
from .io.safe_files import read_yaml
from .io.storage import is_file
from .validation import Section, faults_error, match_pattern, suggest, try_validate, validate

SHIPPED = Path(__file__).parent / "taxonomies"

Label = Annotated[
    str, match_pattern(r"^[a-z0-9][a-z0-9_-]*$", "lower-case letters, digits, `_`, `-`"), Field(max_length=64)
]
Name = Annotated[
    str,
    match_pattern(
        r"^[A-Za-z0-9]([A-Za-z0-9 &'-]*[A-Za-z0-9])?$", "letters and digits, and between them spaces, `&`, `'`, `-`"
    ),
    Field(max_length=64),
]  # as prompts write it
Phrase = Annotated[
    str,
    match_pattern(
        r"^([^\s{}]+ )*[^\s{}]*[^\s{}.!?,;:]$", "words with single spaces, without braces and end punctuation"
    ),
    Field(max_length=200),
]  # fits inside a sentence
Role = Literal["drums", "bass", "chords", "lead", "pad"]

_VOICES = range(52, 55)  # General-MIDI programs: choir aahs, voice oohs, synth voice


def _least(count: int) -> Any:
    return Field(min_length=count, strict=False)


class Instrument(Section):
    """An instrument: its roles in an arrangement, and its General-MIDI sound."""

    roles: tuple[Role, ...] = _least(1)
    program: int = Field(default=0, ge=0, le=127)  # General-MIDI program, or the kit where the role is drums

    @property
    def is_voice(self) -> bool:
        """Whether it is a voice, which instrumental music does not have."""
        return "drums" not in self.roles and self.program in _VOICES


class Mood(Section):
    """A mood, named by an adjective: its mode, and how it changes the playing."""

    mode: Literal["major", "minor"]
    register_shift: int = Field(default=0, ge=-12, le=12)  # semitones
    density: float = Field(default=0.5, ge=0.0, le=1.0, strict=False)  # 0 sparse .. 1 busy


class Subgenre(Section):
    """A sub-genre: its tempi, the instruments it is played on, its words, and the arranger's style data."""

    tempo: tuple[int, int] = Field(strict=False)  # beats per minute, lowest and highest
    instruments: tuple[Name, ...] = _least(3)  # the usual line-up, the most typical first
    moods: tuple[Name, ...] = Field(default=(), strict=False)  # those of the genre that suit it. Default: all
    words: tuple[Phrase, ...] = _least(2)  # noun phrases that only fit here: "palm-muted riffs"
    style: dict[str, Any] = {}  # for the arranger (builder/generators/arranger/style.py)

    @model_validator(mode="after")
    def _ordered(self) -> Subgenre:
        low, high = self.tempo
        if not 30 <= low <= high <= 300:
            raise ValueError("tempo must be [low, high] with 30 <= low <= high <= 300 beats per minute")
        return self


class Genre(Section):
    """A genre: one block of a taxonomy."""

    name: Label
    tag: Phrase = Field(min_length=1, max_length=64)  # as prompts write it: "Hip-Hop"
    nouns: tuple[Phrase, ...] = Field(default=("tune", "piece", "number"), min_length=1, strict=False)
    subgenres: dict[Name, Subgenre] = Field(min_length=1)
    instruments: tuple[Name, ...] = _least(3)
    moods: tuple[Name, ...] = _least(1)
    productions: tuple[Phrase, ...] = _least(3)  # after "with": "warm tape saturation"
    scenes: tuple[Phrase, ...] = _least(3)  # after "it evokes": "a smoky basement club"


class Taxonomy(Section):
    """The genres of a corpus, with their instruments and moods."""

    name: Label
    genres: dict[Label, Genre]
    instruments: dict[Name, Instrument]
    moods: dict[Name, Mood]

    @cached_property
    def genre_names(self) -> list[str]:
        """The genres, in the taxonomy's order: the names of the `genre` label."""
        return list(self.genres)

    @cached_property
    def mood_names(self) -> list[str]:
        """Every mood of its genres, sorted: the names of the `mood` label."""
        return sorted({mood for genre in self.genres.values() for mood in genre.moods})

    @cached_property
    def instrument_names(self) -> list[str]:
        """Every instrument of its genres, sorted: the names of the `instruments` label."""
        return sorted({name for genre in self.genres.values() for name in genre.instruments})

    @classmethod
    def load(cls, name_or_path: str | Path, folder: Path = Path()) -> Taxonomy:
        """Read a taxonomy.

        Args:
            name_or_path: The name of a shipped one, or a YAML file.
            folder: Where a relative path starts.

        Raises:
            RecipeError: That lists every fault of the file and of its genres.
        """
        file = find_taxonomy(str(name_or_path), folder)
        outline = validate(_Outline, read_yaml(file), str(file))
        common = _shipped_tables()
        tables = _Tables(
            instruments=common.instruments | outline.instruments,
            moods=common.moods | outline.moods,
        )
        genres: dict[str, Genre] = {}
        faults: list[str] = []
        for place, entry in enumerate(outline.genres):
            genre = _read_genre(entry)
            if isinstance(genre, list):
                faults += [f"genres.{place}: {fault}" for fault in genre]
                continue
            if genre.name in genres:
                faults.append(f"genres.{place}: genre {genre.name!r} is there twice")
            faults += [f"genre {genre.name}: {fault}" for fault in _cross_check(genre, tables)]
            genres[genre.name] = genre
        faults += [f"tag {tag!r} belongs to two genres" for tag in _repeated(g.tag.lower() for g in genres.values())]
        if faults:
            raise faults_error(str(file), faults)
        used = {name for genre in genres.values() for name in (*genre.instruments, *genre.moods)}
        return cls(
            name=outline.name,
            genres=genres,
            # Only what a genre uses, so that a new instrument elsewhere does not change a recipe's fingerprint.
            instruments={name: item for name, item in tables.instruments.items() if name in used},
            moods={name: item for name, item in tables.moods.items() if name in used},
        )


class _Tables(Section):
    """Tables of instruments and moods, as common.yaml holds them."""

    instruments: dict[Name, Instrument] = {}
    moods: dict[Name, Mood] = {}


@cache
def _shipped_tables() -> _Tables:
    return validate(_Tables, read_yaml(SHIPPED / "common.yaml"), "common.yaml")


class _Outline(_Tables):
    """A taxonomy file. Its genres are names of shipped ones, or mappings."""

    name: Label
    genres: tuple[str | dict[str, Any], ...] = _least(1)


def find_taxonomy(name: str, folder: Path) -> Path:
    """Return the file of a taxonomy: a shipped one, else a path that starts at `folder`. Raises RecipeError."""
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml") if path.stem != "common")
    if name in shipped:
        return SHIPPED / f"{name}.yaml"
    if is_file(folder / name):
        return folder / name
    raise RecipeError(
        f"taxonomy: no shipped taxonomy and no file {name!r} in {folder.resolve()}{suggest(name, shipped)}",
        f"use one of {', '.join(shipped)}, or the path of a YAML file",
    )


def _read_genre(entry: str | dict[str, Any]) -> Genre | list[str]:
    """Return the genre that an entry of `genres` names or holds, or its faults."""
    if isinstance(entry, dict):
        return try_validate(Genre, entry)
    shipped = sorted(path.stem for path in (SHIPPED / "genres").glob("*.yaml"))
    if entry not in shipped:
        return [f"unknown genre {entry!r}{suggest(entry, shipped)}. Shipped: {', '.join(shipped)}"]
    return _shipped_genre(entry)


@cache
def _shipped_genre(name: str) -> Genre | list[str]:
    return try_validate(Genre, read_yaml(SHIPPED / "genres" / f"{name}.yaml"))


def _cross_check(genre: Genre, tables: _Tables) -> Iterator[str]:
    """Describe what the fields alone do not show: unknown names, and names that are there twice."""
    lists: dict[str, tuple[str, ...]] = {
        "nouns": genre.nouns,
        "instruments": genre.instruments,
        "moods": genre.moods,
        "productions": genre.productions,
        "scenes": genre.scenes,
    }
    yield from _unknown("instruments", genre.instruments, tables.instruments, "the table of instruments")
    yield from _unknown("moods", genre.moods, tables.moods, "the table of moods")
    for name, subgenre in genre.subgenres.items():
        path = f"subgenres.{name}"
        lists |= {f"{path}.{key}": getattr(subgenre, key) for key in ("instruments", "moods", "words")}
        yield from _unknown(f"{path}.instruments", subgenre.instruments, genre.instruments, "the genre's instruments")
        yield from _unknown(f"{path}.moods", subgenre.moods, genre.moods, "the genre's moods")
    for path, names in lists.items():
        yield from (f"{path}: {name!r} is there twice" for name in _repeated(names))


def _unknown(path: str, names: Iterable[str], known: Iterable[str], place: str) -> Iterator[str]:
    known = dict.fromkeys(known)
    return (f"{path}: {name!r} is not in {place}{suggest(name, known)}" for name in names if name not in known)


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
