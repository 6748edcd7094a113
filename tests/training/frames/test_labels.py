"""Chord and key classes against mir_eval, and transposition."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.frames.labels import (
    KEY_LABELS,
    TONICS,
    UNLABELLED,
    classify_chord,
    classify_key,
    list_chords,
    transpose_label,
)

ROOTS = ("C", "C#", "Db", "E", "Fb", "G", "B#", "Cb")
QUALITIES = (
    "maj",
    "min",
    "7",
    "maj7",
    "min7",
    "9",
    "sus4",
    "dim",
    "aug",
    "maj6",
    "min6",
    "hdim7",
    "minmaj7",
    "5",
    "1",
)
LABELS = [f"{root}:{quality}" for root in ROOTS for quality in QUALITIES] + ["N", "X", "A", "A:min/b3", "D:7(#9)/3"]


@pytest.mark.parametrize("vocabulary", ["majmin", "sevenths"])
def test_a_chord_has_the_class_that_mir_eval_would_accept(vocabulary: str) -> None:
    compare = {"majmin": mir_eval.chord.majmin, "sevenths": mir_eval.chord.sevenths}[vocabulary]
    classes = list_chords(vocabulary)
    assert len(set(classes)) == {"majmin": 25, "sevenths": 61}[vocabulary]
    for label in LABELS:
        scores = compare([label] * len(classes), list(classes))
        place = classify_chord(label, vocabulary)
        if place == UNLABELLED:
            assert (scores <= 0).all(), label
        else:
            assert scores[place] == 1.0, label
            assert (np.delete(scores, place) <= 0).all(), label


def test_what_is_no_chord_has_no_class() -> None:
    assert classify_chord("H:maj", "majmin") == classify_chord("", "majmin") == UNLABELLED


@given(st.sampled_from(list_chords("sevenths")), st.integers(-30, 30))
def test_a_transposed_chord_is_the_class_so_many_semitones_up(label: str, semitones: int) -> None:
    place, moved = (classify_chord(text, "sevenths") for text in (label, transpose_label(label, semitones)))
    quality, tonic = divmod(place - 1, 12)
    assert moved == (0 if label == "N" else 1 + 12 * quality + (tonic + semitones) % 12)
    assert transpose_label(transpose_label(label, semitones), -semitones) == label


def test_keys_are_read_in_both_spellings_and_transposed() -> None:
    assert classify_key("Db:major") == classify_key("C# major") == 1
    assert KEY_LABELS[classify_key("A:minor")] == "A:minor"
    assert classify_key("A:dorian") == classify_key("atonal") == classify_key("") == UNLABELLED
    assert transpose_label("B:minor", 1) == "C:minor"
    assert transpose_label("A:min7/b3", -2) == "G:min7/b3"
    assert [transpose_label("C", step) for step in range(12)] == list(TONICS)
