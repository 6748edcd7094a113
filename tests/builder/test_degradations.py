"""Damages do what they say: levels measured on signals whose outcome is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builder.degradations import DAMAGES, Damage
from builder.errors import BackendError, RecipeError

ROOT = Path(__file__).parents[2]
RATE = 44_100
EVERY = [Damage(kind, level) for kind, known in DAMAGES.items() for level in known.levels]


def tone(hertz: float, seconds: float = 2.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return np.repeat(0.25 * np.sin(2 * np.pi * hertz * time)[:, None], channels, axis=1).astype(np.float32)


def music(channels: int = 2, rate: int = RATE) -> np.ndarray:
    draw = np.random.default_rng(3)
    parts = sum(tone(hertz, rate=rate, channels=channels) / 4 for hertz in (110, 440, 1_320, 3_000))
    return (parts + 0.01 * draw.standard_normal(parts.shape)).astype(np.float32)


def decibels(after: np.ndarray, before: np.ndarray) -> float:
    middle = slice(len(before) // 4, 3 * len(before) // 4)  # filters have settled
    return 10 * np.log10(np.mean(after[middle] ** 2) / np.mean(before[middle] ** 2))


def peak_hertz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples[:, 0] * np.hanning(len(samples)), n=2**19))
    return float(spectrum.argmax() * RATE / 2**19)


@pytest.mark.parametrize("damage", EVERY, ids=str)
@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_what_comes_out_is_audio_and_follows_from_the_seed(damage, rate):
    samples = music(rate=rate)
    kept = samples.copy()
    out = damage(samples, rate, seed=5)
    assert out.dtype == np.float32 and out.ndim == 2 and out.shape[1] == (1 if damage.kind == "side" else 2)
    assert np.abs(out).max() <= 1.0 and np.abs(out).max() > 0.001
    np.testing.assert_array_equal(out, damage(samples, rate, seed=5))
    np.testing.assert_array_equal(samples, kept)
    if damage.kind != "speed":
        assert len(out) == len(samples)
    if damage.kind in ("noise", "reverb"):
        assert not np.array_equal(out, damage(samples, rate, seed=6))


@pytest.mark.parametrize("kind", ["mp3", "ogg"])
def test_codecs_lose_more_at_lower_rates_and_shift_nothing(kind):
    samples = music()
    alike = [
        np.corrcoef(samples[:, 0], Damage(kind, level)(samples, RATE)[:, 0])[0, 1] for level in DAMAGES[kind].levels
    ]
    assert alike == sorted(alike, reverse=True) and alike[0] > 0.97 and alike[-1] > 0.9


def test_a_codec_is_given_a_long_track_in_parts(tmp_path):
    """libvorbis holds what it is first given on the stack: at once, a minute of it ends the process."""
    import soundfile

    samples = music()
    soundfile.write(tmp_path / "x.ogg", samples, RATE, format="OGG", subtype="VORBIS", compression_level=0.8)
    np.testing.assert_array_equal(
        Damage("ogg", 2)(samples, RATE), soundfile.read(tmp_path / "x.ogg", dtype="float32")[0]
    )
    code = (
        "import numpy as np\nfrom builder.degradations import Damage\n"
        "x = np.zeros((2_500_000, 1), np.float32)\nprint(Damage('ogg', 2)(x, 44_100).shape)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "(2500000, 1)\n"), run.stderr


def test_filters_pass_what_they_should_and_stop_the_rest():
    for damage, passed, stopped in (("lowpass:2000", 1_000, 4_000), ("highpass:1000", 2_000, 500)):
        apply = Damage.parse(damage)
        assert abs(decibels(apply(tone(passed), RATE), tone(passed))) < 0.1
        assert decibels(apply(tone(stopped), RATE), tone(stopped)) < -45
    narrow = Damage.parse("resample:8000")
    assert abs(decibels(narrow(tone(1_000), RATE), tone(1_000))) < 0.1
    assert decibels(narrow(tone(6_000), RATE), tone(6_000)) < -40


def test_a_filter_beyond_what_the_audio_holds_changes_nothing():
    samples = music(rate=8_000)
    for damage in ("lowpass:8000", "resample:22050"):
        np.testing.assert_array_equal(Damage.parse(damage)(samples, 8_000), samples)


def test_tilt_raises_treble_and_lowers_bass():
    tilted = Damage.parse("tilt:12")
    assert decibels(tilted(tone(12_000), RATE), tone(12_000)) == pytest.approx(12, abs=1)
    assert decibels(tilted(tone(50), RATE), tone(50)) == pytest.approx(-12, abs=1)


def test_gain_is_exact_and_clips():
    samples = music()
    np.testing.assert_allclose(Damage.parse("gain:-20")(samples, RATE), samples / 10, rtol=1e-6)
    np.testing.assert_allclose(Damage.parse("gain:40")(samples, RATE), np.clip(100 * samples, -1, 1), rtol=1e-5)


@pytest.mark.parametrize("ratio", [30, 10, 0])
def test_noise_is_as_strong_as_asked_and_pink(ratio):
    samples = music()
    noise = Damage("noise", ratio)(samples, RATE) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(ratio, abs=0.1)
    power = np.abs(np.fft.rfft(noise[:, 0])) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (200, 800, 3_200, 6_400)]
    assert max(octaves) / min(octaves) < 1.5


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_room_dies_away_in_its_time(seconds):
    impulse = np.zeros((round(2 * RATE), 1), np.float32)
    impulse[0] = 0.5
    tail = Damage("reverb", seconds)(impulse, RATE)[1:, 0].astype(np.float64)
    decay = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])  # Schroeder 1965
    down = [np.argmax(decay < decay[0] - level) for level in (5, 35)]
    assert 2 * (down[1] - down[0]) / RATE == pytest.approx(seconds, rel=0.1)


def test_pitch_and_speed_change_one_and_not_the_other():
    higher = Damage.parse("pitch:3")(tone(440), RATE)
    assert peak_hertz(higher) == pytest.approx(440 * 2 ** (3 / 12), rel=0.005)
    faster = Damage.parse("speed:125")(tone(440), RATE)
    assert len(faster) == pytest.approx(2 * RATE / 1.25, rel=0.01) and peak_hertz(faster) == pytest.approx(
        440, rel=0.005
    )


def test_compression_narrows_the_range_and_keeps_the_loudness():
    quiet, loud = 0.05 * music(), music() * 2
    samples = np.concatenate([quiet, loud]).astype(np.float32)
    out = Damage.parse("compress:20")(samples, RATE)
    assert np.mean(out**2) == pytest.approx(np.mean(samples**2), rel=0.01)
    assert decibels(out[: len(quiet)], quiet) > 6


def test_a_side_turned_over_leaves_what_is_not_in_the_middle():
    middle, left = tone(440, channels=2), tone(1_000, channels=2) * np.float32([1, 0])
    out = Damage.parse("side:2")(middle + left, RATE)
    np.testing.assert_allclose(out[:, 0], left[:, 0] / 2, atol=1e-6)
    mono = music(channels=1)
    np.testing.assert_array_equal(Damage.parse("side:2")(mono, RATE), mono)


def test_silence_stays_silence():
    silence = np.zeros((RATE, 2), np.float32)
    for damage in EVERY:
        assert np.abs(damage(silence, RATE)).max() < 1e-3, damage


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo:3", "no damage called 'echo'"),
        ("mp3", "the level of mp3 is kbit/s from 64 to 320"),
        ("mp3:much", "the level of mp3"),
        ("ogg:11", "quality from 0 to 10"),
        ("noise:nan", "the level of noise is dB"),
    ],
)
def test_invalid_damages_are_refused(text, message):
    with pytest.raises(RecipeError, match=message):
        Damage.parse(text)


def test_they_are_written_as_they_are_read():
    assert all(Damage.parse(str(damage)) == damage for damage in EVERY)


@pytest.mark.parametrize("text", ["compress:4", "tilt:6", "pitch:1", "speed:95"])
def test_a_missing_package_is_named(monkeypatch, text):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(BackendError, match="pedalboard") as error:
        Damage.parse(text)(music(), RATE)
    assert "--extra benchmarks" in str(error.value)
