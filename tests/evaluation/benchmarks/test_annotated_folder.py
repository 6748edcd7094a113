"""A folder of recordings with .jams, .beats, .lab, .key and .bpm files beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builder.annotations.annotation import Annotation, Notes, Segments
from builder.annotations.jams import write_jams
from builder.errors import DataError
from evaluation.benchmarks.annotated import load_annotated

from .miniatures import put, sound

SECONDS = 2.0


def record(path: Path) -> Path:
    return put(path, sound("wav", 22_050, seconds=SECONDS))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two albums: one track with text files, one with JAMS, one with both, one with nothing."""
    root = tmp_path / "my music"
    record(root / "a/one.wav")
    put(root / "a/one.beats", "0.5\t1\n1.0\t2\n")
    put(root / "a/one.lab", "0.0 1.0 C:maj\n1.0 2.0 H:odd\n")
    put(root / "a/one.sections.lab", "0.0 2.0 verse one\n")
    put(root / "a/one.key", "Bb minor\n")
    put(root / "a/one.bpm", "120.5\n")
    note = np.array([0.0]), np.array([0.5]), *(np.array([value], np.int16) for value in (60, 80, 0))
    played = Annotation(
        "elsewhere", SECONDS + 0.005, beats=np.array([0.25, 0.75]), tempo_bpm=100.0, key="C:major",
        chords=Segments(np.array([0.0]), np.array([2.0]), ("A:min",)), melody=np.full(201, 220, np.float32),
        notes=Notes(*note, np.array([False]), np.array([0], np.int16)),
    )  # fmt: skip
    for name in ("two", "three"):
        record(root / f"b/{name}.wav")
        write_jams(played, root / f"b/{name}.jams")
    put(root / "b/three.key", "D")
    record(root / "b/four.wav")
    put(root / "metadata.csv", "file,artist\na/one.wav,Ada\nb/two.wav,Ben\nb/three.wav,Ben\nb/four.wav,\n")
    return root


def test_files_beside_recordings(home: Path) -> None:
    tracks = load_annotated(f"folder:{home}")
    one, three, two = tracks
    assert [track.id for track in (one, three, two)] == ["a/one.wav", "b/three.wav", "b/two.wav"]
    assert [track.group for track in (one, three, two)] == ["Ada", "Ben", "Ben"] and len(tracks) == 4
    text = one.annotation
    assert text.beats.tolist() == [0.5, 1.0] and text.positions.tolist() == [1, 2] and text.duration == SECONDS
    assert text.chords.label == ("C:maj", "X") and text.sections.label == ("verse one",)
    assert (text.key, text.tempo_bpm, two.annotation.key, three.annotation.key) == (
        "Bb:minor", 120.5, "C:major", "D:major"
    )  # fmt: skip
    assert two.annotation.id == "b/two.wav" and two.annotation.duration == SECONDS
    assert two.annotation.melody.shape == (200,) and two.annotation.notes.pitch.tolist() == [60]
    assert two.annotation.beats.tolist() == [0.25, 0.75] and two.annotation.chords.label == ("A:min",)
    assert "left out 1 track without a file beside it" in tracks.notes[0]
    assert tracks.notes[1].startswith("1 track: chords that mir_eval cannot read")
    assert [track.id for track in load_annotated(f"folder:{home}", ["notes"])] == ["b/three.wav", "b/two.wav"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a/one.beats", "1.0\n0.5\n", "its times are not in order"),
        ("a/one.beats", "now\n", "one.beats, line 1"),
        ("a/one.lab", "0.0 1.0\n", "has fewer than 3 fields"),
        ("a/one.key", "C:dorian", "the mode dorian"),
        ("a/one.key", "C" * 2000, "larger than"),
        ("a/one.bpm", "quick", "the tempo 'quick'"),
        ("b/two.jams", "{}", "two.jams"),
        ("b/two.wav", "RIFF", "whose audio cannot be read"),
    ],
)
def test_a_damaged_file_leaves_out_its_track(home: Path, name: str, text: str, why: str) -> None:
    put(home / name, text)
    tracks = load_annotated(f"folder:{home}")
    assert len(list(tracks)) == 2 and any(why in note for note in tracks.notes), tracks.notes


def test_jams_of_other_audio(home: Path) -> None:
    write_jams(Annotation("x", 200.0, beats=np.array([1.0])), home / "b/two.jams")
    tracks = load_annotated(f"folder:{home}")
    assert len(list(tracks)) == 2 and any(
        "is of audio of 200.0 s, and this has 2.0 s" in note for note in tracks.notes
    )


def test_a_folder_without_audio(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_annotated(f"folder:{tmp_path}/nowhere")
    with pytest.raises(DataError, match="holds no audio file"):
        load_annotated(f"folder:{tmp_path}")
