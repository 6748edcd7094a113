"""Annotate a score: its notes, beats, chords, sections and melody at the times of its sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ....annotations.annotation import MELODY_RATE, Annotation, Notes, Segments, TrackActivity
from ..production.draw import draw_production
from ..score import LEAD_IN, Score, Track
from ..singing.vocals import Vocals, plan_vocals, trace_lead
from ..singing.voice import TRACE_STEP
from .clock import Clock
from .harmony import Sounding, list_chords, list_sections, name_key

Tuning = Callable[[Track, int], float]
_TOGETHER = 0.003  # seconds: strokes of one pitch that are closer are one note
_BRIDGED = 0.5  # seconds: shorter rests do not end a stretch in which a track sounds
_SOFT = 0.6  # of the median velocity of a melody: softer notes are echoes
_VOICED = 0.08  # of the loudest part of a phrase: softer is not voiced


class _Part(NamedTuple):
    """The notes of one player: a track, or one singer of a vocal track."""

    track: Track
    start: np.ndarray  # seconds in the score, [notes]
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray  # 0..1
    places: np.ndarray | None  # of the clock


def annotate_score(score: Score, name: str, seconds: float, rate: int, version: str, tuning: Tuning) -> Annotation:
    """Annotate a score.

    Times are those of the audio: the lead-in, the players' timing, slides and vibrato, which shift what follows, and
    the unsteady speed of tapes and records. A note starts where its player starts it, as in MIDI.

    Args:
        score: The score as it is performed.
        name: The id of the clip.
        seconds: The length of the clip.
        rate: The sampling rate in Hz.
        version: The version of the sound.
        tuning: How far a note of a track, at a MIDI note number, is from its pitch, in semitones.
    """
    production = None if version == "1" else draw_production(score)
    clock = Clock(score, seconds, rate, production)
    voice = next((track for track in score.tracks if track.role == "voice"), None)
    vocals = plan_vocals(voice, score) if voice and production else None
    parts = _list_parts(score, clock, vocals)
    notes = _list_notes(parts, clock)
    beats = np.arange(int(seconds / clock.beat) + 2)
    times = clock.to_seconds(beats.astype(np.float64))
    beats, times = beats[times < seconds], times[times < seconds]
    length = seconds / clock.beat
    pitched = [part for part in parts if not part.track.is_drum]
    harmony = [part for part in pitched if part.track.role in ("bass", "chords", "pad")]
    chords = list_chords(score, _gather(harmony, clock), _gather(pitched, clock), length)
    return Annotation(
        id=name,
        duration=seconds,
        beats=times,
        positions=(beats % score.metre + 1).astype(np.int8),
        tempo_bpm=float(score.tempo),
        time_signature=f"{score.metre}/4",
        chords=_place_segments(chords, clock),
        key=name_key(score.key),
        sections=_place_segments(list_sections(score, length), clock),
        melody=_trace_melody(score, parts, clock, vocals, tuning),
        notes=notes,
        tracks=tuple(_find_activity(part.track, notes, number) for number, part in enumerate(parts)),
    )


def _list_parts(score: Score, clock: Clock, vocals: Vocals | None) -> list[_Part]:
    """The players of a score in its order, then the singers who join the first one."""
    parts: list[_Part] = []
    joined: list[_Part] = []
    for track in score.tracks:
        places = clock.trace(track)
        if track.role == "voice" and vocals is not None:
            for number, sung in enumerate(vocals.parts):
                rows = [(note.start, note.end, note.pitch, note.velocity) for note in sung.notes]
                start, end, pitch, velocity = _as_columns(rows)
                (joined if number else parts).append(_Part(track, start, end, pitch, velocity, places))
        else:
            rows = [
                (note.start * clock.beat + LEAD_IN, note.duration * clock.beat, note.pitch, note.velocity)
                for note in track.notes
            ]
            start, length, pitch, velocity = _as_columns(rows)
            parts.append(_Part(track, start, start + length, pitch, velocity, places))
    return parts + joined


def _as_columns(rows: Sequence[tuple[float, float, float, float]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(rows, np.float64).reshape(-1, 4).T)


def _gather(parts: Sequence[_Part], clock: Clock) -> Sounding:
    """The notes of several players, in beats."""
    none = [np.zeros(0)]
    start, end = (
        (np.concatenate(none + [part[column] for part in parts]) - LEAD_IN) / clock.beat for column in (1, 2)
    )
    return start, end, np.concatenate(none + [part.pitch for part in parts]).astype(np.int64)


def _list_notes(parts: Sequence[_Part], clock: Clock) -> Notes:
    """The notes that start in the clip. One that is repeated while it sounds ends where it is repeated."""
    onset = np.concatenate([np.zeros(0)] + [clock.shift(part.start, part.places) for part in parts])
    offset = np.concatenate([np.zeros(0)] + [clock.shift(part.end, part.places) for part in parts])
    counts = [len(part.start) for part in parts]
    track = np.repeat(np.arange(len(parts)), counts)
    pitch = np.concatenate([np.zeros(0)] + [part.pitch for part in parts]).astype(np.int16)
    velocity = np.concatenate([np.zeros(0)] + [part.velocity for part in parts])
    order = np.lexsort((onset, pitch, track))
    order = order[(onset[order] < clock.seconds - _TOGETHER) & (offset[order] > 0.0)]
    onset, offset = np.maximum(onset, 0.0), np.minimum(offset, clock.seconds)
    same = (np.diff(track[order]) == 0) & (np.diff(pitch[order]) == 0)
    doubled = np.flatnonzero(same & (np.diff(onset[order]) < _TOGETHER))
    np.maximum.at(velocity, order[doubled], velocity[order[doubled + 1]])
    np.maximum.at(offset, order[doubled], offset[order[doubled + 1]])
    order = np.delete(order, doubled + 1)
    same = (np.diff(track[order]) == 0) & (np.diff(pitch[order]) == 0)
    offset[order[:-1]] = np.where(same, np.minimum(offset[order[:-1]], onset[order[1:]]), offset[order[:-1]])
    offset = np.maximum(offset, onset + 0.001)
    order = order[np.lexsort((track[order], pitch[order], onset[order]))]
    programs = np.array([part.track.program for part in parts], np.int16)
    drums = np.array([part.track.is_drum for part in parts], np.bool_)
    return Notes(
        onset=onset[order],
        offset=offset[order],
        pitch=pitch[order],
        velocity=np.clip(np.rint(127.0 * velocity[order]), 1, 127).astype(np.int16),
        program=programs[track[order]],
        is_drum=drums[track[order]],
        track=track[order].astype(np.int16),
    )


def _find_activity(track: Track, notes: Notes, number: int) -> TrackActivity:
    """The stretches in which a track sounds."""
    mine = notes.track == number
    start, end = notes.onset[mine], np.maximum.accumulate(notes.offset[mine])
    first = np.flatnonzero(np.append(True, start[1:] - end[:-1] > _BRIDGED)[: len(start)])
    return TrackActivity(
        instrument=track.instrument,
        program=track.program,
        is_drum=track.is_drum,
        stem=track.stem,
        start=start[first],
        end=np.append(end[first[1:] - 1], end[-1:]),
    )


def _place_segments(segments: Sequence[tuple[float, float, str]], clock: Clock) -> Segments:
    """Segments in beats as those of the sound; the first starts with the clip and the last ends with it."""
    starts, ends, labels = zip(*segments, strict=True)
    start, end = (np.clip(clock.to_seconds(np.array(beats)), 0.0, clock.seconds) for beats in (starts, ends))
    start[0], end[-1] = 0.0, clock.seconds
    return Segments(start, end, labels)


def _trace_melody(
    score: Score, parts: Sequence[_Part], clock: Clock, vocals: Vocals | None, tuning: Tuning
) -> np.ndarray:
    """The f0 of the voice, else of the loudest lead."""
    times = np.arange(math.ceil(MELODY_RATE * clock.seconds)) / MELODY_RATE
    leads = [part for part in parts if part.track.role == "voice"]
    leads = leads or sorted((part for part in parts if part.track.role == "lead"), key=lambda part: -part.track.level)
    if not leads:
        return np.zeros(len(times), np.float32)
    played, speed = clock.unshift(times, leads[0].places)
    if vocals is not None:
        pitch = np.full(len(times), np.nan)
        for start, sung, loudness in trace_lead(vocals, score, clock.rate):
            place = (played - start) * (clock.rate / TRACE_STEP)
            inside = np.flatnonzero((place >= 0.0) & (place < len(sung) - 1))
            steps = np.arange(len(sung))
            voiced = np.interp(place[inside], steps, loudness) > _VOICED * loudness.max()
            pitch[inside[voiced]] = np.interp(place[inside[voiced]], steps, sung)
    else:
        pitch = _paint_line(leads[0], played, tuning)
    melody = 440.0 * np.exp2((pitch - 69.0) / 12.0) * (1.0 if speed is None else speed)
    return np.nan_to_num(melody, nan=0.0).astype(np.float32)


def _paint_line(part: _Part, times: np.ndarray, tuning: Tuning) -> np.ndarray:
    """The pitch of one player at times: the latest note that sounds, and echoes where nothing else does."""
    pitch = np.full(len(times), np.nan)
    soft = part.velocity < _SOFT * np.median(part.velocity)
    order = np.lexsort((part.pitch, part.start, ~soft))
    first, last = np.searchsorted(times, part.start[order]), np.searchsorted(times, part.end[order])
    for begin, end, sounding in zip(first.tolist(), last.tolist(), part.pitch[order].tolist(), strict=True):
        pitch[begin:end] = sounding + tuning(part.track, int(sounding))
    return pitch
