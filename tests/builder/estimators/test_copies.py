from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builder.errors import DataError, RecipeError
from builder.estimators.base import EstimatorSettings, load_estimator
from builder.estimators.copies import CERTAIN, FEWEST, Copies, CopySearch
from builder.estimators.landmarks import find_peaks
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


def noisy(samples: np.ndarray) -> np.ndarray:
    return samples + 0.02 * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)


def play_at(speed: float) -> Callable[[np.ndarray], np.ndarray]:
    """Play faster or slower as a tape, which changes the pitch too."""

    def play(samples: np.ndarray) -> np.ndarray:
        times = np.arange(round(len(samples) / speed)) * speed
        return np.interp(times, np.arange(len(samples)), samples).astype(np.float32)

    return play


def stretch(speed: float) -> Callable[[np.ndarray], np.ndarray]:
    """Play the notes closer together, at their pitch."""

    def play(samples: np.ndarray) -> np.ndarray:
        note = round(0.15 * RATE)
        return np.concatenate([samples[at : at + round(note / speed)] for at in range(0, len(samples), note)])

    return play


@pytest.mark.parametrize(
    ("change", "speed", "pitch"),
    [
        pytest.param(lambda samples: samples, 1.0, 1.0, id="as it is"),
        pytest.param(noisy, 1.0, 1.0, id="noise"),
        pytest.param(lambda samples: 0.03 * samples, 1.0, 1.0, id="quiet"),
        pytest.param(play_at(1.05), 1.05, 1.05, id="a faster tape"),
        pytest.param(play_at(0.975), 0.975, 0.975, id="a slower tape, between two steps"),
        pytest.param(stretch(1.05), 1.05, 1.0, id="faster at the same pitch"),
    ],
)
def test_planted_excerpt_is_found_with_its_place(
    copies: Copies, change: Callable[[np.ndarray], np.ndarray], speed: float, pitch: float
) -> None:
    excerpt = change(melody(2)[round(4.05 * RATE) : round(10.05 * RATE)])
    (estimate,) = copies.estimate([Sound(excerpt)])
    found = estimate["copies"]
    assert found["nearest"] == "a/2.flac" and found["copy"] and found["landmarks"] >= copies.threshold
    assert found["start"] == pytest.approx(4.05, abs=0.1)
    assert found["speed"] == pytest.approx(speed, abs=0.011) and found["pitch"] == pytest.approx(pitch, abs=0.011)


def test_copy_late_in_a_long_clip_is_found(copies: Copies) -> None:
    clip = np.concatenate([melody(7, 18.0), melody(1)[: 9 * RATE]])
    found = copies.estimate([Sound(clip)])[0]["copies"]
    assert found["nearest"] == "a/1.flac" and found["copy"] and found["start"] == pytest.approx(-18.0, abs=0.1)


def test_other_music_is_no_copy(copies: Copies) -> None:
    for seed in (7, 8):
        assert not copies.estimate([Sound(melody(seed, 6.0))])[0]["copies"]["copy"]


def test_silence_has_nothing_in_common(copies: Copies) -> None:
    assert copies.estimate([Sound(np.zeros(RATE, np.float32))])[0]["copies"]["nearest"] is None


def test_recordings_are_part_of_the_version(folder: Path, copies: Copies, tmp_path: Path) -> None:
    def load() -> Copies:
        return load_estimator(EstimatorSettings("copies", str(tmp_path)))  # type: ignore[return-value]

    file = tmp_path / "0.flac"
    file.write_bytes((folder / "a" / "0.flac").read_bytes())
    alone = load()
    assert alone.revision != copies.revision and alone.threshold == FEWEST  # one recording: none to compare it with
    found = alone.estimate([Sound(melody(0)[: 6 * RATE])])[0]["copies"]
    assert found["copy"] and found["nearest"] == "0.flac"
    file.write_bytes((folder / "a" / "1.flac").read_bytes())
    assert load().revision not in (alone.revision, copies.revision)
    file.rename(tmp_path / "1.flac")
    assert load().names == ["1.flac"]


def test_files_that_cannot_be_read_are_counted(copies: Copies) -> None:
    assert copies.names == [f"a/{seed}.flac" for seed in range(4)]
    assert copies.about.endswith("1 file could not be read.")


def test_what_recordings_have_in_common_sets_the_threshold() -> None:
    peaks = [find_peaks(melody(seed, 6.0)[::4]) for seed in range(3)]
    threshold = CopySearch(peaks).threshold
    assert FEWEST < threshold < CERTAIN  # the notes of these melodies are all of one kind
    assert CopySearch([*peaks, *peaks]).threshold == FEWEST  # that each is there twice says nothing of chance


def test_what_holds_no_recordings_is_refused(tmp_path: Path) -> None:
    def load(source: str | None) -> object:
        return load_estimator(EstimatorSettings("copies", source))

    with pytest.raises(RecipeError, match="copies needs recordings"):
        load(None)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="has no recordings\n"):
        load(str(tmp_path))
    (tmp_path / "a.wav").write_text("no audio")
    (tmp_path / "b.wav").mkdir()
    with pytest.raises(DataError, match="has no recordings: 2 files could not be read"):
        load(str(tmp_path))
