"""Data sets that mirdata loads, as miniatures in their own layouts."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import mirdata
import numpy as np
import pytest
from mirdata import annotations as values

from builder.annotations.annotation import Annotation
from builder.errors import DataError, RecipeError
from builder.settings import EvaluationSettings
from evaluation.annotation_scores.evaluate import evaluate_annotations
from evaluation.benchmarks.annotated import AnnotatedTracks, load_annotated
from evaluation.benchmarks.annotated_values import ConversionError, parse_key, resample_melody
from evaluation.benchmarks.base import load_benchmark
from evaluation.benchmarks.mirdata_index import PICKLED, read_index
from evaluation.benchmarks.mirdata_reader import PREFERRED, TYPES, find_attributes
from evaluation.benchmarks.mirdata_values import CONVERTERS, convert_value
from evaluation.evaluate import evaluate_model

from .miniatures import put
from .mirdata_miniatures import MAKERS, SECONDS

UNIT = np.array([[0.0, 1.0], [1.0, 2.0]])


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("mirdata: data, 50 % & more")
    return {name: make(root / name) for name, make in MAKERS.items()}


def read(homes: dict[str, Path], name: str, *tasks: str, options: str = "") -> AnnotatedTracks:
    return load_annotated(f"mirdata:{name}:{homes[name]}{options}", tasks)


def test_beats_tempo_and_what_lacks_them(homes: dict[str, Path]) -> None:
    tracks = read(homes, "gtzan_genre", "beats", "downbeats")
    found = list(tracks)
    assert [one.id for one in found] == ["blues.00000", "blues.00001", "hiphop.00000", "hiphop.00001", "rock.00000"]
    np.testing.assert_allclose(found[0].annotation.beats, 0.25 + 0.5 * np.arange(7))
    assert found[0].annotation.positions.tolist() == [1, 2, 3, 4, 1, 2, 3]
    assert found[0].annotation.duration == pytest.approx(SECONDS) and found[0].audio.name == "blues.00000.wav"
    assert tracks.notes == ["left out 1 track without beats or downbeats: rock.00001"] and len(tracks) == 6
    assert [one.annotation.tempo_bpm for one in read(homes, "gtzan_genre", "tempo")] == [120.0] * 6
    (waltz,) = read(homes, "ballroom")
    assert waltz.annotation.positions.tolist() == [1, 2, 3, 1, 2, 3] and waltz.annotation.tempo_bpm == 100


def test_keys_and_tempi_of_electronic_music(homes: dict[str, Path]) -> None:
    tracks = read(homes, "giantsteps_key", "key", "tempo")
    first, second = tracks
    assert (first.annotation.key, first.annotation.tempo_bpm, first.group) == ("D:minor", 128.0, "Someone")
    assert second.annotation.key is None and tracks.notes == ["1 track without key: 4"]
    (one,) = read(homes, "giantsteps_tempo", "tempo")
    assert one.annotation.tempo_bpm == 68.5  # the more confident of the corrected tempi
    (one,) = read(homes, "giantsteps_tempo", "tempo", options="?tempo=tempo")
    assert one.annotation.tempo_bpm == 140.0


def test_chords_keys_sections(homes: dict[str, Path]) -> None:
    tracks = read(homes, "beatles")
    first, second = tracks
    assert first.annotation.chords.label == ("N", "E:min", "B:7/3")
    np.testing.assert_array_equal(first.annotation.chords.end, [1.0, 2.5, 4.0])
    assert first.annotation.key == "A:minor"  # of 2.5 s; E major of 0.5 s
    assert first.annotation.sections.label == ("silence", "verse")
    assert first.annotation.positions.tolist() == [4, 1, 2, 3, 4]
    assert second.annotation.beats is None and second.annotation.key is None and second.annotation.chords is not None
    assert tracks.notes == ["1 track: the key changes: the one that lasts longest counts: 0111"]


def test_one_of_several_chords_and_the_notes_of_all_strings(homes: dict[str, Path]) -> None:
    (one,) = read(homes, "guitarset")
    notes = one.annotation.notes
    assert one.annotation.chords.label == ("G:maj", "D:7") and one.annotation.key == "G:major"
    assert notes.pitch.tolist() == [40, 50, 52] and notes.onset.tolist() == [0.5, 1.0, 2.0]
    assert one.audio.name.endswith("_mic.wav") and one.group == "03" and one.annotation.melody is None
    (other,) = read(homes, "guitarset", "chords", options="?chords=inferred_chords&audio=audio_mix_path")
    assert other.annotation.chords.label == ("G:maj(9)/3", "D:7/b7") and other.audio.name.endswith("_mix.wav")


def test_notes_of_midi_and_the_part(homes: dict[str, Path]) -> None:
    tracks = read(homes, "maestro", "notes", options="?split=test")
    (one,) = tracks
    assert one.split == "test" and one.annotation.notes.pitch.tolist() == [60, 64] and not tracks.notes
    assert one.annotation.notes.velocity.tolist() == [90, 91]
    with pytest.raises(RecipeError, match="split= one of test, train"):
        list(read(homes, "maestro", "notes", options="?split=validation"))
    (take,) = read(homes, "groove_midi")
    assert take.annotation.notes.is_drum.all() and take.annotation.time_signature == "4/4"
    assert take.annotation.tempo_bpm == 138 and take.group == "drummer1"


def test_melodies_on_the_grid_of_annotations(homes: dict[str, Path]) -> None:
    (one,) = read(homes, "medleydb_melody", "melody")
    assert one.annotation.melody.shape == (400,) and one.group == "MusicDelta"
    assert not one.annotation.melody[:99].any()
    np.testing.assert_allclose(one.annotation.melody[101:340], 330, rtol=1e-6)
    (other,) = read(homes, "medleydb_melody", "melody", options="?melody=melody1")
    np.testing.assert_allclose(other.annotation.melody[101:340], 220, rtol=1e-6)
    tracks = read(homes, "medleydb_melody", "melody", options="?melody=melody3")
    assert not list(tracks) and "several pitches at a time" in tracks.notes[0]


def test_genres_for_a_classifier(homes: dict[str, Path]) -> None:
    spec = f"mirdata:gtzan_genre:{homes['gtzan_genre']}"
    benchmark = load_benchmark(spec, ["Hip-Hop", "blues", "polka"])
    assert [(track.id, track.label) for track in benchmark.tracks] == [
        ("blues.00000", 1), ("blues.00001", 1), ("hiphop.00000", 0), ("hiphop.00001", 0)
    ]  # fmt: skip
    assert (
        benchmark.left_out == {"rock": 2} and benchmark.title == "gtzan_genre" and "Tzanetakis" in benchmark.citation
    )
    tempo = load_benchmark(spec, ["tempo"], "tempo", "regression")
    assert {track.label for track in tempo.tracks} == {120.0}
    key = load_benchmark(f"mirdata:giantsteps_key:{homes['giantsteps_key']}", None, "key")
    assert key.own_labels == ["D:minor"] and key.part_recordings("all").unlabelled == ["4"]
    genre = load_benchmark(f"mirdata:giantsteps_key:{homes['giantsteps_key']}", None)
    assert genre.own_labels == ["Techno"] and {one.artist for one in genre.part("all")} == {"Someone"}
    parts = load_benchmark(f"mirdata:maestro:{homes['maestro']}?label=canonical_composer", None)
    assert (parts.parts, parts.evaluated_split, parts.own_labels) == (("test", "train"), "test", ["F. Chopin"])
    with pytest.raises(DataError, match="has audio and a key; left out 1 track without a label"):
        load_benchmark(f"mirdata:ballroom:{homes['ballroom']}", ["A:minor", "B:minor"], "key")


def test_a_missing_index_says_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        load_annotated(f"mirdata:ballroom:{tmp_path}")
    assert "ballroom_full_index_1.0.json" in raised.value.message
    assert (
        f"https://zenodo.org/records/13993346/files/ballroom_full_index_1.0.json?download=1 and save it as {tmp_path}"
        in (raised.value.fix or "")
    )
    with pytest.raises(DataError, match="mirdata ships no index of this data set"):
        load_annotated(f"mirdata:hainsworth:{tmp_path}")
    with pytest.raises(DataError, match=r"its index simac_index_1\.0\.json"):  # whose loader has lost its version
        load_annotated(f"mirdata:simac:{tmp_path}")


def test_an_index_elsewhere(homes: dict[str, Path], tmp_path: Path) -> None:
    index = homes["ballroom"] / "ballroom_full_index_1.0.json"
    for place in (tmp_path / "mirdata_indexes" / index.name, tmp_path / "mine.json"):
        put(place, index.read_bytes())
    tracks = load_annotated(f"mirdata:ballroom:{tmp_path}?index={tmp_path / 'mine.json'}", ["beats"])
    assert not list(tracks) and tracks.notes == ["left out 1 track whose audio is not on disk: Media-105901"]
    assert len(load_annotated(f"mirdata:ballroom:{tmp_path}")) == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mirdata:ballroom", "mirdata:DATASET:PATH"),
        ("mirdata:balroom:{}", "did you mean 'ballroom'"),
        ("mirdata:ballroom:{}?version=2", "has no version '2'"),
        ("mirdata:ballroom:{}?level=multitrack", "has no level"),
        ("mirdata:ballroom:{}?chord=x", "did you mean 'chords'"),
    ],
)
def test_a_spec_that_is_not_valid(homes: dict[str, Path], spec: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_annotated(spec.format(homes["ballroom"]))


@pytest.mark.parametrize(
    "path", ["../secret.wav", "/etc/passwd", "audio/../../x.wav", "~/x.wav", "C:\\x.wav", "a\\..\\..\\x", "", "a\0b"]
)
def test_paths_of_an_index_stay_in_the_data(tmp_path: Path, path: str) -> None:
    index = {"tracks": {"a": {"audio": [path, None]}}}
    with pytest.raises(DataError, match="leaves the data folder"):
        read_index(put(tmp_path / "index.json", json.dumps(index)), "ballroom")


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"tracks": []}', '{"tracks": {"a": []}}', '{"tracks": {"a": {"audio": "x.wav"}}}'),
        *(
            '{"tracks": {"a": {"audio": [1, 2]}}}',
            '{"multitracks": {"a": {"tracks": ["b"]}}, "tracks": {}}',
            "[" * 9999,
        ),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        read_index(put(tmp_path / "index.json", text), "ballroom")


def test_damaged_files_of_one_track_leave_out_that_track(tmp_path: Path) -> None:
    home = MAKERS["gtzan_genre"](tmp_path)
    put(home / "gtzan_tempo_beat-main/beats/gtzan_blues_00000.beats", "one\ttwo\n")
    put(home / "gtzan_tempo_beat-main/beats/gtzan_blues_00001.beats", "3.0\t1\n2.0\t2\n")
    put(home / "gtzan_genre/genres/hiphop/hiphop.00000.wav", b"RIFF")
    (home / "gtzan_genre/genres/hiphop/hiphop.00001.wav").unlink()
    tracks = load_annotated(f"mirdata:gtzan_genre:{home}", ["beats"])
    assert [one.id for one in tracks] == ["rock.00000"]
    assert {tuple(ids) for ids in tracks.left_out.values()} == {
        ("blues.00000", "blues.00001"), ("hiphop.00000",), ("hiphop.00001",), ("rock.00001",)
    }  # fmt: skip
    assert any("beats: ValueError: could not convert string" in note for note in tracks.notes)
    several = load_annotated(f"mirdata:gtzan_genre:{home}", ["beats", "tempo"])
    assert len(list(several)) == 4 and "2 tracks: an annotation cannot be read" in "\n".join(several.notes)


def test_missing_metadata_and_annotations(tmp_path: Path) -> None:
    home = MAKERS["maestro"](tmp_path / "maestro")
    (home / "maestro-v2.0.0.json").unlink()  # names only composers and parts
    assert len(list(load_annotated(f"mirdata:maestro:{home}", ["notes"]))) == 2
    home = MAKERS["beatles"](tmp_path / "beatles")
    for file in home.glob("annotations/chordlab/**/*.lab"):
        file.write_text("0.0 1.0 H:maj\n1.0 2.0 C:maj\n")
    tracks = load_annotated(f"mirdata:beatles:{home}", ["chords"])
    assert not list(tracks) and "don't conform to chord_unit harte" in tracks.notes[0]
    assert "has no usable track with chords; left out 2 tracks" in str(tracks.no_tracks_error())


def test_an_annotation_of_another_version_of_the_recording(tmp_path: Path) -> None:
    home = MAKERS["ballroom"](tmp_path)
    put(home / "B_1.0/annotations/beats/Media-105901.beats", "1.0 1\n9.0 2\n")
    tracks = load_annotated(f"mirdata:ballroom:{home}", ["beats"])
    assert len(list(tracks)) == 1 and "beyond the end of its audio" in tracks.notes[0]


def test_pickled_annotations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pickle"):
        load_annotated(f"mirdata:dali:{tmp_path}")
    folder = Path(mirdata.__file__).parent / "datasets"
    unpickle = {file.stem for file in folder.glob("*.py") if "pickle.load(" in file.read_text(encoding="utf-8")}
    assert unpickle == set(PICKLED)


def test_a_task_that_no_data_set_has(homes: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match="no data set of mirdata has an annotation of instruments"):
        read(homes, "ballroom", "instruments")
    tracks = read(homes, "ballroom", "beats", "instruments")
    assert len(list(tracks)) == 1 and tracks.notes == ["1 track without instruments: Media-105901"]


def test_mirdata_is_silent(homes: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.manager.disable)
    for name in MAKERS:
        list(read(homes, name))
    assert capfd.readouterr() == ("", "") and (root.handlers, root.manager.disable) == before


LOADERS = sorted(set(mirdata.list_datasets()) - {*PICKLED, "cipi", "haydn_op20"})  # those two have scores and no audio


def annotated_kinds() -> Iterator[tuple[str, str, type]]:
    """Every attribute of every loader's tracks that is declared with a class of mirdata.annotations."""
    for name in LOADERS:
        module = importlib.import_module(f"mirdata.datasets.{name}")
        for kind in (getattr(module, "Track", None), getattr(module, "MultiTrack", None)):
            if kind is not None and kind.__module__ == module.__name__:
                yield from ((name, task, kind) for task in PREFERRED if any(map(kind.__dict__.get, PREFERRED[task])))


