"""Means over tracks with intervals, peers on the same tracks, tracks that are left out, and what is written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builder.annotations.annotation import Annotation, Segments
from builder.audio import encode_flac
from builder.errors import BackendError, DataError, RecipeError
from builder.settings import EvaluationSettings
from evaluation.annotation_scores import evaluate as module
from evaluation.annotation_scores import peers as peers_module
from evaluation.annotation_scores.evaluate import evaluate_annotations, evaluate_sources
from evaluation.annotation_scores.peers import PEERS, Peer, choose_peers
from evaluation.annotation_scores.track_scores import score_annotation, score_with_weights
from evaluation.benchmarks.annotated import AnnotatedTrack, AnnotatedTracks
from evaluation.benchmarks.spec import Spec
from evaluation.reporting.annotation_report import format_annotation_scores, write_annotation_report
from evaluation.results.annotation_scores import AnnotationScores
from evaluation.statistics.bootstrap import confidence_intervals
from evaluation.statistics.metrics import mean_value

QUICK = EvaluationSettings(bootstrap=100)
LENGTHS = (200, 300, 400, 500, 600, 700)  # samples, by which `Systems` knows a track


def make_annotation(number: int) -> Annotation:
    beats = np.arange(0.5, 8, 0.5)
    spans = np.array([0.0, 2.0 + number, 4.0 + number])
    chords = Segments(spans[:-1], spans[1:], ("C:maj", "G:maj" if number % 2 else "G:7"))
    return Annotation(f"track {number}", 8.0, beats=beats, chords=chords, key="A:minor" if number else None)


TRUE = [make_annotation(number) for number in range(len(LENGTHS))]


def make_audio(number: int) -> bytes:
    return encode_flac(np.zeros(LENGTHS[number], np.float32), module.RATE)


def listed(artists: str = "aabbc-") -> list[AnnotatedTrack]:
    return [
        AnnotatedTrack(one.id, None if artists[number] == "-" else artists[number], make_audio(number), one)
        for number, one in enumerate(TRUE)
    ]


def predict(audio: np.ndarray, rate: int) -> Annotation:
    """The first beats are missing, more of them in later tracks; chords are the first one throughout."""
    number = LENGTHS.index(len(audio))
    one = TRUE[number]
    assert rate == module.RATE and one.chords is not None and one.beats is not None
    chords = Segments(np.zeros(1), one.chords.end[-1:], ("C:maj",))
    return replace(one, beats=one.beats[number:], chords=chords, key="C:major")


def fail_on_the_last(audio: np.ndarray, rate: int) -> Annotation:
    if len(audio) == LENGTHS[-1]:
        raise FloatingPointError("too short")
    return Annotation("", 8.0, beats=np.arange(0.25, 8, 0.5))


PEER = Peer("off-beats", "a peer for tests", ("beats",), fail_on_the_last)


def test_means_and_intervals_are_those_of_the_tracks() -> None:
    tracks = listed()
    got = evaluate_annotations(predict, tracks, settings=QUICK)
    assert (got.n, got.sampling.over, got.sampling.units, got.sampling.alone) == (6, "artists", 4, 1)
    tasks = {task.task: task.systems[0] for task in got.tasks}
    assert list(tasks) == ["beats", "chords", "key"]
    rows = [
        score_annotation(one.annotation, predict(np.zeros(n), module.RATE))
        for one, n in zip(tracks, LENGTHS, strict=True)
    ]
    values = np.array([row["beats"]["f_measure"] for row in rows])
    score = tasks["beats"].scores["f_measure"]
    assert score is not None and score.value == pytest.approx(values.mean()) and score.n == 6
    groups = [track.group for track in tracks]
    expected = confidence_intervals(mean_value(values), 6, groups, 100, 0, "bca")["mean"]
    assert (score.low, score.high) == pytest.approx(tuple(expected))
    # Chords are weighted by the seconds that are scored: "G:7" is scored as a major chord.
    pairs = [
        score_with_weights(one.annotation, predict(np.zeros(n), module.RATE))["chords"]
        for one, n in zip(tracks, LENGTHS, strict=True)
    ]
    weights = np.array([weight["majmin"] for _, weight in pairs])
    wcsr = np.average([scores["majmin"] for scores, _ in pairs], weights=weights)
    assert tasks["chords"].scores["majmin"].value == pytest.approx(wcsr)
    assert tasks["key"].n == 5 and tasks["key"].scores["weighted_score"].value == pytest.approx(0.3)
    assert tasks["beats"].scores["downbeat_f_measure"] is None


def test_a_perfect_model_has_an_exact_interval() -> None:
    tracks = listed("------")
    got = evaluate_annotations(lambda audio, _: TRUE[LENGTHS.index(len(audio))], tracks, ["beats"], settings=QUICK)
    score = got.tasks[0].systems[0].scores["f_measure"]
    assert got.sampling.over == "tracks" and score.value == score.high == 1.0
    assert score.low == pytest.approx(0.025 ** (1 / 6))  # Clopper and Pearson, 6 of 6


def test_peers_are_compared_on_the_tracks_that_both_have() -> None:
    got = evaluate_annotations(predict, listed(), ["beats", "key"], [PEER], QUICK)
    beats, key = got.tasks
    model, peer = beats.systems
    assert (model.n, peer.n, peer.failed, peer.name) == (6, 5, 1, "off-beats")
    assert any("off-beats failed on 1 track: track 5: FloatingPointError: too short" in note for note in got.notes)
    row = next(one for one in beats.comparisons if one.metric == "f_measure")
    rows = [score_annotation(TRUE[n], predict(np.zeros(LENGTHS[n]), module.RATE))["beats"] for n in range(5)]
    assert row.value == pytest.approx(np.mean([one["f_measure"] for one in rows])) and row.difference.n == 5
    assert row.difference.value == pytest.approx(row.value - row.other) and row.difference.low > 0
    assert row.p <= row.p_holm < 0.5
    assert len(key.systems) == 1 and not key.comparisons


def test_tracks_that_cannot_be_scored_are_counted() -> None:
    tracks = listed()
    broken = Segments(np.zeros(1), np.ones(1), ("H:dur",))
    tracks[0] = replace(tracks[0], audio=b"no audio")
    tracks[1] = replace(tracks[1], annotation=replace(tracks[1].annotation, chords=broken))
    ticks: list[int] = []
    got = evaluate_annotations(predict, tracks, settings=QUICK, tick=ticks.append)
    assert got.n == 4 and sum(ticks) == 6 and [skip.id for skip in got.skips] == ["track 0", "track 1"]
    assert "chords" in got.skips[1].reason
    with pytest.raises(DataError, match="no track can be scored: track 0"):
        evaluate_annotations(predict, tracks[:1], settings=QUICK)
    with pytest.raises(DataError, match="no track has melody"):
        evaluate_annotations(predict, tracks[2:], ["melody"], settings=QUICK)


def test_a_failure_of_the_model_is_not_hidden() -> None:
    with pytest.raises(FloatingPointError):
        evaluate_annotations(fail_on_the_last, listed(), settings=QUICK)


class Fixed(AnnotatedTracks):
    """The tracks of `listed`, and one that is left out."""

    licence = "CC0"

    def open(self) -> None:
        self.rows = listed()

    def __len__(self) -> int:
        return len(self.rows) + 1

    def read(self) -> Iterator[AnnotatedTrack]:
        yield from self.rows
        self.leave_out("gone", "whose audio is missing")


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "load_annotated", lambda name, tasks, corpus: Fixed(Spec(name, "fixed", target="<b>place"), tasks)
    )


def test_what_is_written(fixed: None, tmp_path: Path) -> None:
    names = ["fixed:<i>one", "fixed:two"]
    got = evaluate_sources(predict, names, tmp_path, "models/beats", ["beats", "chords"], [PEER], QUICK)
    read = AnnotationScores.read(tmp_path / "annotation_scores.json")
    assert read == got and got.tasks == ["beats", "chords"] and got.record["rows"] == 12
    schema = Path(str(sys.modules[AnnotationScores.__module__].__file__)).with_suffix(".schema.json")
    assert schema.read_text(encoding="utf-8") == AnnotationScores.json_schema(), "write it again from json_schema()"

    text = format_annotation_scores(got)
    assert "fixed:two, 6 tracks, intervals over 3 artists and 1 track of unknown artist" in text
    assert "left out 1 track whose audio is missing: gone" in text and "off-beats" in text
    mean = got.sources[0].tasks[0].systems[0].scores["f_measure"]
    assert f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]" in text

    page = write_annotation_report(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "annotation_scores.txt").read_text(encoding="utf-8") == text + "\n"
    assert "fixed:&lt;i&gt;one" in page and "<i>" not in page and "a peer for tests" in page
    assert f"{mean.value:.3f}" in page and "WCSR majmin" in page and "<script" not in page
    assert "synthmir evaluate models/beats --on " in page


def test_peers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_peers(["librosa"]) == list(PEERS.values()) and choose_peers([]) == []
    assert [peer.name for peer in choose_peers(["librosa", "pyin"], ["chords", "key"])] == [
        "Krumhansl-Schmuckler",
        "chord templates",
    ]
    with pytest.raises(RecipeError, match="pyn"):
        choose_peers(["pyn"])
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(BackendError, match="librosa") as error:
        choose_peers(["librosa"])
    assert "benchmarks" in str(error.value.fix)


def test_keys_and_chords_of_known_chroma(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers on a chroma without a transform: librosa's is compiled for a minute on first use."""
    degrees = np.array(peers_module.MINOR)
    chords = [(0, 4, 7)] * 22 + [(9, 0, 4)] * 21
    played = np.array([[float(note in chord) for note in range(12)] for chord in chords])
    for chroma, task, expected in (
        (np.roll(degrees, 9)[None], "key-profiles", "A:minor"),
        (played + 0.1, "chord-templates", ("C:maj", "A:min")),
        (played + 0.6, "chord-templates", ("C:maj", "A:min")),  # a band: every pitch class sounds a little
        (np.zeros((5, 12)), "chord-templates", ("N",)),
        (np.zeros((5, 12)), "key-profiles", "C:major"),
    ):
        monkeypatch.setattr(peers_module, "_chroma", lambda audio, rate, chroma=chroma: (chroma, 4.0))
        got = PEERS[task].annotate(np.zeros(10, np.float32), 44_100)
        assert (got.key if task == "key-profiles" else got.chords.label) == expected


