"""Activations with known beats, chords, melodies and notes give these back, with noise and with beats missing."""

from __future__ import annotations

import time

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.frames.decoding import (
    LENGTH_REACH,
    _BeatSpace,
    _log_densities,
    decode_activity,
    decode_beats,
    decode_chords,
    decode_melody,
    decode_notes,
)

RATE = 50
CHORDS = ("N", "C:maj", "A:min", "G:maj")


def bars(
    bpm: float, meter: int, seconds: float = 10.0, phase: float = 0.21, pickup: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(phase, seconds, 60 / bpm)
    return times, (np.arange(len(times)) - pickup) % meter + 1


def activate(times: np.ndarray, seconds: float = 10.0, height: float = 0.9) -> np.ndarray:
    """Peaks of two frames' half-width at the times."""
    frames = np.arange(round(seconds * RATE))
    distance = np.abs(frames[:, None] - times * RATE).min(axis=1, initial=np.inf)
    return height * np.clip(1 - distance / 2, 0, 1)


@pytest.mark.parametrize("bpm", [58.0, 92.0, 117.3, 128.0, 171.0, 212.0])
@pytest.mark.parametrize("meter", [2, 3, 4, 6])
def test_beats_and_positions(bpm: float, meter: int) -> None:
    times, positions = bars(bpm, meter, 16.0, pickup=1)
    found, places = decode_beats(activate(times, 16.0), activate(times[positions == 1], 16.0), RATE)
    assert places is not None and places.dtype == np.int8
    np.testing.assert_array_equal(places, positions)
    np.testing.assert_allclose(found, times, atol=0.021)  # at the last frame a peak is not refined


@pytest.mark.parametrize("seed", range(3))
def test_beats_with_noise_and_missing_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times, positions = bars(117.3, 4, 30.0)
    kept = rng.random(len(times)) > 0.2
    kept[[0, -1]] = True
    beat, downbeat = (activate(chosen, 30.0) for chosen in (times[kept], times[kept & (positions == 1)]))
    beat, downbeat = (np.clip(values + rng.uniform(0, 0.15, len(values)), 0, 1) for values in (beat, downbeat))
    found, places = decode_beats(beat, downbeat, RATE)
    assert mir_eval.beat.f_measure(times, found) > 0.98
    assert mir_eval.beat.f_measure(times[positions == 1], found[places == 1]) > 0.98


def test_tempo_that_drifts() -> None:
    times = np.cumsum(60 / np.linspace(100, 135, 60))
    found, _ = decode_beats(activate(times, 35.0), activate(times[::4], 35.0), RATE)
    assert mir_eval.beat.f_measure(times, found) > 0.99


def test_silence_has_no_beats() -> None:
    times, positions = bars(120.0, 4, 6.0)
    beat, downbeat = (np.pad(activate(one, 6.0), (500, 500)) for one in (times, times[positions == 1]))
    found, places = decode_beats(beat, downbeat, RATE)
    inside = (found > 9.9) & (found < 16.0)
    np.testing.assert_allclose(found[inside], times + 10, atol=0.012)
    np.testing.assert_array_equal(places[inside], positions)
    assert found.min() >= 9.0 and found.max() <= 17.0  # a second of silence may have some
    for empty in (np.zeros(100), np.zeros(0)):
        found, places = decode_beats(empty, empty, RATE)
        assert found.shape == places.shape == (0,) and places.dtype == np.int8


def test_beats_without_downbeats_have_no_positions() -> None:
    times, _ = bars(100.0, 4)
    found, places = decode_beats(activate(times), None, RATE)
    np.testing.assert_allclose(found, times, atol=0.012)
    assert places is None
    assert decode_beats(np.zeros(9), None, RATE)[1] is None


def test_a_few_frames() -> None:
    for frames in (1, 2, 5, 20):
        found, places = decode_beats(np.full(frames, 0.9), np.full(frames, 0.1), RATE)
        assert len(found) == len(places) and (np.diff(found) > 0).all() and (found >= 0).all()


def test_meters_and_tempi_are_options() -> None:
    times, _ = bars(60.0, 4, 20.0)
    _, places = decode_beats(activate(times, 20.0), activate(times[::4], 20.0), RATE, meters=(3,))
    assert set(places) == {1, 2, 3}
    found, _ = decode_beats(activate(times, 20.0), activate(times[::4], 20.0), RATE, tempi=(100, 200))
    assert np.median(np.diff(found)) == pytest.approx(0.5, abs=0.02)


def test_where_half_the_tempo_fits_nearly_as_well_the_usual_one_is_taken() -> None:
    strong = activate(np.arange(0.5, 10.0, 1.0), 10.0, 0.6)
    weak = activate(np.arange(1.0, 10.0, 1.0), 10.0, 0.0012)  # without a prior over tempi: 60 beats a minute
    found, _ = decode_beats(np.maximum(strong, weak), None, RATE)
    assert np.median(np.diff(found)) == pytest.approx(0.5, abs=0.02)
    slow, _ = decode_beats(strong, None, RATE)
    assert np.median(np.diff(slow)) == pytest.approx(1.0, abs=0.02)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="10 activations of beats, 9 of downbeats"):
        decode_beats(np.zeros(10), np.zeros(9), RATE)