def test_every_loader_with_a_kind_of_annotation_is_known() -> None:
    """A loader whose class declares a type of annotation has an attribute to read it from, and a converter of it."""
    found = {(name, task) for name, task, kind in annotated_kinds() if find_attributes(kind, task)}
    assert len({name for name, _ in found}) >= 40 and set(TYPES) <= {task for _, task in found}
    for task, kind in TYPES.items():
        assert issubclass(getattr(values, kind), values.Annotation) and kind in CONVERTERS[task]
    known = {*TYPES.values(), "MultiF0Data", "LyricData", "EventData"}  # no Annotation holds the last two
    assert known == {
        kind.__name__ for kind in values.Annotation.__subclasses__() if kind.__module__ == values.__name__
    }


@pytest.mark.parametrize(
    ("task", "value", "expected"),
    [
        ("beats", values.BeatData(np.array([500.0, 900.0]), "ms", None, "bar_index"), {"beats": [0.5, 0.9]}),
        (
            "tempo",
            values.TempoData(UNIT, "s", np.array([90.0, 120.0]), "bpm", np.array([1.0, 0.5]), "likelihood"),
            90.0,
        ),
        ("tempo", " 99.5 ", 99.5),
        ("tempo", np.float64(0.0), None),
        ("tempo", float("nan"), None),
        ("tempo", {"tempo_bpm": 75, "tempo_apm": 300}, 75.0),
        ("key", values.KeyData(UNIT, "s", ["N", "F#:aeolian"], "key_mode"), "F#:minor"),
        ("key", ["Bb minor", "Db major"], "Bb:minor"),
        ("key", "x", None),
        ("time_signature", 3, "3/4"),
        ("time_signature", "6-8", "6/8"),
        ("chords", None, None),
    ],
)
def test_values_are_converted_by_their_type(task: str, value: object, expected: object) -> None:
    converted = convert_value(task, value, 3.0)
    if isinstance(expected, dict):
        np.testing.assert_allclose(converted["beats"], expected["beats"])
        assert converted["positions"] is None
    else:
        assert list(converted.values()) == ([] if expected is None else [expected])