@pytest.mark.long
def test_peers_on_sound() -> None:
    """Four triads with clicks on the beats. librosa compiles for some minutes on first use."""
    rate = 44_100
    time = np.arange(8 * rate) / rate
    rng = np.random.default_rng(0)
    audio = np.zeros(len(time))
    for place, chord in enumerate([(60, 64, 67), (57, 60, 64), (65, 69, 72), (67, 71, 74)]):
        inside = (time >= 2 * place) & (time < 2 * place + 2)
        for note in chord:
            audio[inside] += 0.1 * np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * time[inside])
    beats = np.arange(0.25, 8, 0.5)
    for beat in beats:
        first = int(beat * rate)
        audio[first : first + 800] += rng.normal(0, 0.3, 800) * np.exp(-np.arange(800) / 150)
    found = {name: peer.annotate(audio.astype(np.float32), rate) for name, peer in PEERS.items()}
    true = Annotation("a", 8.0, beats=beats, key="C:major", tempo_bpm=120.0)
    assert score_annotation(true, found["librosa-beats"])["beats"]["f_measure"] > 0.9
    assert score_annotation(true, found["librosa-beats"])["tempo"]["accuracy_1"] == 1.0
    assert score_annotation(true, found["key-profiles"])["key"]["accuracy"] == 1.0
    assert found["chord-templates"].chords.label == ("C:maj", "A:min", "F:maj", "G:maj")
    assert found["pyin"].melody.shape == (800,)
    tone = 0.3 * np.sin(2 * np.pi * 220 * time[: 2 * rate])
    melody = PEERS["pyin"].annotate(tone.astype(np.float32), rate).melody
    assert np.median(np.abs(1200 * np.log2(melody[melody > 0] / 220))) < 10
