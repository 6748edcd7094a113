"""A classifier that standardises by the statistics of unlabelled recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from builder.errors import DataError
from training.models.calibration import MIN_RECORDINGS, PRIOR, RecordingStatistics, calibrate_classifier
from training.models.classifier import CONFIG, SynthmirClassifier, SynthmirConfig, load_model

DIM, CLASSES = 8, 3


def make_model() -> SynthmirClassifier:
    """A linear classifier: class c has a high value in dimension c, around a mean of 2 with a deviation of 3."""
    names = dict(enumerate("abc"))
    model = SynthmirClassifier(
        SynthmirConfig(
            hidden=(), embedder={"name": "x", "dim": DIM}, id2label=names, label2id={"a": 0, "b": 1, "c": 2}
        )
    )
    model.mean.fill_(2.0)
    model.std.fill_(3.0)
    with torch.no_grad():
        model.output.weight.copy_(torch.eye(CLASSES, DIM))
        model.output.bias.zero_()
    return model.eval()


def draw(recordings: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Recordings of 1 to 5 windows, standardised, and their classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, recordings)
    windows = [rng.standard_normal((rng.integers(1, 6), DIM)) + 1.5 * np.eye(CLASSES, DIM)[label] for label in truth]
    return [rows.astype(np.float32) for rows in windows], truth


def accuracy(model: SynthmirClassifier, recordings: list[np.ndarray], truth: np.ndarray) -> float:
    with torch.inference_mode():
        predicted = [int(model(torch.from_numpy(rows)).logits.mean(0).argmax()) for rows in recordings]
    return float((np.array(predicted) == truth).mean())


def test_the_statistics_are_those_of_all_windows_with_one_weight_a_recording():
    recordings, _ = draw(40)
    statistics = RecordingStatistics.of(recordings, DIM)
    rows = np.concatenate(recordings).astype(np.float64)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in recordings])
    mean = np.average(rows, axis=0, weights=weights)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(
        statistics.variance, np.average((rows - mean) ** 2, axis=0, weights=weights), rtol=1e-12
    )
    assert (statistics.recordings, statistics.windows) == (40, len(rows))


def test_a_planted_shift_and_scale_are_taken_back():
    recordings, truth = draw(200)
    shift, scale = np.random.default_rng(1).normal(0, 20, DIM), np.linspace(1, 6, DIM)
    shifted = [np.float32(rows * scale + shift) for rows in recordings]
    model = make_model()
    before = accuracy(model, shifted, truth)
    calibrated = calibrate_classifier(model, RecordingStatistics.of(shifted, DIM), "music")
    assert before < 0.45 and accuracy(calibrated, shifted, truth) > 0.75
    assert accuracy(model, shifted, truth) == before  # the model itself is unchanged


def test_few_recordings_move_the_statistics_less_than_many():
    model, moved = make_model(), []
    for count in (MIN_RECORDINGS, 300):
        recordings = [np.full((2, DIM), 12.0, np.float32) for _ in range(count)]
        calibrated = calibrate_classifier(model, RecordingStatistics.of(recordings, DIM), "music")
        weight = count / (count + PRIOR)
        torch.testing.assert_close(calibrated.mean, torch.full((DIM,), 2 + 10 * weight))
        torch.testing.assert_close(calibrated.std, torch.full((DIM,), (9 * (1 - weight)) ** 0.5))
        moved.append(float(calibrated.mean[0]))
    assert moved[0] < moved[1]


def test_too_few_recordings_and_a_second_calibration_are_refused():
    recordings, _ = draw(MIN_RECORDINGS)
    with pytest.raises(DataError, match=f"music: 19 recordings to calibrate on, at least {MIN_RECORDINGS}"):
        calibrate_classifier(make_model(), RecordingStatistics.of(recordings[1:], DIM), "music")
    statistics = RecordingStatistics.of(recordings, DIM)
    with pytest.raises(DataError, match="calibrated already, on 20 recordings of music"):
        calibrate_classifier(calibrate_classifier(make_model(), statistics, "music"), statistics, "other")


def test_the_calibration_is_kept_in_the_model_folder(tmp_path: Path):
    statistics = RecordingStatistics.of(draw(25)[0], DIM)
    calibrated = calibrate_classifier(make_model(), statistics, "music")
    calibrated.save_pretrained(tmp_path)
    read = load_model(tmp_path)
    assert read.config.calibration == {
        "method": "statistics", "source": "music", "recordings": 25, "windows": statistics.windows,
    }  # fmt: skip
    assert torch.equal(read.mean, calibrated.mean) and torch.equal(read.std, calibrated.std)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | {"calibration": {"method": "magic"}}))
    with pytest.raises(DataError, match=r"calibration\.method"):
        load_model(tmp_path)