def test_notes_in_hertz_of_several_annotators() -> None:
    notes = values.NoteData(UNIT * 1000, "ms", np.array([440.0, 1e-3]), "hz")
    both = values.MultiAnnotator(["a", "b"], [None, notes], values.NoteData)
    converted = convert_value("notes", both, 2.0)["notes"]
    assert converted.pitch.tolist() == [69] and converted.offset.tolist() == [1.0]  # the other is below all notes
    strings = {"E": values.NoteData(UNIT[1:], "s", np.array([69.4]), "midi"), "A": None}
    assert convert_value("notes", strings, 2.0)["notes"].pitch.tolist() == [69]


@pytest.mark.parametrize(
    ("task", "value", "why"),
    [
        ("notes", values.NoteData(UNIT, "ticks", np.array([60.0, 61.0]), "midi"), "times in ticks"),
        ("melody", values.F0Data(UNIT[0], "s", np.array(["A", "B"]), "pc", np.ones(2), "binary"), "pitches in pc"),
        ("chords", values.KeyData(UNIT, "s", ["C", "D"], "key_mode"), "chords of the type KeyData"),
        ("key", "D:dorian", "the mode dorian"),
        ("key", "twelve", "the key 'twelve'"),
        ("tempo", "fast", "the tempo 'fast'"),
        ("time_signature", "free", "the time signature 'free'"),
        ("notes", [1, 2], "notes of the type list"),
    ],
)
def test_what_no_annotation_can_hold(task: str, value: object, why: str) -> None:
    with pytest.raises(ConversionError, match=why):
        convert_value(task, value, 3.0)


