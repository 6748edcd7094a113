from __future__ import annotations

import time

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.embedders import melstats
from builder.embedders.melstats import BANDS, FEATURES, STATISTICS, MelStats
from builder.errors import RecipeError
from builder.settings import EmbedderSettings

RATE, SAMPLES = 32_000, 320_000
CENTRES = librosa.mel_frequencies(BANDS + 2, fmin=30.0, fmax=10_000.0)[1:-1]  # Hz


@pytest.fixture(scope="module")
def embedder() -> MelStats:
    return MelStats(EmbedderSettings())


def noise(seed: int, samples: int = SAMPLES, gain: float = 0.1) -> np.ndarray:
    audio: np.ndarray = (gain * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)
    return audio


def tone(hertz: float, seconds: float = 10.0) -> np.ndarray:
    audio: np.ndarray = (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
    return audio


def parts(vector: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(STATISTICS, vector.reshape(len(STATISTICS), BANDS), strict=True))


def by_librosa(audio: np.ndarray) -> np.ndarray:
    """The definition once more, from librosa and NumPy in double precision."""
    audio = np.trim_zeros(audio, "b")
    spectrum = librosa.stft(audio.astype(np.float64), n_fft=2000, hop_length=640, window="hann", center=False)
    filters = librosa.filters.mel(sr=RATE, n_fft=2000, n_mels=128, fmin=30, fmax=10_000, norm=None, dtype=np.float64)
    power = filters @ np.abs(spectrum) ** 2
    decibels = 10 * np.log10(np.maximum(power / power.mean(), 1e-8))
    modulation = np.fft.fft(decibels, axis=1)
    frequency = np.abs(np.fft.fftfreq(decibels.shape[1], 0.02))
    modulation[:, (frequency < 0.5) | (frequency > 4.0)] = 0
    return np.concatenate(
        [
            decibels.mean(1),
            decibels.std(1),
            np.quantile(decibels, 0.1, axis=1),
            np.quantile(decibels, 0.9, axis=1),
            np.abs(decibels[:, 1:] - decibels[:, :-1]).mean(1),
            np.fft.ifft(modulation, axis=1).real.std(1),  # the band-passed signal's own RMS
        ]
    )


def test_each_statistic_has_a_name() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == MelStats.dim == 768
    assert FEATURES[0] == "level.0" and FEATURES[256] == "low.0" and FEATURES[767] == "pulse.127"


def test_statistics_agree_with_librosa(embedder: MelStats) -> None:
    chirp = librosa.chirp(fmin=60, fmax=9000, sr=RATE, duration=10.0).astype(np.float32)
    pulse = noise(2) * (np.sin(2 * np.pi * 2 * np.arange(SAMPLES) / RATE) > 0)
    for audio in (noise(1), chirp, pulse.astype(np.float32), noise(3, 50_000)):
        np.testing.assert_allclose(embedder.embed(audio[None])[0], by_librosa(audio), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("hertz", [100.0, 440.0, 2000.0, 8000.0])
def test_level_peaks_at_the_band_of_a_tone(embedder: MelStats, hertz: float) -> None:
    statistics = parts(embedder.embed(tone(hertz)[None])[0])
    assert abs(statistics["level"].argmax() - np.abs(CENTRES - hertz).argmin()) <= 1
    assert statistics["spread"][statistics["level"].argmax()] < 0.5  # dB: it does not change
    assert statistics["pulse"][statistics["level"].argmax()] < 0.5


def test_pulse_responds_to_a_beat_and_change_to_a_tremolo(embedder: MelStats) -> None:
    clock = np.arange(SAMPLES) / RATE
    steady, beat, tremolo = (
        parts(embedder.embed((noise(0) * (1 + 0.9 * np.sin(2 * np.pi * hertz * clock))).astype(np.float32)[None])[0])
        for hertz in (0.0, 2.0, 12.0)
    )
    assert np.median(beat["pulse"]) > 3 * np.median(tremolo["pulse"]) > 0
    assert np.median(tremolo["change"]) > 1.2 * np.median(beat["change"])
    assert np.median(beat["spread"]) > 1.5 * np.median(steady["spread"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(-50, 12), st.integers(2_000, 60_000))
def test_order_gain_and_padding(seed: int, gain: float, samples: int) -> None:
    embedder = MelStats(EmbedderSettings())
    audio = noise(seed, samples, 0.05)
    vector = embedder.embed(audio[None])[0]
    statistics = parts(vector)
    assert (statistics["low"] <= statistics["high"]).all() and (statistics["level"] >= -80).all()
    assert (statistics["pulse"] <= statistics["spread"] + 1e-3).all()
    louder = embedder.embed((audio * np.float32(10 ** (gain / 20)))[None])[0]
    np.testing.assert_allclose(louder, vector, atol=2e-3)  # a gain does not move it
    padded = np.pad(audio, (0, SAMPLES - samples))
    np.testing.assert_array_equal(embedder.embed(padded[None])[0], vector)  # nor does a tail of zeros


def test_embedding_is_bit_identical_in_any_batch(embedder: MelStats) -> None:
    batch = np.stack([np.roll(noise(i), 1000 * i) * (i + 1) / 16 for i in range(16)]).astype(np.float32)
    batch[3, 100_000:] = 0
    whole = embedder.embed(batch)
    alone = np.concatenate([embedder.embed(batch[i : i + 1]) for i in range(16)])
    np.testing.assert_array_equal(whole, alone)
    np.testing.assert_array_equal(embedder.embed(batch[::-1]), whole[::-1])


def test_silence_and_near_silence(embedder: MelStats) -> None:
    vector = embedder.embed(np.zeros((1, SAMPLES), np.float32))[0]
    expected = np.repeat([-80.0, 0, -80, -80, 0, 0], BANDS)
    np.testing.assert_allclose(vector, expected, atol=1e-4)
    for amplitude in (1e-45, 1e-30, 1e-20, 1e-10):
        audio = np.full((1, SAMPLES), amplitude, np.float32)
        audio[0, ::2] *= -1
        assert np.isfinite(embedder.embed(audio)).all()


@pytest.mark.parametrize("samples", [1, 639, 2_000, 2_640, 4_000])
def test_very_short_audio_is_finite(embedder: MelStats, samples: int) -> None:
    assert np.isfinite(embedder.embed(noise(0, samples)[None])).all()


@pytest.mark.parametrize("period", [2, 64, 640, 200_000])
def test_full_scale_square_waves_are_finite(embedder: MelStats, period: int) -> None:
    square = np.where(np.arange(SAMPLES) % period < period / 2, 1.0, -1.0).astype(np.float32)
    assert np.isfinite(embedder.embed(square[None])).all()


def test_a_single_click_is_finite(embedder: MelStats) -> None:
    click = np.zeros((1, SAMPLES), np.float32)
    click[0, 160_000] = 1.0
    assert np.isfinite(embedder.embed(click)).all()


def test_speed_in_real_time(embedder: MelStats) -> None:
    """At least 20 ten-second clips a second of one core's time, on any machine; it makes ~130."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batch = np.stack([noise(i) for i in range(8)])
        embedder.embed(batch[:1])
        start = time.process_time()
        embedder.embed(batch)
        assert len(batch) / (time.process_time() - start) > 20
    finally:
        torch.set_num_threads(threads)


def test_weights_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"melstats has no weights, found 'a.pt'"):
        MelStats(EmbedderSettings(weights="a.pt"))


def test_no_band_is_empty(embedder: MelStats) -> None:
    assert (embedder._bands.sum(dim=0) > 0).all() and melstats.HOP * 50 == RATE
