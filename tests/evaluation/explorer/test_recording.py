"""Predictions for a user's recording, window by window, and their HTML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.errors import DataError
from evaluation.explorer import recording
from evaluation.explorer.recording import RecordingClassifier
from evaluation.explorer.recording_html import render_predictions
from evaluation.inference.predict import load_model_embedder, predict_audio
from training.models.classifier import load_model

from ..conftest import sound
from .explored import ESCAPED, HOSTILE


def test_windows_agree_with_the_classifier(tmp_path: Path, model: Path):
    file = tmp_path / "long.wav"
    wave = np.concatenate([sound(0, 1, 13.0), sound(2, 1, 14.0)])
    soundfile.write(file, np.stack([wave, wave], 1), 32_000, subtype="FLOAT")
    predictions = RecordingClassifier(model).predict(file)
    classifier = load_model(model)
    expected = predict_audio(classifier, load_model_embedder(classifier), wave)
    np.testing.assert_allclose(predictions.overall, expected, atol=1e-6)
    np.testing.assert_allclose(predictions.values.mean(axis=0), predictions.overall, atol=1e-9)
    np.testing.assert_allclose(predictions.values.sum(axis=1), 1.0)
    boundaries = predictions.boundaries()
    assert boundaries[0] == 0 and boundaries[-1] == predictions.seconds == 27.0 and (np.diff(boundaries) > 0).all()
    lengths = predictions.ends - predictions.starts
    assert predictions.ends[-1] == 27.0 and (lengths == predictions.ends[0]).all()
    html = render_predictions(predictions, HOSTILE, "sound/x.flac")
    assert html.count("<tr>") == len(predictions.values) and "<img src=x" not in html and ESCAPED in html


@pytest.mark.parametrize("fixture", ["tagger", "metronome"])
def test_taggers_and_regressions_are_drawn_as_lines(tmp_path: Path, fixture: str, request: pytest.FixtureRequest):
    file = tmp_path / "short.wav"
    soundfile.write(file, sound(1, 3, 0.5), 32_000)
    predictions = RecordingClassifier(request.getfixturevalue(fixture)).predict(file)
    html = render_predictions(predictions, "short.wav", None)
    assert len(predictions.values) == 1 and "<polyline" in html and "<audio" not in html
    assert (" BPM" in html) == (fixture == "metronome")


def test_a_recording_that_does_not_fit_into_memory_is_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recording, "MAX_SAMPLES", 1000)
    file = tmp_path / "long.wav"
    soundfile.write(file, np.zeros(2000), 8000)
    with pytest.raises(DataError, match="more than fits"):
        RecordingClassifier(model).predict(file)