def test_chords_that_overlap_or_that_mir_eval_cannot_read() -> None:
    labels = ["C:maj", "D:weird", "N"]
    chords = values.ChordData(np.array([[0, 1.5], [1, 2], [2, 2]], float), "s", labels, "open")
    converted = convert_value("chords", chords, 2.0)
    assert converted["chords"].label == ("C:maj", "X") and converted["chords"].end.tolist() == [1.0, 2.0]
    assert len(converted.remarks) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Am", "A:minor"), ("C", "C:major"), ("Eb maj", "Eb:major"), ("f# minor", "F#:minor"), ("B♭ Minor", "Bb:minor"),
     ("G\tmajor", "G:major"), ("A:minor", "A:minor"), ("unknown", None), ("N", None), ("CM", "C:major"),
     ("C sharp minor", "C#:minor")],
)  # fmt: skip
def test_how_data_sets_write_keys(text: str, expected: str | None) -> None:
    assert parse_key(text) == expected


def test_a_melody_between_its_own_values() -> None:
    times = np.arange(100) * 0.032
    pitches = np.where(times < 1.6, 60.0, 72.0) + 0.5 * times
    voiced = (times < 0.64) | (times > 0.8)
    melody = resample_melody(times, pitches, voiced, 4.0)
    grid = np.arange(400) / 100
    assert melody.shape == (400,) and not melody[66:79].any() and not melody[325:].any()  # 3.17 s is the last value
    expected = 440 * 2 ** ((60 + 0.5 * grid - 69) / 12)
    np.testing.assert_allclose(melody[:60], expected[:60], rtol=1e-5)
    assert not resample_melody(times, pitches, np.zeros(100, bool), 1.0).any()
    assert resample_melody(times[:1], pitches[:1], voiced[:1], 0.1)[0] > 0


