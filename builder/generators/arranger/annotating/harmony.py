"""The labels of an annotation: chords in the syntax of Harte et al. 2005, the key, and the sections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..score import Score
from ..theory import TONICS, Chord, Key

# Tones above the root, ascending, of the shorthands that Harte's syntax has, with the most tones first.
_SHORTHANDS: dict[str, tuple[int, ...]] = {
    "9": (0, 4, 7, 10, 14), "maj9": (0, 4, 7, 11, 14), "min9": (0, 3, 7, 10, 14),
    "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10), "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9), "hdim7": (0, 3, 6, 10), "maj6": (0, 4, 7, 9), "min6": (0, 3, 7, 9),
    "maj": (0, 4, 7), "min": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8), "sus4": (0, 5, 7), "sus2": (0, 2, 7),
    "5": (0, 7), "1": (0,),
}  # fmt: skip
_DEGREES = {2: "2", 3: "b3", 4: "3", 5: "4", 6: "b5", 7: "5", 8: "#5", 9: "6", 10: "b7", 11: "7", 13: "b9", 14: "9",
            17: "11", 21: "13"}  # fmt: skip
_SPELLED = {(1, "major"): "Db", (8, "minor"): "G#"}  # otherwise than in TONICS, with fewer accidentals
_NEVER = 0.05  # of a chord's length: a tone that sounds for less is left out
NO_CHORD = "N"

Sounding = tuple[np.ndarray, np.ndarray, np.ndarray]  # start and end in beats and pitch of notes, each [notes]


def name_key(key: Key) -> str:
    """The label of a key as prompts spell it: "A:minor", "Db:major", "G#:minor"."""
    return f"{_SPELLED.get((key.tonic, key.mode), TONICS[key.tonic])}:{key.mode}"


def name_chord(chord: Chord) -> str:
    """The label of a chord in Harte's syntax: "C:maj7", "A:min(9)"."""
    tones = set(chord.tones)
    if {4, 10, 14, 21} <= tones:  # played without the fifth
        return f"{TONICS[chord.root]}:13"
    shorthand = next(name for name, own in _SHORTHANDS.items() if tones.issuperset(own))
    added = sorted(tones.difference(_SHORTHANDS[shorthand]))
    degrees = ",".join(_DEGREES[tone] for tone in added)
    return f"{TONICS[chord.root]}:{shorthand}" + (f"({degrees})" if degrees else "")


def list_chords(score: Score, harmony: Sounding, everything: Sounding, beats: float) -> list[tuple[float, float, str]]:
    """List the chords as they are played.

    The composer's chords, with the tones that were moved into the key's scale, and as fifths where nobody plays the
    third. Where no pitched note sounds for a bar there is no chord, and before the first one.

    Args:
        score: The score.
        harmony: The notes of basses, chord instruments and pads.
        everything: All notes with a pitch.
        beats: The length of the clip.

    Returns:
        Start, end and label of each chord, in order, from 0 to `beats` without gaps.
    """
    starts = [start for start, _ in score.chords if start < beats]
    ends = [*starts[1:], beats]
    labels = [
        name_chord(_find_played(chord, score.key, start, end, harmony, everything))
        for (start, chord), end in zip(score.chords, ends, strict=False)
    ]
    chords = list(zip([0.0, *starts[1:]], ends, labels, strict=True))
    for start, end in _find_silences(everything, beats, score.metre):
        chords = _cut_out(chords, start, end)
    merged = chords[:1]
    for chord in chords[1:]:
        if chord[2] == merged[-1][2]:
            merged[-1] = (merged[-1][0], chord[1], chord[2])
        else:
            merged.append(chord)
    return merged


