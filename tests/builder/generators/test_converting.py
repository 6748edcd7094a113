"""Clips and stems at another sampling rate, or with another number of channels."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from builder.clip import Clip, Prompt
from builder.corpus.building.score_configs import find_stem_fault
from builder.errors import RecipeError
from builder.generators.base import load_generator
from builder.generators.converting import ConvertingGenerator
from builder.generators.generator import Generator
from builder.registry import GENERATORS
from builder.settings import AudioSettings, GeneratorSettings
from builder.taxonomy import Taxonomy

from .. import fakes

RATES = (16_000, 22_050, 32_000, 44_100, 48_000)
ROWS = [Clip(f"c{n}", Prompt("A Funk track.", "", "funk"), "", n, "train") for n in range(3)]
TAXONOMY = Taxonomy.load("paper")


class Fixed(fakes.Tone):
    """Plays the sound that it is given, also in parts."""

    name = "fixed"

    def __init__(self, sound: np.ndarray, **stems: np.ndarray) -> None:
        self.sound, self.stems, self.seconds = sound, stems, len(sound) / self.sampling_rate

    def generate(self, rows: Any) -> list[np.ndarray]:
        return [self.sound for _ in rows]

    def generate_stems(self, rows: Any) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        return [(self.sound, self.stems) for _ in rows]


class Wide(fakes.Tone):
    """A tone on the left alone, where stereo is asked for."""

    name = "wide"

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        super().__init__(settings.model_copy(update={"stereo": False}), taxonomy)
        self.stereo = settings.stereo

    def generate(self, rows: Any) -> list[np.ndarray]:
        made = super().generate(rows)
        return [np.stack([tone, 0 * tone], axis=1) for tone in made] if self.stereo else made


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that loads "tone", which is mono, or "wide", which can be stereo."""
    monkeypatch.setitem(GENERATORS, "wide", f"{__name__}:Wide")
    return lambda name, audio, **options: load_generator(
        GeneratorSettings(name=name, seconds=1, **options), TAXONOMY, AudioSettings(**audio)
    )


def make_sine(rate: int, seconds: float, frequency: float = 1000.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != 32_000])
def test_a_sine_stays_where_it_is_in_time(rate: int) -> None:
    """Its amplitude and its phase are those of a sine that is computed at the other rate."""
    seconds = 1.00003  # no whole number of samples
    converting = ConvertingGenerator(Fixed(make_sine(32_000, seconds)), rate, 1, 1)
    (clip,) = converting.generate(ROWS[:1])
    assert clip.shape == (round(converting.seconds * rate),) and clip.dtype == np.float32
    edge = rate // 100
    expected = make_sine(rate, converting.seconds)
    assert np.abs(clip - expected)[edge:-edge].max() < 1e-3


def test_a_rate_below_removes_what_it_cannot_hold() -> None:
    (clip,) = ConvertingGenerator(Fixed(make_sine(32_000, 0.5, 12_000.0)), 16_000, 1, 1).generate(ROWS[:1])
    assert np.abs(clip[200:-200]).max() < 0.005  # 40 dB under the sine


def test_peaks_are_scaled_and_stems_by_the_same_factor() -> None:
    """A square wave overshoots where its harmonics are cut off."""
    square = np.sign(make_sine(32_000, 0.5, 900.0))
    stems = {"melody": 0.75 * square, "drums": 0.25 * square}
    converting = ConvertingGenerator(Fixed(square, **stems), 22_050, 1, 1)
    ((clip, parts),) = converting.generate_stems(ROWS[:1])
    assert np.abs(clip).max() == 1 and np.array_equal(clip, converting.generate(ROWS[:1])[0])
    assert find_stem_fault(clip, parts) is None
    assert np.allclose(parts["melody"], 0.75 * clip, atol=2 / 32_768)
    assert np.sqrt(np.mean(clip**2)) > 0.7  # as far as the overshoot asks for, about 18 %


def test_a_stem_over_full_scale_still_adds_up() -> None:
    """Two stems that cancel each other in part, each of which overshoots more than the clip."""
    square = np.sign(make_sine(32_000, 0.5, 900.0))
    melody, drums = 0.99 * square, (-0.4 * square).astype(np.float32)
    generator = Fixed((melody + drums).astype(np.float32), melody=melody, drums=drums)
    ((clip, parts),) = ConvertingGenerator(generator, 48_000, 1, 1).generate_stems(ROWS[:1])
    assert max(np.abs(part).max() for part in parts.values()) <= 1 and np.abs(clip).max() < 0.75
    assert find_stem_fault(clip, parts) is None
    in_16_bits = [np.rint(sound * 32_768).astype(int) for sound in (clip, *parts.values())]
    assert np.array_equal(in_16_bits[0], sum(in_16_bits[1:]))


