"""MIDI files as mido and pretty_midi read them: notes, beats and downbeats at the times of the audio."""

from __future__ import annotations

import io
from dataclasses import replace

import mido
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.annotations.annotation import Annotation, Notes
from builder.annotations.midi import to_pretty_midi, write_midi
from builder.errors import DataError

from .test_annotation import make_annotation

TICK = 1e-4  # seconds, more than half a tick at the tempos here


def make_notes(rows: list[tuple[float, float, int, int, int, bool, int]]) -> Notes:
    kinds = (np.float64, np.float64, np.int16, np.int16, np.int16, np.bool_, np.int16)
    return Notes(*(np.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)))


def test_notes_programs_and_drums_are_read_back() -> None:
    annotation = replace(make_annotation(), midi=None)
    file = mido.MidiFile(file=io.BytesIO(write_midi(annotation)))
    assert file.type == 1 and [track.name for track in file.tracks] == ["", "piano", "drum kit"]
    piano, drums = to_pretty_midi(annotation).instruments
    assert (piano.program, piano.is_drum, drums.program, drums.is_drum) == (0, False, 8, True)
    (note,), (hit,) = piano.notes, drums.notes
    assert (note.pitch, note.velocity, hit.pitch, hit.velocity) == (57, 90, 38, 127)
    assert [note.start, note.end, hit.start, hit.end] == pytest.approx([0.012, 0.4, 0.5, 0.6], abs=TICK)


@pytest.mark.parametrize(
    ("meter", "positions", "lead"),
    [
        ("4/4", [1, 2, 3, 4, 1, 2, 3, 4, 1], 0.012),
        ("4/4", [3, 4, 1, 2, 3, 4, 1, 2, 3], 0.0),
        ("3/4", [3, 1, 2, 3, 1, 2, 3, 1, 2], 1.3),
        ("6/8", [1, 2, 1, 2, 1, 2, 1, 2, 1], 0.2),
        ("6/8", [1, 2, 3, 4, 5, 6, 1, 2, 3], 0.0),
    ],
)
def test_beats_and_downbeats_are_where_they_are_annotated(meter: str, positions: list[int], lead: float) -> None:
    beats = lead + np.cumsum([0, 0.5, 0.51, 0.49, 0.502, 0.5, 0.47, 0.53, 0.5])  # played by someone
    notes = make_notes([(time, time + 0.3, 60, 80, 0, False, 0) for time in beats.tolist()])
    annotation = Annotation(
        "a", 6.0, beats=beats, positions=np.array(positions, np.int8), time_signature=meter, notes=notes
    )
    midi = to_pretty_midi(annotation)
    assert [note.start for note in midi.instruments[0].notes] == pytest.approx(beats.tolist(), abs=TICK)
    downbeats = midi.get_downbeats()
    for time in beats[np.array(positions) == 1]:
        assert np.abs(downbeats - time).min() < TICK
    assert np.sum((downbeats >= beats[0] - TICK) & (downbeats < beats[-1] + TICK)) == positions.count(1) + (
        lead == 0 and positions[0] != 1  # a file starts with a bar line
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 9), st.floats(0.01, 1), st.integers(0, 127), st.integers(1, 127), st.integers(0, 3)),
        min_size=1,
        max_size=20,
    ),
    st.floats(40, 250),
)
def test_any_notes_make_a_file_and_each_starts_on_time(
    rows: list[tuple[float, float, int, int, int]], tempo: float
) -> None:
    notes = make_notes([(on, on + long, pitch, loud, 5, False, track) for on, long, pitch, loud, track in rows])
    midi = to_pretty_midi(Annotation("a", 10.0, tempo_bpm=tempo, notes=notes))
    found = sorted((note.pitch, note.start) for track in midi.instruments for note in track.notes)
    for pitch, onset in zip(notes.pitch.tolist(), notes.onset.tolist(), strict=True):
        assert any(pitch == other and abs(onset - start) < 2 * TICK for other, start in found)


def test_a_repeated_note_ends_where_it_is_repeated() -> None:
    notes = make_notes([(0.0, 2.0, 60, 80, 0, False, 0), (1.0, 3.0, 60, 90, 0, False, 0)])
    (track,) = to_pretty_midi(Annotation("a", 4.0, notes=notes)).instruments
    assert [(n.start, n.end, n.velocity) for n in track.notes] == [(0, 1, 80), (1, 3, 90)]


def test_key_and_sections_are_marked() -> None:
    file = mido.MidiFile(file=io.BytesIO(write_midi(make_annotation())))
    messages = {message.type: message for message in file.tracks[0]}
    assert messages["key_signature"].key == "Am" and messages["marker"].text == "verse"
    flat = write_midi(replace(make_annotation(), key="Db:major"))
    assert {m.key for m in mido.MidiFile(file=io.BytesIO(flat)).tracks[0] if m.type == "key_signature"} == {"Db"}


def test_what_cannot_be_midi_is_an_error() -> None:
    with pytest.raises(DataError, match="clip-9: has no notes"):
        write_midi(Annotation("clip-9", 1.0))
    with pytest.raises(DataError, match="its MIDI cannot be read"):
        to_pretty_midi(make_annotation())
