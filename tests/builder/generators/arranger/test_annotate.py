"""Annotations of the arranger: what is in them, and that the sound agrees with them."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import pytest
from numpy.random import PCG64, Generator
from pretty_midi import PrettyMIDI

from builder.annotations.annotation import STEMS, Annotation
from builder.clip import Clip, Prompt
from builder.generators.arranger import Arranger
from builder.generators.arranger.annotating.clock import Clock
from builder.generators.arranger.playing.bends import bend_track
from builder.generators.arranger.playing.soundfont import SoundFont
from builder.generators.arranger.playing.tuning import measure_tuning
from builder.generators.arranger.production.draw import draw_production
from builder.generators.arranger.production.effects import modulate, oscillate
from builder.generators.arranger.production.media import warp_time
from builder.generators.arranger.production.movement import delay_vibrato
from builder.generators.arranger.production.parameters import Medium, Movement
from builder.generators.arranger.score import LEAD_IN, Note, Track
from builder.generators.arranger.singing import voice
from builder.generators.arranger.singing.diction import Curves
from builder.generators.arranger.singing.vocals import plan_vocals
from builder.prompts.grammar import KEYS
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

from .fonts import font, sine

PAPER = Taxonomy.load("paper")
ARRANGERS = {version: Arranger(GeneratorSettings(revision=version), PAPER) for version in ("1", "2")}
SUBGENRES = [(genre, sub) for genre, block in PAPER.genres.items() for sub in block.subgenres]


def clip(genre: str = "pop", seed: int = 0, **asked: Any) -> Clip:
    return Clip("c", Prompt("", "", genre, **asked), "g", seed, "train")


def list_annotations(version: str) -> list[tuple[Clip, Annotation]]:
    rows = [clip(genre, seed, subgenre=sub) for seed, (genre, sub) in enumerate(SUBGENRES[::2])]
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
    for seed, (genre, sub) in list(enumerate(SUBGENRES))[int(version) :: 2]:
        mode = ("major", "minor")[seed // 2 % 2]
        tonic = KEYS[mode][seed % len(KEYS[mode])]
        asked = clip(genre, seed, subgenre=sub, tempo_bpm=61 + 3 * seed, key=f"{tonic} {mode}")
        annotation = ARRANGERS[version].annotate(asked)
        assert annotation.tempo_bpm == asked.prompt.tempo_bpm and annotation.key == f"{tonic}:{mode}"


def test_midi_has_the_notes(annotated: tuple[str, list[tuple[Clip, Annotation]]]) -> None:
    for _, annotation in annotated[1][::4]:
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


# --- the sound agrees


def make_clicks(places: np.ndarray, length: int) -> np.ndarray:
    """Clicks of 31 samples around places, so that their centres can be found between samples."""
    out = np.zeros(length + 64, np.float32)
    for place in places:
        out[place - 15 : place + 16] += np.hanning(33)[1:-1]
    return out[None, :length]


def find_clicks(sound: np.ndarray) -> np.ndarray:
    """The centres of clicks, in samples."""
    inside = np.flatnonzero(sound > 0.02)
    groups = np.split(inside, np.flatnonzero(np.diff(inside) > 100) + 1)
    return np.array([np.average(group, weights=sound[group]) for group in groups])


@pytest.mark.parametrize("seed", range(6))
def test_times_follow_bends_vibrato_and_the_medium(seed: int) -> None:
    """Clicks in place of the notes of a guitar, with all that moves them, are where the clock says."""
    rate, seconds = 32_000, 6.0
    score = ARRANGERS["2"].compose(clip("rock", seed, tempo_bpm=100))
    notes = [Note(float(beat), 0.9, 69, 0.7) for beat in range(9)]
    track = Track("it", "lead", 29, False, 0.0, notes)
    score = replace(score, tracks=(track,))
    production = draw_production(score)
    movement = Movement("pitch", 0.25, 0.9, 0.3, 1000.0)
    production = replace(
        production,
        tracks={"it": replace(production.tracks["it"], movement=movement)},
        medium=Medium(wow=0.2, flutter=0.08),
    )
    clock = Clock(score, seconds, rate, production)
    written = LEAD_IN + np.arange(9) * clock.beat
    sound = bend_track(make_clicks(np.round(written * rate).astype(int), round(seconds * rate)), track, score, rate)
    curve = oscillate(sound.shape[1], 100 / 60 / movement.beats, movement.phase, rate)
    sound = modulate(sound, delay_vibrato(movement, curve, 100, rate))
    sound = warp_time(sound, 0.2, 0.08, Generator(PCG64((score.seed, 1))), rate)
    expected = clock.shift(written, clock.trace(track))
    assert np.abs(find_clicks(sound[0]) / rate - expected).max() < 1e-4


def test_the_traced_voice_is_the_one_that_sings(monkeypatch: pytest.MonkeyPatch) -> None:
    score = ARRANGERS["2"].compose(clip("pop", 2, vocals="with-vocals"))
    lead = plan_vocals(next(track for track in score.tracks if track.role == "voice"), score).parts[0]
    notes = [*lead.notes, *(replace(note, start=note.start + 12.0, end=note.end + 12.0) for note in lead.notes)]
    sung: list[Curves] = []
    plan = voice.plan_curves
    monkeypatch.setattr(voice, "plan_curves", lambda *given: (sung.append(one) or one for one in plan(*given)))
    voice.sing(notes, lead.singer, score.seed, 320_000, 32_000)
    monkeypatch.undo()
    traced = list(voice.trace_voice(notes, lead.singer, score.seed, 32_000))
    assert len(traced) == len(sung) > 1
    for (start, pitch, loudness), curves in zip(traced, sung, strict=True):
        assert start == curves.start
        np.testing.assert_array_equal(pitch, curves.pitch)
        np.testing.assert_array_equal(loudness, curves.voicing)


def test_tuning_of_a_loop(tmp_path: Path) -> None:
    """A sample with 100 samples a period at 44.1 kHz is 441 Hz, and is said to be 440 Hz."""
    path = tmp_path / "it.sf2"
    path.write_bytes(font(sine(20, 100), 44_100, 69, (500, 1500)))
    for key in (57, 69, 74):
        assert measure_tuning(SoundFont(path), 0, key) == pytest.approx(12 * np.log2(441 / 440), abs=1e-6)


@pytest.mark.parametrize("version", ["1", "2"])
def test_drums_sound_where_they_are_annotated(version: str) -> None:
    """The power rises at a stroke, and not between strokes."""
    arranger = Arranger(GeneratorSettings(revision=version, seconds=5), PAPER)
    rises: dict[float, list[float]] = {0.0: [], 0.04: []}
    for seed in range(2):
        row = clip("rock", seed, instruments=("drums",), tempo_bpm=90, vocals="instrumental")
        drums = arranger.generate_stems([row])[0][1]["drums"]
        notes = arranger.annotate(row).notes
        assert notes is not None
        onsets = np.sort(notes.onset[notes.is_drum & (notes.velocity > 60)])
        alone = onsets[1:-1][(np.diff(onsets)[:-1] > 0.1) & (np.diff(onsets)[1:] > 0.1)]
        power = np.concatenate([[0.0], np.cumsum(drums.astype(np.float64) ** 2)])
        for later, into in rises.items():
            places = np.round((alone + later) * 32_000).astype(int)
            into += (
                np.log10(power[places + 320] - power[places]) - np.log10(power[places] - power[places - 320])
            ).tolist()
    assert len(rises[0.0]) > 10
    assert np.mean(np.array(rises[0.0]) > 0.3) > 0.95 and np.mean(np.array(rises[0.04]) > 0.3) < 0.1


def test_a_lead_sounds_at_its_annotated_pitch() -> None:
    """The strongest period of a flute's stem is that of f0, to 20 cents, in the middle of its long notes."""
    arranger = Arranger(GeneratorSettings(revision="1", seconds=5), PAPER)
    cents = []
    for seed in range(2):
        row = clip("orchestral", seed, instruments=("flute",), tempo_bpm=70, vocals="instrumental")
        annotation, stem = arranger.annotate(row), arranger.generate_stems([row])[0][1]["melody"]
        number = next(n for n, track in enumerate(annotation.tracks) if track.stem == "melody")
        notes = annotation.notes
        assert notes is not None and annotation.melody is not None
        for onset, offset in zip(*(t[notes.track == number] for t in (notes.onset, notes.offset)), strict=True):
            if offset - onset > 0.35:
                f0 = annotation.melody[round(100 * (onset + 0.2))]
                part = stem[round(32_000 * (onset + 0.14)) :][:4096]
                spectrum = np.abs(np.fft.rfft(part * np.hanning(4096), 1 << 17))
                near = slice(*np.round(f0 * np.array((0.94, 1.06)) * (1 << 17) / 32_000).astype(int))
                found = (near.start + np.argmax(spectrum[near])) * 32_000 / (1 << 17)
                cents.append(1200 * np.log2(found / f0))
    assert len(cents) > 5 and np.mean(np.abs(cents) < 20) > 0.95
