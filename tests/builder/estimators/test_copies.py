from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.errors import DataError, RecipeError
from builder.estimators.base import EstimatorSettings, load_estimator
from builder.estimators.copies import Copies
from builder.estimators.sound import Sound

RATE = 32_000


def melody(seed: int, seconds: float = 12.0) -> np.ndarray:
    """float32 [samples]: random notes with partials, which no other seed has."""
    rng, parts = np.random.default_rng(seed), []
    t = np.arange(round(0.15 * RATE)) / RATE
    for _ in range(round(seconds / 0.15)):
        pitches = 440 * 2 ** (rng.integers(-24, 24, 3) / 12)
        parts.append(sum(np.sin(2 * np.pi * p * n * t) / n for p in pitches for n in (1, 2, 3)) * np.exp(-6 * t))
    return (0.1 * np.concatenate(parts)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    (root / "a").mkdir()
    for seed in range(4):
        soundfile.write(root / "a" / f"{seed}.flac", melody(seed), RATE)
    (root / "notes.wav").write_text("these are words")
    return root


@pytest.fixture(scope="module")
def copies(folder: Path) -> Copies:
    return load_estimator(EstimatorSettings("copies", str(folder)))  # type: ignore[return-value]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_planted_excerpt_is_found_with_its_place(copies: Copies, noise: float) -> None:
    excerpt = melody(2)[4 * RATE : 10 * RATE]
    excerpt = excerpt + noise * np.random.default_rng(0).standard_normal(len(excerpt)).astype(np.float32)
    (estimate,) = copies.estimate([Sound(excerpt)])
    found = estimate["copies"]
    assert found["nearest"] == "a/2.flac" and found["copy"] and found["landmarks"] >= copies.threshold
    assert found["start"] == pytest.approx(4.0, abs=0.05)


def test_other_music_is_no_copy(copies: Copies) -> None:
    for seed in (7, 8):
        assert not copies.estimate([Sound(melody(seed, 6.0))])[0]["copies"]["copy"]


def test_silence_has_nothing_in_common(copies: Copies) -> None:
    assert copies.estimate([Sound(np.zeros(RATE, np.float32))])[0]["copies"]["nearest"] is None


def test_recordings_are_part_of_the_version(copies: Copies, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "0.flac", melody(0, 3.0), RATE)
    assert load_estimator(EstimatorSettings("copies", str(tmp_path))).revision != copies.revision


def test_what_holds_no_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="copies needs recordings"):
        load_estimator(EstimatorSettings("copies"))
    with pytest.raises(DataError, match="has no recordings"):
        load_estimator(EstimatorSettings("copies", str(tmp_path)))
