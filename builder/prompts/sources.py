"""Prompts from a file of descriptions: CSV, TSV, or the JSONL of a chat model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from ..clip import Prompt
from ..errors import RecipeError
from ..io.tables import read_rows
from ..taxonomy import Taxonomy
from ..validation import MAX_FAULTS, Section, faults_error, match_pattern, suggest, try_validate
from . import grammar
from .conflicts import find_conflicts

if TYPE_CHECKING:
    from ..recipe import Recipe

log = logging.getLogger(__name__)

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]

REQUIRED = ("genre", "description")
MAX_COUNTED_FAULTS = 1_000  # then reading stops: describing a million would take hours

_VOICE = {"unspecified": "", "instrumental": " Instrumental, no vocals.", "with-vocals": " With lead vocals."}


class Description(Section):
    """A row of a file of descriptions. Its text may ask for more than its columns label (see `conflicts`)."""

    genre: str  # a genre's name or tag
    description: Text
    subgenre: str | None = None
    mood: str | None = None
    instruments: tuple[str, ...] = Field(default=(), strict=False)  # in CSV: separated by ;
    tempo_bpm: int | None = Field(default=None, ge=30, le=300)
    key: Annotated[str, match_pattern(r"^[A-G][b#]? (major|minor)$", "a key, such as `F# minor`")] | None = None
    model: str | None = None  # the chat model that wrote it, and the seed that it was asked with
    seed: int | None = None


def read_prompts(recipe: Recipe) -> Iterator[Prompt]:
    """Make the prompts of a recipe from its file of descriptions, genre by genre in the taxonomy's order.

    If a genre has fewer descriptions than clips, they are used again in order.

    Raises:
        RecipeError: As `read_descriptions` does, and if the descriptions do not fit the recipe.
    """
    settings, taxonomy, file = recipe.prompts, recipe.labels, recipe.source_file()
    assert file is not None, "SourceSettings requires a path for a file and a chat model"
    source = settings.source
    corpus = read_descriptions(file, taxonomy, growing=source.kind == "chat", on_conflict=source.on_conflict)
    _check_descriptions(recipe, file, corpus)
    for genre, count in grammar.count_clips(recipe).items():
        tag, lines = taxonomy.genres[genre].tag, corpus[genre]
        for index in range(count):
            line = lines[index % len(lines)]
            wording = grammar.choose_wording(settings, genre, index)
            text = line.description + _VOICE[wording.vocals]
            yield Prompt(
                text=grammar.add_genre(wording.strategy, tag, text),
                description=text,
                genre=genre,
                subgenre=line.subgenre,
                mood=line.mood,
                instruments=line.instruments,
                tempo_bpm=line.tempo_bpm,
                key=line.key,
                vocals=wording.vocals,
            )


def read_descriptions(
    file: Path, taxonomy: Taxonomy, growing: bool = False, on_conflict: str = "columns"
) -> dict[str, list[Description]]:
    """Read a file of descriptions.

    Args:
        file: CSV, TSV or JSONL. `genre` and `description` are required, the other fields of Description optional.
        taxonomy: The genres, moods and instruments that exist.
        growing: Leave out an incomplete last line: its writer was interrupted.
        on_conflict: What counts where a text names another tempo, key or instruments than its columns; see
            SourceSettings. Such rows are logged as a warning, or refused.

    Returns:
        The descriptions of each genre, in the file's order.

    Raises:
        RecipeError: If the file is missing, empty or not UTF-8, or has faults, which are listed with their lines:
            unknown columns, genres, moods or instruments, empty texts, values of a wrong type.
    """
    corpus: dict[str, list[Description]] = {name: [] for name in taxonomy.genre_names}
    faults: list[str] = []
    conflicts: list[str] = []
    if file.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise RecipeError(f"{file}: the name of a file of descriptions ends in .csv, .tsv or .jsonl", "rename it")
    check_header = partial(_check_header, file)
    rows = read_rows(file, REQUIRED, error=RecipeError, check_header=check_header, growing=growing)
    for number, row in rows:
        description = _parse_row(row, taxonomy)
        if isinstance(description, list):
            faults += [f"line {number}: {fault}" for fault in description]
            if len(faults) >= MAX_COUNTED_FAULTS:
                faults.append("and nothing was read after that line")
                break
            continue
        differing = find_conflicts(
            description.description,
            description.tempo_bpm,
            description.key,
            description.instruments,
            taxonomy.instrument_names,
        )
        for label, (own, named) in differing.items():
            shown = "something else" if named is None else _format_label(named)
            fault = f"line {number}: {label} is {_format_label(own)}, and the text says {shown}"
            (faults if on_conflict == "error" else conflicts).append(fault)
        corpus[description.genre].append(_resolve_labels(description, differing, on_conflict))
    if faults:
        raise faults_error(str(file), faults)
    if conflicts:
        _warn(str(file), on_conflict, tuple(conflicts))
    if not any(corpus.values()):
        raise RecipeError(f"{file}: holds no descriptions", "write lines of genre,description into it")
    return corpus


def _resolve_labels(line: Description, differing: dict[str, tuple[Any, Any]], believed: str) -> Description:
    """Return the description with the labels that `on_conflict` chooses."""
    if not differing or believed not in ("text", "empty"):
        return line
    empty = {"instruments": ()}
    labels = {
        label: named if believed == "text" and named is not None else empty.get(label)
        for label, (_, named) in differing.items()
    }
    return line.model_copy(update=labels)


def _format_label(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)


@cache
def _warn(file: str, believed: str, conflicts: tuple[str, ...]) -> None:
    """Log the conflicts of a file, once: a command may read it several times."""
    labels = {"columns": "the columns are", "text": "the text is", "empty": "neither is"}[believed]
    log.warning(
        "%s: %d label(s) contradict their text; %s believed (prompts.source.on_conflict: %s)\n%s%s",
        file,
        len(conflicts),
        labels,
        believed,
        "\n".join(f"  - {conflict}" for conflict in conflicts[:MAX_FAULTS]),
        f"\n  ... and {len(conflicts) - MAX_FAULTS:,} more" if len(conflicts) > MAX_FAULTS else "",
    )


def _check_descriptions(recipe: Recipe, file: Path, corpus: dict[str, list[Description]]) -> None:
    """Raise RecipeError if genres lack descriptions, or texts name instruments where there should be none."""
    chat = recipe.prompts.source.kind == "chat"
    wanted = {genre: count if chat else min(count, 1) for genre, count in grammar.count_clips(recipe).items()}
    short = [f"{genre} {len(corpus[genre])} of {n}" for genre, n in wanted.items() if len(corpus[genre]) < n]
    if short and chat:
        raise RecipeError(
            f"{file}: the chat model has not written all descriptions yet: {', '.join(short)}",
            "synthmir prompts RECIPE asks it for the rest and keeps its answers",
        )
    if short:
        raise RecipeError(f"{file}: genres without a description: {', '.join(short)}", "add lines of these genres")
    if not recipe.prompts.instrumentation and any(line.instruments for lines in corpus.values() for line in lines):
        raise RecipeError(
            f"prompts.instrumentation is off, but {file} names instruments",
            "take them out of its texts and its column `instruments`, or set instrumentation: on",
        )


def _check_header(file: Path, columns: list[str]) -> None:
    known = list(Description.model_fields)
    faults = [
        f"line 1: unknown column {name!r}{suggest(name, known)}. Known: {', '.join(known)}"
        for name in columns
        if name not in known
    ]
    if faults:
        raise faults_error(str(file), faults)


def _parse_row(row: dict[str, Any], taxonomy: Taxonomy) -> Description | list[str]:
    """Return a row as a description, with the name of its genre; or the faults of the row."""
    data = {key: _parse_cell(key, value) for key, value in row.items() if value is not None}
    line = try_validate(Description, data)
    if isinstance(line, list):
        return line
    names = {name: name for name in taxonomy.genres}
    names |= {genre.tag.casefold(): name for name, genre in taxonomy.genres.items()}
    genre = names.get(line.genre.casefold())
    if genre is None:
        known = taxonomy.genre_names
        return [f"genre {line.genre!r} is not in the taxonomy{suggest(line.genre, known)}. Known: {', '.join(known)}"]
    faults = (
        f"{label} {name!r} is not {place}{suggest(name, known)}"
        for label, given, place, known in (
            ("subgenre", line.subgenre, f"a sub-genre of {genre}", list(taxonomy.genres[genre].subgenres)),
            ("mood", line.mood, "a mood of the taxonomy", taxonomy.mood_names),
            ("instrument", line.instruments, "an instrument of the taxonomy", taxonomy.instrument_names),
        )
        for name in ((given,) if isinstance(given, str) else given or ())
        if name not in known
    )
    text = " ".join(line.description.split())
    text = text if text[-1] in ".!?…" else f"{text}."
    return list(islice(faults, MAX_FAULTS)) or line.model_copy(update={"genre": genre, "description": text})


def _parse_cell(column: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if column == "instruments":
        return [name.strip() for name in value.split(";") if name.strip()]
    if column in ("tempo_bpm", "seed") and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return value
