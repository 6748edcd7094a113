"""The scores of one annotation are mir_eval's, and are left out or NaN where they are not defined."""

from __future__ import annotations

from dataclasses import replace

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity
from builder.errors import DataError, RecipeError
from evaluation.annotation_scores.track_scores import TASK_SCORES, score_annotation, score_with_weights
from evaluation.results.annotation_scores import SCORES


def notes(rows: list[tuple[float, float, int, int, bool]]) -> Notes:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    count = len(rows)
    return Notes(
        np.array(columns[0], float),
        np.array(columns[1], float),
        np.array(columns[2], np.int16),
        np.array(columns[3], np.int16),
        np.zeros(count, np.int16),
        np.array(columns[4], bool),
        np.zeros(count, np.int16),
    )


def segments(*rows: tuple[float, float, str]) -> Segments:
    return Segments(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), tuple(r[2] for r in rows))


def active(instrument: str, *spans: tuple[float, float]) -> TrackActivity:
    starts, ends = np.array(spans, float).reshape(-1, 2).T
    return TrackActivity(instrument, 0, False, "other", starts, ends)


TRUE = Annotation(
    "one",
    10.0,
    beats=np.arange(0.5, 10, 0.5),
    positions=(np.arange(19) % 4 + 1).astype(np.int8),
    tempo_bpm=120.0,
    time_signature="4/4",
    chords=segments((0, 4, "C:maj"), (4, 8, "A:min7"), (8, 10, "N")),
    key="A:minor",
    melody=np.repeat([0.0, 220.0, 330.0, 440.0], 250).astype(np.float32),
    notes=notes([(0.5, 1.0, 60, 90, False), (1.0, 1.5, 64, 50, False), (1.0, 1.1, 36, 100, True)]),
    tracks=(active("piano", (0, 5)), active("bass", (0, 10)), active("piano", (4, 6))),
)


def test_every_task_has_names_for_its_scores() -> None:
    scored = score_annotation(TRUE, TRUE)
    assert list(scored) == list(SCORES) == list(TASK_SCORES)
    for task, scores in scored.items():
        assert set(scores) == set(SCORES[task])
        for name, value in scores.items():
            assert value == (0.0 if name == "voicing_false_alarm" else pytest.approx(1.0)), (task, name)


def test_against_mir_eval() -> None:
    estimate = replace(
        TRUE,
        beats=TRUE.beats[1:] + 0.03,
        positions=TRUE.positions[1:],
        chords=segments((0, 5, "C:maj"), (5, 9, "A:min")),
        key="C major",
        melody=(TRUE.melody * 1.01)[:900],
        notes=notes([(0.52, 0.7, 60, 90, False), (1.0, 1.5, 66, 50, False)]),
        tempo_bpm=60.5,
        time_signature="3/4",
    )
    got = score_annotation(TRUE, estimate)
    expected = mir_eval.beat.evaluate(TRUE.beats, estimate.beats, min_beat_time=0)  # a short clip
    assert got["beats"]["f_measure"] == pytest.approx(expected["F-measure"], abs=1e-9)
    assert got["beats"]["amlt"] == pytest.approx(expected["Any Metric Level Total"], abs=1e-9)
    spans = [np.stack([one.chords.start, one.chords.end], axis=1) for one in (TRUE, estimate)]
    chords = mir_eval.chord.evaluate(spans[0], list(TRUE.chords.label), spans[1], list(estimate.chords.label))
    assert got["chords"] == pytest.approx({name: chords[name] for name in SCORES["chords"]}, abs=1e-9)
    assert got["key"] == {"weighted_score": 0.3, "accuracy": 0.0}
    grids = [np.arange(len(one.melody)) / 100 for one in (TRUE, estimate)]
    melody = mir_eval.melody.evaluate(grids[0], TRUE.melody.astype(float), grids[1], estimate.melody.astype(float))
    assert got["melody"]["overall_accuracy"] == pytest.approx(melody["Overall Accuracy"], abs=1e-9)
    assert got["notes"]["f_measure"] == 0.5 and got["notes"]["f_measure_with_offset"] == 0.0
    assert got["tempo"] == {"accuracy_1": 0.0, "accuracy_2": 1.0} and got["time_signature"] == {"accuracy": 0.0}


