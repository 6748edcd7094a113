"""Each estimator against sounds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from builder.estimators.base import EstimatorSettings, load_estimator
from builder.estimators.key import compute_chroma
from builder.estimators.loudness_range import measure_loudness_range
from builder.estimators.sound import Sound

RATE = 32_000


def estimate(name: str, samples: np.ndarray) -> dict:
    return load_estimator(EstimatorSettings(name)).estimate([Sound(np.asarray(samples, np.float32))])[0]


def beats(bpm: float, seconds: float = 10.0) -> np.ndarray:
    """A drum loop: a low stroke on each beat, a soft high one between."""
    rng, t = np.random.default_rng(0), np.arange(round(seconds * RATE)) / RATE
    period = 60 / bpm
    low = np.sin(2 * np.pi * 60 * t) * np.exp(-20 * (t % period))
    high = rng.standard_normal(len(t)) * np.exp(-80 * ((t + period / 2) % period))
    return 0.5 * low + 0.1 * high


def chord(pitches: list[int], seconds: float, shift: float = 0.0) -> np.ndarray:
    """Tones with five partials, at MIDI note numbers."""
    t = np.arange(round(seconds * RATE)) / RATE
    tones = [440 * 2 ** ((pitch + shift - 69) / 12) for pitch in pitches]
    return 0.05 * np.sum([np.sin(2 * np.pi * n * f * t) / n for f in tones for n in range(1, 6)], axis=0)


@pytest.mark.parametrize("bpm", [75.0, 83.3, 100.0, 121.0, 140.0])
def test_tempo_of_a_drum_loop(bpm: float) -> None:
    found = estimate("tempo", beats(bpm))
    assert found["tempo"] == pytest.approx(bpm, rel=0.01)
    assert 0 < found["tempo_confidence"] <= 1
    double = [one for one in found["tempo_alternatives"] if one["bpm"] == pytest.approx(2 * found["tempo"], rel=1e-3)]
    assert (2 * bpm > 240) != bool(double)


def test_noise_has_a_less_certain_tempo_than_a_loop() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(10 * RATE)
    assert estimate("tempo", noise)["tempo_confidence"] < 0.5 * estimate("tempo", beats(100))["tempo_confidence"]


@pytest.mark.parametrize(
    ("key", "scale"),
    [("D major", (2, 7, 9, 2)), ("Bb major", (10, 3, 5, 10))],
)
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_key_of_a_cadence(key: str, scale: tuple[int, ...], shift: float) -> None:
    """I IV V I, in tune and 30 cents above it."""
    found = estimate("key", np.concatenate([chord([48 + n, 52 + n, 55 + n], 1.0, shift) for n in scale]))
    assert found["key"] == key and found["key_confidence"] > 0.1


def test_key_of_a_minor_cadence() -> None:
    """i iv V i in A minor."""
    parts = [(57, 60, 64), (62, 65, 69), (64, 68, 71), (57, 60, 64)]
    assert estimate("key", np.concatenate([chord(list(part), 1.0) for part in parts]))["key"] == "A minor"


def test_chroma_of_a_tone_is_its_pitch_class() -> None:
    chroma = compute_chroma(np.asarray(chord([69], 1.0)[:RATE], np.float32))
    assert chroma.argmax() == 9 and chroma.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
)
def test_loudness_range_of_the_standard_s_signals(levels: tuple[int, ...], expected: float) -> None:
    """EBU Tech 3342 (2016), table 1, tests 1 to 4: 1 kHz for 20 s at each level, within 1 LU."""
    t = np.arange(20 * RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * t)
    samples = np.concatenate([10 ** (level / 20) * tone for level in levels]).astype(np.float32)
    assert measure_loudness_range(samples) == pytest.approx(expected, abs=1)


def test_onset_rate_counts_strokes() -> None:
    t = np.arange(10 * RATE) / RATE
    strokes = 0.5 * np.sin(2 * np.pi * 800 * t) * np.exp(-25 * ((t + 0.15) % 0.25))
    assert estimate("onset_rate", strokes)["onset_rate"] == pytest.approx(4, abs=0.3)


def test_spectral_centroid_of_a_tone_is_its_frequency() -> None:
    t = np.arange(2 * RATE) / RATE
    assert estimate("spectral_centroid", 0.5 * np.sin(2 * np.pi * 3000 * t))["spectral_centroid"] == pytest.approx(
        3000, rel=0.02
    )


def test_silence_is_the_share_of_quiet_blocks() -> None:
    samples = np.zeros(4 * RATE)
    samples[RATE:] = 0.1
    assert estimate("silence", samples)["silence"] == pytest.approx(0.25)
