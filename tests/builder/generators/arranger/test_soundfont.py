from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builder.errors import BackendError
from builder.generators.arranger.playing.soundfont import SoundFont
from builder.soundfonts import DEFAULT, find_font

from .fonts import font, sine

ROOT = Path(__file__).parents[4]
RATE = 32_000


@pytest.mark.parametrize("key", [48, 69, 76])
def test_looped_sample_has_the_frequency_of_the_key(tmp_path, key):
    """A sample of 440 Hz at 44 kHz with root A4, played at a key: a sine of that key's frequency, for ever."""
    (tmp_path / "a.sf2").write_bytes(font(sine(20, 100), 44_000, 69, (200, 1200)))
    played = SoundFont(tmp_path / "a.sf2").play(0, False, key, 3.0, RATE)
    frequency = 440 * 2 ** ((key - 69) / 12)
    expected = 0.5 * np.sin(2 * np.pi * frequency * np.arange(3 * RATE) / RATE)
    assert played.shape == (3 * RATE,)
    np.testing.assert_allclose(played[10:], expected[10:], atol=2e-3)


def test_sample_without_a_loop_ends(tmp_path):
    (tmp_path / "a.sf2").write_bytes(font(sine(20, 100), 32_000, 60, None))
    played = SoundFont(tmp_path / "a.sf2").play(0, False, 60, 1.0, RATE)
    assert np.abs(played[:1990]).max() > 0.49 and not played[2000:].any()


def test_tuning_and_attenuation_apply(tmp_path):
    coarse, fine, attenuation = (51, 12), (52, 65_536 - 50), (48, 250)  # an octave up, 50 cents down, 25 dB (x 0.4)
    (tmp_path / "a.sf2").write_bytes(font(sine(20, 100), 32_000, 60, (200, 1200), coarse, fine, attenuation))
    played = SoundFont(tmp_path / "a.sf2").play(0, False, 60, 2.0, RATE)
    spectrum = np.abs(np.fft.rfft(played * np.hanning(len(played))))
    assert spectrum.argmax() / 2 == pytest.approx(320 * 2 ** (11.5 / 12), abs=0.5)
    assert np.abs(played).max() == pytest.approx(0.5 * 10 ** (-10 / 20), rel=0.01)


# Sounds whose strongest partials are harmonics of the key: no bells, ensembles, effects or musette.
@pytest.mark.parametrize("program", [0, 4, 11, 16, 19, 24, 29, 32, 33, 38, 40, 42, 56, 60, 65, 68, 71, 73, 79, 80, 81])
def test_the_shipped_font_is_in_tune(program):
    shipped = SoundFont(find_font(DEFAULT).path)
    for key in (48, 55, 60, 67, 72):
        samples = shipped.play(program, False, key, 2.0, RATE)[1600:]
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
        frequencies = np.arange(len(spectrum)) * RATE / (8 * len(samples))
        expected = 440 * 2 ** ((key - 69) / 12)
        peaks = []
        for partial in (1, 2, 3):
            near = np.abs(np.log2(np.maximum(frequencies, 1) / (partial * expected))) < 1 / 12
            best = np.where(near, spectrum, 0).argmax()
            peaks.append((spectrum[best], 1200 * np.log2(frequencies[best] / (partial * expected))))
        assert abs(max(peaks)[1]) < 40, f"key {key}"


def test_all_programs_and_drums_are_repeatable_across_processes():
    code = (
        "import hashlib, numpy as np\n"
        "from builder.soundfonts import DEFAULT, find_font\n"
        "from builder.generators.arranger.playing.soundfont import SoundFont\n"
        "font, total = SoundFont(find_font(DEFAULT).path), hashlib.sha256()\n"
        "for drum, item in [(False, p) for p in ORDER(range(128))] + [(True, k) for k in range(35, 82)]:\n"
        "    note = font.play(0 if drum else item, drum, item if drum else 60, 0.5, 32000)\n"
        "    assert np.isfinite(note).all() and 0.001 < np.abs(note).max() < 8, (drum, item)\n"
        "    sums = globals().setdefault('sums', {}); sums[drum, item] = hashlib.sha256(note.tobytes()).hexdigest()\n"
        "print(sorted(sums.items()))\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code.replace("ORDER", order)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for order in ("", "reversed")
    ]
    assert outputs[0] == outputs[1] != ""


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no font" * 100, font(sine(2, 50), 32_000, 60, None)[:300]])
def test_damaged_font_is_refused(tmp_path, content):
    (tmp_path / "a.sf2").write_bytes(content)
    with pytest.raises(BackendError, match=r"a.sf2: not a readable sound font") as caught:
        SoundFont(tmp_path / "a.sf2")
    assert "Error(" not in caught.value.message
