from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

from builder.generators.arranger.rng import SeededRandom
from builder.generators.arranger.singing.diction import SungNote
from builder.generators.arranger.singing.glottis import pulse_spectrum, pulse_table
from builder.generators.arranger.singing.phonemes import CONSONANTS, VOWELS, Syllable, draw_syllables, vowel_formants
from builder.generators.arranger.singing.singer import Singer, draw_singer
from builder.generators.arranger.singing.voice import sing

RATE = 32_000
PLAIN = replace(
    draw_singer(SeededRandom(0)),
    tract=0.0, scale=1.0, quality=1.0, breathiness=0.01, jitter=0.0, drift=0.0, shimmer=0.0, roughness=0.0,
    damping=1.0, ring=0.0, vibrato_rate=5.5, vibrato_depth=0.0, vibrato_delay=0.3, scoop=0.0, presence=0.0,
    clarity=1.0,
)  # fmt: skip


def held(vowel: str, pitch: float = 43, singer: Singer = PLAIN, onset: str = "", seconds: float = 1.0) -> np.ndarray:
    note = SungNote(0.5, 0.5 + seconds, pitch, 0.9, Syllable(onset, (vowel,)))
    return sing([note], singer, 7, round((seconds + 1.0) * RATE), RATE)


def measure_formants(sound: np.ndarray) -> list[float]:
    """The resonances below 4 kHz by linear prediction."""
    slow = scipy.signal.resample_poly(sound[20_000:44_000], 1, 4)
    slow = scipy.signal.lfilter([1.0, -0.95], [1.0], slow) * np.hanning(len(slow))
    correlation = np.correlate(slow, slow, "full")[len(slow) - 1 :]
    roots = np.roots([1.0, *-scipy.linalg.solve_toeplitz(correlation[:12], correlation[1:13])])
    found = sorted(float(np.angle(root)) * 8000 / (2 * np.pi) for root in roots if root.imag > 0 and abs(root) > 0.9)
    return [frequency for frequency in found if frequency > 150]


