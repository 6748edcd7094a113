from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger, Score, Track
from builder.generators.arranger.playing.perform import perform_score
from builder.generators.arranger.score import Note
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

PAPER = Taxonomy.load("paper")
WRITTEN = Arranger(GeneratorSettings(revision="1"), PAPER)


def written(seed: int, *tracks: Track, genre: str = "rock", **changes: object) -> Score:
    """A composed score whose tracks are replaced by some that are exactly in time."""
    score = WRITTEN.compose(Clip("c", Prompt("", "", genre, tempo_bpm=120), "g", seed, "train"))
    return replace(score, tracks=tracks, swing=0.0, **changes)  # type: ignore[arg-type]


def track(role: str, program: int, notes: list[Note]) -> Track:
    return Track("it", role, program, role == "drums", 0.0, notes)


def chords(program: int) -> Track:
    return track("chords", program, [Note(n / 2, 0.5, p, 0.7) for n in range(38) for p in (48, 55, 60, 64)])


def backbeat() -> Track:
    kicks = [Note(float(n), 0.5, 36, 0.8) for n in range(19)]
    return track("drums", 0, kicks + [Note(float(n), 0.5, 38, 0.8) for n in range(1, 19, 2)])


def play(score: Score, looseness: float) -> list[Note]:
    return perform_score(score, looseness, 10.0).tracks[0].notes


def test_players_are_late_together_and_drift_slowly() -> None:
    """The deviation from the beat is correlated from one note to the next, and differs between players and clips."""
    means, correlations = [], []
    for seed in range(30):
        line = track("bass", 33, [Note(n / 2, 0.4, 40, 0.7) for n in range(38)])
        notes = play(written(seed, line), 1.0)
        late = np.array([note.start - n / 2 for n, note in enumerate(notes)]) / 2.0  # seconds at 120 BPM
        assert np.abs(late).max() < 0.09
        means.append(late[2:].mean())
        correlations.append(np.corrcoef(late[2:-1], late[3:])[0, 1])
    assert 0.005 < np.std(means) < 0.03 and np.mean(correlations) > 0.5


def test_machines_are_in_time() -> None:
    for seed in range(5):
        line = track("bass", 38, [Note(n / 2, 0.4, 40, 0.7) for n in range(38)])
        assert [note.start for note in play(written(seed, line), 0.0)] == [n / 2 for n in range(38)]


def test_the_first_beat_of_a_bar_is_accented() -> None:
    notes = play(written(0, backbeat()), 0.5)
    kicks = [note for note in notes if note.pitch == 36]
    ones = [note.velocity for n, note in enumerate(kicks) if n % 4 == 0]
    assert np.mean(ones) > 1.02 * np.mean([note.velocity for n, note in enumerate(kicks) if n % 4])


def test_loose_drummers_play_ghost_notes() -> None:
    def ghosts(looseness: float) -> list[Note]:
        return [
            note for seed in range(20) for note in play(written(seed, backbeat()), looseness) if note.velocity < 0.35
        ]

    assert ghosts(0.0) == [] and len(ghosts(0.5)) > 40
    assert {note.pitch for note in ghosts(0.5)} == {38}
    assert all(abs(4 * note.start - round(4 * note.start)) < 0.25 for note in ghosts(0.5))


def test_guitars_are_strummed_down_and_up_and_pianists_have_fingers() -> None:
    notes = play(written(3, chords(25)), 0.0)
    downs, ups = [], []
    for n in range(38):
        chord = [note for note in notes if n / 2 - 0.01 <= note.start < n / 2 + 0.2]
        low, high = min(chord, key=lambda note: note.pitch), max(chord, key=lambda note: note.pitch)
        (ups if low.start > high.start else downs).append((n % 2, abs(high.start - low.start) / 2.0))
        assert all(note.start + note.duration == pytest.approx(n / 2 + 0.5) for note in chord)
    assert {place for place, _ in ups} == {1} and len(ups) > 10
    assert sum(place == 0 for place, _ in downs) == 19
    assert all(0.009 < spread < 0.041 for _, spread in ups + downs)
    spreads = [
        max(c) - min(c) for c in np.array([note.start for note in play(written(3, chords(0)), 0.0)]).reshape(-1, 4)
    ]
    assert 0.0 < np.median(spreads) < 0.03


def test_orchestras_swell() -> None:
    def swell(*more: Track) -> float:
        line = track("pad", 48, [Note(float(n), 0.9, 60, 0.6) for n in range(19)])
        ranges = []
        for seed in range(20):
            velocities = [note.velocity for note in play(written(seed, line, *more), 0.2)]
            ranges.append(max(velocities) / min(velocities))
        return float(np.mean(ranges))

    assert swell() > 1.15 * swell(backbeat())


def test_articulation_changes_lengths_only() -> None:
    line = track("lead", 73, [Note(n / 2, 0.4, 60 + n % 5, 0.6) for n in range(38)])
    notes = play(written(1, line), 0.0)
    assert [(note.start, note.pitch) for note in notes] == [(n / 2, 60 + n % 5) for n in range(38)]
    assert {round(note.duration, 3) for note in notes} <= {0.4, 0.2, 0.448} and len({n.duration for n in notes}) > 1


def test_a_performance_depends_on_the_seed_alone_and_on_no_other_player() -> None:
    alone, again = (play(written(7, chords(25)), 0.4) for _ in range(2))
    with_drums = perform_score(written(7, chords(25), replace(backbeat(), instrument="kit")), 0.4, 10.0)
    assert alone == again and [n.start for n in with_drums.tracks[0].notes] == [n.start for n in alone]
    assert alone != play(written(8, chords(25)), 0.4)