def test_a_clip_that_is_not_finite_is_all_nan() -> None:
    sound = make_sine(32_000, 0.5)
    sound[100] = np.nan
    (clip,) = ConvertingGenerator(Fixed(sound), 44_100, 1, 2).generate(ROWS[:1])
    assert clip.shape == (22_050, 2) and np.isnan(clip).all()


def test_a_clip_of_the_wrong_length_keeps_it() -> None:
    """So that the quality gate finds it."""
    generator = Fixed(make_sine(32_000, 0.5))
    generator.seconds = 1.0
    assert ConvertingGenerator(generator, 16_000, 1, 1).generate(ROWS[:1])[0].shape == (8_000,)


def test_channels(load: Any) -> None:
    (left,) = load("wide", {}).generate(ROWS[:1])
    stereo = load("wide", {"channels": 2})
    assert type(stereo) is Wide and np.array_equal(stereo.generate(ROWS[:1])[0][:, 0], left)
    mean = load("wide", {"channels": 1}, stereo=True)
    assert np.allclose(mean.generate(ROWS[:1])[0], left / 2) and "averaged to mono" in mean.about
    twice = load("tone", {"channels": 2})
    assert np.array_equal(twice.generate(ROWS[:1])[0], np.stack([left, left], axis=1))
    assert twice.about.endswith("Made in mono: both channels are equal.") and twice.made_at == {"made_channels": 1}
    with pytest.raises(RecipeError, match="a tone is mono"):
        load("tone", {"channels": 2}, stereo=True)


def test_what_is_the_generators_own_is_not_converted(load: Any) -> None:
    assert type(load("tone", {})) is fakes.Tone
    assert type(load("tone", {"sampling_rate": 32_000, "channels": 1})) is fakes.Tone


def test_a_converted_generator_is_otherwise_as_before(load: Any) -> None:
    plain, converted = load("tone", {}), load("tone", {"sampling_rate": 44_100})
    for key in ("name", "revision", "license", "rows_at_once", "single_core", "samples"):
        assert getattr(converted, key) == getattr(plain, key)
    assert converted.about == "One sine a clip. Made at 32 kHz, resampled to 44.1 kHz."
    assert converted.made_at == {"made_sampling_rate": 32_000}
    assert load("tone", {"sampling_rate": 16_000}).made_at == {}  # all of the band is there
    with pytest.raises(AttributeError):
        converted.annotate  # noqa: B018
    for other in (copy.deepcopy(converted), copy.copy(converted)):
        assert np.array_equal(other.generate(ROWS)[1], converted.generate(ROWS[1:2])[0])
    converted.seconds = 0.5
    assert converted.generate(ROWS[:1])[0].shape == (22_050,)


def test_the_arranger_in_stereo_at_another_rate() -> None:
    """The clip of the arranger, converted; its annotations are the same."""
    settings = GeneratorSettings(seconds=1)
    plain = load_generator(settings.model_copy(update={"stereo": True}), TAXONOMY)
    converted: Any = load_generator(settings, TAXONOMY, AudioSettings(sampling_rate=48_000, channels=2))
    ((clip, stems),) = converted.generate_stems(ROWS[:1])
    assert clip.shape == (48_000, 2) and not np.array_equal(clip[:, 0], clip[:, 1])
    assert find_stem_fault(clip, stems) is None
    every_third, as_made = clip[::3], plain.generate(ROWS[:1])[0][::2]  # at the same times, at 16 kHz
    assert np.corrcoef(every_third.T.ravel(), as_made.T.ravel())[0, 1] > 0.999
    assert converted.annotate(ROWS[0]).to_row() == plain.annotate(ROWS[0]).to_row()  # type: ignore[attr-defined]
    first = load_generator(settings.model_copy(update={"revision": "1"}), TAXONOMY, AudioSettings(channels=2))
    (both,) = first.generate(ROWS[:1])
    assert both.shape == (32_000, 2) and np.array_equal(both[:, 0], both[:, 1])


def test_generator_in_python(load: Any) -> None:
    with Generator("tone", seconds=1, sampling_rate=22_050, channels=2) as generator:
        clip = generator("A tone.", seed=5)
    assert clip.audio.shape == (2, 22_050) and clip.sampling_rate == generator.sampling_rate == 22_050
    with pytest.raises(RecipeError, match=r"sampling_rate: .*16000, 22050, 32000, 44100 or 48000"):
        Generator("tone", sampling_rate=8_000)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="channels: "):
        Generator("tone", channels=3)  # type: ignore[arg-type]
