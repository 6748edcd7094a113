"""`calibrate`, `classify --calibrate` and `evaluate --calibrate` standardise by the same recordings, in one way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import synthmir
from builder.errors import DataError
from builder.settings import EvaluationSettings
from evaluation.benchmarks.base import load_benchmark
from evaluation.evaluate import evaluate_model
from evaluation.inference.embedding_cache import EmbeddedBenchmark
from evaluation.inference.evaluated_model import EvaluatedModel, read_training_record
from tests.evaluation.conftest import RATE, sound
from training.models.audio_classifier import SynthmirForAudioClassification
from training.models.classifier import load_model

FOLDERS = ("Electronica", "Hip-Hop", "Rock")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 muffled recordings of 12 s, which is two windows."""
    root = tmp_path_factory.mktemp("recordings") / "music"
    for genre, name in enumerate(FOLDERS):
        (root / name).mkdir(parents=True)
        for seed in range(7):
            wave = sound(genre, 50 + seed, 12.0 if seed == 0 else 2.0)
            soundfile.write(root / name / f"{seed}.wav", np.convolve(wave, np.ones(12) / 12, "same"), RATE)
    return root


@pytest.fixture(scope="module")
def calibrated(model: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "model"
    synthmir.calibrate(model, recordings, out, progress=False)
    return out


def test_the_folder_holds_the_model_with_other_statistics(model: Path, calibrated: Path):
    before, after = load_model(model), load_model(calibrated)
    assert not torch.equal(before.mean, after.mean) and torch.equal(before.output.weight, after.output.weight)
    assert after.config.calibration == {"method": "statistics", "source": "music", "recordings": 21, "windows": 24}
    record = read_training_record(calibrated)
    assert record.details["calibration"] == after.config.calibration
    assert (calibrated / record.details["corpus"]).resolve() == (
        model / read_training_record(model).details["corpus"]
    ).resolve()
    assert "standardised by the statistics of 21 recordings of music (24 windows)" in (
        calibrated / "README.md"
    ).read_text(encoding="utf-8")


def test_classify_pipeline_and_stored_model_agree(model: Path, calibrated: Path, recordings: Path):
    files = sorted(recordings.rglob("*.wav"))[::5]
    stored = synthmir.classify(calibrated, files)
    assert synthmir.classify(model, files, calibrate=recordings) == stored
    assert synthmir.classify(model, files) != stored
    with_audio = SynthmirForAudioClassification.from_pretrained(calibrated)
    clip = soundfile.read(files[0], dtype="float32")[0]
    with torch.inference_mode():
        shares = with_audio(torch.from_numpy(clip)[None]).logits[0].softmax(0)
    assert shares.max().item() == pytest.approx(stored[0].labels[0][1], abs=1e-4)


def test_evaluate_reports_on_what_a_model_was_calibrated(
    model: Path, calibrated: Path, recordings: Path, tmp_path: Path
):
    def run(folder: Path, name: str, calibrate: str | None = None) -> tuple[dict[str, Any], str]:
        settings = EvaluationSettings(bootstrap=100, calibrate=calibrate)
        scores = evaluate_model(folder, ["validation", f"folder:{recordings}"], tmp_path / name, settings=settings)
        return scores, (tmp_path / name / scores["benchmarks"][1]["predictions"]).read_text()

    (stored, a), (folder, b) = run(calibrated, "stored"), run(model, "folder", str(recordings))
    (own, c), (plain, d) = run(model, "own", "benchmark"), run(model, "plain")
    assert a == b == c != d
    assert (
        stored["model"]["calibration"] == folder["model"]["calibration"] == load_model(calibrated).config.calibration
    )
    assert own["model"]["calibration"] == {"method": "statistics", "source": "benchmark"}
    assert plain["model"]["calibration"] is None
    assert own["benchmarks"][0]["accuracy"] == plain["benchmarks"][0]["accuracy"]  # not calibrated on itself
    assert any("calibrated on these 21 recordings" in note for note in own["benchmarks"][1]["notes"])
    loaded = EvaluatedModel.load(model, EvaluationSettings(calibrate="benchmark"))
    benchmark = load_benchmark(f"folder:{recordings}", loaded.labels)
    cached = EmbeddedBenchmark(benchmark, loaded.embedder, tmp_path / "cache").predict(loaded)
    assert [json.dumps(row) for row in cached.rows()] == c.splitlines()  # as in an ablation


def test_report_and_card_describe_it_too(model: Path, recordings: Path, tmp_path: Path):
    shutil.copytree(model, tmp_path / "model")
    on = f"folder:{recordings}"
    out, copy = tmp_path / "report", tmp_path / "model"
    synthmir.evaluate(copy, on, out=out, calibrate="benchmark", bootstrap=100, progress=False)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "standardised by the statistics of each benchmark&#39;s own recordings" in page.replace("'", "&#39;")
    assert "--calibrate benchmark" in page
    card = (copy / "README.md").read_text(encoding="utf-8")
    assert "- Embeddings were standardised by the statistics of each benchmark's own recordings" in card


def test_too_few_recordings_leave_nothing_behind(model: Path, recordings: Path, music: Path, tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="6 recordings to calibrate on, at least 20") as error:
        synthmir.calibrate(model, music, out, progress=False)
    assert "more recordings" in (error.value.fix or "") and list(tmp_path.glob("*out*")) == []
    with pytest.raises(DataError, match="6 recordings to calibrate on"):
        synthmir.classify(model, sorted(recordings.rglob("*.wav"))[:1], calibrate=music)
    with pytest.raises(DataError, match="6 recordings to calibrate on"):
        synthmir.evaluate(model, f"folder:{music}", out=out, calibrate="benchmark", bootstrap=100, progress=False)


def test_recordings_that_cannot_be_read_are_left_out(
    model: Path, recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "music"
    shutil.copytree(recordings, folder)
    (folder / "Rock/broken.wav").write_bytes(b"RIFF")
    monkeypatch.chdir(folder)
    again = synthmir.calibrate(model, ".", tmp_path / "out", progress=False)
    assert again.config.calibration["recordings"] == 21 and "broken.wav" in caplog.text
    assert again.config.calibration["source"] == "music"


def test_the_model_itself_and_calibrated_models_are_left_alone(model: Path, calibrated: Path, recordings: Path):
    with pytest.raises(DataError, match="is the model itself"):
        synthmir.calibrate(model, recordings, model, progress=False)
    config = json.loads((calibrated / "config.json").read_text())
    for use in (
        lambda: synthmir.calibrate(calibrated, recordings, calibrated.with_name("twice"), progress=False),
        lambda: synthmir.classify(calibrated, sorted(recordings.rglob("*.wav"))[:1], calibrate=recordings),
    ):
        with pytest.raises(DataError, match="calibrated already, on 21 recordings of music"):
            use()
    assert json.loads((calibrated / "config.json").read_text()) == config
