"""Finding descriptions whose text asks for another tempo, key or instruments than their columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

TEMPO = re.compile(
    r"(?<![\d.])(\d{2,3}(?:\.\d+)?)(?:\s*(?:-|–|to)\s*(\d{2,3}(?:\.\d+)?))?\s*-?\s*(?:bpm\b|beats per minute)", re.I
)
# "A minor" may be an article and an adjective: without a sharp or a flat, A is a key only after "in" or "key".
KEY = re.compile(
    r"(?:\b(?:in|key of|key:)\s+([A-G])|\b([B-G]|[A-G](?=\s*[#♯♭]|b\b|[ -](?:sharp|flat)\b)))"
    r"\s*(#|♯|♭|b\b|[ -]?sharp\b|[ -]?flat\b)?[ -](major|minor)\b(?!\s+(?:chords?|scales?|sevenths?|7|third|arpeggio))"
)
NEGATED = re.compile(r"\b(?:no|without|minus)\s+(?:(?!but\b|with\b|only\b)\w+,?\s+){0,3}$")
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SLOWEST, FASTEST = 30, 300  # BPM that a label may have
CLOSE = 1.0  # BPM: 119.6 and 120 are one tempo


def find_conflicts(
    text: str, tempo: int | None, key: str | None, instruments: Iterable[str], known: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """Compare a text with its labels.

    Only what both name is compared. A text that names several tempi or keys agrees with each of them.
    Instruments disagree where the text names one of `known` that no label covers ("guitar" is covered by "electric
    guitar", and the other way round), or says that a labelled one is not played.

    Args:
        text: A description.
        tempo: In beats per minute.
        key: Such as "Eb minor".
        instruments: The labels.
        known: The instruments of the taxonomy.

    Returns:
        {label: (its value, the value in the text, None if that is unclear)} of those that differ.
    """
    differing: dict[str, tuple[Any, Any]] = {}
    tempi = [(float(low), float(high or low)) for low, high in TEMPO.findall(text)]
    if tempo is not None and tempi and not any(low - CLOSE < tempo < high + CLOSE for low, high in tempi):
        clear = len(set(tempi)) == 1 and tempi[0][0] == tempi[0][1] and SLOWEST <= tempi[0][0] <= FASTEST
        differing["tempo_bpm"] = (tempo, round(tempi[0][0]) if clear else None)
    keys = [_spell(*match) for match in KEY.findall(text)]
    if key is not None and keys and _pitch(key) not in map(_pitch, keys):
        differing["key"] = (key, keys[0] if len(set(keys)) == 1 else None)
    labelled = tuple(instruments)
    if labelled:
        named, absent = _find_instruments(text, known)
        wrong = [name for name in named if not any(_covers(name, label) for label in labelled)]
        wrong += [label for label in labelled if label in absent]
        if wrong:
            differing["instruments"] = (labelled, tuple(named or (label for label in labelled if label not in absent)))
    return differing


def _spell(after_in: str, letter: str, accidental: str, mode: str) -> str:
    sign = accidental.strip(" -").lower()
    return f"{after_in or letter}{'#' if sign in ('#', '♯', 'sharp') else 'b' if sign else ''} {mode}"


def _pitch(key: str) -> tuple[int, str]:
    """Return the pitch class and mode of a key: Db and C# are equal."""
    note, mode = key.split()
    return (STEPS[note[0]] + note.count("#") - note[1:].count("b")) % 12, mode


def _find_instruments(text: str, known: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return the instruments that a text names, in its order, and those that it says are not played."""
    pattern, names = _pattern(tuple(known))
    plain = text.casefold().replace("-", " ")
    named, absent = [], set()
    for match in pattern.finditer(plain):
        name = names[match[1]]
        if NEGATED.search(plain[: match.start()]):
            absent.add(name)
        elif name not in named:
            named.append(name)
    return named, absent


@lru_cache(8)
def _pattern(known: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """Return a pattern that matches the longest name at each place, and the name of each spelling."""
    names = {name.casefold().replace("-", " "): name for name in known}
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, longest_first)) or '(?!)'})s?\b"), names


def _covers(one: str, other: str) -> bool:
    """Return whether the words of one name are among those of the other."""
    a, b = ({word.removesuffix("s") for word in re.split(r"[\s-]+", name.casefold())} for name in (one, other))
    return a <= b or b <= a
