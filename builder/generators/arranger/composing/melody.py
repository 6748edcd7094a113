"""Melodies: a few rhythmic ideas with a contour, repeated over the chords in the order of a phrase."""

from __future__ import annotations

from dataclasses import dataclass

from ..pattern import Step, parse_steps
from ..score import Note
from ..style import MELODY_SYMBOLS, Melody
from ..theory import Chord, Key, nearest_pitch, scale_walk
from .lineup import Player
from .song import Song

_PENTATONIC = {"major": (0, 2, 4, 7, 9), "minor": (0, 3, 5, 7, 10)}
_BLUES = {"major": (0, 2, 3, 4, 7, 9), "minor": (0, 3, 5, 6, 7, 10)}
_CENTRE = {"lead": 70, "voice": 67}


@dataclass(frozen=True, slots=True)
class _Idea:
    """One bar of melody: where notes start, and how many scale steps each moves."""

    steps: tuple[Step, ...]
    moves: tuple[int, ...]


def write_melody(song: Song, player: Player) -> list[Note]:
    """Write a lead or vocal part. A second one follows the first in parallel, or is a lower melody of its own."""
    low, high = song.vocabulary.envelope(player.program).range
    if song.theme and song.rng.happens(0.55):
        return _parallel(song, low, high)
    names = song.style.vocals if player.part == "voice" else song.style.melodies
    chosen = song.vocabulary.melodies[song.choose(names, song.vocabulary.melodies)]
    centre = _CENTRE[player.part] + song.register + song.rng.integer(-5, 5) + (-5 if song.theme else 0)
    notes = _sing(song, player.part, chosen, min(max(centre, low + 8), high - 8), low, high)
    song.theme = song.theme or notes
    return notes


def _sing(song: Song, part: str, melody: Melody, centre: float, low: int, high: int) -> list[Note]:
    """The notes of a melody around the pitch `centre`."""
    rng, metre = song.rng, song.style.metre
    phrase = rng.choice(melody.phrases)
    ideas = {letter: _idea(song, melody) for letter in sorted(set(phrase) - {"."})}
    scale = _scale(melody, song.key)
    fixed: dict[str, list[int]] = {}
    notes: list[Note] = []
    pitch = nearest_pitch(song.key.tonic, centre)
    playing = song.playing(part)
    for place, bar in enumerate(playing):
        letter = phrase[place % len(phrase)]
        if letter == "." and not (len(playing) == 1 or (place == len(playing) - 1 and not notes)):
            continue
        letter = letter if letter != "." else sorted(ideas)[0]
        idea = ideas[letter]
        pitches = fixed.get(letter) if melody.ostinato else None
        if pitches is None:
            pitches = _pitches(song, idea, bar, pitch, centre, scale, melody, low, high)
            fixed[letter] = pitches
        pitch = pitches[-1]
        # The last note of a phrase is held.
        ends = place % len(phrase) == len(phrase) - 1 and not melody.ostinato
        for number, (step, sounded) in enumerate(zip(idea.steps, pitches, strict=True)):
            length = step.length
            if ends and number == len(idea.steps) - 1:
                length = max(length, metre - step.at - 0.25)
            accent = 0.86 if step.at == int(step.at) else 0.76
            shape = 0.06 * (sounded - centre) / 12  # higher is louder
            notes.append(song.note(bar * metre + step.at, step.grid, length * melody.gate, sounded, accent + shape))
    return notes


def _idea(song: Song, melody: Melody) -> _Idea:
    """A rhythm of the vocabulary, with fewer notes for calm moods, and a contour."""
    rng = song.rng
    rhythm = parse_steps(rng.choice(melody.rhythms), melody.beats, MELODY_SYMBOLS)[0]
    thin = max(0.0, 0.45 - song.density) * 0.5
    steps = tuple(step for number, step in enumerate(rhythm) if number == 0 or not rng.happens(thin))
    rises = rng.happens(0.5)
    moves = []
    for number in range(len(steps)):
        size = rng.integer(2, 4) if rng.happens(melody.leap) else rng.weighted_choice({0: 0.18, 1: 0.66, 2: 0.16})
        onward = (number < len(steps) / 2) == rises
        moves.append(size if onward == rng.happens(0.72) else -size)
    return _Idea(steps, tuple(moves))


def _pitches(
    song: Song,
    idea: _Idea,
    bar: int,
    pitch: int,
    centre: float,
    scale: frozenset[int],
    melody: Melody,
    low: int,
    high: int,
) -> list[int]:
    """The pitches of an idea in a bar: the first, strong and long notes are chord tones."""
    pitches = []
    for number, (step, move) in enumerate(zip(idea.steps, idea.moves, strict=True)):
        chord, _ = song.chord_at(bar * song.style.metre + step.at)
        classes = chord.classes & song.key.scale if melody.scale == "chord" else scale
        classes = classes or chord.classes
        if number == 0:  # half-way back to the middle of the range
            pitch = _rest(round(0.5 * pitch + 0.5 * centre), chord, scale)
        elif move:
            pitch = scale_walk(pitch, move, classes)
        if number and (step.length >= 1.0 or step.at in (0.0, song.style.metre / 2)):
            pitch = _rest(pitch, chord, scale)
        if pitch > min(high, centre + 12):
            pitch -= 12
        elif pitch < max(low, centre - 12):
            pitch += 12
        pitches.append(pitch)
    return pitches


def _rest(pitch: int, chord: Chord, scale: frozenset[int]) -> int:
    """The nearest chord tone, of those in the scale if there are any."""
    classes = chord.classes & scale or chord.classes
    return min(
        (nearest_pitch(pitch_class, pitch) for pitch_class in sorted(classes)), key=lambda near: abs(near - pitch)
    )


def _scale(melody: Melody, key: Key) -> frozenset[int]:
    """The pitch classes that a melody moves in."""
    if melody.scale not in ("pentatonic", "blues"):
        return key.scale
    steps = (_PENTATONIC if melody.scale == "pentatonic" else _BLUES)[key.mode]
    return frozenset((key.tonic + step) % 12 for step in steps)


def _parallel(song: Song, low: int, high: int) -> list[Note]:
    """The first melody in octaves, or in thirds or sixths below, slightly late."""
    interval = song.rng.weighted_choice({0: 0.4, -2: 0.35, -5: 0.25})
    octave = song.rng.choice((-12, 12)) if interval == 0 else 0
    notes = []
    for note in song.theme:
        pitch = (scale_walk(note.pitch, interval, song.key.scale) if interval else note.pitch) + octave
        while pitch > high:
            pitch -= 12
        while pitch < low:
            pitch += 12
        late = abs(song.rng.bell_curve(0.02))
        notes.append(Note(note.start + late, note.duration, pitch, note.velocity * 0.9))
    return notes
