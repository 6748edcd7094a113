"""Stems of both versions: they add up to the clip, none is noise, and every instrument is in its own."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.annotations.annotation import STEMS
from builder.audio import encode_flac
from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger, Score, render
from builder.generators.arranger.production import media
from builder.generators.arranger.production.effects import saturate
from builder.generators.arranger.production.parameters import Medium, MixProduction
from builder.generators.arranger.stems import SILENT, finish_stems
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

RATE = 32_000
TAXONOMY = Taxonomy.load("paper")
ARRANGERS = {
    name: Arranger(GeneratorSettings(seconds=3, **options), TAXONOMY)
    for name, options in {"2": {}, "2 stereo": {"stereo": True}, "1": {"revision": "1"}}.items()
}
MEDIA = {
    "tape": Medium(drive=0.0, emphasis=6.0, hiss=-40.0),
    "vinyl": Medium(wow=0.2, flutter=0.08, hiss=-30.0, hum=-46.0, crackle=-26.0, density=20.0),
    "codec": Medium(hiss=-60.0, ratio=5.0, codec_top=11_000.0),
    "cassette": Medium(drive=2.0, emphasis=9.0, wow=0.1, flutter=0.05, hiss=-28.0, colour=1.0, ratio=9.0),
}


def clip(genre: str, seed: int, *instruments: str, vocals: str = "unspecified") -> Clip:
    return Clip("c", Prompt("", "", genre, instruments=instruments, vocals=vocals), "g", seed, "train")


def decibels(sound: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10(max(1e-20, np.mean(sound.astype(float) ** 2)) / np.mean(reference.astype(float) ** 2)))


def read_flac(sound: np.ndarray) -> np.ndarray:
    return soundfile.read(BytesIO(encode_flac(sound, RATE)), dtype="int16")[0].astype(int)


def check(arranger: Arranger, score: Score) -> dict[str, np.ndarray]:
    mix, stems = arranger.render_stems(score)
    np.testing.assert_array_equal(mix, arranger.render(score))
    assert list(stems) == [name for name in STEMS if name in stems]
    assert set(stems) <= {track.stem for track in score.tracks}
    for stem in stems.values():
        assert stem.shape == mix.shape and stem.dtype == np.float32
        assert SILENT / 2 < np.abs(stem).max() <= 1.0
    total = np.sum(list(stems.values()), axis=0)
    assert np.abs(total - mix).max() < 1e-6 and decibels(total - mix, mix) < -90
    return stems


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.sampled_from(list(ARRANGERS)), st.sampled_from(list(TAXONOMY.genres)), st.integers(0, 2**62))
def test_stems_of_any_clip_add_up_to_it(version: str, genre: str, seed: int) -> None:
    check(ARRANGERS[version], ARRANGERS[version].compose(clip(genre, seed)))


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("version", ["2", "2 stereo"])
def test_stems_add_up_through_every_medium(version: str, medium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = render.draw_production

    def draw(score: Score) -> MixProduction:
        return replace(drawn(score), medium=MEDIA[medium], pump=0.8, clip=3.0, loudness=-8.0)

    monkeypatch.setattr(render, "draw_production", draw)
    arranger = ARRANGERS[version]
    stems = check(arranger, arranger.compose(clip("electronica", 5, "drum machine", "synth bass", "synth pad")))
    assert {"drums", "bass", "harmony"} <= set(stems)


def test_files_of_the_stems_add_up_to_that_of_the_clip_in_every_sample() -> None:
    for arranger in ARRANGERS.values():
        ((mix, stems),) = arranger.generate_stems([clip("rock", 4)])
        np.testing.assert_array_equal(sum(map(read_flac, stems.values())), read_flac(mix))


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    rows = [clip("funk", 1), clip("pop", 2)]
    together = ARRANGERS["2"].generate_stems(rows)
    for row, (mix, stems) in zip(rows, together, strict=True):
        alone, its_stems = ARRANGERS["2"].generate_stems([row])[0]
        np.testing.assert_array_equal(mix, alone)
        assert stems.keys() == its_stems.keys()
        assert all(np.array_equal(stems[name], its_stems[name]) for name in stems)


@pytest.mark.parametrize("version", ["2", "1"])
def test_every_named_instrument_sounds_in_its_stem(version: str) -> None:
    arranger = ARRANGERS[version]
    names = ("drums", "bass guitar", "piano", "trumpet", "strings")
    score = arranger.compose(clip("pop", 9, *names, vocals="with-vocals"))
    stems = check(arranger, score)
    assert {track.instrument for track in score.tracks} >= {*names, "voice"}
    assert list(stems) == ["drums", "bass", "harmony", "melody", "vocals"]
    for track in score.tracks:
        tracks = tuple(other for other in score.tracks if other is not track)
        without = arranger.render_stems(replace(score, tracks=tracks))[1]
        if track.stem not in without:
            continue
        # Without the track its stem changes far more than by the gains of the mix alone.
        first, second = stems[track.stem].astype(float), without[track.stem].astype(float)
        alike = (first @ second) / np.sqrt((first @ first) * (second @ second))
        assert alike < 0.999, track.instrument


def test_a_stem_that_rests_has_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = render.draw_production
    monkeypatch.setattr(render, "draw_production", lambda score: replace(drawn(score), medium=Medium(hiss=-28.0)))
    arranger = ARRANGERS["2"]
    score = arranger.compose(clip("rock", 2, "drums", "bass guitar", "piano"))
    tracks = [replace(track, notes=[note for note in track.notes if track.role != "bass" or note.start < 1.0])
              for track in score.tracks]  # fmt: skip
    stems = check(arranger, replace(score, tracks=tuple(tracks)))
    assert decibels(stems["bass"][-RATE // 4 :], stems["bass"]) < -45


def test_noise_goes_to_what_sounds() -> None:
    noise = 0.01 * np.random.default_rng(1).standard_normal((2, 8000)).astype(np.float32)
    first, second = np.zeros((2, 2, 8000), np.float32)
    first[:, :3000], second[:, 5000:] = 0.5, 0.5
    stems = finish_stems(first + second + noise, {"bass": first.copy(), "melody": second.copy()})
    assert np.abs(stems["bass"][:, 5000:]).max() < 1e-4 > np.abs(stems["melody"][:, :3000]).max()
    np.testing.assert_allclose(stems["bass"][:, :1900] - 0.5, noise[:, :1900], atol=1e-4)


def test_silent_stems_are_left_out_and_their_rest_is_kept() -> None:
    loud, quiet = np.full((1, 2000), 0.25, np.float32), np.full((1, 2000), 0.9 * SILENT, np.float32)
    stems = finish_stems(loud + quiet, {"bass": loud.copy(), "melody": quiet.copy()})
    assert list(stems) == ["bass"]
    np.testing.assert_allclose(stems["bass"], loud + quiet, atol=1 / 32_768)
    assert list(finish_stems(quiet, {"bass": quiet.copy()})) == ["bass"]  # of a clip that is as quiet
    assert finish_stems(np.zeros((1, 2000), np.float32), {}) == {}


def test_what_is_too_loud_moves_to_the_stems_that_cancel_it() -> None:
    random = np.random.default_rng(2)
    stems = {name: random.uniform(-2.5, 2.5, (2, 4000)).astype(np.float32) for name in ("drums", "bass", "melody")}
    mix = np.clip(sum(stems.values()), -0.98, 0.98)
    stems["other"] = mix - sum(stems.values())
    finished = finish_stems(mix, {name: stem.copy() for name, stem in stems.items()})
    assert all(np.abs(stem).max() <= 1.0 for stem in finished.values())
    assert np.abs(sum(finished.values()) - mix).max() < 1e-6
    fits = np.all([np.abs(stem) < 0.999 for stem in stems.values()], axis=0)
    assert fits.mean() > 0.01 and all(np.abs(finished[n] - stems[n])[fits].max() < 1e-4 for n in stems)


def pieces() -> list[np.ndarray]:
    """A mix of two channels, and the two stems that it is the sum of."""
    random = np.random.default_rng(3)
    stems = [0.1 * random.standard_normal((2, 9000)).astype(np.float32) for _ in range(2)]
    stems[1][:, 4000:] = 0.0
    return [stems[0] + stems[1], *stems]


@pytest.mark.parametrize(
    "process",
    [
        lambda mix, stems: saturate(mix, 5.0, 0.0, stems),
        lambda mix, stems: media.code(mix, 6.0, 11_000.0, RATE, stems),
        lambda mix, stems: media.warp_time(mix, 0.2, 0.1, np.random.Generator(np.random.PCG64(1)), RATE, stems),
    ],
)
def test_what_is_done_to_the_mix_is_done_to_its_stems(process: Any) -> None:
    mix, *stems = pieces()
    alone, mix = process(mix, ()), process(mix, stems)
    np.testing.assert_array_equal(mix, alone)
    assert decibels(stems[0] + stems[1] - mix, mix) < -110
    assert not stems[1][:, 6000:].any()


def test_tape_leaves_little_that_is_in_no_stem() -> None:
    mix, *stems = pieces()
    mix = media.saturate_tape(mix, 2.0, 9.0, RATE, stems)
    assert decibels(stems[0] + stems[1] - mix, mix) < -25


@pytest.mark.parametrize("version", ARRANGERS)
def test_a_solo_is_its_own_stem_with_the_noise_of_the_clip(version: str) -> None:
    arranger = ARRANGERS[version]
    score = arranger.compose(clip("pop", 6, "piano"))
    solo = tuple(track for track in score.tracks if track.instrument == "piano")
    stems = check(arranger, replace(score, tracks=solo))
    assert list(stems) == ["harmony"]
