"""Annotations of the arranger: what is in them, and that the sound agrees with them."""

from __future__ import annotations

import io
import itertools
from typing import Any

import mir_eval
import numpy as np
import pytest
from pretty_midi import PrettyMIDI

from builder.annotations.annotation import STEMS, Annotation
from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger
from builder.generators.arranger.score import LEAD_IN
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

PAPER = Taxonomy.load("paper")
ARRANGERS = {version: Arranger(GeneratorSettings(revision=version), PAPER) for version in ("1", "2")}
SUBGENRES = [(genre, sub) for genre, block in PAPER.genres.items() for sub in block.subgenres]


def clip(genre: str = "pop", seed: int = 0, **asked: Any) -> Clip:
    return Clip("c", Prompt("", "", genre, **asked), "g", seed, "train")


def list_annotations(version: str) -> list[tuple[Clip, Annotation]]:
    rows = [clip(genre, seed, subgenre=sub) for seed, (genre, sub) in enumerate(SUBGENRES)]
    return [(row, ARRANGERS[version].annotate(row)) for row in rows]


@pytest.fixture(scope="module", params=["1", "2"])
def annotated(request: pytest.FixtureRequest) -> tuple[str, list[tuple[Clip, Annotation]]]:
    return request.param, list_annotations(request.param)


def test_times_are_sorted_and_inside_the_clip(annotated: tuple[str, list[tuple[Clip, Annotation]]]) -> None:
    for _, annotation in annotated[1]:
        beats, notes = annotation.beats, annotation.notes
        assert beats is not None and notes is not None
        assert np.all(np.diff(beats) > 0) and beats[0] >= 0 and beats[-1] < annotation.duration
        assert np.all(np.diff(notes.onset) >= 0) and np.all(notes.offset > notes.onset)
        assert notes.onset[0] >= 0 and notes.offset.max() <= annotation.duration
        assert notes.velocity.min() >= 1 and notes.velocity.max() <= 127
        assert set(notes.track.tolist()) == set(range(len(annotation.tracks)))
        for segments in (annotation.chords, annotation.sections):
            assert segments is not None and segments.start[0] == 0.0 and segments.end[-1] == annotation.duration
            assert np.all(segments.end > segments.start) and np.array_equal(segments.end[:-1], segments.start[1:])
            assert all(one != two for one, two in itertools.pairwise(segments.label))
        for track in annotation.tracks:
            assert track.stem in STEMS and len(track.start) and np.all(track.end > track.start)
            assert np.all(track.start[1:] > track.end[:-1])
        assert annotation.melody is not None and len(annotation.melody) == 1000 and annotation.melody.min() >= 0.0


def test_beats_agree_with_the_tempo_and_the_bars(annotated: tuple[str, list[tuple[Clip, Annotation]]]) -> None:
    for row, annotation in annotated[1]:
        score = ARRANGERS[annotated[0]].compose(row)
        assert annotation.beats is not None and annotation.positions is not None
        expected = LEAD_IN + np.arange(len(annotation.beats)) * 60 / annotation.tempo_bpm
        assert np.abs(annotation.beats - expected).max() < 0.004  # a cassette's wow
        assert annotation.time_signature == f"{score.metre}/4"
        assert annotation.positions.tolist() == [1 + n % score.metre for n in range(len(annotation.beats))]


def test_chords_and_keys_are_labels_that_mir_eval_reads(annotated: tuple[str, list[tuple[Clip, Annotation]]]) -> None:
    for _, annotation in annotated[1]:
        assert annotation.chords is not None and annotation.key is not None
        mir_eval.chord.encode_many(list(annotation.chords.label))
        mir_eval.key.validate_key(annotation.key.replace(":", " "))


@pytest.mark.parametrize("version", ["1", "2"])
def test_labels_of_the_prompt_are_played(version: str) -> None:
    for seed, (genre, sub) in enumerate(SUBGENRES):
        tonic, mode = ("C#", "D", "Eb", "F#", "A", "Bb")[seed % 6], ("major", "minor")[seed % 2]
        asked = clip(genre, seed, subgenre=sub, tempo_bpm=61 + 3 * seed, key=f"{tonic} {mode}")
        annotation = ARRANGERS[version].annotate(asked)
        assert annotation.tempo_bpm == asked.prompt.tempo_bpm and annotation.key == f"{tonic}:{mode}"


def test_midi_has_the_notes(annotated: tuple[str, list[tuple[Clip, Annotation]]]) -> None:
    for _, annotation in annotated[1]:
        assert annotation.midi is not None and annotation.notes is not None
        read = PrettyMIDI(io.BytesIO(annotation.midi))
        assert [len(one.notes) for one in read.instruments] == np.bincount(annotation.notes.track).tolist()
        for number, instrument in enumerate(read.instruments):
            mine = annotation.notes.track == number
            expected = np.stack([column[mine] for column in (annotation.notes.pitch, annotation.notes.onset,
                                 annotation.notes.offset, annotation.notes.velocity)])  # fmt: skip
            notes = np.array([[note.pitch, note.start, note.end, note.velocity] for note in instrument.notes]).T
            expected, notes = (table[:, np.lexsort((table[1], table[0]))] for table in (expected, notes))
            np.testing.assert_allclose(notes, expected, rtol=0, atol=1e-3)


def test_annotations_are_equal_again_and_survive_a_row() -> None:
    row = clip("rock", 5)
    annotation, again = (Arranger(GeneratorSettings(), PAPER).annotate(row) for _ in range(2))
    assert annotation.to_row() == again.to_row() == Annotation.from_row(annotation.to_row()).to_row()