def track_pitch(sound: np.ndarray, low: float, high: float) -> np.ndarray:
    """The fundamental in Hz every 10 ms, from the peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, 1024), 2048)[::320] * np.hanning(2048)
    power = np.abs(np.fft.rfft(frames, 4096)) ** 2
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(2048), 4096)) ** 2)
    longest = int(RATE / low) + 2
    correlation = np.fft.irfft(power)[:, :longest] / window[:longest]
    first = int(RATE / high)
    peak = correlation[:, first:-1].argmax(axis=1) + first
    before, here, after = (correlation[np.arange(len(peak)), peak + step] for step in (-1, 0, 1))
    return RATE / (peak + 0.5 * (before - after) / (before - 2 * here + after + 1e-12))


@pytest.mark.parametrize("rd", [0.5, 0.7, 1.0, 1.5])
def test_the_pulse_has_the_published_balance_of_its_first_harmonics(rd: float) -> None:
    """Fant 1995: the level of the first harmonic over the second is -7.6 + 11.1 Rd dB."""
    spectrum = np.abs(pulse_spectrum(rd))
    assert 20 * np.log10(spectrum[1] / spectrum[2]) == pytest.approx(-7.6 + 11.1 * rd, abs=0.6)


def test_a_table_has_no_harmonic_above_its_limit() -> None:
    spectrum = np.abs(np.fft.rfft(pulse_table(1.0, 20).real))
    assert spectrum[20] > 1.0 and spectrum[21:].max() < 1e-2
    steps = pulse_table(1.0, 20)
    assert np.allclose(np.roll(steps.real, -1) - steps.real, steps.imag, atol=1e-6)


@pytest.mark.parametrize("vowel", VOWELS)
def test_vowels_have_the_published_formants(vowel: str) -> None:
    found = measure_formants(held(vowel))
    for formant in VOWELS[vowel][0]:
        assert min(abs(frequency / formant - 1.0) for frequency in found) < 0.12, (formant, found)


def test_women_and_children_have_higher_formants() -> None:
    man, woman, child = (vowel_formants("E", tract) for tract in (0.0, 1.0, 2.0))
    assert man == (530, 1840, 2480) and woman == (610, 2330, 2990) and child == (690, 2610, 3570)
    assert vowel_formants("E", 0.5) == (570, 2085, 2735)


def test_notes_sound_at_their_pitch_and_pauses_are_silent() -> None:
    pitches = (57, 60, 64, 62, 57)
    notes = [
        SungNote(0.2 + 0.8 * n, 0.9 + 0.8 * n, pitch, 0.8, Syllable(onset, ("a",)))
        for n, (pitch, onset) in enumerate(zip(pitches, ("", "m", "s", "t", "l"), strict=True))
    ]
    singer = replace(draw_singer(SeededRandom(5)), vibrato_depth=0.2, scoop=0.5)
    sound = sing(notes, singer, 3, 5 * RATE, RATE)
    track = 69 + 12 * np.log2(track_pitch(sound, 180, 400) / 440)
    for note in notes:
        middle = track[round((note.start + 0.25) * 100) : round((note.end - 0.15) * 100)]
        assert np.median(middle) == pytest.approx(note.pitch, abs=0.35)
    assert np.abs(sound[: round(0.05 * RATE)]).max() == 0.0 and np.abs(sound[round(4.4 * RATE) :]).max() < 1e-4
    loud = sound[np.abs(sound) > 0.01]
    assert 0.05 < np.sqrt(np.mean(loud**2)) < 0.2 and np.abs(sound).max() < 1.0


def test_vibrato_sets_in_late_at_its_rate() -> None:
    singer = replace(PLAIN, vibrato_depth=0.6, vibrato_rate=5.5, vibrato_delay=0.6)
    sound = held("a", 57, singer, seconds=2.5)
    track = 12 * np.log2(track_pitch(sound, 150, 350) / 220)
    early, late = track[65:105], track[150:290]
    assert np.std(early) < 0.1 < 0.25 < np.std(late) < 0.9
    spectrum = np.abs(np.fft.rfft((late - late.mean()) * np.hanning(len(late)), 4096))
    assert np.argmax(spectrum) * 100 / 4096 == pytest.approx(5.5, abs=0.6)


def test_consonants_come_before_the_note() -> None:
    def treble(onset: str) -> float:
        before = held("a", onset=onset)[round(0.43 * RATE) : round(0.47 * RATE)]
        spectrum = np.abs(np.fft.rfft(before)) ** 2
        return float(spectrum[200:].sum() / spectrum.sum())  # above 5 kHz

    assert treble("s") > 0.5 > 0.01 > treble("m")
    levels = {onset: np.abs(held("a", onset=onset)[round(0.45 * RATE) : round(0.47 * RATE)]).max() for onset in "tmh"}
    assert levels["t"] < 0.01 < levels["h"] < levels["m"]
    for onset in CONSONANTS:
        sound = held("a", onset=onset)
        assert np.isfinite(sound).all() and np.abs(sound[: round(0.3 * RATE)]).max() < 1e-3


def test_singing_depends_on_its_arguments_alone() -> None:
    rng = SeededRandom(11)
    singer, words = draw_singer(rng), draw_syllables(rng, 8)
    notes = [SungNote(0.3 * n, 0.3 * n + 0.28, 60 + n % 4, 0.7, word) for n, word in enumerate(words)]
    first, again, other = (sing(notes, singer, seed, 3 * RATE, RATE) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.dtype == np.float32 and len(first) == 3 * RATE


@pytest.mark.parametrize(
    "notes",
    [
        [],
        [SungNote(-0.2, 0.1, 60, 0.8, Syllable("s", ("a",), "s"))],
        [SungNote(0.9, 2.0, 60, 0.8, Syllable("", ("a", "I"), "t"))],
        [SungNote(0.5, 0.51, 90, 1.0, Syllable("k", ("i",))), SungNote(0.51, 0.53, 30, 0.1)],
        [SungNote(0.3, 0.6, 60, 0.8, Syllable("p", ("a",))), SungNote(0.3, 0.6, 67, 0.8, Syllable("p", ("a",)))],
    ],
)
def test_odd_notes_are_sung(notes: list[SungNote]) -> None:
    sound = sing(notes, PLAIN, 0, RATE, RATE)
    assert len(sound) == RATE and np.isfinite(sound).all() and np.abs(sound).max() <= 3.0


def test_singers_differ() -> None:
    singers = [draw_singer(SeededRandom(seed), rough=0.5) for seed in range(40)]
    assert len({singer.low for singer in singers}) > 8 and {singer.tract < 0.5 for singer in singers} == {True, False}
    assert {singer.roughness > 0 for singer in singers} == {True, False}
    assert all(40 <= singer.low < singer.high <= 86 and 0 <= singer.tract <= 1.3 for singer in singers)
