from __future__ import annotations

import numpy as np
import pytest
import soundfile

from builder.audio import (
    decode_audio,
    encode_flac,
    load_audio,
    measure_loudness,
    measure_peak,
    resample,
    split_into_windows,
)
from builder.errors import DataError


def sine(frequency: float, rate: int, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_flac_keeps_every_sample_to_16_bits():
    audio = np.random.default_rng(0).uniform(-1, 1, 32_000).astype(np.float32)
    back, rate = decode_audio(encode_flac(audio, 32_000))
    assert rate == 32_000 and back.shape == (32_000, 1)
    assert np.abs(back[:, 0] - audio).max() <= 1 / 32_768


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels"),
    [
        ("wav", "PCM_U8", 8_000, 1),
        ("wav", "PCM_16", 44_100, 2),
        ("wav", "PCM_24", 96_000, 6),
        ("wav", "FLOAT", 48_000, 1),
        ("flac", "PCM_24", 48_000, 2),
        ("ogg", "VORBIS", 44_100, 2),
        ("mp3", "MPEG_LAYER_III", 44_100, 2),
        ("au", "PCM_16", 22_050, 1),
    ],
)
def test_every_kind_of_file_becomes_mono_at_the_rate_asked_for(tmp_path, suffix, subtype, rate, channels):
    path = tmp_path / f"Motörhead – Ace of Spädes {channels}ch.{suffix}"
    soundfile.write(path, np.stack([sine(440, rate)] * channels, axis=1), rate, subtype=subtype)
    audio = load_audio(path, 32_000)
    assert audio.dtype == np.float32 and audio.ndim == 1
    assert len(audio) == pytest.approx(32_000, abs=3_000)  # lossy codecs pad
    middle = audio[8_000:24_000]
    peak = np.abs(np.fft.rfft(middle)).argmax() * 32_000 / len(middle)
    assert peak == pytest.approx(440, abs=3)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.wav", b"this is no audio", "cannot be read as audio"),
        ("empty.mp3", b"", "cannot be read as audio"),
        ("broken.mp3", b"\xff\xfb\x90\x00" + b"\x00" * 50, "cannot be read as audio|holds no samples"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        load_audio(tmp_path / name, 32_000)
    assert name in str(error.value)


def test_empty_audio_and_nan_are_refused(tmp_path):
    soundfile.write(tmp_path / "zero.wav", np.zeros(0), 32_000)
    with pytest.raises(DataError, match=r"zero.wav: holds no samples"):
        decode_audio(tmp_path / "zero.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 32_000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"nan.wav: has samples that are not finite"):
        decode_audio(tmp_path / "nan.wav")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none.wav: cannot be read"):
        load_audio(tmp_path / "none.wav", 32_000)


def test_resampling_keeps_what_both_rates_hold_and_drops_the_rest():
    np.testing.assert_allclose(
        resample(sine(1000, 44_100), 44_100, 32_000)[500:-500], sine(1000, 32_000)[500:-500], atol=2e-3
    )
    assert np.abs(resample(sine(20_000, 44_100), 44_100, 32_000)[500:-500]).max() < 0.02


@pytest.mark.parametrize(
    ("length", "window", "hop", "starts"),
    [(10, 4, None, [0, 4, 6]), (8, 4, None, [0, 4]), (9, 4, 2, [0, 2, 4, 5]), (4, 4, None, [0]), (3, 4, None, [0])],
)
def test_windows_cover_the_audio_and_end_with_it(length, window, hop, starts):
    cut = split_into_windows(np.arange(length, dtype=np.float32), window, hop)
    assert cut[:, 0].tolist() == starts
    assert cut[-1, -1] == length - 1


def test_levels_follow_the_standard():
    # ITU-R BS.1770-4: a 997 Hz sine at full scale in one channel reads -3.01 LKFS
    assert measure_loudness(sine(997, 32_000, 3, 1.0), 32_000) == pytest.approx(-3.01, abs=0.1)
    assert measure_loudness(np.zeros(32_000, np.float32), 32_000) == -70
    assert measure_loudness(sine(997, 32_000, 0.2), 32_000) == -70  # too short to gate
    assert measure_peak(sine(997, 32_000, 1, 0.5)) == pytest.approx(-6.02, abs=0.01)
    assert measure_peak(np.zeros(10, np.float32)) == -120
