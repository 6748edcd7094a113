"""Chord parts: comping patterns, arpeggios and pads over the progression."""

from __future__ import annotations

from ..score import Note
from ..style import Comping, parse_pattern
from ..theory import voice_chord
from .lineup import Player
from .song import Song

_CENTRE = {"chords": 60, "pad": 62}
_VELOCITY = {"X": 0.9, "x": 0.72, "t": 0.6, "o": 0.36, "b": 0.78, "d": 0.72}


def write_chords(song: Song, player: Player) -> list[Note]:
    """Write the part of a chord instrument; a second one gets another pattern in another register."""
    names = song.style.pads if player.part == "pad" else song.style.comping
    chosen = song.choose(names, song.vocabulary.comping, avoid=song.comping if player.second else "")
    song.comping = chosen
    comping = song.vocabulary.comping[chosen]
    low, high = song.vocabulary.envelope(player.program).range
    wanted = _CENTRE[player.part] + 12 * comping.octave + song.register + song.rng.integer(-4, 4)
    wanted += song.rng.choice((-7, 7)) if player.second else 0
    centre = min(max(wanted, low + 6), high - 8)
    voices = comping.voices + (1 if song.density > 0.6 and comping.shape in ("close", "open") else 0)
    return _play(song, player.part, comping, centre, voices, low)


def _play(song: Song, part: str, comping: Comping, centre: float, voices: int, low: int) -> list[Note]:
    """The notes of a comping pattern, with voicings around the pitch `centre`."""
    bars = parse_pattern(comping)
    strum = comping.strum * song.tempo / 60.0
    voicing: tuple[int, ...] = ()
    last = None
    notes: list[Note] = []
    for bar in song.playing(part):
        for step in bars[bar % len(bars)]:
            beat, end = bar * song.style.metre + step.at, bar * song.style.metre + step.at + step.length
            while beat < end - 1e-6:
                # A held chord is played again where the harmony changes.
                chord, changes = song.chord_at(beat)
                until = min(end, changes) if step.length >= 1.0 else end
                if chord is not last:
                    voicing, last = voice_chord(chord, centre, voices, comping.shape, voicing), chord
                for number, pitch in enumerate(pitches := _struck(step.symbol, voicing, chord.root, low)):
                    late = strum * number / max(1, len(pitches) - 1)
                    length = (until - beat) * comping.gate * (0.35 if step.symbol == "o" else 1.0)
                    velocity = _VELOCITY.get(step.symbol, 0.7 if step.at != int(step.at) else 0.76)
                    notes.append(song.note(beat + late, step.grid, max(0.05, length - late), pitch, velocity))
                beat = until
    return notes


def _struck(symbol: str, voicing: tuple[int, ...], root: int, low: int) -> tuple[int, ...]:
    """The pitches for a symbol of the pattern."""
    if symbol in "xXo":
        return voicing
    if symbol == "t":
        return voicing[1:]
    if symbol in "bd":
        pitch = voicing[0] - 1
        pitch -= (pitch - root - (7 if symbol == "d" else 0)) % 12
        return (pitch if pitch >= low else pitch + 12,)
    octave, place = divmod(int(symbol), len(voicing))
    return (voicing[place] + 12 * octave,)
