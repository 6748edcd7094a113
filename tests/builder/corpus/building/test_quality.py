from __future__ import annotations

import numpy as np
import pytest

from builder.corpus.building.plan import plan_clips
from builder.corpus.building.quality import inspect_clip, make_clips
from builder.errors import BackendError
from builder.generators.base import load_generator
from builder.settings import QualitySettings

RATE, SECONDS = 32_000, 2.0
LIMITS = QualitySettings()


@pytest.fixture
def clip(recipe):
    return plan_clips(recipe())[0]


def music(seconds: float = SECONDS) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def spoiled(fault: str) -> np.ndarray:
    audio = music()
    match fault:
        case "NaN":
            audio[100] = np.nan
        case "length":
            audio = audio[:-1]
        case "stereo":
            audio = np.stack([audio, audio])
        case "silence":
            audio[: len(audio) * 6 // 10] = 0
        case "clipping":
            audio = np.clip(audio * 10, -1, 1)
        case "DC":
            audio += 0.1
        case "loudness":
            audio *= 0.005
    return audio


def test_music_passes_and_its_levels_are_measured(clip):
    take = inspect_clip(clip, music(), RATE, SECONDS, LIMITS, 1)
    assert take.faults == ()
    assert take.peak == pytest.approx(20 * np.log10(0.3), abs=0.01)
    # ITU-R BS.1770: a full-scale 997 Hz sine reads -3.01 LUFS; 220 Hz at 0.3 lies within a decibel of -13.5
    assert take.loudness == pytest.approx(-3.01 + 20 * np.log10(0.3), abs=1.0)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [(f, f) for f in ("NaN", "length", "silence", "clipping", "DC", "loudness")] + [("stereo", "length")],
)
def test_each_fault_is_named(clip, spoil, fault):
    faults = inspect_clip(clip, spoiled(spoil), RATE, SECONDS, LIMITS, 1).faults
    assert [f.split(":")[0] for f in faults] == [fault]


def test_stereo_is_measured_as_it_is(clip):
    both = np.stack([music(), 0.5 * music()], axis=1)
    take = inspect_clip(clip, both, RATE, SECONDS, LIMITS, 1, channels=2)
    assert take.faults == () and take.peak == pytest.approx(20 * np.log10(0.3), abs=0.01)
    left = inspect_clip(clip, music(), RATE, SECONDS, LIMITS, 1).loudness
    assert take.loudness == pytest.approx(left + 10 * np.log10(1.25), abs=0.01)  # BS.1770 adds the channels' power
    silent = np.stack([music(), 0 * music()], axis=1)
    assert (
        inspect_clip(clip, silent, RATE, SECONDS, LIMITS, 1, channels=2).faults == ()
    )  # music from one side is music


@pytest.mark.parametrize("spoil", ["NaN", "length", "clipping", "DC"])
def test_a_fault_of_one_side_is_one(clip, spoil):
    side, whole = spoiled(spoil), music()
    both = np.stack([whole[: len(side)], side], axis=1)
    faults = inspect_clip(clip, both, RATE, SECONDS, LIMITS, 1, channels=2).faults
    assert [f.split(":")[0] for f in faults] == [spoil]
    mono = inspect_clip(clip, whole, RATE, SECONDS, LIMITS, 1, channels=2).faults
    assert mono == ("length: (64000,) samples, asked for (64000, 2)",)


def test_a_faulty_clip_is_tried_again_with_a_seed_that_its_batch_does_not_change(recipe, monkeypatch):
    monkeypatch.setenv("TONE_FAULT", "123")
    chosen = recipe(per_genre=8, attempts=6)
    clips = plan_clips(chosen)
    generator = load_generator(chosen.generator, chosen.labels)
    outcomes = []
    for generator.rows_at_once in (1, 7, 40):
        takes = [take for batch in make_clips(generator, clips, 1.0, chosen.quality) for take in batch]
        outcomes.append({take.clip.id: (take.clip.seed, take.attempts, take.faults) for take in takes})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert max(tries for _, tries, _ in outcomes[0].values()) > 1
    assert {tries for _, tries, faults in outcomes[0].values() if faults} <= {6}


def test_a_generator_that_loses_clips_is_an_error(recipe):
    class Loses:
        name = "loses"
        rows_at_once = 4

        def generate(self, rows):
            return []

    with pytest.raises(BackendError, match="returned 0 clips for 4 rows"):
        next(make_clips(Loses(), plan_clips(recipe()), 1.0, LIMITS))
