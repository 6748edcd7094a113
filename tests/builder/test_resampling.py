from __future__ import annotations

import numpy as np
import pytest
import torch

from builder.resampling import MAX_RATIO, resample

RATES = [(44_100, 32_000), (44_100, 16_000), (22_050, 32_000), (48_000, 32_000), (32_000, 16_000), (8_000, 48_000)]


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(("origin", "target"), RATES)
def test_a_tone_stays_the_same_tone(origin: int, target: int):
    """Closed form: a sine resampled is the sine at the other rate, away from the ends that the filter cuts."""
    hertz = 0.3 * min(origin, target)
    found, expected = resample(tone(hertz, origin), origin, target), tone(hertz, target)
    middle = slice(len(expected) // 10, -len(expected) // 10)
    np.testing.assert_allclose(found[middle], expected[middle], atol=5e-3)  # ripple of so short a filter


@pytest.mark.parametrize(("origin", "target"), RATES)
def test_torchaudio_gives_the_same(origin: int, target: int):
    from torchaudio.functional import resample as peer

    noise = np.random.default_rng(0).uniform(-1, 1, 5_003).astype(np.float32)
    found = resample(noise, origin, target)
    np.testing.assert_allclose(found, peer(torch.from_numpy(noise), origin, target).numpy(), atol=5e-5)


def test_what_the_lower_rate_cannot_hold_is_removed():
    aliased = resample(tone(15_000, 44_100), 44_100, 16_000)
    assert np.abs(aliased[1_000:-1_000]).max() < 1e-3
    kept = resample(tone(5_000, 44_100), 44_100, 16_000)
    assert 2**0.5 * kept[1_000:-1_000].std() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("length", [0, 1, 2, 441, 1_000])
def test_the_length_is_rounded_up(length: int):
    assert len(resample(np.zeros(length, np.float32), 44_100, 32_000)) == -(-length * 320 // 441)


def test_rates_without_a_common_divisor_are_resampled_too():
    origin, target = 11_127, 32_000
    assert max(origin, target) > MAX_RATIO
    found = resample(tone(1_000, origin), origin, target)
    np.testing.assert_allclose(found[3_000:-3_000], tone(1_000, target)[3_000 : len(found) - 3_000], atol=5e-3)
