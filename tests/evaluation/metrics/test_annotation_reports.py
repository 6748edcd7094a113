"""The metrics of beats, chords, keys, notes and melodies equal mir_eval on every track, and load as modules do."""

from __future__ import annotations

import ast
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import evaluate
import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics import FOLDER, load_metric
from evaluation.statistics.bootstrap import confidence_intervals
from evaluation.statistics.metrics import mean_value

BEAT, CHORD, KEY, NOTE, MELODY = (f"{name}_report" for name in ("beat", "chord", "key", "note", "melody"))
REPORTS = {name: load_metric(name) for name in (BEAT, CHORD, KEY, NOTE, MELODY)}
LABELS = ("N", "C:maj", "A:min", "A:min7", "C:7", "G:maj/3", "F:maj7", "F#:sus4", "Bb:hdim7", "Eb:aug")
KEYS = [f"{tonic}:{mode}" for tonic in ("C", "G", "A", "Eb", "D#", "F#") for mode in ("major", "minor")]
NEAR = {"abs": 1e-9, "rel": 0}
SOME: dict[str, tuple[Any, Any]] = {  # two tracks of each kind: predictions and references
    BEAT: ([[5.5, 6.0, 6.5], [6.0, 7.2]], [[5.5, 6.0, 6.6], [6.0, 7.0]]),
    CHORD: (
        [[{"start": 0.0, "end": 3.0, "label": "C:maj"}], []],
        [[{"start": 0.0, "end": 2.0, "label": "C:maj"}, {"start": 2.0, "end": 4.0, "label": "A:min7"}]] * 2,
    ),
    KEY: (["A:minor", "C major"], ["C:major", "C:major"]),
    NOTE: (
        [[{"onset": 0.52, "offset": 1.4, "pitch": 60, "velocity": 80}], []],
        [[{"onset": 0.5, "offset": 1.0, "pitch": 60, "velocity": 80}]] * 2,
    ),
    MELODY: ([[0, 220, 441, 0], [0, 100]], [[0, 440, 440, 440], [0, 100]]),
}


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    """mir_eval warns of empty lists when a test calls it; the metrics do not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def score(name: str, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
    return dict(REPORTS[name].compute(predictions=predictions, references=references, resamples=20, **options))


TIMES = st.lists(st.floats(0, 30), max_size=30, unique=True).map(sorted)


@settings(max_examples=40, deadline=None)
@given(TIMES, st.lists(st.floats(-0.15, 0.15), min_size=30, max_size=30), st.booleans(), st.sampled_from([0.0, 5.0]))
def test_beats(true: list[float], shifts: list[float], drop: bool, trim: float) -> None:
    estimate = sorted(max(time + shift, 0.0) for time, shift in zip(true, shifts, strict=False))[:: 2 if drop else 1]
    got = score(BEAT, [estimate], [true], trim_seconds=trim)
    expected = mir_eval.beat.evaluate(np.array(true), np.array(estimate), min_beat_time=trim)
    names = ("F-measure", "Correct Metric Level Total", "Any Metric Level Total", "Information gain")
    for key, name in zip(("f_measure", "cmlt", "amlt", "information_gain"), names, strict=True):
        if any(time >= trim for time in true):
            assert got[key] == pytest.approx(expected[name], **NEAR)
        else:
            assert got[key] is None
    assert got["downbeat_f_measure"] is None


@settings(max_examples=20, deadline=None)
@given(TIMES, st.integers(2, 6), st.integers(0, 5))
def test_downbeats(true: list[float], meter: int, phase: int) -> None:
    def count(first: int) -> list[dict[str, float]]:
        return [{"time": time, "position": (index + first) % meter + 1} for index, time in enumerate(true)]

    got = score(BEAT, [count(phase)], [count(0)], trim_seconds=0)
    downbeats = np.array(true[::meter]), np.array([beat["time"] for beat in count(phase) if beat["position"] == 1])
    expected = mir_eval.beat.f_measure(*downbeats) if true else None
    assert got["downbeat_f_measure"] == (expected if expected is None else pytest.approx(expected, **NEAR))


def test_beats_without_positions_have_no_downbeats() -> None:
    placed = [{"time": 1.0, "position": 1}, {"time": 2.0, "position": 2}]
    plain = [{"time": 1.0, "position": None}, {"time": 2.0, "position": None}]
    assert score(BEAT, [[], placed], [placed, placed], trim_seconds=0)["downbeat_f_measure"] == 0.5
    assert score(BEAT, [plain], [placed], trim_seconds=0)["downbeat_f_measure"] is None
    assert score(BEAT, [[1.0, 2.0]], [placed], trim_seconds=0)["f_measure"] == 1.0


@st.composite
def chords(draw: st.DrawFn, first: float = 0.0) -> list[dict[str, Any]]:
    edges = np.cumsum([first, *draw(st.lists(st.floats(0.25, 3), min_size=1, max_size=8))])
    return [
        {"start": start, "end": end, "label": draw(st.sampled_from(LABELS))}
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def spans_of(rows: list[dict[str, Any]]) -> tuple[np.ndarray, list[str]]:
    return np.array([(row["start"], row["end"]) for row in rows]), [row["label"] for row in rows]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(chords(), chords(0.5)), min_size=1, max_size=3))
def test_chords(tracks: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> None:
    references, predictions = zip(*tracks, strict=True)
    got = score(CHORD, list(predictions), list(references))
    pooled: dict[str, list[np.ndarray]] = {"root": [], "majmin": [], "sevenths": []}
    seconds = []
    for scores, true, played in zip(got["per_track"], references, predictions, strict=True):
        end = true[-1]["end"]
        during = [row for row in played if row["start"] < end]  # mir_eval fails on what begins at the end
        estimate = during or [{"start": 0.0, "end": end, "label": "N"}]
        expected = mir_eval.chord.evaluate(*spans_of(true), *spans_of(estimate))
        assert {key: value or 0.0 for key, value in scores.items()} == pytest.approx(
            {key: expected[key] for key in scores}, **NEAR
        )
        spans, labels = spans_of(true)
        whole = mir_eval.util.adjust_intervals(*spans_of(estimate), spans.min(), spans.max(), "N", "N")
        merged, one, other = mir_eval.util.merge_labeled_intervals(spans, labels, *whole)
        seconds.append(mir_eval.util.intervals_to_durations(merged))
        for key, comparisons in pooled.items():
            comparisons.append(getattr(mir_eval.chord, key)(one, other))
    for key, comparisons in pooled.items():  # WCSR: all tracks as one
        same = np.concatenate(comparisons)
        expected = mir_eval.chord.weighted_accuracy(same, np.concatenate(seconds))
        assert got[key] == (pytest.approx(expected, **NEAR) if (same >= 0).any() else None)


def test_chords_that_are_estimated_before_or_after_the_reference_are_none() -> None:
    true = [{"start": 1.0, "end": 2.0, "label": "C:maj"}]
    for start, end in ((0.0, 1.0), (2.0, 3.0)):
        got = score(CHORD, [[{"start": start, "end": end, "label": "C:maj"}]], [true])
        assert got["majmin"] == 0.0 and got["per_track"][0]["seg"] == 1.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)), min_size=1, max_size=10))
def test_keys(pairs: list[tuple[str, str]]) -> None:
    references, predictions = zip(*pairs, strict=True)
    got = score(KEY, list(predictions), list(references))
    expected = [mir_eval.key.weighted_score(*(key.replace(":", " ") for key in pair)) for pair in pairs]
    assert got["weighted_score"] == pytest.approx(np.mean(expected), **NEAR)
    assert got["accuracy"] == pytest.approx(np.mean([one == 1.0 for one in expected]), **NEAR)
    assert sum(got["errors"].values()) == len(pairs) and got["errors"]["right"] == expected.count(1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 25), st.integers(0, 25))
def test_notes(seed: int, true: int, estimated: int) -> None:
    rng = np.random.default_rng(seed)
    # Half of the estimates are near a true note.
    onsets, lengths = rng.uniform(0, 5, true), rng.uniform(0.2, 1, true)  # longer than the estimates stray
    reference = np.stack([onsets, onsets + lengths, rng.integers(55, 65, true), rng.integers(1, 128, true)], axis=1)
    near = reference[rng.integers(0, max(true, 1), estimated) % max(true, 1)] if true else np.zeros((0, 4))
    estimate = near + rng.uniform(-0.07, 0.07, near.shape) * (1, 1, rng.integers(0, 8), 100)
    estimate[:, 0], estimate[:, 3] = np.maximum(estimate[:, 0], 0), np.clip(estimate[:, 3], 0, 127)

    def rows(notes: np.ndarray) -> list[dict[str, float]]:
        return [dict(zip(("onset", "offset", "pitch", "velocity"), note, strict=True)) for note in notes.tolist()]

    got = score(NOTE, [rows(estimate)], [rows(reference)])
    arrays = [(notes[:, :2], mir_eval.util.midi_to_hz(notes[:, 2])) for notes in (reference, estimate)]
    plain = mir_eval.transcription.evaluate(*arrays[0], *arrays[1])
    loud = mir_eval.transcription_velocity.evaluate(*arrays[0], reference[:, 3], *arrays[1], estimate[:, 3])
    expected = {
        "f_measure": plain["F-measure_no_offset"],
        "precision": plain["Precision_no_offset"],
        "recall": plain["Recall_no_offset"],
        "f_measure_with_offset": plain["F-measure"],
        "f_measure_with_velocity": loud["F-measure"],
    }
    scores = got["per_track"][0]
    assert scores == (pytest.approx(expected, **NEAR) if true else dict.fromkeys(expected))


def test_notes_of_annotations_are_taken_as_they_are() -> None:
    true = {"onset": 0.5, "offset": 1.0, "pitch": 60, "velocity": 80, "program": 0, "is_drum": False, "track": 0}
    drum = true | {"is_drum": True, "pitch": 36}
    assert score(NOTE, [[true]], [[true, drum]])["f_measure_with_velocity"] == 1.0
    module = load_metric(NOTE)
    module.add(prediction=[{"onset": 0.5, "offset": 1.0, "pitch": 60}], reference=[drum, true])
    got = module.compute()
    assert got["f_measure_with_offset"] == 1.0 and got["f_measure_with_velocity"] is None


FREQUENCIES = st.lists(st.one_of(st.just(0.0), st.floats(80, 800)), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(FREQUENCIES, st.lists(st.sampled_from([0.0, 0.5, 0.98, 1.0, 1.02, 2.0, -1.0]), max_size=70))
def test_melodies(true: list[float], factors: list[float]) -> None:
    estimate = [factor * (frequency or 200.0) for frequency, factor in zip(true, factors, strict=False)]
    estimate += factors[len(true) :]
    got = score(MELODY, [estimate], [true])["per_track"][0]
    grid = np.arange(100) / 100
    expected = mir_eval.melody.evaluate(
        grid[: len(true)], np.array(true), grid[: max(len(estimate), 1)], np.array(estimate or [0.0])
    )
    names = {
        "overall_accuracy": "Overall Accuracy",
        "raw_pitch": "Raw Pitch Accuracy",
        "raw_chroma": "Raw Chroma Accuracy",
        "voicing_recall": "Voicing Recall",
        "voicing_false_alarm": "Voicing False Alarm",
    }
    voiced = [frequency > 0 for frequency in true]
    undefined = set() if any(voiced) else {"raw_pitch", "raw_chroma", "voicing_recall"}
    undefined |= {"voicing_false_alarm"} if all(voiced) else set()
    for key, name in names.items():
        assert got[key] == (None if key in undefined else pytest.approx(expected[name], **NEAR))


@pytest.mark.parametrize("name", REPORTS)
def test_intervals_are_those_of_the_statistics(name: str) -> None:
    """Tracks of one artist are drawn together."""
    predictions, references = (list(column) * 5 for column in SOME[name])
    groups = [None, *"aabbccdd", "e"]
    got = REPORTS[name].compute(predictions=predictions, references=references, groups=groups, resamples=300, seed=4)
    assert got["n"] == 10 and len(got["per_track"]) == 10
    key = next(iter(got))
    if name == CHORD:  # a weighted mean: of tracks of one length the plain one
        assert [row["seg"] for row in got["per_track"]] == [0.75, 0.5] * 5
        key = "seg"
    values = np.array([row[key] for row in got["per_track"]])
    expected = confidence_intervals(mean_value(values), 10, groups, 300, 4, "percentile")["mean"]
    assert got["intervals"][key] == pytest.approx(list(expected), abs=1e-12)
    assert got[key] == pytest.approx(values.mean()) and expected[0] < got[key] < expected[1]


def test_the_modules_average_alike() -> None:
    """Each module is one file, as the Hub wants it. What they share is the same in all of them."""
    shared = set()
    for name in REPORTS:
        tree = ast.parse((FOLDER / name / f"{name}.py").read_text(encoding="utf-8"))
        kept = [item for item in tree.body if getattr(item, "name", "") in ("_average_tracks", "_number")]
        assert len(kept) == 2
        shared.add("\n".join(map(ast.unparse, kept)))
    assert len(shared) == 1


@pytest.mark.parametrize("name", REPORTS)
def test_loads_by_path_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    predictions, references = SOME[name]
    module = evaluate.load(str(FOLDER / name))
    module.add_batch(predictions=predictions[:1], references=references[:1])
    module.add(prediction=predictions[1], reference=references[1])
    assert module.compute(resamples=20) == score(name, predictions, references)
    both = evaluate.combine({"first": REPORTS[name], "second": load_metric(name)}, force_prefix=True)
    got = both.compute(predictions=predictions, references=references)
    assert got["first_intervals"] == got["second_intervals"]


@pytest.mark.parametrize("name", REPORTS)
def test_the_cards_example_is_what_comes_out(name: str) -> None:
    card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    call = card.split("report.compute(")[1].split("```")[0].strip().rstrip(")").rstrip().rstrip(",")
    options = {
        keyword.arg: ast.literal_eval(keyword.value)
        for keyword in ast.parse(f"f({call})", mode="eval").body.keywords  # type: ignore[attr-defined]
    }
    shown = ast.literal_eval(card.split("```text\n")[1].split("```")[0])
    assert REPORTS[name].compute(**options) == shown


@pytest.mark.parametrize("name", REPORTS)
def test_no_tracks_and_wrong_groups(name: str) -> None:
    with pytest.raises(ValueError, match="at least one"):
        load_metric(name).compute(predictions=[], references=[])
    with pytest.raises(ValueError, match="1 names for 2 tracks"):
        load_metric(name).compute(predictions=SOME[name][0], references=SOME[name][1], groups=["a"])


@pytest.mark.parametrize(
    ("name", "predictions", "references", "says"),
    [
        (BEAT, [[6.0, 5.5]], [[5.5, 6.0]], "increasing"),
        (CHORD, [[{"start": 0.0, "end": 1.0, "label": "H:dur"}]], [SOME[CHORD][1][0]], "track 0: .*H:dur"),
        (CHORD, [[]], [[*SOME[CHORD][1][0], *SOME[CHORD][1][0]]], "track 0: chords overlap"),
        (KEY, ["H:dur"], ["C:major"], "H"),
        (NOTE, [SOME[NOTE][0][0]], [[{"onset": 1.0, "offset": 0.5, "pitch": 60}]], "track 0: .*positive"),
        (MELODY, [[float("nan")]], [[0.0]], "track 0: .*not finite"),
    ],
)
def test_bad_input(name: str, predictions: Any, references: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_metric(name).compute(predictions=predictions, references=references)


def test_bad_hop() -> None:
    with pytest.raises(ValueError, match="hop is 0"):
        load_metric(MELODY).compute(predictions=[[0.0]], references=[[0.0]], hop=0)
