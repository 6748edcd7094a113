from __future__ import annotations

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from builder.generators.arranger.production import effects, media
from builder.generators.arranger.production.amplifier import Amplifier, amplify, make_cabinet, make_minimum_phase
from builder.generators.arranger.production.space import Space, make_space

RATE = 32_000


def sine(hertz: float, seconds: float = 0.5, height: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (height * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[None]


def noise(seconds: float = 0.5, channels: int = 1) -> np.ndarray:
    return 0.1 * Generator(PCG64(3)).standard_normal((channels, round(seconds * RATE)), dtype=np.float32)


def decibels(sound: np.ndarray, reference: np.ndarray) -> float:
    """The level of the last half against that of another sound."""
    half = sound.shape[1] // 2
    return float(20 * np.log10(sound[:, half:].std() / reference[:, half:].std()))


def spectrum(sound: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(sound[0] * np.hanning(sound.shape[1])))


# --- filters and saturation


def test_filters_follow_their_analog_curves() -> None:
    for hertz in (50, 400, 1000, 4000):
        x = sine(hertz)
        assert decibels(effects.cut_lows(x, 400, RATE), x) == pytest.approx(
            -10 * np.log10(1 + (400 / hertz) ** 2), abs=0.4
        )
        assert decibels(effects.cut_highs(x, 1000, RATE), x) == pytest.approx(
            -10 * np.log10(1 + (hertz / 1000) ** 2), abs=0.8
        )
        both = effects.cut_highs(effects.cut_lows(x, 400, RATE), 1000, RATE)
        np.testing.assert_allclose(effects.pass_band(x, 400, 1000, RATE), both, atol=1e-4)


def test_shelves_reach_their_gains_and_half_of_them_at_the_corners() -> None:
    for hertz, gain in ((25, 6.0), (250, 3.0), (900, 0.0), (3000, -4.5), (15_000, -9.0)):
        x = sine(hertz)
        assert decibels(effects.shelve(x, (250, 6.0), (3000, -9.0), RATE), x) == pytest.approx(gain, abs=0.6)


def test_saturation_is_linear_when_soft_and_bounded_when_loud() -> None:
    soft = sine(220, height=1e-3)
    assert decibels(effects.saturate(soft, 4.0), 4.0 * soft) == pytest.approx(0, abs=0.02)
    assert np.abs(effects.saturate(sine(220), 100.0, 0.5)).max() < 1 + 0.5 / np.sqrt(1.25) + 1e-3


def test_saturation_aliases_less_than_the_plain_curve_and_bias_adds_even_harmonics() -> None:
    x = sine(4300)
    aliased = 32_000 - 7 * 4300  # the seventh harmonic, folded at the sampling rate
    plain = spectrum(8 * x / np.sqrt(1 + (8 * x) ** 2))
    ours = spectrum(effects.saturate(x, 8.0))
    assert 20 * np.log10(ours[aliased // 2] / plain[aliased // 2]) < -10
    x = sine(500)
    straight, biased = spectrum(effects.saturate(x, 2.0)), spectrum(effects.saturate(x, 2.0, 0.5))
    assert biased[500] > 100 * straight[500]  # bin 500 is 1 kHz


# --- dynamics


def test_blocks_are_measured_with_an_unfinished_last_one() -> None:
    x = noise(channels=2)[:, :1000]
    peaks, powers = effects.measure_peaks(x), effects.measure_powers(x)
    assert len(peaks) == len(powers) == 32
    assert peaks[3] == np.abs(x[:, 96:128]).max() and powers[3] == pytest.approx(np.mean(x[:, 96:128] ** 2), rel=1e-4)
    assert peaks[31] == np.abs(x[:, 992:]).max()


def test_a_compressor_settles_on_its_ratio_and_recovers() -> None:
    levels = np.where(np.arange(3000) < 1500, 1.0, 0.01)
    gain = 20 * np.log10(effects.compress(levels, -20.0, 4.0, 0.005, 0.1, RATE))
    assert gain[1400] == pytest.approx(-15.0, abs=0.1)  # 20 dB over the threshold, a quarter of it is left
    assert gain[3] > -10 and gain[2999] == pytest.approx(0.0, abs=0.1)
    assert gain[1600] == pytest.approx(-15.0 + 10.0 + 0.5, abs=1.0)  # 0.1 s later, less the smoothing
    assert effects.compress(np.full(9, 0.01), -20.0, 4.0, 0.005, 0.1, RATE) == pytest.approx(np.ones(9))


@pytest.mark.parametrize("length", [16_000, 15_991, 40])
def test_a_limiter_keeps_every_sample_under_the_ceiling_and_leaves_soft_sounds(length: int) -> None:
    x = noise()[:, :length]
    x[0, length // 2] = 3.0
    gain = effects.limit(effects.measure_peaks(x), 0.25, 0.003, 0.1, RATE)
    assert np.abs(effects.apply_gain(x, gain)).max() <= 0.25 * (1 + 1e-6)
    assert effects.limit(np.full(9, 0.2), 0.25, 0.003, 0.1, RATE) == pytest.approx(np.ones(9))


# --- delays


def test_echoes_come_at_their_times_and_fade() -> None:
    x = np.zeros((2, 4000), np.float32)
    x[0, 0] = 1.0
    out = effects.echo(x, 1000, 0.5, 12_000, RATE)
    assert [int(np.argmax(np.abs(out[channel]))) for channel in (1, 0)] == [1000, 2000]  # they change sides
    assert not out[:, :1000].any() and np.abs(out[0, 2000]) < 0.55 * np.abs(out[1, 1000])


def test_modulation_delays_by_fractions_of_a_sample() -> None:
    x = np.arange(100, dtype=np.float32)[None]
    np.testing.assert_allclose(effects.modulate(x, np.full(100, 2.25, np.float32))[0, 5:], x[0, 5:] - 2.25)
    warped = media.warp_time(sine(1000, 3.0), 1.0, 0.0, Generator(PCG64(1)), RATE)
    crossings = np.diff(np.flatnonzero((warped[0, 100:-1] < 0) & (warped[0, 101:] >= 0)))
    rates = RATE * 50 / np.array([crossings[n : n + 50].sum() for n in range(0, len(crossings) - 50, 25)])
    assert 1.005 < rates.max() / 1000 < 1.012 and 0.988 < rates.min() / 1000 < 0.995


def test_resampling_shifts_the_pitch() -> None:
    x = sine(1000)[0]
    higher = effects.resample(x, 1.5)
    assert len(higher) == pytest.approx(len(x) / 1.5, abs=3)
    assert np.argmax(spectrum(higher[None])) * RATE / len(higher) == pytest.approx(1500, abs=5)


def test_a_filter_sweeps_from_closed_to_open() -> None:
    x = noise()
    openness = np.linspace(0.0, 1.0, x.shape[1], dtype=np.float32)
    out = effects.sweep(x, 500.0, openness, RATE)
    closed, opened = (20 * np.log10(part.std() / x.std()) for part in (out[:, :1600], out[:, -1600:]))
    assert closed < -10 and opened == pytest.approx(0, abs=1.0)


# --- amplifier


def test_minimum_phase_keeps_the_magnitude_and_has_its_energy_early() -> None:
    magnitude = 1.0 / np.sqrt(1.0 + (np.arange(257) / 40.0) ** 4)
    response = make_minimum_phase(magnitude)
    np.testing.assert_allclose(np.abs(np.fft.rfft(response)), magnitude, atol=2e-3)
    assert np.sum(response[:32] ** 2) > 0.99 * np.sum(response**2)


def test_an_amplifier_keeps_the_loudness_and_distorts_by_its_gain() -> None:
    def harmonics(gain: float) -> float:
        amplifier = Amplifier(gain, 1, 0.3, 100.0, 6000.0, (110.0, 3.0), (500.0, 0.0), (2500.0, 4.0), 5500.0)
        x = sine(300, height=0.1)
        out = amplify(x, amplifier, RATE)
        assert out.dtype == np.float32 and out.shape == x.shape and abs(out.mean()) < 1e-3
        assert np.sqrt(np.mean(out**2)) == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-3)
        bins = spectrum(out)
        return float(sum(bins[150 * n] for n in range(2, 12)) / bins[150])

    assert harmonics(-6.0) < 0.2 < 0.5 < harmonics(30.0)
    silence = np.zeros((1, 100), np.float32)
    amplifier = Amplifier(9.0, 2, 0.3, 100.0, 6000.0, (110.0, 3.0), (500.0, 0.0), (2500.0, 4.0), 5500.0)
    assert not amplify(silence, amplifier, RATE).any()
    frequencies = np.fft.rfftfreq(512, 1 / RATE)
    curve = 20 * np.log10(np.abs(np.fft.rfft(make_cabinet(amplifier, RATE))))
    assert curve[frequencies > 11_000].max() < curve[(frequencies > 2000) & (frequencies < 3000)].max() - 25


# --- reverberation


@pytest.mark.parametrize("seconds", [0.4, 1.2])
def test_a_reverberation_decays_by_60_db_in_its_time(seconds: float) -> None:
    """Schroeder's backward integration (1965), between -5 and -25 dB."""
    space = Space(seconds, 0.01, 0.0, 1.0, 4000.0, -20.0, 0.03, 1.0)
    impulse = make_space(space, 2, Generator(PCG64(5)), RATE)
    assert np.sum(impulse**2, axis=1) == pytest.approx(np.ones(2), rel=1e-3)
    assert not impulse[:, :320].any() and abs(np.corrcoef(impulse)[0, 1]) < 0.1
    left = np.cumsum(impulse[0, ::-1].astype(float) ** 2)[::-1]
    curve = 10 * np.log10(left / left[0] + 1e-12)
    fall = np.argmax(curve < -25) - np.argmax(curve < -5)
    assert 3 * fall / RATE == pytest.approx(seconds, rel=0.25)


def test_a_gated_reverberation_ends() -> None:
    space = Space(2.0, 0.0, 0.0, 2.0, 3000.0, 0.0, 0.03, 0.5, gate=0.2)
    impulse = make_space(space, 2, Generator(PCG64(5)), RATE)
    assert impulse.shape == (2, 6400) and np.corrcoef(impulse)[0, 1] > 0.3


# --- media


def test_a_fine_codec_changes_nothing_and_a_coarse_one_adds_noise_and_loses_treble() -> None:
    x = noise()
    np.testing.assert_allclose(media.code(x, 120.0, 16_000, RATE), x, atol=1e-4)
    errors = [np.mean((media.code(x, ratio, 16_000, RATE) - x) ** 2) for ratio in (24.0, 12.0)]
    assert errors[1] > 4 * errors[0]
    assert spectrum(media.code(x, 24.0, 10_000, RATE))[5200:].max() < 0.05 * spectrum(x)[5200:].max()


def test_tape_keeps_the_loudness_and_takes_peaks() -> None:
    x = noise()
    out = media.saturate_tape(x, -2.0, 6.0, RATE)
    assert out.std() == pytest.approx(x.std(), rel=1e-3) and np.abs(out).max() < 0.8 * np.abs(x).max()
    assert abs(out.mean()) < 1e-5


def test_noises_have_their_level_and_colour() -> None:
    random = Generator(PCG64(9))
    white, dark = (media.make_hiss(1, 16_000, colour, random, RATE) for colour in (0.0, 1.0))
    assert white.std() == pytest.approx(1, rel=0.01) and dark.std() == pytest.approx(1, rel=0.01)
    assert spectrum(dark)[4000:].mean() < 0.6 * spectrum(white)[4000:].mean()
    hum = media.make_hum(16_000, 50.0, random, RATE)
    assert hum.std() == pytest.approx(1, rel=0.05) and set(np.argsort(spectrum(hum))[-3:]) <= {
        25 * n + shift for n in range(1, 7) for shift in (-1, 0, 1)
    }
    clicks = media.make_crackle(1, 64_000, 10.0, random, RATE)
    assert np.median(np.abs(clicks)) < 1e-3 < 0.3 < np.abs(clicks).max()
