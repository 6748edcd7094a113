from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from builder.audio import measure_loudness
from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger, Score
from builder.generators.arranger.playing.instruments import Instruments
from builder.generators.arranger.playing.soundfont import SoundFont
from builder.generators.arranger.production.draw import GUITARS, LOUDNESS, draw_production
from builder.generators.arranger.production.kit import DrumTuning
from builder.generators.arranger.score import Note, Track
from builder.generators.arranger.style import Vocabulary
from builder.settings import GeneratorSettings
from builder.soundfonts import DEFAULT, find_font
from builder.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("paper")
MONO = Arranger(GeneratorSettings(seconds=2), TAXONOMY)
STEREO = Arranger(GeneratorSettings(seconds=2, stereo=True), TAXONOMY)
LONG = Arranger(GeneratorSettings(), TAXONOMY)


def clip(genre: str, seed: int, **asked: Any) -> Clip:
    return Clip("c", Prompt("", "", genre, **asked), "g", seed, "train")


def scores(genre: str, count: int) -> list[Score]:
    return [MONO.compose(clip(genre, seed)) for seed in range(count)]


def test_a_production_depends_on_the_seed_alone_and_is_json() -> None:
    score = MONO.compose(clip("rock", 3))
    assert draw_production(score) == draw_production(score)
    row = MONO.describe(clip("rock", 3))
    described = json.loads(row["production"])
    assert set(described["tracks"]) == {track.instrument for track in score.tracks}
    assert described["loudness"] == pytest.approx(draw_production(score).loudness, rel=1e-3)
    assert len(row["production"]) < 4000
    assert json.loads(STEREO.describe(clip("rock", 3))["production"]) == described


def test_ranges_of_genres_overlap_and_a_share_is_plain() -> None:
    drawn = {genre: [draw_production(score) for score in scores(genre, 60)] for genre in TAXONOMY.genres}
    every = [production for productions in drawn.values() for production in productions]
    assert 0.01 < np.mean([production.plain for production in every]) < 0.12
    assert all(
        LOUDNESS[genre][0] <= production.loudness <= LOUDNESS[genre][2]
        for genre, productions in drawn.items()
        for production in productions
    )
    for value in ("loudness", "wet"):
        spans = [np.percentile([getattr(p, value) for p in productions], [10, 90]) for productions in drawn.values()]
        assert max(low for low, _ in spans) < min(high for _, high in spans), value
    for plain in (production for production in every if production.plain):
        assert plain.bus is None and plain.medium.drive is None and plain.medium.ratio is None and not plain.clip


def test_every_electric_guitar_has_an_amplifier_and_distorted_ones_more_gain() -> None:
    gains: dict[int, list[float]] = {}
    for score in scores("rock", 60):
        production = draw_production(score)
        for track in score.tracks:
            amplifier = production.tracks[track.instrument].amplifier
            if not track.is_drum and track.program in GUITARS:
                assert amplifier is not None
                gains.setdefault(track.program, []).append(amplifier.gain)
            elif track.is_drum:
                assert amplifier is None
    assert max(gains[27]) < min(gains[30])


def test_drums_are_tuned_and_layered_and_other_notes_are_not() -> None:
    instruments = Instruments(SoundFont(find_font(DEFAULT).path), 32_000, 1, Vocabulary.load())

    def play(key: int, **tuning: Any) -> np.ndarray:
        track = Track("drums", "drums", 0, True, 0.0, [Note(0.0, 1.0, key, 0.9)])
        return instruments.play_track(track, 32_000, 120, 0.0, {38: DrumTuning(**tuning)} if tuning else {})

    np.testing.assert_array_equal(play(36), play(36, semitones=12.0))
    plain, high, layered = play(38), play(38, semitones=12.0), play(38, semitones=12.0, layer=39)
    spectra = [np.abs(np.fft.rfft(one[0])) for one in (plain, high)]
    centroids = [spectrum @ np.arange(len(spectrum)) / spectrum.sum() for spectrum in spectra]
    assert centroids[1] > 1.2 * centroids[0]
    damped, longer = play(38, decay=0.5), play(38, decay=2.0)
    assert np.abs(damped[0, 4000:]).max() < 0.7 * np.abs(longer[0, 4000:]).max()
    assert np.abs(layered - high).max() > 1e-3


def test_the_loudness_is_the_one_that_was_drawn() -> None:
    """Measured by ITU-R BS.1770 (pyloudnorm); mono has 3 dB less than the two equal channels that are meant."""
    errors = []
    for seed, genre in enumerate(("orchestral", "pop", "rock", "funk", "electronica")):
        row = clip(genre, seed)
        audio = LONG.generate([row])[0]
        errors.append(measure_loudness(audio, 32_000) + 3.01 - draw_production(LONG.compose(row)).loudness)
    assert np.median(np.abs(errors)) < 0.7 and min(errors) > -6 and max(errors) < 1


def test_stereo_has_two_sides_and_keeps_its_loudness_in_mono() -> None:
    differences, losses = [], []
    for seed, genre in enumerate(TAXONOMY.genres):
        audio = STEREO.generate([clip(genre, seed)])[0]
        assert audio.shape == (64_000, 2) and audio.dtype == np.float32 and np.abs(audio).max() <= 1.0
        mono, side = audio.mean(axis=1), (audio[:, 0] - audio[:, 1]) / 2
        differences.append(side.std() / mono.std())
        losses.append(20 * np.log10(mono.std() / np.sqrt(np.mean(audio**2))))
    assert min(differences) > 0.02 and max(differences) < 1.2
    assert min(losses) > -3.5
