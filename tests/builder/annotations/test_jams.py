"""JAMS as the package `jams` loads and validates it, and as mir_eval scores it."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import jams
import numpy as np
import pytest

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity
from builder.annotations.jams import from_jams, read_jams, to_jams, write_jams
from builder.errors import BackendError, DataError

from .test_annotation import make_annotation


def assert_close(left: object, right: object) -> None:
    """Equal, with numbers to 1e-6."""
    if isinstance(left, Annotation | Notes | Segments | TrackActivity):
        assert type(left) is type(right)
        for field in fields(left):
            assert_close(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray) and left.dtype == right.dtype
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-6)
    elif isinstance(left, tuple):
        assert isinstance(right, tuple) and len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_close(one, other)
    else:
        assert left == right


@pytest.mark.parametrize(
    "annotation",
    [
        make_annotation(),
        Annotation("nothing", 1.5),
        Annotation("empty", 1.5, np.zeros(0), np.zeros(0, np.int8), chords=Segments(np.zeros(0), np.zeros(0), ())),
        replace(make_annotation(), positions=None, tracks=(), time_signature=None, key=None),
        replace(make_annotation(), notes=None, melody=None, time_signature="6/8"),
        replace(make_annotation(), time_signature=None),
        replace(make_annotation(), chords=Segments(np.zeros(1), np.ones(1), ("G:13/b7",)), sections=None),
    ],
    ids=lambda annotation: annotation.id,
)
def test_an_annotation_comes_back_from_a_file(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "clip.jams"
    write_jams(annotation.to_row(), path, data_source="score")
    expected = replace(annotation, midi=None)
    assert_close(from_jams(jams.load(str(path), validate=True)), expected)
    assert_close(read_jams(path, id=annotation.id), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.jams"]


def test_the_namespaces_are_those_of_the_field() -> None:
    jam = to_jams(make_annotation(), data_source="score")
    names = ["beat_position", "tempo", "chord_harte", "key_mode", "segment_open", "pitch_contour"]
    assert [part.namespace for part in jam.annotations] == [*names, *["note_midi"] * 2, *["tag_open"] * 2]
    assert {part.annotation_metadata.data_source for part in jam.annotations} == {"score"}
    beats = jam.annotations["beat_position", 0].data
    assert [beat.value["measure"] for beat in beats] == [0, 0, 0, 0] and beats[0].value["beat_units"] == 4
    chords = jam.annotations["chord_harte", 0]
    assert jams.eval.chord(chords, chords)["sevenths"] == 1.0
    pieces = jam.annotations["note_midi", 1]
    assert pieces.sandbox.instrument == "drum kit" and pieces.sandbox.velocity == [127] and pieces.sandbox.is_drum


def test_bars_are_counted_from_an_incomplete_first_one() -> None:
    positions = np.array([3, 4, 1, 2], np.int8)
    beats = to_jams(replace(make_annotation(), positions=positions)).annotations["beat_position", 0].data
    assert [beat.value["measure"] for beat in beats] == [0, 0, 1, 1]


def test_files_of_other_data_sets_are_read() -> None:
    """As GuitarSet has them: notes by string, a contour a string, two annotators of chords."""
    jam = jams.JAMS()
    jam.file_metadata.duration = 2.0
    jam.file_metadata.title = "00_Bossa"
    for pitches in [(52.03, 55.9), (64.2,)]:  # of two strings
        part = jams.Annotation("note_midi", duration=2.0)
        for number, pitch in enumerate(pitches):
            part.append(time=0.5 * number, duration=0.25, value=pitch)
        contour = jams.Annotation("pitch_contour", duration=2.0)
        contour.append(time=0.0, duration=0.0, value={"index": 0, "frequency": 100.0, "voiced": True})
        jam.annotations += [part, contour]
    for label in ("C:maj", "A:min"):
        chords = jams.Annotation("chord", duration=2.0)
        chords.append(time=0.0, duration=2.0, value=label)
        jam.annotations.append(chords)
    tempo = jams.Annotation("tempo", duration=2.0)
    tempo.append(time=0.0, duration=2.0, value=60.0, confidence=0.2)
    tempo.append(time=0.0, duration=2.0, value=120.0, confidence=0.8)
    jam.annotations.append(tempo)
    found = from_jams(jam)
    assert found.notes is not None and found.chords is not None
    assert found.notes.pitch.tolist() == [52, 64, 56] and found.notes.track.tolist() == [0, 1, 0]
    assert (found.id, found.melody, found.chords.label, found.tempo_bpm) == ("00_Bossa", None, ("C:maj",), 120.0)


def test_a_melody_on_another_grid_is_read_at_every_10_ms() -> None:
    jam = to_jams(Annotation("a", 0.1))
    part = jams.Annotation("pitch_contour", duration=0.1)
    for time in np.arange(0, 0.05, 0.0058):
        part.append(time=time, duration=0.0, value={"index": 0, "frequency": 440.0, "voiced": True})
    jam.annotations.append(part)
    melody = from_jams(jam).melody
    assert melody is not None and melody.tolist() == [440.0] * 6 + [0.0] * 4


def damaged(path: Path, change: str) -> None:
    content = json.loads(path.read_text())
    parts = {part["namespace"]: part for part in content["annotations"]}
    if change == "key":
        parts["key_mode"]["data"][0]["value"] = "H:moll"
    elif change == "contour":
        parts["pitch_contour"]["data"]["value"][0] = {"hertz": 1}
    elif change == "pitch":
        parts["note_midi"]["data"][0]["value"] = 10**30
    elif change == "velocity":
        parts["note_midi"]["sandbox"]["velocity"] = [1, 2, 3]
    elif change == "duration":
        content["file_metadata"]["duration"] = 1e30
    elif change == "space":
        parts["key_mode"]["namespace"] = "key_of_life"
    else:
        content = ["not", "an", "object"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("key", "is not valid JAMS: 'H:moll'"),
        ("contour", "has a value that is not of its namespace: KeyError"),
        ("pitch", "has a value that is not of its namespace: OverflowError"),
        ("velocity", "its sandbox other velocity"),
        ("duration", r"the duration in its file_metadata is 1e\+30"),
        ("space", "is not valid JAMS: Unknown namespace: key_of_life"),
        ("list", "is not a JAMS file: expected a JSON object"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "clip.jams"
    write_jams(make_annotation(), path)
    damaged(path, change)
    with pytest.raises(DataError, match=message):
        read_jams(path)


def test_what_does_not_fit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.jams"
    odd = replace(make_annotation(), chords=Segments(np.zeros(1), np.ones(1), ("Am7",)))
    with pytest.raises(DataError, match="JAMS has no chord 'Am7'"):
        write_jams(odd, path)
    with pytest.raises(DataError, match=r"ends in \.jams"):
        write_jams(make_annotation(), tmp_path / "clip.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_jams(path)
    write_jams(make_annotation(), path)
    with pytest.raises(DataError, match="is of 'clip-0', not of 'clip-1'"):
        read_jams(path, id="clip-1")
    monkeypatch.setitem(sys.modules, "jams", None)
    with pytest.raises(BackendError, match=r"needs the package 'jams'.*\n.*--extra annotations"):
        to_jams(make_annotation())
