"""Style data: the keys of a sub-genre's `style:` block, and the vocabulary of named elements that it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ...errors import RecipeError
from ...io.safe_files import read_yaml
from ...names import format_count
from ...taxonomy import Taxonomy
from ...validation import Section
from .pattern import Pattern, parse_steps
from .theory import parse_numeral

FOLDER = Path(__file__).parent / "vocabulary"
PARTS = ("drums", "bass", "chords", "pad", "lead", "voice")
DRUM_SYMBOLS, BASS_SYMBOLS, COMP_SYMBOLS, MELODY_SYMBOLS = "xXo23", "12345678awx", "xXotbd0123456789", "x"

Share = Annotated[float, Field(ge=0.0, le=1.0, strict=False)]
Decibels = Annotated[float, Field(ge=-12.0, le=12.0, strict=False)]


def _in_order(span: tuple[float, float]) -> tuple[float, float]:
    """Refuse a range with the highest value first."""
    if span[0] > span[1]:
        raise ValueError("a range is written lowest first")
    return span


ShareRange = Annotated[tuple[Share, Share], Field(strict=False), AfterValidator(_in_order)]
DecibelRange = Annotated[tuple[Decibels, Decibels], Field(strict=False), AfterValidator(_in_order)]


def _as_weights(value: object) -> object:
    """Give the names of a plain list equal weights."""
    return dict.fromkeys(value, 1.0) if isinstance(value, list | tuple) else value


Weight = Annotated[float, Field(gt=0.0, strict=False)]
Choices = Annotated[dict[str, Weight], BeforeValidator(_as_weights), Field(min_length=1)]


class _Rhythmic(Section):
    """An element with step strings."""

    beats: int = Field(default=4, ge=1, le=12)  # of a bar; of a fill, its length


class Groove(_Rhythmic):
    """A drum pattern: a step string for each drum. `X` accent, `x` hit, `o` ghost note, `2` and `3` strokes a step."""

    voices: dict[str, str] = Field(min_length=1)

    @model_validator(mode="after")
    def _readable(self) -> Groove:
        for name, steps in self.voices.items():
            try:
                parse_steps(steps, self.beats, DRUM_SYMBOLS)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self


class _Stepped(_Rhythmic):
    """An element with one step string."""

    steps: str
    gate: float = Field(default=0.9, gt=0.0, le=1.2, strict=False)  # the share of a note's length that sounds


class Bassline(_Stepped):
    """A bass line: `1` to `8` are scale degrees over the chord's root (3, 5 and 7 are chord tones), `a` approaches the
    next root, `w` walks towards it, `x` is a dead note."""

    @field_validator("steps")
    @classmethod
    def _readable(cls, steps: str, info: ValidationInfo) -> str:
        parse_steps(steps, info.data.get("beats", 4), BASS_SYMBOLS)
        return steps


class Comping(_Stepped):
    """A pattern of chords: `x` all voices (`X` accented, `o` muted), `t` the upper ones, `b` the root below, `d` the
    fifth below, `0` to `9` one voice, counted from the lowest."""

    strum: float = Field(default=0.0, ge=0.0, le=0.2, strict=False)  # seconds from the first to the last voice
    voices: int = Field(default=3, ge=2, le=5)
    octave: int = Field(default=0, ge=-2, le=2)
    shape: Literal["close", "open", "root", "power", "shell"] = "close"

    @field_validator("steps")
    @classmethod
    def _readable(cls, steps: str, info: ValidationInfo) -> str:
        parse_steps(steps, info.data.get("beats", 4), COMP_SYMBOLS)
        return steps


class Melody(_Rhythmic):
    """A kind of melody: rhythms of one bar, and the order in which a phrase repeats its ideas (`.` is a rest)."""

    rhythms: tuple[str, ...] = Field(min_length=1, strict=False)
    phrases: tuple[Annotated[str, Field(pattern=r"^[A-D.]{1,8}$")], ...] = Field(min_length=1, strict=False)
    scale: Literal["key", "pentatonic", "blues", "chord"] = "key"
    leap: Share = 0.2  # how likely a step is a leap
    ostinato: bool = False  # ideas repeat on the same pitches, whatever the chord
    gate: float = Field(default=0.9, gt=0.0, le=1.2, strict=False)

    @model_validator(mode="after")
    def _readable(self) -> Melody:
        for rhythm in self.rhythms:
            if len(parse_steps(rhythm, self.beats, MELODY_SYMBOLS)) > 1:
                raise ValueError("a melody's rhythm is one bar")
        return self


class Progression(Section):
    """Chords as Roman numerals, `|` between bars: "ii7 V7 | Imaj7"."""

    mode: Literal["major", "minor"]
    bars: str

    @field_validator("bars")
    @classmethod
    def _readable(cls, bars: str) -> str:
        for bar in bars.split("|"):
            if not bar.split():
                raise ValueError("a bar has no chord")
            for numeral in bar.split():
                parse_numeral(numeral)
        return bars


def _are_parts(names: Iterable[str]) -> Iterable[str]:
    """Refuse names that are not in PARTS."""
    if unknown := [name for name in names if name not in PARTS]:
        raise ValueError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


Parts = Annotated[tuple[str, ...], Field(min_length=1, strict=False), AfterValidator(_are_parts)]


class FormSection(Section):
    """A section of a clip: its share of the bars, and the parts that play in it."""

    share: Share
    parts: Parts = PARTS


class Envelope(Section):
    """The envelope of instruments, and their usual range."""

    programs: tuple[int, int] = Field(strict=False)  # General-MIDI programs, first and last
    range: tuple[int, int] = Field(strict=False)  # MIDI pitches
    attack: float = Field(default=0.0, ge=0.0, strict=False)  # seconds
    decay: float | None = Field(default=None, gt=0.0, strict=False)  # seconds to -60 dB at middle C; None: sustained
    damping: float = Field(default=1.0, ge=1.0, strict=False)  # how much faster the treble decays
    release: float = Field(default=0.12, gt=0.0, strict=False)  # seconds


class DrumSound(Section):
    """The sound of a drum."""

    key: int = Field(ge=0, le=127)  # General MIDI
    decay: float = Field(default=0.5, gt=0.0, strict=False)  # seconds to -60 dB
    level: float = Field(default=0.0, strict=False)  # dB
    choked: bool = False  # the next step of the pattern stops it, like a closing hi-hat


class Style(Section):
    """What the arranger plays in a sub-genre. Lists have names of the vocabulary, or names with weights."""

    metre: int = Field(default=4, ge=2, le=12)  # beats a bar
    swing: ShareRange = (0.0, 0.0)  # lowest and highest; 0 straight, 1 triplets
    swing_grid: Literal[8, 16] = 8
    looseness: Share = 0.3  # of the timing: 0 exact, 1 standard deviation of 14 ms
    minor: Share = 0.5  # probability of a minor key, where neither key nor mood is given
    harmony: Choices = {"triads": 1.0}
    grooves: Choices
    fills: Choices = {"none": 1.0}
    percussion: Choices = {"none": 1.0}  # grooves played along with the kit
    basslines: Choices
    comping: Choices
    pads: Choices = {"pad-held": 1.0}
    melodies: Choices
    vocals: Choices = {"vocal-lines": 1.0}
    progressions: Choices
    forms: Choices = {"straight": 1.0}
    kits: Annotated[dict[int, Weight], BeforeValidator(_as_weights)] = {}  # in place of the standard kit
    parts: Annotated[
        dict[str, Share], AfterValidator(_are_parts)
    ] = {}  # probability of each part, where the prompt names no instrument for it
    levels: Annotated[dict[str, Decibels], AfterValidator(_are_parts)] = {}  # dB, added to the usual balance
    tilt: DecibelRange = (-0.5, 0.5)  # dB per octave: dark to bright
    shelf: DecibelRange = (-2.0, 2.0)  # dB below 150 Hz
    room: ShareRange = (0.1, 0.5)  # reverberation: dry to cathedral
    drive: ShareRange = (0.0, 0.1)  # saturation
    pump: ShareRange = (0.0, 0.0)  # how much the kick drum lowers the other instruments
    echo: Share = 0.0  # probability that leads and chords get an echo

    @field_validator("harmony")
    @classmethod
    def _harmonies(cls, harmony: dict[str, float]) -> dict[str, float]:
        known = ("fifths", "triads", "sevenths", "ninths", "dominants")
        if unknown := [name for name in harmony if name not in known]:
            raise ValueError(f"{', '.join(unknown)} unknown; known: {', '.join(known)}")
        return harmony


Element = TypeVar("Element", bound=Section)


@dataclass(frozen=True)
class Vocabulary:
    """The named elements that styles refer to, with one YAML file for each kind."""

    grooves: dict[str, Groove]
    fills: dict[str, Groove]
    basslines: dict[str, Bassline]
    comping: dict[str, Comping]
    melodies: dict[str, Melody]
    progressions: dict[str, Progression]
    forms: dict[str, tuple[FormSection, ...]]
    drums: dict[str, DrumSound]
    envelopes: tuple[Envelope, ...]

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Vocabulary:
        """Read and validate the shipped vocabulary. Raises RecipeError that lists every fault."""
        faults: list[str] = []

        def table(name: str, kind: type[Element]) -> dict[str, Element]:
            path = FOLDER / f"{name}.yaml"
            return {
                key: element
                for key, value in read_yaml(path).items()
                if (element := _validate(kind, value, f"{name}.{key}", faults))
            }

        forms = {
            name: tuple(
                section for part in parts if (section := _validate(FormSection, part, f"forms.{name}", faults))
            )
            for name, parts in read_yaml(FOLDER / "forms.yaml").items()
        }
        vocabulary = cls(
            grooves=table("grooves", Groove),
            fills=table("fills", Groove),
            basslines=table("basslines", Bassline),
            comping=table("comping", Comping),
            melodies=table("melodies", Melody),
            progressions=table("progressions", Progression),
            forms=forms,
            drums=table("drums", DrumSound),
            envelopes=tuple(table("envelopes", Envelope).values()),
        )
        for kind in ("grooves", "fills"):
            for name, groove in getattr(vocabulary, kind).items():
                if unknown := sorted(set(groove.voices) - set(vocabulary.drums)):
                    faults.append(f"{kind}.{name}: no drum is called {', '.join(unknown)}")
        if faults:
            raise RecipeError(
                f"{FOLDER}: {format_count(len(faults), 'problem')}\n" + "\n".join(f"  - {fault}" for fault in faults)
            )
        return vocabulary

    def envelope(self, program: int) -> Envelope:
        """The envelope of a General-MIDI program."""
        return next(item for item in self.envelopes if item.programs[0] <= program <= item.programs[1])


def _validate(kind: type[Element], value: object, where: str, faults: list[str]) -> Element | None:
    """The value as an element; None, with its faults added to `faults`, if it is not valid."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults += _lines(error, where)
        return None


