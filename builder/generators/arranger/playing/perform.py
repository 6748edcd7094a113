"""Version 2: how players perform a score. Timing, accents, dynamics, strums, ghost notes and articulation.

What is random has a stream for each track, so that a change to one player changes no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..rng import SeededRandom
from ..score import Note, Score, Track
from ..singing.vocals import fit_melody

_TOGETHER = 0.05  # seconds within which notes are one chord
_LAG = 0.011  # seconds, at looseness 1: the standard deviation of how far a player is ahead or behind
_DRIFT = 0.009  # the same of how that changes over a few beats
_STRUMMED = frozenset((*range(24, 32), 104, 105, 106, 107))  # guitars, sitar, banjo, shamisen, koto
_KEYS = frozenset(range(8))  # pianos
_BOWED = frozenset((*range(40, 52), *range(56, 80)))  # strings, brass, woodwind
_SNARES = (38, 40)
_ACOUSTIC_KITS = 24  # General-MIDI kits below are acoustic
_QUIET, _LOUD = 0.08, 1.0


def perform_score(score: Score, looseness: float, seconds: float) -> Score:
    """Return the score as its players perform it.

    Args:
        score: What the composer wrote.
        looseness: Of the style: 0 a machine, 1 a loose band.
        seconds: The length of the clip.
    """
    beats = seconds * score.tempo / 60.0
    looseness = _draw_feel(score, looseness)
    wave = _draw_dynamics(score)
    tracks = tuple(_perform(track, score, looseness, beats, wave) for track in score.tracks)
    return replace(score, tracks=tracks)


def _draw_feel(score: Score, looseness: float) -> float:
    """How loose this band is. The ranges of styles overlap: there are tight rock bands and loose pop bands."""
    rng = SeededRandom(score.seed, "feel")
    if not looseness:
        return 0.0
    acoustic = all(track.program < _ACOUSTIC_KITS for track in score.tracks if track.is_drum)
    looser = rng.uniform(0.0, 0.35) if acoustic and rng.happens(0.5) else 0.0
    return min(1.0, looseness * rng.uniform(0.3, 1.3) + looser)


def _perform(track: Track, score: Score, looseness: float, beats: float, wave: Dynamics) -> Track:
    """A track as it is performed."""
    rng = SeededRandom(score.seed, f"perform {track.instrument}")
    if track.role == "voice":
        notes: Iterable[Note] = fit_melody(track, score)
    else:
        notes = track.notes
        if track.is_drum and track.program < _ACOUSTIC_KITS:
            notes = [*notes, *_ghost_notes(notes, score, looseness, beats, rng)]
        elif not track.is_drum and track.program in _BOWED:
            notes = _articulate(notes, score, rng)
        chords = list(_group(notes, score.tempo))
        if not track.is_drum and track.program in _STRUMMED and track.role in ("chords", "pad"):
            chords = [_strum(chord, score, rng) for chord in chords]
        elif not track.is_drum and track.program in _KEYS:
            chords = [_spread_fingers(chord, score, rng) for chord in chords]
        notes = _place(chords, score, looseness, beats, rng)
    depth = 0.5 if track.is_drum else 1.0
    accented = [
        _with_velocity(note, note.velocity * wave(note.start, depth) * _accent(note.start, score, looseness))
        for note in notes
    ]
    return replace(track, notes=sorted(accented, key=lambda note: (note.start, note.pitch)))


class Dynamics:
    """How loud everybody plays over a clip: a slow wave, strong without drums, as orchestras swell."""

    def __init__(self, depth: float, period: float, phase: float) -> None:
        self._depth, self._period, self._phase = depth, period, phase

    def __call__(self, beat: float, depth: float) -> float:
        """The factor of the velocity at a beat."""
        return 1.0 + self._depth * depth * math.sin(2.0 * math.pi * (beat / self._period + self._phase))


def _draw_dynamics(score: Score) -> Dynamics:
    rng = SeededRandom(score.seed, "dynamics")
    drums = any(track.is_drum for track in score.tracks)
    depth = rng.uniform(0.0, 0.1) if drums else rng.uniform(0.05, 0.4)
    return Dynamics(depth, score.metre * rng.uniform(2.0, 9.0), rng.uniform(0.0, 1.0))


def _accent(beat: float, score: Score, looseness: float) -> float:
    """The accent of a place in the bar: strong on its first beat, weak between the beats."""
    place = (beat + 0.06) % score.metre
    weight = 1.0 if place < 0.12 else 0.0 if place % 1.0 < 0.12 else -0.6 if abs(place % 1.0 - 0.56) < 0.06 else -1.0
    return 1.0 + (0.03 + 0.06 * looseness) * weight


def _place(
    chords: Iterable[Sequence[Note]], score: Score, looseness: float, beats: float, rng: SeededRandom
) -> list[Note]:
    """The notes in the player's time: ahead or behind, and drifting slowly, chords together."""
    beat = score.tempo / 60.0  # beats in a second
    lag = rng.bell_curve(_LAG * looseness)
    drift, until = 0.0, 0.0
    placed = []
    for chord in chords:
        while until <= chord[0].start:  # a random walk that comes back, twice a beat
            drift = 0.85 * drift + rng.bell_curve(0.53 * _DRIFT * looseness)
            until += 0.5
        for note in chord:
            start = note.start + (lag + drift) * beat
            placed.append(_with_start(note, min(max(0.0, start), beats - 0.06)))
    return placed


