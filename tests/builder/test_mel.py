from __future__ import annotations

import librosa
import numpy as np
import pytest

from builder.mel import hz_to_mel, mel_filters, mel_to_hz
from builder.plotting import log_mel

BANKS = [(32_000, 2_000, 128, 30, 10_000), (16_000, 512, 40, 0, 8_000)]
HERTZ = np.array([0.0, 40.0, 999.0, 1_000.0, 1_001.0, 8_000.0, 20_000.0])


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_the_scales_are_librosas(scale: str):
    np.testing.assert_allclose(hz_to_mel(HERTZ, scale), librosa.hz_to_mel(HERTZ, htk=scale == "htk"), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(HERTZ, scale), scale), HERTZ, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize(("rate", "fft_size", "bands", "low", "high"), BANKS)
def test_the_filters_are_librosas(scale: str, rate: int, fft_size: int, bands: int, low: float, high: float):
    expected = librosa.filters.mel(
        sr=rate, n_fft=fft_size, n_mels=bands, fmin=low, fmax=high, htk=scale == "htk", norm=None, dtype=np.float64
    )
    np.testing.assert_allclose(mel_filters(rate, fft_size, bands, low, high, scale), expected.T, atol=1e-6)


def test_a_tone_is_loudest_where_it_is():
    tone = np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 32_000)
    picture = log_mel(tone, 32_000, 512)
    edges = mel_to_hz(np.linspace(hz_to_mel(40.0), hz_to_mel(14_000.0), 98))
    assert picture.shape == (96, 1 + 32_000 // 512) and picture.max() == 0 and picture.min() >= -80.001
    assert abs(edges[1 + picture[:, 30].argmax()] - 1_000) < 40


@pytest.mark.parametrize("samples", [np.zeros(32_000), np.zeros(1), np.ones(5)])
def test_silence_and_short_audio_have_a_picture(samples: np.ndarray):
    assert np.isfinite(log_mel(samples, 32_000, 512)).all()
