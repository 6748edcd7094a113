"""Notes of version 2: envelopes, filters, layers and compressed samples, against the formulas of the specification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builder.errors import BackendError
from builder.generators.arranger.playing import soundfont
from builder.generators.arranger.playing.instruments import Instruments
from builder.generators.arranger.playing.soundfont import SoundFont
from builder.generators.arranger.playing.synthesis import play_note
from builder.generators.arranger.score import Note, Track
from builder.generators.arranger.style import Vocabulary
from builder.soundfonts import DEFAULT, find_font

from .fonts import font, sine

RATE = 32_000
LOOP = (200, 1200)


def write(folder: Path, *generators: tuple[int, int], **options: object) -> SoundFont:
    """A looped sine of 320 Hz at key 60."""
    path = folder / "a.sf2"
    path.write_bytes(font(sine(20, 100), 32_000, 60, LOOP, *generators, **options))
    return SoundFont(path)


def timecents(seconds: float) -> int:
    return round(1200 * np.log2(seconds)) % 65_536


def levels(sound: np.ndarray) -> np.ndarray:
    """The peak of each 10 ms."""
    return np.abs(sound[: len(sound) // 320 * 320].reshape(-1, 320)).max(axis=1)


def play(one: SoundFont, velocity: int = 127, key: int = 60, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    return play_note(one, 0, False, key, velocity, seconds, RATE, channels)


@pytest.mark.parametrize("compress", [False, True])
def test_held_note_is_a_sine_that_goes_on(tmp_path: Path, compress: bool) -> None:
    sound = play(write(tmp_path, compress=compress), seconds=3.0)[0]
    expected = 0.5 * np.sin(2 * np.pi * 320 * np.arange(3 * RATE) / RATE)
    # The default modulator of velocity opens the filter at 127 up to one part of 128.
    np.testing.assert_allclose(sound[400:], expected[400:], atol=0.02)


def test_volume_envelope(tmp_path: Path) -> None:
    """100 ms of delay, 200 ms of attack, 100 ms of hold, then 100 dB a second down to -20 dB."""
    stages = [(33, timecents(0.1)), (34, timecents(0.2)), (35, timecents(0.1)), (36, timecents(1.0)), (37, 200)]
    measured = levels(play(write(tmp_path, *stages))[0])
    assert measured[:10].max() == 0.0
    assert measured[20] == pytest.approx(0.2625, abs=0.02)  # half of the attack
    assert measured[35] == pytest.approx(0.5, abs=0.01)
    assert 20 * np.log10(measured[50] / 0.5) == pytest.approx(-10.0, abs=1.0)
    np.testing.assert_allclose(measured[65:], 0.05, atol=0.003)


def test_velocity_and_cutoff_darken(tmp_path: Path) -> None:
    cutoff = round(1200 * np.log2(320 / 8.176))  # at the tone: -3 dB
    assert levels(play(write(tmp_path, (8, cutoff)))[0])[50] == pytest.approx(0.5 * 10 ** (-3.01 / 20), rel=0.05)
    soft = levels(play(write(tmp_path, (8, cutoff)), velocity=1)[0])[50]
    assert soft < 0.1  # two octaves lower: 24 dB
    rising = play(write(tmp_path, (8, cutoff - 2400), (11, 4800), (26, timecents(0.5))))[0]
    assert levels(rising)[80] > 4 * levels(rising)[5]


def test_pan_and_mono(tmp_path: Path) -> None:
    left, right = play(write(tmp_path, (17, 65_536 - 500)), channels=2)
    assert np.abs(left).max() == pytest.approx(0.5 * 2**0.5, rel=0.02) and not right.any()


def test_velocity_layer_is_chosen(tmp_path: Path) -> None:
    one = write(tmp_path, (44, 127 << 8 | 100))
    assert not play(one, velocity=99).any() and play(one, velocity=100).any()


def test_vibrato_and_tuning_are_bounded(tmp_path: Path) -> None:
    for generators in ([(56, 1200)], [(51, 127), (56, 32_767)], [(6, 32_767), (24, 32_767)], [(58, 0), (8, 0)]):
        assert np.isfinite(play(write(tmp_path, *generators), key=127)).all()


@pytest.mark.parametrize("loop", [(1200, 200), (0, 60_000), (1999, 2000), (4_000_000_000, 4_000_000_100)])
def test_loop_outside_of_the_sample_is_no_loop(tmp_path: Path, loop: tuple[int, int]) -> None:
    path = tmp_path / "a.sf2"
    path.write_bytes(font(sine(20, 100), 32_000, 60, loop))
    sound = play(SoundFont(path))[0]
    assert sound[:1900].any() and not sound[2100:].any()


def test_compressed_sample_that_is_none_or_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundfont, "MAX_SAMPLE", 100)
    with pytest.raises(BackendError, match="more than 100 values once decoded"):
        play(write(tmp_path, compress=True))
    data = (tmp_path / "a.sf2").read_bytes().replace(b"OggS", b"none")
    (tmp_path / "a.sf2").write_bytes(data)
    with pytest.raises(BackendError, match="a sample cannot be decoded"):
        play(SoundFont(tmp_path / "a.sf2"))


@pytest.mark.parametrize("program", [0, 24, 48, 81])
def test_start_of_a_note_is_the_same_however_long_it_is_held(program: int) -> None:
    """The cache keeps the longest of each note, so clips would depend on their order otherwise."""
    instruments = Instruments(SoundFont(find_font(DEFAULT).path), RATE, 2, Vocabulary.load())
    for key in (40, 76):
        short = instruments.note(program, False, key, 0.9, 0.3)
        long = instruments.note(program, False, key, 0.9, 2.2)
        assert short.shape[1] < long.shape[1]
        np.testing.assert_array_equal(short, long[:, : short.shape[1]])
        assert instruments.note(program, False, key, 0.9, 0.3) is long


def test_program_that_the_font_lacks_has_a_substitute(tmp_path: Path) -> None:
    one = write(tmp_path, program=5)
    assert [one.find_program(number, False) for number in (5, 3, 40)] == [5, 5, 5]
    assert one.find_program(0, True) is None
    assert SoundFont(find_font(DEFAULT).path).find_program(77, False) == 77


def test_track_has_releases_and_choked_drums(tmp_path: Path) -> None:
    instruments = Instruments(write(tmp_path, (38, timecents(0.5))), RATE, 2, Vocabulary.load())
    track = Track("piano", "chords", 0, False, 0.0, [Note(0.0, 1.0, 60, 0.8)])
    sound = instruments.play_track(track, RATE, 120)
    measured = levels(sound[0])
    assert measured[5] > 0.05
    drop = 20 * np.log10(measured[66] / measured[50])  # 160 ms after the end: 200 dB a second
    assert drop == pytest.approx(-32, abs=3) and not sound[:, round(0.9 * RATE) :].any()
    drums = Track("drums", "drums", 0, True, 0.0, [Note(0.0, 1.0, 38, 0.8)])
    assert not instruments.play_track(drums, RATE, 120).any()  # the font has no kit
