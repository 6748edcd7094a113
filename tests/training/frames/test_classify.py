"""Recordings annotated by a frame model: in Python, printed, as JAMS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthmir
from builder.annotations.jams import read_jams
from builder.audio import encode_flac
from builder.errors import DataError, RecipeError
from evaluation.classify import print_predictions
from training.frames.spectrogram import FRAMES_SAMPLING_RATE as RATE

from .planted import make_clip


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.flac", tmp_path / "two.flac"]
    for seed, path in enumerate(paths):
        path.write_bytes(encode_flac(make_clip(seed, 6.0)[0], RATE))
    return paths


def test_predictions_are_printed_and_written(folder: Path, songs: list[Path], tmp_path: Path, capsys: Any) -> None:
    found = synthmir.classify(folder, songs[:1], out=tmp_path / "one.jams")
    annotation = found[0].annotation
    assert annotation is not None and annotation.id == "one" and annotation.duration == pytest.approx(6.0)
    print_predictions(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(songs[0]) and lines[1] == f"  key             {annotation.key}"
    assert any(line.startswith("  beats") for line in lines) and any(line.startswith("  chords") for line in lines)
    print_predictions(found, jsonl=True)
    row = json.loads(capsys.readouterr().out)
    assert row["annotation"]["key"] == annotation.key and row["file"] == str(songs[0])
    read = read_jams(tmp_path / "one.jams")
    assert read.key == annotation.key and read.chords is not None and annotation.chords is not None
    np.testing.assert_allclose(read.chords.start, annotation.chords.start, atol=1e-6)
    np.testing.assert_allclose(read.beats, annotation.beats, atol=1e-6)


def test_several_recordings_are_written_into_a_folder(folder: Path, songs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.flac").write_bytes(b"no audio")
    found = synthmir.classify(folder, [*songs, tmp_path / "bad.flac"], out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.jams", "two.jams"]
    assert found[2].error is not None and found[2].annotation is None
    with pytest.raises(RecipeError, match="is one file, for 2 recordings"):
        synthmir.classify(folder, songs, out=tmp_path / "all.jams")
    with pytest.raises(DataError, match="1 of 1 file cannot be read"):
        synthmir.classify(folder, tmp_path / "bad.flac")
    with pytest.raises(RecipeError, match="no embeddings to standardise"):
        synthmir.classify(folder, songs, calibrate=tmp_path)
