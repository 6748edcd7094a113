from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger, Score, Track
from builder.generators.arranger.score import Note
from builder.generators.arranger.singing.vocals import Vocals, fit_melody, plan_vocals, sing_track
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

RATE = 32_000
PAPER = Taxonomy.load("paper")
ARRANGER = Arranger(GeneratorSettings(), PAPER)


def clip(genre: str = "pop", seed: int = 0, **asked: Any) -> Clip:
    return Clip("c", Prompt("", "", genre, **asked), "g", seed, "train")


def sung(seed: int, genre: str = "pop") -> tuple[Score, Track, Vocals]:
    """A score with its vocal track, and who sings it."""
    score = ARRANGER.compose(clip(genre, seed, vocals="with-vocals"))
    track = next(track for track in score.tracks if track.role == "voice")
    return score, track, plan_vocals(track, score)


def test_somebody_sings_in_a_share_of_the_clips_that_the_genre_decides() -> None:
    def share(genre: str, vocals: str) -> float:
        scores = [ARRANGER.compose(clip(genre, seed, vocals=vocals)) for seed in range(60)]
        return float(np.mean([any(track.role == "voice" for track in score.tracks) for score in scores]))

    for genre in PAPER.genres:
        assert share(genre, "instrumental") == 0.0 and share(genre, "with-vocals") == 1.0
    assert share("pop", "unspecified") > 0.55 > share("rock", "unspecified") > 0.3
    assert 0.0 < share("electronica", "unspecified") < 0.3 and share("orchestral", "unspecified") < 0.25


def test_melodies_are_in_the_range_of_their_singers_who_differ() -> None:
    kinds, lows = set(), set()
    for seed in range(40):
        score, track, vocals = sung(seed, ("pop", "rock", "orchestral")[seed % 3])
        lead = vocals.parts[0]
        assert [note.pitch for note in lead.notes] == [note.pitch for note in track.notes]
        assert all(lead.singer.low <= note.pitch <= lead.singer.high for note in lead.notes)
        for part in vocals.parts:
            assert all(first.start < second.start for first, second in zip(part.notes, part.notes[1:], strict=False))
            assert part.notes[0].syllable is not None
            assert all(note.end > note.start for note in part.notes)
        # Those who join in sing the key's notes.
        for part in vocals.parts[1:]:
            assert np.mean([int(note.pitch) % 12 in score.key.scale for note in part.notes]) > 0.85
        kinds.add(vocals.kind)
        lows.add(lead.singer.low)
    assert kinds == {"lead", "backing", "choir"} and len(lows) > 8


def test_a_vocal_line_has_one_note_at_a_time_and_no_echoes() -> None:
    score, track, _ = sung(1)
    notes = [Note(0.0, 1.0, 60, 0.8), Note(0.02, 1.0, 67, 0.5), Note(1.0, 1.0, 62, 0.7)]
    notes += [Note(0.75, 0.75, 60, 0.8 * 0.45), Note(1.5, 0.75, 60, 0.8 * 0.22)]
    track.notes = notes
    assert [note.start for note in fit_melody(track, score)] == [0.0, 1.0]


def test_bars_with_the_same_rhythm_often_have_the_same_words() -> None:
    score, track, _ = sung(2)
    track.notes = [Note(float(beat), 0.9, 60, 0.8) for beat in range(32)]
    words = [note.syllable for note in plan_vocals(track, score).parts[0].notes]
    bars = [tuple(words[4 * bar : 4 * bar + 4]) for bar in range(8)]
    assert 1 < len(set(bars)) < 8 or not all(words)


@pytest.mark.parametrize("seed", [0, 4])
def test_singing_a_track_is_the_same_every_time_and_the_row_describes_it(seed: int) -> None:
    score, track, vocals = sung(seed)
    first, again = (sing_track(track, score, 5 * RATE, RATE) for _ in range(2))
    assert np.array_equal(first, again) and np.abs(first).max() > 0.01
    described = json.loads(ARRANGER.describe(clip(seed=seed, vocals="with-vocals"))["production"])["vocals"]
    assert described["kind"] == vocals.kind and described["lead"]["low"] == vocals.parts[0].singer.low
    assert "vocals" not in json.loads(ARRANGER.describe(clip(seed=seed, vocals="instrumental"))["production"])
