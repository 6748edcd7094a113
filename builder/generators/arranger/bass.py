"""The bass line: roots, fifths and walks under the chords."""

from __future__ import annotations

from .lineup import Player
from .score import Note
from .song import Song
from .style import pattern
from .theory import Chord, Key, nearest, scale_walk

_SPAN = 19  # semitones that a line moves in


def bass(song: Song, player: Player) -> list[Note]:
    """The line that the style's pattern makes over the song's chords."""
    line = song.vocabulary.basslines[song.choose(song.style.basslines, song.vocabulary.basslines)]
    bars = pattern(line)
    low, high = song.vocabulary.envelope(player.program).range
    floor = low + (12 if player.second and low + 12 + _SPAN < high else 0) + song.chance.integer(0, 3)
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
    """A step of the scale above the chord's root; third, fifth and seventh are the chord's own."""
    if degree == 8:
        return root + 12
    own = {3: (3, 4), 5: (7, 6, 8), 7: (10, 11, 9)}.get(degree, ())
    for tone in own:
        if tone in chord.tones:
            return root + tone
    return scale_walk(root, degree - 1, key.scale)


def _approach(song: Song, target: int, pitch: int) -> int:
    """A neighbour of the next root, from the side where the line is; mostly from the scale."""
    target = nearest(target % 12, pitch)
    side = 1 if pitch > target else -1
    steps = [side * step for step in (1, 2) if (target + side * step) % 12 in song.key.scale]
    return target + (song.chance.pick(steps) if steps else side)


def _walk(song: Song, chord: Chord, target: int, pitch: int) -> int:
    """On towards the next root, by a chord tone or a step of the scale; away from it if it is already there."""
    target = nearest(target % 12, pitch)
    side = 1 if target > pitch or (target == pitch and song.chance.happens(0.6)) else -1
    classes = chord.classes if song.chance.happens(0.55) else song.key.scale
    return scale_walk(pitch, side, classes)
