"""The layout of the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.explorer import map_layout
from evaluation.explorer.clip_table import Clips

from ..conftest import GENRES


def test_the_map_is_deterministic_and_cached(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    points = Clips.open(corpus).map_points()
    assert points is not None and points.shape == (27, 2) and points.dtype == np.float32
    assert points.min() == -1 and points.max() == 1
    (file,) = (cache / "synthmir/maps").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(map_layout, "compute_layout", lambda vectors: pytest.fail("the layout was cached"))
        again = Clips.open(corpus).map_points()
        assert again is not None
        np.testing.assert_array_equal(again, points)
    file.write_bytes(b"\x93NUMPY torn")
    made = Clips.open(corpus).map_points()
    assert made is not None
    np.testing.assert_array_equal(made, points)
    genre = Clips.open(corpus).table["genre"].to_numpy()
    centres = {name: points[genre == name].mean(axis=0) for name in GENRES}
    nearest = [min(GENRES, key=lambda name: np.hypot(*(point - centres[name]))) for point in points]
    assert np.mean(nearest == genre) > 0.9  # genres form clusters


def test_the_map_without_a_writable_cache(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert Clips.open(corpus).map_points() is not None


def test_clips_beyond_the_landmarks_are_placed_in_their_cluster(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    centres = 20 * random.standard_normal((3, 16))
    cluster = random.integers(0, 3, 200)
    vectors = np.float32(centres[cluster] + random.standard_normal((200, 16)))
    monkeypatch.setattr(map_layout, "LANDMARKS", 40)
    points = map_layout.compute_layout(vectors)
    assert np.isfinite(points).all() and np.abs(points).max() <= 1
    middles = np.stack([np.median(points[cluster == index], axis=0) for index in range(3)])
    nearest = np.argmin(((points[:, None] - middles) ** 2).sum(axis=2), axis=1)
    assert (nearest == cluster).all()
    np.testing.assert_array_equal(points, map_layout.compute_layout(vectors))


def test_the_map_of_identical_clips():
    points = map_layout.compute_layout(np.ones((5, 8), np.float32))
    assert np.isfinite(points).all() and len(np.unique(points, axis=0)) == 5
