"""Arrays at a frame rate, against pretty_midi's piano roll and mir_eval's encoding of chords."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mir_eval
import numpy as np
import pytest

from builder.annotations.annotation import Annotation, Segments
from builder.annotations.arrays import beat_activations, chord_vectors, piano_roll
from builder.annotations.labs import read_beats, read_lab, write_beats, write_lab
from builder.annotations.midi import to_pretty_midi
from builder.errors import DataError, RecipeError

from .test_annotation import make_annotation
from .test_midi import make_notes


def test_the_piano_roll_is_that_of_pretty_midi() -> None:
    rows = [(0.1, 0.5, 60, 80, 0, False, 0), (0.2, 0.4, 64, 100, 0, False, 1), (0.3, 0.9, 38, 90, 0, True, 2)]
    annotation = Annotation("a", 1.0, notes=make_notes(rows))
    roll = piano_roll(annotation, rate=10)
    assert roll.shape == (10, 128) and roll.dtype == np.uint8
    theirs = to_pretty_midi(annotation).get_piano_roll(fs=10).T  # without drums, up to the last note
    np.testing.assert_array_equal(roll[: len(theirs)], theirs[:10])
    assert piano_roll(annotation.to_row(), rate=10, drums=True)[3:9, 38].tolist() == [90] * 6


def test_every_note_has_a_frame() -> None:
    rows = [(0.501, 0.502, 60, 80, 0, False, 0), (0.501, 0.502, 60, 99, 0, False, 1)]
    roll = piano_roll(Annotation("a", 1.0, notes=make_notes(rows)), rate=50)
    assert np.argwhere(roll).tolist() == [[25, 60]] and roll[25, 60] == 99


def test_beats_are_marked_in_the_nearest_frame() -> None:
    marks = beat_activations(make_annotation(), rate=50)
    assert marks.shape == (100, 2) and marks.dtype == np.float32
    assert np.flatnonzero(marks[:, 0]).tolist() == [1, 26, 51, 76] and np.flatnonzero(marks[:, 1]).tolist() == [1]
    unknown = beat_activations(replace(make_annotation(), positions=None), rate=50)
    assert np.isnan(unknown[:, 1]).all() and unknown[:, 0].sum() == 4


@pytest.mark.parametrize("label", ["C:maj", "A:min7/b3", "F#:hdim7", "Bb:sus4", "G:9/5", "N", "X"])
def test_chords_are_as_mir_eval_encodes_them(label: str) -> None:
    chords = Segments(np.array([0.2]), np.array([0.6]), (label,))
    vectors = chord_vectors(Annotation("a", 1.0, chords=chords), rate=10)
    root, bitmap, bass = mir_eval.chord.encode(label)
    turned = mir_eval.chord.rotate_bitmap_to_root(bitmap, root) if root >= 0 else bitmap
    for frame in range(10):
        inside = 2 <= frame < 6
        assert vectors.chroma[frame].tolist() == (turned.tolist() if inside else [0] * 12)
        assert (vectors.root[frame], vectors.bass[frame]) == ((root, bass) if inside else (-1, -1))


@pytest.mark.parametrize(
    ("make", "name"), [(piano_roll, "notes"), (beat_activations, "beats"), (chord_vectors, "chords")]
)
def test_what_is_not_annotated_is_an_error(make, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=f"annotation clip-7: has no {name}"):
        make(Annotation("clip-7", 1.0))
    for rate in (0, -1, float("nan")):
        with pytest.raises(RecipeError, match="not a number of frames a second"):
            make(make_annotation(), rate)


def test_a_chord_in_another_syntax_is_an_error() -> None:
    chords = Segments(np.zeros(1), np.ones(1), ("Cmin7",))
    with pytest.raises(DataError, match="chord 'Cmin7' is not in Harte's syntax"):
        chord_vectors(Annotation("a", 1.0, chords=chords))


def test_text_files_are_read_back_and_by_mir_eval(tmp_path: Path) -> None:
    annotation = make_annotation()
    assert annotation.beats is not None and annotation.chords is not None
    write_beats(tmp_path / "a.beats", annotation.beats, annotation.positions)
    times, positions = read_beats(tmp_path / "a.beats")
    np.testing.assert_allclose(times, annotation.beats, atol=1e-6)
    assert positions is not None and positions.tolist() == [1, 2, 3, 4]
    assert mir_eval.io.load_labeled_events(str(tmp_path / "a.beats"))[1] == ["1", "2", "3", "4"]
    write_beats(tmp_path / "b.beats", annotation.beats)
    assert read_beats(tmp_path / "b.beats")[1] is None
    np.testing.assert_allclose(mir_eval.io.load_events(str(tmp_path / "b.beats")), annotation.beats, atol=1e-6)
    sections = Segments(np.array([0.0, 1.25]), np.array([1.25, 2.0]), ("verse 1", "chorus"))
    for segments in (annotation.chords, sections):
        write_lab(tmp_path / "a.lab", segments)
        intervals, labels = mir_eval.io.load_labeled_intervals(str(tmp_path / "a.lab"))
        found = read_lab(tmp_path / "a.lab")
        assert found.label == segments.label == tuple(labels)
        np.testing.assert_allclose(found.end, segments.end, atol=1e-6)
        np.testing.assert_array_equal(intervals, np.column_stack([found.start, found.end]))


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_beats, "0.5\t1\nx\t2\n", "line 2: 'x' is not a time"),
        (read_beats, "0.5\tone\n", "line 1: 'one' is not a position"),
        (read_beats, "nan\t1\n", "line 1: 'nan' is not a time"),
        (read_lab, "# chords\n0.0\t1.0\n", "line 2: .* fewer than 3 fields"),
        (read_lab, "0.0\tinf\tC\n", "line 1: 'inf' is not a time"),
    ],
)
def test_lines_that_are_not_read_are_named(tmp_path: Path, read, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "missing.txt")
