"""What a frame model is to answer at each frame of a clip, from its annotation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from builder.annotations.annotation import MELODY_RATE, Annotation

from . import FRAME_RATE
from .labels import KEY_LABELS, UNLABELLED, Vocabulary, classify_chord, classify_key, list_chords
from .spectrogram import BINS_PER_SEMITONE, LOWEST_PITCH, PITCH_BINS, PITCHES

BEAT_NEIGHBOUR = 0.5  # the target one frame beside a beat (Davies and Boeck 2019)
UNVOICED = PITCH_BINS  # the class of frames without a melody


@dataclass(frozen=True)
class FrameClasses:
    """The classes of the tasks that have some. The places of a tuple are the numbers of its classes."""

    vocabulary: Vocabulary = "majmin"
    time_signatures: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()

    @property
    def chords(self) -> tuple[str, ...]:
        """The chord classes."""
        return list_chords(self.vocabulary)

    def outputs(self, task: str) -> int:
        """How many numbers a task has for each frame, or for the clip."""
        sizes = {
            "beats": 2,  # beat, downbeat
            "chords": len(self.chords),
            "key": len(KEY_LABELS),
            "time_signature": len(self.time_signatures),
            "melody": PITCH_BINS + 1,
            "notes": 2 * PITCHES,  # onsets, then active
            "instruments": len(self.instruments),
        }
        return sizes[task]


def make_targets(
    annotation: Annotation, tasks: Collection[str], classes: FrameClasses, frames: int
) -> dict[str, np.ndarray]:
    """Make the targets of the tasks.

    Args:
        annotation: The annotation of the clip.
        tasks: Names of tasks.
        classes: The classes of the tasks.
        frames: The length of the clip in frames.

    Returns:
        For each task an array: `beats` float32 [frames, 2], beat and downbeat; `chords` int64 [frames]; `key` and
        `time_signature` int64 []; `melody` int64 [frames], a bin or `UNVOICED`; `notes` float32 [frames, 176], onsets
        and active; `instruments` float32 [frames, classes]. What is not annotated is -1 of classes, NaN of the others.
    """
    make = {
        "beats": lambda: beat_targets(annotation, frames),
        "chords": lambda: chord_targets(annotation, classes.vocabulary, frames),
        "key": lambda: np.asarray(UNLABELLED if annotation.key is None else classify_key(annotation.key)),
        "time_signature": lambda: np.asarray(_place(annotation.time_signature, classes.time_signatures)),
        "melody": lambda: melody_targets(annotation, frames),
        "notes": lambda: note_targets(annotation, frames),
        "instruments": lambda: instrument_targets(annotation, classes.instruments, frames),
    }
    return {task: make[task]() for task in tasks}


def beat_targets(annotation: Annotation, frames: int) -> np.ndarray:
    """Make float32 [frames, 2]: 1 at beats and at downbeats, 0.5 one frame beside them, else 0; NaN if unknown."""
    found = np.full((frames, 2), np.nan, np.float32)
    if annotation.beats is None:
        return found
    found[:, 0] = _mark_times(annotation.beats, frames)
    if annotation.positions is not None:
        found[:, 1] = _mark_times(annotation.beats[annotation.positions == 1], frames)
    return found


def chord_targets(annotation: Annotation, vocabulary: Vocabulary, frames: int) -> np.ndarray:
    """Make int64 [frames]: the class of the chord that sounds at each frame, -1 where there is no class for it."""
    found = np.full(frames, UNLABELLED, np.int64)
    if annotation.chords is not None:
        for start, end, label in zip(
            annotation.chords.start, annotation.chords.end, annotation.chords.label, strict=True
        ):
            found[_frames_between(start, end, frames)] = classify_chord(label, vocabulary)
    return found


def melody_targets(annotation: Annotation, frames: int) -> np.ndarray:
    """Make int64 [frames]: the bin of the melody's f0 at each frame, `UNVOICED` where there is none, -1 if unknown."""
    if annotation.melody is None or not len(annotation.melody):
        return np.full(frames, UNLABELLED, np.int64)
    places = np.arange(frames) * (MELODY_RATE // FRAME_RATE)
    hertz = annotation.melody[np.minimum(places, len(annotation.melody) - 1)].astype(np.float64)
    voiced = hertz > 0
    pitch = 69 + 12 * np.log2(np.where(voiced, hertz, 440.0) / 440)
    bins = np.round((pitch - LOWEST_PITCH) * BINS_PER_SEMITONE).astype(np.int64) + 1
    bins[(bins < 0) | (bins >= PITCH_BINS)] = UNLABELLED
    return np.where(voiced, bins, UNVOICED)


def note_targets(annotation: Annotation, frames: int) -> np.ndarray:
    """Make float32 [frames, 2 * 88]: 1 at each onset and the frame after it; then 1 while a key sounds. No drums."""
    found = np.full((frames, 2, PITCHES), np.nan, np.float32)
    if annotation.notes is not None:
        found[:] = 0.0
        notes = annotation.notes
        keys = notes.pitch.astype(np.int64) - LOWEST_PITCH
        kept = ~notes.is_drum & (keys >= 0) & (keys < PITCHES)
        for onset, offset, key in zip(notes.onset[kept], notes.offset[kept], keys[kept], strict=True):
            sounding = _frames_between(onset, offset, frames)
            found[sounding, 1, key] = 1.0
            first = round(onset * FRAME_RATE)
            if 0 <= first < frames:
                found[first : first + 2, 0, key] = 1.0
                found[first, 1, key] = 1.0
    return found.reshape(frames, 2 * PITCHES)


def instrument_targets(annotation: Annotation, instruments: Sequence[str], frames: int) -> np.ndarray:
    """Make float32 [frames, instruments]: 1 while an instrument sounds. NaN if no track is annotated."""
    found = np.full((frames, len(instruments)), 0.0 if annotation.tracks else np.nan, np.float32)
    for track in annotation.tracks:
        if (place := _place(track.instrument, instruments)) >= 0:
            for start, end in zip(track.start, track.end, strict=True):
                found[_frames_between(start, end, frames), place] = 1.0
    return found


def _mark_times(times: np.ndarray, frames: int) -> np.ndarray:
    marked = np.zeros(frames + 2, np.float32)  # a frame before the first, and one after the last
    places = np.round(times * FRAME_RATE).astype(np.int64) + 1
    places = places[(places >= 1) & (places <= frames)]
    for offset in (-1, 1):
        marked[places + offset] = BEAT_NEIGHBOUR
    marked[places] = 1.0
    return marked[1:-1]


def _frames_between(start: float, end: float, frames: int) -> slice:
    """The frames from `start` up to `end`, in seconds, the last excluded."""
    first, last = (min(frames, max(0, int(np.ceil(time * FRAME_RATE - 1e-6)))) for time in (start, end))
    return slice(first, last)


def _place(name: str | None, names: Sequence[str]) -> int:
    return names.index(name) if name in names else UNLABELLED
