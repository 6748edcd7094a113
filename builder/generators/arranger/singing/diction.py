"""How a singer shapes notes: curves of pitch, loudness, formants and consonants over a phrase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .phonemes import CONSONANTS, Syllable, vowel_formants
from .singer import Singer

_PAUSE = 0.28  # seconds without a note that end a phrase
_LONGEST = 0.12  # seconds before a note at which its consonant may start
_SMOOTH = 0.024  # seconds over which formants and loudness are smoothed


@dataclass(frozen=True, slots=True)
class SungNote:
    """A note with its syllable. Times are in seconds."""

    start: float
    end: float
    pitch: float  # MIDI
    velocity: float  # 0..1
    syllable: Syllable | None = None  # None: the vowel before continues


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a consonant: its name in NOISES, and its amplitude over time in seconds."""

    name: str
    times: tuple[float, float, float, float]
    levels: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Curves:
    """A phrase over time, at equal steps from `start`, which is in seconds."""

    start: float
    pitch: np.ndarray  # MIDI, [steps]
    voicing: np.ndarray  # amplitude of the pulses
    breath: np.ndarray  # amplitude of the breath
    tilt: np.ndarray  # pole of the low-pass that darkens soft notes
    damping: np.ndarray  # factor of the bandwidths
    formants: np.ndarray  # Hz, [3, steps]
    noises: list[Noise]  # of consonants