def _lines(error: ValidationError, where: str) -> Iterable[str]:
    """One line for each of pydantic's errors."""
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join([where, *(str(part) for part in item["loc"])])
        yield f"{path}: {str(item['msg']).removeprefix('Value error, ')}"


# A style's lists -> the vocabulary's table that they name.
_REFERENCES = {
    "grooves": "grooves",
    "fills": "fills",
    "percussion": "grooves",
    "basslines": "basslines",
    "comping": "comping",
    "pads": "comping",
    "melodies": "melodies",
    "vocals": "melodies",
    "progressions": "progressions",
    "forms": "forms",
}


def read_styles(taxonomy: Taxonomy, vocabulary: Vocabulary) -> dict[tuple[str, str], Style]:
    """The style of each (genre, sub-genre) of a taxonomy. Raises RecipeError that lists every fault."""
    styles: dict[tuple[str, str], Style] = {}
    faults: list[str] = []
    for genre, block in taxonomy.genres.items():
        for name, subgenre in block.subgenres.items():
            where = f"genres.{genre}.subgenres.{name}.style"
            if not subgenre.style:
                faults.append(f"{where}: missing; the arranger plays from it")
                continue
            style = _validate(Style, subgenre.style, where, faults)
            if style is not None:
                styles[genre, name] = style
                faults += [f"{where}.{fault}" for fault in _dangling(style, vocabulary)]
    if faults:
        raise RecipeError(
            f"taxonomy {taxonomy.name!r}: {format_count(len(faults), 'problem')} in the arranger's style data\n"
            + "\n".join(f"  - {fault}" for fault in faults),
            f"correct the genre's style block; the elements that it may name are in {FOLDER}",
        )
    return styles


def _dangling(style: Style, vocabulary: Vocabulary) -> Iterable[str]:
    """The faults of a style's references: elements that do not exist, or have another metre or no such mode."""
    for kind, table_name in _REFERENCES.items():
        table: Mapping[str, Section] = getattr(vocabulary, table_name)
        for name in getattr(style, kind):
            if name not in table:
                if name != "none" or kind not in ("fills", "percussion"):
                    yield f"{kind}: there is no {name!r} in {table_name}.yaml"
            elif kind != "fills" and (beats := getattr(table[name], "beats", style.metre)) != style.metre:
                yield f"{kind}: {name!r} has {beats} beats a bar, the style has {style.metre}"
    modes = {vocabulary.progressions[name].mode for name in style.progressions if name in vocabulary.progressions}
    for mode in sorted({"major", "minor"} - modes):
        yield f"progressions: none of them is {mode}, and a prompt may ask for a {mode} key"


def parse_pattern(element: Bassline | Comping) -> Pattern:
    """Read the step string of a bass line or a comping pattern."""
    return parse_steps(element.steps, element.beats, BASS_SYMBOLS if isinstance(element, Bassline) else COMP_SYMBOLS)
