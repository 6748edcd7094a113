"""Bass lines: roots, fifths and walks under the chords."""

from __future__ import annotations

from ..score import Note
from ..style import parse_pattern
from ..theory import Chord, Key, nearest_pitch, scale_walk
from .lineup import Player
from .song import Song

_SPAN = 19  # semitones from the lowest to the highest note of a line


def write_bass(song: Song, player: Player) -> list[Note]:
    """Write a bass line: one of the style's patterns over the song's chords."""
    line = song.vocabulary.basslines[song.choose(song.style.basslines, song.vocabulary.basslines)]
    bars = parse_pattern(line)
    low, high = song.vocabulary.envelope(player.program).range
    floor = low + (12 if player.second and low + 12 + _SPAN < high else 0) + song.rng.integer(0, 3)
    pitch = floor + 6
    notes: list[Note] = []
    for bar in song.playing("bass"):
        for step in bars[bar % len(bars)]:
            beat = bar * song.style.metre + step.at
            chord, _ = song.chord_at(beat)
            root = floor + (chord.root - floor) % 12
            velocity, length = 0.82 if step.at == int(step.at) else 0.74, step.length * line.gate
            if step.symbol == "x":
                pitch, velocity, length = root, 0.4, min(length, 0.12)
            elif step.symbol in "aw":
                following, _ = song.chord_at(beat + step.length)
                target = floor + (following.root - floor) % 12
                pitch = _approach(song, target, pitch) if step.symbol == "a" else _walk(song, chord, target, pitch)
            else:
                pitch = _degree(int(step.symbol), root, chord, song.key)
            while pitch > floor + _SPAN:
                pitch -= 12
            notes.append(song.note(beat, step.grid, length, pitch, velocity))
    return notes


def _degree(degree: int, root: int, chord: Chord, key: Key) -> int:
    """The pitch of a scale degree above the chord's root; third, fifth and seventh are those of the chord."""
    if degree == 8:
        return root + 12
    own = {3: (3, 4), 5: (7, 6, 8), 7: (10, 11, 9)}.get(degree, ())
    for tone in own:
        if tone in chord.tones:
            return root + tone
    return scale_walk(root, degree - 1, key.scale)


def _approach(song: Song, target: int, pitch: int) -> int:
    """A neighbouring note of the next root on the line's side of it, from the scale if there is one."""
    target = nearest_pitch(target % 12, pitch)
    side = 1 if pitch > target else -1
    steps = [side * step for step in (1, 2) if (target + side * step) % 12 in song.key.scale]
    return target + (song.rng.choice(steps) if steps else side)


def _walk(song: Song, chord: Chord, target: int, pitch: int) -> int:
    """A step towards the next root, by a chord tone or by the scale; away from it if the line is there already."""
    target = nearest_pitch(target % 12, pitch)
    side = 1 if target > pitch or (target == pitch and song.rng.happens(0.6)) else -1
    classes = chord.classes if song.rng.happens(0.55) else song.key.scale
    return scale_walk(pitch, side, classes)