def _find_played(chord: Chord, key: Key, start: float, end: float, harmony: Sounding, everything: Sounding) -> Chord:
    """The chord that sounds where the composer wrote one."""
    strays = [tone for tone in chord.tones if (chord.root + tone) % 12 not in key.scale]
    third = next((tone for tone in chord.tones if tone in (3, 4)), None)
    if not strays and third is None:
        return chord
    length = end - start
    played, all_played = (_weigh(notes, start, end) for notes in (harmony, everything))
    tones = list(chord.tones)
    for tone in strays:
        own = (chord.root + tone) % 12
        step = -1 if (own - 1) % 12 in key.scale else 1
        moved = (own + step) % 12
        weights = played if played[own] + played[moved] > 0.0 else all_played
        longer = weights[moved] >= _NEVER * length and weights[moved] > weights[own]
        if longer and moved not in chord.classes:
            tones[tones.index(tone)] = tone + step
    if tones[0]:
        return _find_chord(chord.root, tones)
    kept = {tone for tone in tones if all_played[(chord.root + tone) % 12] >= _NEVER * length}
    if third is not None and kept == {0, 7} and played[(chord.root + 7) % 12] >= _NEVER * length:
        tones = [0, 7]
    return Chord(chord.root, tuple(tones))


def _find_chord(root: int, tones: Sequence[int]) -> Chord:
    """The chord with these tones above `root`, which is not one of them itself."""
    classes = {(root + tone) % 12 for tone in tones}
    for own in sorted(_SHORTHANDS.values(), key=len, reverse=True):
        for other in sorted(classes):
            if classes.issuperset((other + tone) % 12 for tone in own):
                added = classes.difference((other + tone) % 12 for tone in own)
                return Chord(other, (*own, *((pitch_class - other) % 12 for pitch_class in sorted(added))))
    raise AssertionError("every pitch class is a chord of one tone")


def _weigh(notes: Sounding, start: float, end: float) -> np.ndarray:
    """How many beats each pitch class sounds for in a stretch: [12]."""
    begins, ends, pitches = notes
    lengths = np.maximum(0.0, np.minimum(ends, end) - np.maximum(begins, start))
    return np.bincount(pitches % 12, lengths, 12)


def _find_silences(notes: Sounding, beats: float, bar: float) -> list[tuple[float, float]]:
    """The stretches of at least a bar without a note, and what is before the first one."""
    order = np.argsort(notes[0])
    begins, ends = notes[0][order], np.maximum.accumulate(notes[1][order])
    if not len(begins):
        return [(0.0, beats)]
    gaps = zip(ends.tolist(), [*begins[1:].tolist(), beats], strict=True)
    silences = [(start, end) for start, end in gaps if end - start >= bar]
    first = float(begins[0])
    return [(0.0, first), *silences] if first > 0.5 else silences


def _cut_out(chords: Sequence[tuple[float, float, str]], start: float, end: float) -> list[tuple[float, float, str]]:
    """The chords with a stretch of no chord."""
    before = [(first, min(last, start), label) for first, last, label in chords if first < start]
    after = [(max(first, end), last, label) for first, last, label in chords if last > end]
    return [*before, (start, end, NO_CHORD), *after]


def list_sections(score: Score, beats: float) -> list[tuple[float, float, str]]:
    """List the sections by who plays in them.

    "main" is everybody. Else the first is the "intro" and the last the "outro"; between them is a "breakdown" without
    drums, a "break" of drums and bass alone, or a "build".

    Returns:
        Start, end and label of each section, in order, from 0 to `beats` without gaps.
    """
    everybody = frozenset(track.role for track in score.tracks)
    merged: list[tuple[int, frozenset[str]]] = []
    for passage in score.passages:
        playing = passage.parts & everybody
        if passage.first * score.metre < beats and (not merged or merged[-1][1] != playing):
            merged.append((passage.first, playing))
    sections = []
    for number, (first, playing) in enumerate(merged):
        last = number + 1 == len(merged)
        end = beats if last else float(merged[number + 1][0] * score.metre)
        sections.append((float(first * score.metre), end, _name_section(playing, everybody, number, last)))
    return sections


def _name_section(playing: frozenset[str], everybody: frozenset[str], number: int, last: bool) -> str:
    if playing == everybody:
        return "main"
    if number == 0:
        return "intro"
    if last:
        return "outro"
    if "drums" in everybody - playing:
        return "breakdown"
    return "break" if playing <= {"drums", "bass"} else "build"
