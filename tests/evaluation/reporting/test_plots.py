"""Plots: well-formed, reproducible, and true to the numbers."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from evaluation.reporting import plots

from ..conftest import RATE, sound

NAMES = ["Electronica", "R&B <live>", "$x^2$ & $y", "日本"]
ROW = {"label": "Rock", "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 8}
RNG = np.random.default_rng(0)
BLOBS = RNG.normal(0, 1, (60, 20)) + 3 * np.repeat(RNG.normal(0, 1, (4, 20)), 15, axis=0)
BINS = [{"low": 0.2, "high": 0.4, "n": 3, "confidence": 0.3, "share": 2 / 3}]
TAGS = [
    {"label": name, "support": 3, "average_precision": {"value": 0.5, "low": low, "high": low and 0.9, "n": 9}}
    for name, low in zip(NAMES, (0.4, None, 0.5, 0.1), strict=True)
]
BPM = np.array([60.0, 90.0, 121.0])
CURVE = [{"epoch": e, "train_loss": 1 / e, "validation_loss": 1.1 / e, "accuracy": 1 - 0.5 / e} for e in (1, 2, 3)]

DRAWN = {
    "confusion": lambda: plots.plot_confusion(np.arange(16).reshape(4, 4).tolist(), NAMES),
    "confusion of one": lambda: plots.plot_confusion([[3]], ["a"]),
    "confusion of many": lambda: plots.plot_confusion(np.eye(15, dtype=int).tolist(), [f"g{i}" for i in range(15)]),
    "bars": lambda: plots.plot_label_scores(
        [ROW, ROW | {"intervals": {"f1": {"low": 0.2, "high": 0.6}, "recall": None}}]
    ),
    "bars of many": lambda: plots.plot_label_scores([ROW] * 10),
    "curve": lambda: plots.plot_training(CURVE, 2),
    "curve of one epoch": lambda: plots.plot_training(CURVE[:1]),
    "curve of a tagger": lambda: plots.plot_training([point | {"map": 0.5} for point in CURVE]),
    "reliability": lambda: plots.plot_reliability(BINS),
    "tags": lambda: plots.plot_average_precision(TAGS, 9),
    "tempi": lambda: plots.plot_numbers(BPM, BPM * (1, 2, 0.5), "bpm"),
    "numbers": lambda: plots.plot_numbers(BPM - 100, BPM - 99, ""),
    "one tempo": lambda: plots.plot_numbers(BPM[:1], BPM[:1], "bpm"),
    "map": lambda: plots.plot_embeddings(BLOBS, np.repeat(np.arange(4), 15), NAMES),
    "map of three": lambda: plots.plot_embeddings(BLOBS[:3], np.array([0, 1, 1]), NAMES),
}


@pytest.mark.parametrize("name", DRAWN)
def test_svg_is_well_formed_and_reproducible(name: str) -> None:
    before = dict(matplotlib.rcParams)
    picture = DRAWN[name]()
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert picture == DRAWN[name]()
    text = "".join(ET.fromstring(picture).itertext())
    assert name not in ("confusion", "map", "tags") or all(label in text for label in NAMES)
    assert dict(matplotlib.rcParams) == before, "the caller's style was changed"


def test_neighbours_stay_neighbours_on_the_map() -> None:
    points = plots.project_embeddings(BLOBS, seed=0)
    assert points.shape == (60, 2) and np.isfinite(points).all()
    nearest = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(return_distance=False)[:, 0]
    assert np.mean(nearest // 15 == np.arange(60) // 15) > 0.95


def test_the_map_of_many_is_drawn_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "MAP_POINTS", 12)
    asked = []
    project = plots.project_embeddings
    monkeypatch.setattr(plots, "project_embeddings", lambda x, seed: asked.append(len(x)) or project(x, seed))
    plots.plot_embeddings(BLOBS, np.repeat(np.arange(4), 15), NAMES)
    assert asked == [12]


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(sound(0, 1), RATE), (sound(2, 1, 12.0), RATE), (np.zeros(8_000, np.float32), 8_000), (np.ones(3, "f4"), 44_100)],
)
def test_spectrogram_is_a_picture_of_any_sound(samples: np.ndarray, rate: int) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(plots.plot_spectrogram(samples, rate)))
    assert picture.format == "PNG" and picture.width > 2 * picture.height


def test_a_tone_is_a_line_at_its_height() -> None:
    """1 kHz is bright where the axis says 1 kHz, and higher tones are drawn higher."""
    from PIL import Image

    time = np.arange(RATE * 2) / RATE
    heights = []
    for hertz in (200, 1_000, 5_000):
        picture = plots.plot_spectrogram(np.float32(np.sin(2 * np.pi * hertz * time)), RATE)
        grey = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
        column = grey[:, grey.shape[1] // 2]
        heights.append(int(np.argmax(np.where(column.min(axis=1) < 250, column.sum(axis=1), 0))))
    assert heights[0] > heights[1] > heights[2]  # rows count from the top
