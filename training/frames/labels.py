"""The classes of the frame models: chords, keys, and how they are transposed."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import numpy as np

Vocabulary = Literal["majmin", "sevenths"]
TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
NO_CHORD = "N"
QUALITIES: dict[str, tuple[str, ...]] = {
    "majmin": ("maj", "min"),
    "sevenths": ("maj", "min", "maj7", "min7", "7"),
}
KEY_LABELS = tuple(f"{tonic}:{mode}" for mode in ("major", "minor") for tonic in TONICS)
UNLABELLED = -1
_TONIC = re.compile(r"([A-G])([#b]*)(.*)", re.DOTALL)
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def list_chords(vocabulary: Vocabulary) -> tuple[str, ...]:
    """List the chord classes of a vocabulary: "N", then the twelve tonics of each quality, in Harte syntax."""
    return (NO_CHORD, *(f"{tonic}:{quality}" for quality in QUALITIES[vocabulary] for tonic in TONICS))


@lru_cache(maxsize=4096)
def classify_chord(label: str, vocabulary: Vocabulary) -> int:
    """Find the class of a chord, by the rules with which `mir_eval.chord` compares.

    With `majmin` a chord is major or minor by its notes up to the fifth (`mir_eval.chord.majmin`), so that "C:7" is
    "C:maj". With `sevenths` its notes must be those of a class (`mir_eval.chord.sevenths`).

    Args:
        label: A chord as Harte et al. 2005 write it: "A:min7/b3", "N", "X".
        vocabulary: The classes.

    Returns:
        The place in `list_chords(vocabulary)`; -1 for a chord that no class stands for, and for no valid label.
    """
    from mir_eval.chord import InvalidChordException, encode

    try:
        root, notes, _ = encode(label)
    except InvalidChordException:
        return UNLABELLED
    if label == NO_CHORD:
        return 0
    if root < 0:
        return UNLABELLED
    depth = 8 if vocabulary == "majmin" else 12  # semitones above the root that count
    for place, quality in enumerate(QUALITIES[vocabulary]):
        if np.array_equal(notes[:depth], encode(f"C:{quality}")[1][:depth]):
            return 1 + 12 * place + int(root) % 12
    return UNLABELLED


@lru_cache(maxsize=4096)
def transpose_label(label: str, semitones: int) -> str:
    """Transpose a chord ("A:min7/b3") or a key ("A:minor"). What names no tonic ("N", "X") stays as it is."""
    match = _TONIC.fullmatch(label)
    if match is None:
        return label
    return TONICS[(_pitch_class(match[1], match[2]) + semitones) % 12] + match[3]


@lru_cache(maxsize=512)
def classify_key(key: str) -> int:
    """Find the place of a key, "A:minor" or "A minor", in `KEY_LABELS`; -1 for another mode, or no key."""
    match = _TONIC.fullmatch(key.strip())
    mode = re.sub(r"[: ]+", "", match[3]).lower() if match else ""
    if match is None or mode not in ("major", "minor"):
        return UNLABELLED
    return _pitch_class(match[1], match[2]) + (12 if mode == "minor" else 0)


def _pitch_class(step: str, accidentals: str) -> int:
    return (_STEPS[step] + accidentals.count("#") - accidentals.count("b")) % 12