@settings(max_examples=20, deadline=None)
@given(st.floats(19.0, 40.0), st.integers(0, 2**32))
def test_beats_of_long_tracks_count_from_five_seconds_on(duration: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.uniform(0, duration, 40)) for _ in range(2)]
    true, estimate = (Annotation("a", duration, beats=one) for one in times)
    trim = 5.0 if duration >= 20 else 0.0
    expected = mir_eval.beat.evaluate(*times, min_beat_time=trim)
    assert score_annotation(true, estimate)["beats"]["f_measure"] == pytest.approx(expected["F-measure"], abs=1e-9)


def test_what_is_not_annotated_is_left_out() -> None:
    empty = Annotation("none", 10.0)
    assert score_annotation(TRUE, empty) == score_annotation(empty, TRUE) == {}
    assert list(score_annotation(TRUE, replace(empty, key="A:minor"))) == ["key"]
    assert list(score_annotation(TRUE, TRUE, ["notes", "beats"])) == ["notes", "beats"]
    unplaced = score_annotation(TRUE, replace(TRUE, positions=None))["beats"]
    assert np.isnan(unplaced["downbeat_f_measure"]) and unplaced["f_measure"] == 1.0
    # No beats means no tempo, which is wrong; a system without beats does not estimate tempo.
    assert score_annotation(TRUE, Annotation("a", 10.0, beats=np.zeros(0)))["tempo"]["accuracy_2"] == 0.0


def test_what_the_reference_does_not_define_is_nan() -> None:
    silent = replace(
        TRUE, beats=np.zeros(0), positions=np.zeros(0, np.int8), chords=segments(), notes=notes([]),
        melody=np.zeros(1000, np.float32), key="C:dorian", tracks=(active("piano"),),
    )  # fmt: skip
    got = score_annotation(silent, TRUE)
    for task, name in (
        ("beats", "f_measure"),
        ("beats", "downbeat_f_measure"),
        ("chords", "majmin"),
        ("notes", "f_measure"),
        ("melody", "raw_pitch"),
        ("key", "accuracy"),
        ("instruments", "f_measure"),
    ):
        assert np.isnan(got[task][name]), (task, name)
    assert got["melody"]["overall_accuracy"] == 0.25
    assert score_annotation(TRUE, replace(TRUE, key="?"))["key"] == {"weighted_score": 0.0, "accuracy": 0.0}


def test_enharmonic_keys_are_the_same() -> None:
    for true, estimate in (("Cb:major", "B:major"), ("E#:minor", "F minor"), ("Gb:major", "F#:major")):
        one, other = Annotation("a", 1.0, key=true), Annotation("a", 1.0, key=estimate)
        assert score_annotation(one, other)["key"]["accuracy"] == 1.0


def test_gaps_between_chords_are_no_chord() -> None:
    true = Annotation("a", 10.0, chords=segments((0, 2, "C:maj"), (4, 6, "G:maj")))
    estimate = Annotation("a", 10.0, chords=segments((0, 3, "C:maj"), (3, 4, "N"), (4, 6, "G:maj")))
    scores, weights = score_with_weights(true, estimate)["chords"]
    assert scores["majmin"] == pytest.approx(5 / 6) and weights["majmin"] == pytest.approx(6.0)


def test_one_velocity_for_all_notes_is_none() -> None:
    flat = replace(TRUE, notes=notes([(0.5, 1.0, 60, 80, False), (1.0, 1.5, 64, 80, False)]))
    got = score_annotation(TRUE, flat)["notes"]
    assert np.isnan(got["f_measure_with_velocity"]) and got["f_measure_with_offset"] == 1.0


def test_instruments() -> None:
    estimate = replace(TRUE, tracks=(active("piano", (0, 3)), active("bass", (5, 12)), active("drums", (0, 1))))
    got = score_annotation(TRUE, estimate)["instruments"]  # true: piano 0 to 6, bass 0 to 10
    assert got["precision"] == pytest.approx(8 / 9) and got["recall"] == pytest.approx(8 / 16)
    assert got["f_measure"] == pytest.approx(2 * 8 / (9 + 16))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"chords": segments((0, 4, "C:major?"))}, "one: chords: .*C:major"),
        ({"chords": segments((0, 4, "C:maj"), (3, 5, "G:maj"))}, "one: chords: the chord at 3.00 s begins before"),
        ({"notes": notes([(2.0, 1.0, 60, 80, False)])}, "one: notes: .*positive"),
        ({"beats": np.array([2.0, 1.0]), "positions": None}, "one: beats: .*increasing"),
    ],
)
def test_annotations_that_are_not_valid(changed: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        score_annotation(replace(TRUE, **changed), TRUE)  # type: ignore[arg-type]
    assert error.value.fix


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="beat"):
        score_annotation(TRUE, TRUE, ["beat"])