def test_a_classifier_is_evaluated(homes: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """Of Electronica, Hip Hop and Rock, GTZAN's hip-hop and rock are mapped by name."""
    scores = evaluate_model(model, [f"mirdata:gtzan_genre:{homes['gtzan_genre']}"], tmp_path)
    (result,) = scores["benchmarks"]
    assert result["n"] == 4 and result["left_out"] == {"blues": 2} and "mirdata's loader" in result["protocol"]


def test_predicted_annotations_are_scored(homes: dict[str, Path]) -> None:
    def annotate(samples: np.ndarray, rate: int) -> Annotation:
        return Annotation("", len(samples) / rate, beats=0.25 + 0.5 * np.arange(7), tempo_bpm=60.0)

    tracks = read(homes, "gtzan_genre", "beats", "tempo")
    scored = evaluate_annotations(annotate, tracks, settings=EvaluationSettings(bootstrap=100))
    assert (scored.n, [task.task for task in scored.tasks]) == (6, ["beats", "tempo"])
    beats, tempo = (task.systems[0].scores for task in scored.tasks)
    assert beats["f_measure"].value == 1.0 and {figure.value for figure in tempo.values() if figure} == {0.0, 1.0}
    assert "1 track without beats: rock.00001" in scored.notes and "tzanetakis2002" in scored.citation
