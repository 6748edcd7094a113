"""Audio and annotation are moved by the same amount."""

from __future__ import annotations

import numpy as np

from training.frames.augmentation import (
    cut_annotation,
    keep_tasks,
    shift_annotation,
    shift_spectrogram,
    stretch_spectrogram,
)
from training.frames.spectrogram import FRAMES_SAMPLING_RATE, PITCH_BINS, compute_spectrogram, pitch_of_bin

from .planted import make_clip


def test_a_cut_keeps_what_is_inside_and_counts_from_its_start() -> None:
    _, whole = make_clip(3)
    part = cut_annotation(whole, 1.0, 2.0)
    assert whole.beats is not None and part.beats is not None
    inside = (whole.beats >= 1.0) & (whole.beats < 3.0)
    np.testing.assert_allclose(part.beats, whole.beats[inside] - 1.0)
    np.testing.assert_array_equal(part.positions, whole.positions[inside])
    assert part.chords is not None and (part.chords.start[0], part.chords.end[0]) == (0.0, 2.0)
    assert part.notes is not None and part.notes.onset[0] == -1.0 and part.notes.offset[0] == 2.0
    assert part.melody is not None and len(part.melody) == 200
    assert part.duration == 2.0 and part.tracks[0].end[0] == 2.0


def test_a_slower_part_has_later_beats_and_a_lower_tempo() -> None:
    _, whole = make_clip(4)
    part = cut_annotation(whole, 0.5, 3.0, stretch=1.25)
    assert whole.beats is not None and part.beats is not None
    expected = (whole.beats - 0.5) * 1.25
    np.testing.assert_allclose(part.beats, expected[(expected >= 0) & (expected < 3.0)])


def test_a_stretched_spectrogram_has_its_frames_where_the_stretched_annotation_says() -> None:
    frames = np.zeros((100, 5), np.uint8)
    frames[40] = 200
    for stretch in (0.8, 1.0, 1.25):
        found = stretch_spectrogram(frames, stretch, 100)
        assert abs(int(found[:, 0].argmax()) - 40 * stretch) <= 0.5
        assert len(found) == min(100, int(99 * stretch) + 1)


def test_a_shift_moves_the_sine_of_a_note_with_its_label() -> None:
    import torch

    time = np.arange(FRAMES_SAMPLING_RATE) / FRAMES_SAMPLING_RATE
    sine = torch.tensor(0.3 * np.sin(2 * np.pi * 440 * time), dtype=torch.float32)[None]
    found = (compute_spectrogram(sine)[0].numpy() * 255).astype(np.uint8)
    for semitones in (-3, 0, 5):
        moved = shift_spectrogram(found, semitones)
        assert pitch_of_bin(int(moved[25, :PITCH_BINS].argmax())) == 69 + semitones
        np.testing.assert_array_equal(moved[:, PITCH_BINS:], found[:, PITCH_BINS:])


def test_chords_key_melody_and_notes_are_shifted_together() -> None:
    _, annotation = make_clip(5)
    up = shift_annotation(annotation, 2)
    assert annotation.notes is not None and up.notes is not None and annotation.melody is not None
    np.testing.assert_array_equal(up.notes.pitch, annotation.notes.pitch + 2)
    np.testing.assert_allclose(up.melody, annotation.melody * 2 ** (2 / 12), rtol=1e-6)
    back = shift_annotation(up, -2)
    assert back.chords is not None and annotation.chords is not None
    assert (back.chords.label, back.key) == (annotation.chords.label, annotation.key)
    assert up.key != annotation.key and up.beats is annotation.beats


def test_only_what_the_tasks_need_is_kept() -> None:
    _, annotation = make_clip(6)
    kept = keep_tasks(annotation, ("beats", "key"))
    assert kept.beats is annotation.beats and kept.positions is annotation.positions and kept.key == annotation.key
    assert kept.notes is None and kept.melody is None and kept.tracks == () and kept.id == annotation.id