def viterbi(space: _BeatSpace, densities: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[list[int], list[int]]:
    """The plain Viterbi algorithm over all states: the frames of beats, and their positions."""
    states = [
        (beat, size, place)
        for beat in range(len(space.before))
        for size in range(len(space.lengths))
        for place in range(space.lengths[size])
    ]
    number = {state: index for index, state in enumerate(states)}
    move = np.full((len(states), len(states)), -np.inf)  # from, to
    for (beat, size, place), to in number.items():
        if place:
            move[number[beat, size, place - 1], to] = 0.0
            continue
        for step in range(-LENGTH_REACH, LENGTH_REACH + 1):
            if 0 <= (old := size + step) < len(space.lengths):
                last = number[space.before[beat], old, space.lengths[old] - 1]
                move[last, to] = space.changes[size, step + LENGTH_REACH]
    kinds = np.array(
        [0 if place >= space.zones[size] else 2 if space.positions[beat] == 1 else 1 for beat, size, place in states]
    )
    seen = np.stack(densities)[kinds]  # [states, frames]
    starts = np.array([place == 0 for *_, place in states])
    likely = np.array([space.likely[size] for _, size, _ in states])  # of the first beat, which may be cut
    score = np.where(starts, (move + likely[:, None]).max(axis=0), likely) + seen[:, 0]
    origins = []
    for frame in range(1, seen.shape[1]):
        choices = score[:, None] + move
        origins.append(choices.argmax(axis=0))
        score = choices.max(axis=0) + seen[:, frame]
    path = [int(score.argmax())]
    for origin in origins[::-1]:
        path.append(int(origin[path[-1]]))
    beats = [(frame, states[state][0]) for frame, state in enumerate(path[::-1]) if states[state][2] == 0]
    return [frame for frame, _ in beats], [int(space.positions[beat]) for _, beat in beats]


@pytest.mark.parametrize("seed", range(6))
def test_the_path_is_that_of_viterbi_over_all_states(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = _BeatSpace.make(10.0, (55.0, 215.0), (2, 3))
    beat = rng.uniform(0.01, 0.99, 60)
    densities = _log_densities(beat, beat * rng.uniform(0.05, 0.95, 60))
    frames, positions = space.find_path(*densities)
    assert (frames.tolist(), positions.tolist()) == viterbi(space, densities)
    likely = np.exp(space.changes)  # every length is followed by some length
    for old in range(len(space.lengths)):
        new = [
            (size, old - size + LENGTH_REACH) for size in range(len(space.lengths)) if abs(old - size) <= LENGTH_REACH
        ]
        assert sum(likely[at] for at in new) == pytest.approx(1.0)


def test_ten_seconds_take_a_fraction_of_a_second() -> None:
    times, positions = bars(120.0, 4)
    beat, downbeat = activate(times), activate(times[positions == 1])
    start = time.process_time()
    decode_beats(beat, downbeat, RATE)
    assert time.process_time() - start < 0.5  # about 0.02; the rest is for slow machines


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_chords(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum([0, *rng.integers(20, 60, count)])
    path = np.cumsum(rng.integers(1, 4, count)) % 4  # never the same twice in a row
    truth = np.repeat(path, np.diff(edges))
    scores = np.log(np.where(np.arange(4) == truth[:, None], 0.7, 0.1))
    flips = rng.permutation(len(scores))[: len(scores) // 20]
    scores[flips] = np.log(0.25)
    segments = decode_chords(scores, CHORDS, RATE)
    assert segments.label == tuple(CHORDS[place] for place in path)
    assert segments.start[0] == 0 and segments.end[-1] == edges[-1] / RATE
    np.testing.assert_array_equal(segments.start[1:], segments.end[:-1])
    np.testing.assert_allclose(segments.start, edges[:-1] / RATE, atol=0.1)


def test_chords_are_those_of_the_plain_viterbi_algorithm() -> None:
    values = np.log(np.random.default_rng(5).dirichlet([0.5] * 4, 300))
    move = np.log(np.full((4, 4), 0.1 / 3) + np.eye(4) * (0.9 - 0.1 / 3))
    score, origins = values[0], []
    for row in values[1:]:
        origins.append((score[:, None] + move).argmax(axis=0))
        score = (score[:, None] + move).max(axis=0) + row
    path = [int(score.argmax())]
    for origin in origins[::-1]:
        path.append(int(origin[path[-1]]))
    segments = decode_chords(values, CHORDS, RATE, 0.9)
    at = (np.arange(300) + 0.01) / RATE
    found = [segments.label[place] for place in np.searchsorted(segments.end, at)]
    assert found == [CHORDS[place] for place in path[::-1]]


def test_chords_of_wrong_shape_or_without_frames() -> None:
    assert len(decode_chords(np.zeros((0, 4)), CHORDS, RATE)) == 0
    assert decode_chords(np.zeros((7, 1)), ("N",), RATE).label == ("N",)
    with pytest.raises(ValueError, match=r"\[frames, 4\]"):
        decode_chords(np.zeros((5, 3)), CHORDS, RATE)


HERTZ = 440 * 2 ** ((np.arange(36, 96, 1 / 3) - 69) / 12)


def bins_of(hertz: np.ndarray) -> np.ndarray:
    """Activations around the true frequencies, a bin wide."""
    distance = 36 * np.log2(HERTZ / np.where(hertz > 0, hertz, 1.0)[:, None])
    return np.exp(-0.5 * distance**2)


def test_melody_between_bins() -> None:
    true = np.concatenate([np.full(40, 0.0), 220 * 2 ** (np.linspace(0, 4, 60) / 12), np.full(50, 330.0)])
    rng = np.random.default_rng(0)
    voiced = np.clip((true > 0) + rng.uniform(-0.3, 0.3, len(true)), 0, 1)
    voiced[[10, 70]] = 1 - voiced[[10, 70]]  # single frames
    found = decode_melody(bins_of(true), voiced, HERTZ, RATE)
    assert found.dtype == np.float32 and found.shape == (300,)
    expected = np.repeat(true, 2)
    np.testing.assert_array_equal(found[2:-2] > 0, expected[2:-2] > 0)
    sounding = (found > 0) & (expected > 0)
    cents = 1200 * np.abs(np.log2(found[sounding] / expected[sounding]))
    assert cents.max() < 8  # a bin is 33 cents, and a frame of the glide 7

    scores = mir_eval.melody.evaluate(np.arange(300) / 100, expected, np.arange(300) / 100, found.astype(float))
    assert scores["Overall Accuracy"] > 0.98


def test_melody_at_the_edges() -> None:
    low, high = np.full(4, HERTZ[0]), np.full(4, HERTZ[-1])
    for true in (low, high):
        found = decode_melody(bins_of(true), np.ones(4), HERTZ, RATE)
        assert np.abs(1200 * np.log2(found / true[0])).max() < 35
    assert decode_melody(np.zeros((0, len(HERTZ))), np.zeros(0), HERTZ, RATE).shape == (0,)
    assert not decode_melody(bins_of(low), np.zeros(4), HERTZ, RATE).any()
    assert decode_melody(np.zeros((3, len(HERTZ))), np.ones(3), HERTZ, RATE).shape == (6,)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 12))
def test_notes(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    onsets, active = np.zeros((400, 88)), np.zeros((400, 88))
    true = []
    for index in range(count):  # repeated pitches follow one another without a gap
        start, length, pitch = 5 + 30 * index, int(rng.integers(6, 28)), int(rng.integers(0, 2) + 40)
        onsets[start : start + 2, pitch] = (1.0, 0.9)
        active[start : start + length, pitch] = 1.0
        true.append((start / RATE, (start + length) / RATE, pitch + 21))
    noise = rng.uniform(0, 0.3, onsets.shape)
    notes = decode_notes(np.clip(onsets + noise * (onsets == 0), 0, 1), np.clip(active + noise, 0, 1), RATE)
    assert list(zip(notes.onset, notes.offset, notes.pitch.tolist(), strict=True)) == true
    assert notes.pitch.dtype == notes.velocity.dtype == np.int16 and not notes.is_drum.any()


def test_notes_that_repeat_or_flicker() -> None:
    onsets, active = np.zeros((100, 88)), np.zeros((100, 88))
    onsets[[10, 12, 40], 3] = (0.8, 0.9, 0.9)  # two peaks of one onset, and the pitch again while it sounds
    active[10:60, 3] = 1.0
    active[30, 3] = 0.0  # one silent frame
    onsets[80, 4] = 0.9  # an onset that does not sound lasts for two frames at least
    notes = decode_notes(onsets, active, RATE)
    assert notes.onset.tolist() == [12 / RATE, 40 / RATE, 80 / RATE]
    assert notes.offset.tolist() == [40 / RATE, 60 / RATE, 82 / RATE]
    assert len(decode_notes(np.zeros((0, 88)), np.zeros((0, 88)), RATE)) == 0


def test_activity() -> None:
    activity = np.zeros(300)
    activity[50:150] = 0.8
    activity[200:300] = 0.9
    activity[[20, 90, 91, 250]] = 1 - activity[[20, 90, 91, 250]]  # shorter than the filter
    starts, ends = decode_activity(activity, RATE)
    assert starts.tolist() == [1.0, 4.0] and ends.tolist() == [3.0, 6.0]
    starts, ends = decode_activity(np.zeros(0), RATE)
    assert starts.shape == ends.shape == (0,)
