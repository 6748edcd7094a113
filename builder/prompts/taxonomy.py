"""Genres as data: what there is to ask for, in which words, and how the arranger plays it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..errors import RecipeError
from ..resources import find, read_yaml
from ..validation import Section, validate

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 &'-]*$", max_length=64)]
Words = tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]
Role = Literal["drums", "bass", "chords", "lead", "pad"]


def _words(least: int) -> Any:
    return Field(min_length=least, strict=False)


class Instrument(Section):
    """A named instrument: what it does in an arrangement, and its General-MIDI sound."""

    roles: tuple[Role, ...] = _words(1)
    program: int = Field(default=0, ge=0, le=127)  # General-MIDI program, or the kit where the role is drums


class Mood(Section):
    """A mood: the mode it asks for and how it colours the playing."""

    mode: Literal["major", "minor"]
    register_shift: int = Field(default=0, ge=-12, le=12)  # semitones
    density: float = Field(default=0.5, ge=0.0, le=1.0, strict=False)  # 0 sparse .. 1 busy


class Subgenre(Section):
    """A sub-genre: its tempi, the instruments it is played on, its words, and the arranger's style data."""

    tempo: tuple[int, int] = Field(strict=False)  # beats per minute, lowest and highest
    instruments: tuple[Name, ...] = _words(3)  # typical line-up, most typical first
    words: Words = _words(2)  # phrases that only fit here: "palm-muted riffs"
    style: dict[str, Any] = {}  # read by the arranger (builder/generators/arranger/style.py); others ignore it

    @model_validator(mode="after")
    def _ordered(self) -> Subgenre:
        low, high = self.tempo
        if not 30 <= low <= high <= 300:
            raise ValueError("tempo must be [low, high] with 30 <= low <= high <= 300 beats per minute")
        return self


class Genre(Section):
    """A genre: one block of a taxonomy."""

    name: Name  # the label
    tag: str = Field(min_length=1, max_length=64)  # as prompts write it: "Hip-Hop"
    subgenres: dict[Name, Subgenre] = Field(min_length=1)
    instruments: tuple[Name, ...] = _words(3)
    moods: tuple[Name, ...] = _words(1)
    productions: Words = _words(3)  # "dry close-miked drums"
    scenes: Words = _words(3)  # "a smoky basement club"


class Taxonomy(Section):
    """The genres of a corpus with the tables of instruments and moods that they draw on."""

    name: Name
    genres: dict[Name, Genre]
    instruments: dict[Name, Instrument]
    moods: dict[Name, Mood]