class _Line:
    """Points of a curve in order of time."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[float] = []

    def to(self, time: float, value: float) -> None:
        """Add a point, not before the last one."""
        self.times.append(max(time, self.times[-1]) if self.times else time)
        self.values.append(value)

    def at(self, grid: np.ndarray) -> np.ndarray:
        """The curve at times; before the first point and after the last it is level."""
        return np.interp(grid, self.times, self.values)


def plan_curves(
    notes: Sequence[SungNote], singer: Singer, random: Generator, step: float, tail: float
) -> Iterator[Curves]:
    """Yield the curves of each phrase.

    Args:
        notes: The notes in order.
        singer: Who sings.
        random: Random numbers for the irregularities.
        step: Seconds between two values.
        tail: Seconds after the last note.
    """
    for phrase in _split_phrases(notes):
        yield _plan_phrase(phrase, singer, random, step, tail)


def _split_phrases(notes: Sequence[SungNote]) -> Iterator[list[SungNote]]:
    """The notes in groups between pauses."""
    phrase: list[SungNote] = []
    for note in notes:
        if phrase and note.start - phrase[-1].end > _PAUSE:
            yield phrase
            phrase = []
        phrase.append(note)
    if phrase:
        yield phrase


def _plan_phrase(notes: list[SungNote], singer: Singer, random: Generator, step: float, tail: float) -> Curves:
    """The curves of one phrase."""
    start = notes[0].start - _LONGEST - 0.02
    grid = np.arange(start, notes[-1].end + tail + 0.1, step)
    draws = random.random((len(notes), 4))
    voicing, breath = _Line(), _Line()
    noises: list[Noise] = []
    formants = (_Line(), _Line(), _Line())
    voicing.to(start, 0.0)
    breath.to(start, 0.0)
    vowels: tuple[str, ...] = ("uh",)
    peak = max(range(len(notes)), key=lambda number: notes[number].pitch)
    for number, (note, draw) in enumerate(zip(notes, draws, strict=True)):
        after = notes[number + 1] if number + 1 < len(notes) else None
        end = min(note.end, after.start) if after else note.end
        # Phrases swell towards their highest note.
        swell = 1.0 - 0.12 * min(4, abs(number - peak)) / 4
        loudness = swell * (0.45 + 0.55 * note.velocity)
        room = note.start - (notes[number - 1].start if number else start)
        if note.syllable is None:
            _hold_vowel(note, end, vowels, singer, voicing, formants, loudness)
        else:
            vowels = note.syllable.vowels
            _start_syllable(note, end, room, singer, voicing, breath, formants, noises, loudness)
        gap = after is None or after.start - end > 0.03
        _end_note(note, end, gap, singer, voicing, breath, noises, loudness, draw[0])
    pitch = _draw_pitch(notes, draws, grid, singer, random, step)
    level = _smooth(voicing.at(grid), _SMOOTH / step)
    airy = singer.breathiness * (0.25 * level + 0.75 * np.sqrt(np.maximum(level, 0.0)) * 0.5)
    quick = _noise(random, grid, 8.0, step)
    return Curves(
        start=start,
        pitch=pitch.astype(np.float32),
        voicing=(level * (1.0 + 0.06 * quick)).astype(np.float32),
        breath=(airy + _smooth(breath.at(grid), 0.008 / step)).astype(np.float32),
        tilt=np.clip(0.75 - 0.7 * level, 0.0, 0.8),
        damping=1.0 + 0.6 * np.clip(1.0 - 2.0 * level, 0.0, 1.0),
        formants=np.stack([_smooth(line.at(grid), _SMOOTH / step) for line in formants]),
        noises=noises,
    )


def _start_syllable(
    note: SungNote,
    end: float,
    room: float,
    singer: Singer,
    voicing: _Line,
    breath: _Line,
    formants: tuple[_Line, _Line, _Line],
    noises: list[Noise],
    loudness: float,
) -> None:
    """The consonant before a note, and the way into its vowel."""
    syllable = note.syllable
    assert syllable is not None
    first, last = (vowel_formants(name, singer.tract) for name in (syllable.vowels[0], syllable.vowels[-1]))
    begin, attack = note.start, 0.03
    opening = 0.04
    if syllable.onset:
        sound = CONSONANTS[syllable.onset]
        hold = min(sound.hold, 0.45 * room)
        close = note.start - hold
        onset = note.start + min(sound.aspiration, 0.3 * (end - note.start)) * 0.5
        release = onset - (sound.aspiration if sound.burst else 0.0)
        stretch = 1.0 + 0.17 * singer.tract
        for line, from_, to in zip(formants, sound.formants, first, strict=True):
            line.to(close, from_ * stretch)
            line.to(onset - 0.01, 0.6 * from_ * stretch + 0.4 * to)
        voicing.to(close - 0.015, voicing.values[-1])
        voicing.to(close, sound.voicing * loudness)
        voicing.to(onset - 0.012, sound.voicing * loudness)
        if sound.aspiration:
            air, begins = 0.5 * singer.clarity * loudness, max(close, release) if sound.burst else close
            breath.to(begins - 0.004, 0.0)
            breath.to(begins + (0.006 if sound.burst else 0.02), air)
            breath.to(onset, air)
            breath.to(onset + 0.03, 0.0)
        if sound.noise:
            level = 1.2 * sound.loudness * singer.clarity * loudness
            if sound.burst:
                times = (release - 0.006, release - 0.003, release + 0.006, release + 0.018)
            else:
                times = (close - 0.005, close + 0.02, max(close + 0.02, onset - 0.025), onset)
            noises.append(Noise(sound.noise, times, (0.0, level, level, 0.0)))
        begin, attack, opening = onset, 0.02, 0.05
    else:
        voicing.to(begin - 0.02, min(voicing.values[-1], 0.5 * loudness))
        attack = 0.045
    voicing.to(begin + attack, loudness)
    for line, one, two in zip(formants, first, last, strict=True):
        line.to(begin + opening, one)
        if one != two:
            long = end - begin
            line.to(begin + max(opening, 0.45 * long), one)
            line.to(begin + max(opening, 0.85 * long), 0.25 * one + 0.75 * two)
        else:
            line.to(max(begin + opening, end - 0.05), one)


def _hold_vowel(
    note: SungNote,
    end: float,
    vowels: tuple[str, ...],
    singer: Singer,
    voicing: _Line,
    formants: tuple[_Line, _Line, _Line],
    loudness: float,
) -> None:
    """A note on the vowel of the one before."""
    for line, target in zip(formants, vowel_formants(vowels[0], singer.tract), strict=True):
        line.to(note.start + 0.04, target)
        line.to(max(note.start + 0.04, end - 0.05), target)
    voicing.to(note.start - 0.02, voicing.values[-1])
    voicing.to(note.start + 0.01, 0.85 * loudness)
    voicing.to(note.start + 0.05, loudness)


def _end_note(
    note: SungNote,
    end: float,
    gap: bool,
    singer: Singer,
    voicing: _Line,
    breath: _Line,
    noises: list[Noise],
    loudness: float,
    draw: float,
) -> None:
    """How a note ends: into the next one, in silence, or with a consonant."""
    release = min(0.3 * (end - note.start), 0.05 + 0.12 * draw)
    voicing.to(end - release, loudness * (0.9 if end - note.start < 0.6 else 0.8))
    if not gap:
        return
    coda = CONSONANTS.get(note.syllable.coda) if note.syllable else None
    if coda is None or end - note.start < 0.15:
        voicing.to(end, 0.0)
        breath.to(end - 0.5 * release, 0.0)
        breath.to(end, 0.1 * singer.breathiness)
        breath.to(end + 0.06, 0.0)
        return
    voicing.to(end, coda.voicing * loudness * 0.7)
    voicing.to(end + 0.5 * coda.hold, 0.0)
    if coda.noise:
        level = 0.8 * coda.loudness * singer.clarity * loudness
        times = (
            end,
            end + 0.015,
            end + (0.02 if coda.burst else 0.8 * coda.hold),
            end + (0.04 if coda.burst else coda.hold),
        )
        noises.append(Noise(coda.noise, times, (0.0, level, 0.7 * level, 0.0)))


def _draw_pitch(
    notes: list[SungNote], draws: np.ndarray, grid: np.ndarray, singer: Singer, random: Generator, step: float
) -> np.ndarray:
    """The pitch over a phrase: glides, scoops, vibrato that sets in late, and a voice that is never quite steady."""
    line, depth = _Line(), _Line()
    for number, (note, draw) in enumerate(zip(notes, draws, strict=True)):
        before = notes[number - 1] if number else None
        glide = min(singer.glide, 0.4 * (note.end - note.start))
        if before is None or note.start - before.end > 0.06:
            scooped = singer.scoop if draw[1] < 0.45 else 0.0
            line.to(note.start - 0.05, note.pitch - scooped)
            line.to(note.start, note.pitch - 0.6 * scooped)
            line.to(note.start + glide, note.pitch)
        else:
            line.to(note.start - 0.5 * glide, before.pitch)
            # Singers overshoot a little.
            line.to(note.start + 0.5 * glide, note.pitch + 0.04 * (note.pitch - before.pitch))
            line.to(note.start + 1.5 * glide, note.pitch)
        hold = note.end - 0.06
        falls = draw[2] < 0.2 and (number + 1 == len(notes))
        line.to(max(hold, line.times[-1]), note.pitch)
        if falls:
            line.to(note.end + 0.05, note.pitch - singer.scoop)
        depth.to(note.start + singer.vibrato_delay, 0.0)
        depth.to(note.start + singer.vibrato_delay + 0.25, singer.vibrato_depth * (0.6 + 0.8 * draw[3]))
        depth.to(note.end, singer.vibrato_depth * (0.6 + 0.8 * draw[3]))
        depth.to(note.end + 0.02, 0.0)
        if note.end - note.start < singer.vibrato_delay + 0.1:  # too short
            depth.values[-3:] = [0.0, 0.0, 0.0]
    speed = singer.vibrato_rate * (1.0 + 0.05 * _noise(random, grid, 1.5, step))
    vibrato = np.sin(2.0 * np.pi * np.cumsum(speed) * step) * depth.at(grid)
    unsteady = singer.drift * _noise(random, grid, 2.5, step) + singer.jitter * _noise(random, grid, 40.0, step)
    return _smooth(line.at(grid), 0.03 / step) + vibrato + unsteady


def _smooth(values: np.ndarray, width: float) -> np.ndarray:
    """A moving average over a Hann window."""
    count = max(3, 2 * round(width / 2) + 1)
    window = np.hanning(count + 2)[1:-1]
    padded = np.concatenate([np.full(count // 2, values[0]), values, np.full(count // 2, values[-1])])
    return np.convolve(padded, window / window.sum(), "valid")


def _noise(random: Generator, grid: np.ndarray, bandwidth: float, step: float) -> np.ndarray:
    """Random values with unit variance that change about `bandwidth` times a second."""
    count = int(len(grid) * step * bandwidth) + 3
    points = random.standard_normal(count)
    return 1.2 * np.interp(np.arange(len(grid)) * (step * bandwidth), np.arange(count), points)
