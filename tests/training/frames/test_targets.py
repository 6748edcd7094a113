"""Targets of frames, from annotations that are written down by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity
from training.frames.targets import (
    UNVOICED,
    FrameClasses,
    beat_targets,
    chord_targets,
    instrument_targets,
    make_targets,
    melody_targets,
    note_targets,
)

EMPTY = Annotation("a", 1.0)


def test_a_beat_is_one_at_its_frame_and_half_beside_it() -> None:
    beats = replace(EMPTY, beats=np.array([0.0, 0.5, 0.98]), positions=np.array([1, 2, 1], np.int8))
    found = beat_targets(beats, 50)
    assert found[:3, 0].tolist() == [1.0, 0.5, 0.0]
    assert found[24:27, 0].tolist() == [0.5, 1.0, 0.5]
    assert found[48:, 0].tolist() == [0.5, 1.0]
    assert np.flatnonzero(found[:, 1] == 1).tolist() == [0, 49]


def test_beats_without_positions_leave_downbeats_unknown() -> None:
    found = beat_targets(replace(EMPTY, beats=np.array([0.1])), 50)
    assert not np.isnan(found[:, 0]).any() and np.isnan(found[:, 1]).all()
    assert (beat_targets(replace(EMPTY, beats=np.zeros(0)), 50)[:, 0] == 0).all()


def test_each_frame_has_the_chord_that_sounds_there() -> None:
    chords = Segments(np.array([0.0, 0.4]), np.array([0.4, 0.8]), ("N", "D:min7"))
    found = chord_targets(replace(EMPTY, chords=chords), "majmin", 50)
    assert found.tolist() == [0] * 20 + [1 + 12 + 2] * 20 + [-1] * 10


def test_the_melody_is_the_nearest_third_of_a_semitone() -> None:
    melody = np.zeros(100, np.float32)
    melody[20:60] = 440.0
    melody[60:] = 440.0 * 2 ** (1 / 36)
    found = melody_targets(replace(EMPTY, melody=melody), 50)
    a4 = (69 - 21) * 3 + 1
    assert found.tolist() == [UNVOICED] * 10 + [a4] * 20 + [a4 + 1] * 20


def test_notes_have_an_onset_and_sound_until_their_offset() -> None:
    notes = Notes(
        np.array([-0.2, 0.2, 0.3]), np.array([0.1, 0.22, 0.9]), np.array([60, 61, 40], np.int16),
        *(np.array([64, 64, 64], np.int16),) * 2, np.array([False, False, True]), np.zeros(3, np.int16),
    )  # fmt: skip
    onsets, active = np.split(note_targets(replace(EMPTY, notes=notes), 50), 2, axis=1)
    assert np.flatnonzero(active[:, 60 - 21]).tolist() == list(range(5)) and not onsets[:, 60 - 21].any()
    assert np.flatnonzero(onsets[:, 61 - 21]).tolist() == [10, 11]
    assert np.flatnonzero(active[:, 61 - 21]).tolist() == [10]
    assert onsets.sum() == 2  # no drum


def test_an_instrument_is_on_while_it_sounds() -> None:
    track = TrackActivity("piano", 0, False, "harmony", np.array([0.2]), np.array([0.4]))
    found = instrument_targets(replace(EMPTY, tracks=(track,)), ("bass", "piano"), 50)
    assert np.flatnonzero(found[:, 1]).tolist() == list(range(10, 20)) and not found[:, 0].any()


def test_what_is_not_annotated_is_left_out_of_the_loss() -> None:
    tasks = ("beats", "chords", "key", "time_signature", "melody", "notes", "instruments")
    found = make_targets(EMPTY, tasks, FrameClasses("majmin", ("4/4",), ("bass",)), 10)
    assert list(found) == list(tasks)
    for task, target in found.items():
        assert np.isnan(target).all() if target.dtype == np.float32 else (target == -1).all(), task