def _ghost_notes(
    notes: Sequence[Note], score: Score, looseness: float, beats: float, rng: SeededRandom
) -> Iterator[Note]:
    """Soft strokes on the snare drum around its loud ones, in straight sixteenths and of loose drummers only."""
    if looseness < 0.15 or score.swing > 0.3 or not rng.happens(0.6):
        return
    busy = rng.uniform(0.05, 0.3)
    loud = [note for note in notes if note.pitch in _SNARES and note.velocity > 0.5]
    taken = {round(4 * note.start) for note in notes if note.pitch in _SNARES}
    for note in loud:
        for step in (-3, -1, 1, 3):
            place = round(4 * note.start) + step
            if place in taken or not 0 <= place / 4 < beats - 0.1 or not rng.happens(busy):
                continue
            taken.add(place)
            yield Note(place / 4, 0.2, note.pitch, rng.uniform(0.12, 0.26))


def _articulate(notes: Sequence[Note], score: Score, rng: SeededRandom) -> list[Note]:
    """Strings and winds: detached, as written, or bound, changing every two bars."""
    kinds: dict[int, float] = {}
    out = []
    for note in notes:
        bars = int(note.start // (2 * score.metre))
        if bars not in kinds:
            kinds[bars] = rng.weighted_choice({1.0: 0.5, 0.5: 0.2, 1.12: 0.3})
        length = kinds[bars]
        if note.duration > 1.0:
            length = max(1.0, length)
        out.append(replace(note, duration=note.duration * length))
    return out


def _group(notes: Iterable[Note], tempo: int) -> Iterator[list[Note]]:
    """The notes in chords: those that start together."""
    width = _TOGETHER * tempo / 60.0
    chord: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.start, note.pitch)):
        if chord and note.start - chord[0].start > width:
            yield chord
            chord = []
        chord.append(note)
    if chord:
        yield chord


def _strum(chord: list[Note], score: Score, rng: SeededRandom) -> list[Note]:
    """A chord string by string: downwards on the beat, upwards between beats, faster and softer."""
    if len(chord) < 3:
        return chord
    first = chord[0].start
    up = abs((first + 0.06) % 1.0 - 0.56) < 0.08 and rng.happens(0.8)
    strings = sorted(chord, key=lambda note: -note.pitch if up else note.pitch)
    if up and len(strings) > 3 and rng.happens(0.4):
        strings.pop()  # the lowest string is not reached
    spread = rng.uniform(0.01, 0.022) if up else rng.uniform(0.012, 0.04)
    out = []
    for number, note in enumerate(strings):
        late = spread * number / (len(strings) - 1) * score.tempo / 60.0
        softer = (0.85 if up else 1.0) * (1.0 - 0.04 * number) * (1.0 + rng.bell_curve(0.05))
        end = note.start + note.duration
        start = first + late
        out.append(Note(start, max(0.05, end - start), note.pitch, min(_LOUD, note.velocity * softer)))
    return out


def _spread_fingers(chord: list[Note], score: Score, rng: SeededRandom) -> list[Note]:
    """A pianist's chord: fingers are not quite together, and the highest note sings."""
    if len(chord) < 2:
        return chord
    top = chord[-1].pitch
    return [
        _with_velocity(
            _with_start(note, max(0.0, note.start + rng.bell_curve(0.004) * score.tempo / 60.0)),
            note.velocity * (1.08 if note.pitch == top else 0.96) * (1.0 + rng.bell_curve(0.05)),
        )
        for note in chord
    ]


def _with_start(note: Note, start: float) -> Note:
    return Note(start, note.duration, note.pitch, note.velocity)


def _with_velocity(note: Note, velocity: float) -> Note:
    return Note(note.start, note.duration, note.pitch, min(_LOUD, max(_QUIET, velocity)))
