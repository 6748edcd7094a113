"""Drum parts: a groove in each bar, fills before a new passage, a crash cymbal on its first beat."""

from __future__ import annotations

from ..pattern import Step, parse_steps
from ..score import Note
from ..style import DRUM_SYMBOLS, Groove
from .lineup import Player
from .song import Song

_VELOCITY = {"X": 1.0, "x": 0.78, "o": 0.38, "2": 0.66, "3": 0.6}


def write_drums(song: Song, player: Player) -> list[Note]:
    """Write the part of a drummer, a drum machine or a percussionist."""
    vocabulary, style, rng = song.vocabulary, song.style, song.rng
    main = song.choose(style.grooves, vocabulary.grooves, avoid=song.groove if player.second else "")
    song.groove = main
    other = song.choose(style.grooves, vocabulary.grooves, avoid=main)
    changes = rng.happens(0.25)  # the groove changes in the last passage that has drums
    fill_name = rng.weighted_choice(style.fills)
    fill = None if fill_name == "none" else vocabulary.fills[fill_name]
    top = rng.weighted_choice(style.percussion)
    layered = top != "none" and (player.second or rng.happens(0.3 + 0.5 * song.density))
    crashes = rng.happens(0.35 + 0.4 * song.density) and "crash" in vocabulary.drums
    passages = [passage for passage in song.passages if "drums" in passage.parts]

    notes: list[Note] = []
    for passage in passages:
        name = other if changes and len(passages) > 1 and passage is passages[-1] else main
        groove = vocabulary.grooves[name]
        for bar in range(passage.first, passage.last):
            # A fill leads out of a passage, and out of the fourth bar of a long one.
            filled = (
                fill is not None and (bar == passage.last - 1 or (bar - passage.first) % 4 == 3) and rng.happens(0.7)
            )
            until = style.metre - min(fill.beats, style.metre) if filled and fill else style.metre
            notes += _bar(song, groove, bar, 0.0, until)
            if layered:
                notes += _bar(song, vocabulary.grooves[top], bar, 0.0, style.metre)
            if filled and fill:
                notes += _bar(song, fill, bar, float(until), style.metre)
        if crashes and fill is not None:
            key = vocabulary.drums["crash"].key
            notes.append(song.note(passage.first * style.metre, 4, 2.0, key, 0.8))
    return notes


def _bar(song: Song, groove: Groove, bar: int, shift: float, until: float) -> list[Note]:
    """One bar of a groove up to the beat `until`; a fill starts `shift` beats into the bar."""
    notes = []
    for name, text in groove.voices.items():
        rhythm = parse_steps(text, groove.beats, DRUM_SYMBOLS)
        sound = song.vocabulary.drums[name]
        for step in rhythm[bar % len(rhythm)]:
            at = step.at + shift
            if at >= until - 1e-6 or _left_out(song, step):
                continue
            strokes = int(step.symbol) if step.symbol.isdigit() else 1
            for stroke in range(strokes):
                length = max(step.length, 0.25) / strokes
                velocity = _VELOCITY[step.symbol] * (1.0 - 0.12 * stroke)
                beat = bar * song.style.metre + at + stroke * step.length / strokes
                notes.append(song.note(beat, step.grid, length, sound.key, velocity))
    return notes


def _left_out(song: Song, step: Step) -> bool:
    """Whether a stroke is left out: ghost notes in calm moods, and 2 % of the other strokes without accent."""
    if step.symbol == "o":
        return song.rng.happens(0.7 * (1.0 - song.density))
    return step.symbol == "x" and step.at > 0.0 and song.rng.happens(0.02)
