"""Annotations that are moved with their audio: cut, stretched in time, shifted in pitch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

import numpy as np

from builder.annotations.annotation import MELODY_RATE, Annotation, Notes, Segments, TrackActivity
from builder.annotations.tasks import TASK_FIELDS

from .labels import transpose_label
from .spectrogram import BINS_PER_SEMITONE, PITCH_BINS


def keep_tasks(annotation: Annotation, tasks: Collection[str]) -> Annotation:
    """Return an annotation with only what some tasks learn from, which takes less memory."""
    kept = {name for task in tasks for name in TASK_FIELDS[task]} | {"id", "duration"}
    return Annotation(**{field.name: getattr(annotation, field.name) for field in fields(annotation)
                         if field.name in kept})  # fmt: skip


def cut_annotation(annotation: Annotation, start: float, seconds: float, stretch: float = 1.0) -> Annotation:
    """Return the annotation of a part of the audio, played at another speed.

    Args:
        annotation: The annotation of the whole.
        start: Where the part begins in the whole, in seconds.
        seconds: The length of the part as it is played.
        stretch: By how much it is played slower: at 1.25 a second of the original takes 1.25 s.

    Returns:
        What begins or sounds within the part, with times from its start. A note that began before is cut there, and
        has no onset of its own: it begins at a negative time.
    """

    def moved(times: np.ndarray) -> np.ndarray:
        return (times - start) * stretch

    changes: dict[str, object] = {"duration": seconds}
    if annotation.beats is not None:
        times = moved(annotation.beats)
        inside = (times >= 0) & (times < seconds)
        changes["beats"] = times[inside]
        changes["positions"] = None if annotation.positions is None else annotation.positions[inside]
    if annotation.tempo_bpm is not None:
        changes["tempo_bpm"] = annotation.tempo_bpm / stretch
    for name in ("chords", "sections"):
        segments: Segments | None = getattr(annotation, name)
        if segments is not None:
            begins, ends = moved(segments.start), moved(segments.end)
            inside = (ends > 0) & (begins < seconds)
            labels = tuple(label for label, kept in zip(segments.label, inside, strict=True) if kept)
            changes[name] = Segments(np.maximum(begins[inside], 0), np.minimum(ends[inside], seconds), labels)
    if annotation.melody is not None:
        places = np.arange(int(np.ceil(seconds * MELODY_RATE - 1e-9))) / stretch + start * MELODY_RATE
        nearest = np.round(places).astype(np.int64)
        melody = np.zeros(len(places), np.float32)
        there = nearest < len(annotation.melody)
        melody[there] = annotation.melody[nearest[there]]
        changes["melody"] = melody
    if annotation.notes is not None:
        notes = annotation.notes
        onset, offset = moved(notes.onset), moved(notes.offset)
        inside = (offset > 0) & (onset < seconds)
        columns = {field.name: getattr(notes, field.name)[inside] for field in fields(notes)}
        changes["notes"] = Notes(**{**columns, "onset": onset[inside], "offset": np.minimum(offset[inside], seconds)})
    tracks = []
    for track in annotation.tracks:
        begins, ends = moved(track.start), moved(track.end)
        inside = (ends > 0) & (begins < seconds)
        tracks.append(replace(track, start=np.maximum(begins[inside], 0), end=np.minimum(ends[inside], seconds)))
    changes["tracks"] = tuple[TrackActivity, ...](tracks)
    return replace(annotation, midi=None, **changes)  # type: ignore[arg-type]


def shift_annotation(annotation: Annotation, semitones: int) -> Annotation:
    """Return the annotation of audio whose pitch is shifted: chords, key, melody and notes. Drums keep their keys."""
    if semitones == 0:
        return annotation
    changes: dict[str, object] = {"midi": None}
    if annotation.chords is not None:
        labels = tuple(transpose_label(label, semitones) for label in annotation.chords.label)
        changes["chords"] = replace(annotation.chords, label=labels)
    if annotation.key is not None:
        changes["key"] = transpose_label(annotation.key, semitones)
    if annotation.melody is not None:
        changes["melody"] = (annotation.melody * 2 ** (semitones / 12)).astype(np.float32)
    if annotation.notes is not None:
        notes = annotation.notes
        pitch = np.where(notes.is_drum, notes.pitch, notes.pitch + semitones).astype(np.int16)
        changes["notes"] = replace(notes, pitch=pitch)
    return replace(annotation, **changes)  # type: ignore[arg-type]


def shift_spectrogram(spectrogram: np.ndarray, semitones: int) -> np.ndarray:
    """Shift the pitch rows of a spectrogram.

    Args:
        spectrogram: [frames, rows], of any type; the first 264 rows are pitches, see `compute_spectrogram`.
        semitones: How far; rows that come from outside are 0, the quietest.

    Returns:
        [frames, rows], a copy. The rows of short windows are as they were: they say when, and not at what pitch.
    """
    moved = spectrogram.copy()
    if bins := semitones * BINS_PER_SEMITONE:
        pitch = moved[:, :PITCH_BINS]
        pitch[:] = np.roll(pitch, bins, axis=1)
        pitch[:, slice(0, bins) if bins > 0 else slice(bins, None)] = 0
    return moved


def stretch_spectrogram(spectrogram: np.ndarray, stretch: float, frames: int) -> np.ndarray:
    """Stretch a spectrogram in time, by linear interpolation between frames.

    Args:
        spectrogram: [frames, rows].
        stretch: By how much it becomes longer.
        frames: The most frames of the result.

    Returns:
        float32 [n, rows]: n is `frames`, or less where the original is over before.
    """
    n = min(frames, int(np.floor((len(spectrogram) - 1) * stretch + 1e-9)) + 1)
    places = np.arange(n) / stretch
    below = np.minimum(places.astype(np.int64), len(spectrogram) - 1)
    above = np.minimum(below + 1, len(spectrogram) - 1)
    share = (places - below).astype(np.float32)[:, None]
    low, high = (spectrogram[rows].astype(np.float32) for rows in (below, above))
    return np.asarray(low + (high - low) * share)
