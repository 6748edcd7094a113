from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger, Score, Track
from builder.generators.arranger.playing.bends import bend_track, draw_bends
from builder.generators.arranger.score import Note
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

RATE = 32_000
SCORE = Arranger(GeneratorSettings(revision="1"), Taxonomy.load("paper")).compose(
    Clip("c", Prompt("", "", "rock", tempo_bpm=60), "g", 0, "train")
)
TONE = np.sin(2 * np.pi * 440 * np.arange(5 * RATE) / RATE).astype(np.float32)[None]


def lead(program: int = 29, role: str = "lead") -> Track:
    return Track("it", role, program, False, 0.0, [Note(float(n), 0.9, 69, 0.7) for n in range(5)])


def bent(program: int = 29, role: str = "lead") -> tuple[Score, Track, np.ndarray]:
    """The first clip in which somebody bends."""
    for seed in range(50):
        score = replace(SCORE, seed=seed)
        curve = draw_bends(lead(program, role), score, TONE.shape[1], RATE)
        if (np.abs(curve) > 0.9).any():
            return score, lead(program, role), curve
    pytest.fail("nobody bends")


def test_the_sound_has_the_pitch_of_the_curve() -> None:
    score, track, curve = bent()
    sound = bend_track(TONE, track, score, RATE)[0]
    assert sound.shape == TONE[0].shape
    crossings = np.flatnonzero((sound[:-1] < 0) & (sound[1:] >= 0))
    exact = crossings - sound[crossings] / (sound[crossings + 1] - sound[crossings])
    measured = 12 * np.log2(RATE / np.diff(exact) / 440.0)
    wanted = np.interp(0.5 * (exact[1:] + exact[:-1]), np.arange(len(curve)) * 128, curve)
    assert np.median(np.abs(measured - wanted)) < 0.08
    assert np.corrcoef(measured, wanted)[0, 1] > 0.9
    # What follows a slide stays in time.
    assert np.abs(curve).max() <= 2.4 and abs(len(crossings) - 440 * 5) < 6


def test_in_a_share_of_the_clips_only_and_not_by_everybody() -> None:
    shares = [bool(draw_bends(lead(), replace(SCORE, seed=seed), RATE, RATE).any()) for seed in range(60)]
    assert 0.2 < np.mean(shares) < 0.7
    for track in (lead(program=0), lead(role="chords"), replace(lead(), is_drum=True)):
        for seed in range(20):
            assert not draw_bends(track, replace(SCORE, seed=seed), RATE, RATE).any()
    assert bend_track(TONE, lead(program=0), SCORE, RATE) is TONE


def test_basses_slide_without_vibrato() -> None:
    _, _, curve = bent(33, "bass")
    held = curve[round(1.5 * RATE / 128) : round(1.9 * RATE / 128)]
    assert not held.any()
