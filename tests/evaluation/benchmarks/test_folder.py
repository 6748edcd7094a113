"""`folder:PATH`: what is found, what is left out, and what is said of it."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import pytest

from builder.errors import DataError, RecipeError
from evaluation.benchmarks.base import load_benchmark
from evaluation.benchmarks.catalogue import check_files

LABELS = ("Electronica", "Hip Hop", "Rock")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_tracks_are_found_at_any_depth_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "rock/b.WAV", "rock/disc 1/a.flac", "rock/ü — é/日本.mp3", "electronica/x.ogg", "electronica/y.au")
    tracks = load_benchmark(f"folder:{tmp_path}", LABELS).tracks
    assert [(track.id, track.label) for track in tracks] == [
        ("electronica/x.ogg", 0),
        ("electronica/y.au", 0),
        ("rock/b.WAV", 2),
        ("rock/disc 1/a.flac", 2),
        ("rock/ü — é/日本.mp3", 2),
    ]
    assert all(track.path == tmp_path / track.id for track in tracks)


@pytest.mark.parametrize("name", ["hip-hop", "HipHop", "HIP_HOP", "hip hop", "Hip Hop"])
def test_spellings_of_a_label(tmp_path: Path, name: str) -> None:
    bench = load_benchmark(f"folder:{touch(tmp_path, f'{name}/a.wav')}", LABELS)
    assert [track.label for track in bench.tracks] == [1]


def test_two_spellings_are_one_label(tmp_path: Path) -> None:
    touch(tmp_path, "hiphop/a.wav", "Hip-Hop/a.wav")
    assert [track.id for track in load_benchmark(f"folder:{tmp_path}", LABELS).tracks] == [
        "Hip-Hop/a.wav",
        "hiphop/a.wav",
    ]


def test_composed_and_decomposed_accents_are_one(tmp_path: Path) -> None:
    touch(tmp_path, "Mu\u0301sica/a.wav")
    assert len(load_benchmark(f"folder:{tmp_path}", ["música"]).tracks) == 1


def test_left_out_files_are_noted(tmp_path: Path) -> None:
    touch(
        tmp_path, "rock/a.wav", "rock/.b.wav", "rock/._a.wav", "rock/cover.jpg", "rock/.cache/c.wav", "rock/notes.txt"
    )
    touch(tmp_path, "polka/a.wav", "zouk/a.wav", ".git/a.wav", "stray.mp3", "readme.md")
    bench = load_benchmark(f"folder:{tmp_path}", LABELS)
    assert [track.id for track in bench.tracks] == ["rock/a.wav"]
    assert bench.notes == [
        "left out 2 tracks, because the model has no such label: polka (1), zouk (1)",
        "2 labels of the model without a track here: Electronica, Hip Hop",
        "left out 1 audio file outside the genre folders",
        "ignored 4 hidden or non-audio files",
    ]


def test_folders_without_audio_and_copies_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "rock/empty.wav", "rock/as empty.wav", "gamelan/notes.txt")
    (tmp_path / "Electronica").mkdir()
    for name, data in {"a": b"one" * 50_000, "b": b"two" * 50_000, "c": b"one" * 50_000, "d": b"one" * 49_999}.items():
        (tmp_path / f"rock/{name}.wav").write_bytes(data)
    (tmp_path / "rock/e.wav").write_bytes(b"one" * 49_999 + b"1" * 3)  # of the same size, with another end
    notes = load_benchmark(f"folder:{tmp_path}", LABELS).notes
    assert "ignored 2 folders without an audio file: Electronica, gamelan" in notes
    assert "did not leave out 1 duplicate file: rock/c.wav = rock/a.wav" in notes


def test_empty_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "rock/a.wav")
    (tmp_path / "rock/b.wav").write_bytes(b"RIFF")
    lines = []
    with pytest.raises(DataError, match=r"has 1 of 2 in all; 1 file of 0 bytes"):
        for line in check_files(load_benchmark(f"folder:{tmp_path}", None)):
            lines.append(line)
    assert "\n1 usable track with 1 label" in lines and "all: 1 file of 0 bytes: rock/a.wav" in lines
    empty = touch(tmp_path / "other", "rock/notes.txt")
    with pytest.raises(DataError, match="no audio file in rock"):
        list(check_files(load_benchmark(f"folder:{empty}", None)))


def test_a_path_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        load_benchmark(str(tmp_path), LABELS)
    assert f"folder:{tmp_path}" in str(raised.value)
    with pytest.raises(RecipeError, match="did you mean 'gtzan'"):
        load_benchmark("gtzann:/data", LABELS)


def test_nothing_left_out_has_no_notes(tmp_path: Path) -> None:
    touch(tmp_path, "rock/a.wav", "electronica/a.wav", "hip hop/a.wav")
    assert load_benchmark(f"folder:{tmp_path}", LABELS).notes == []


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "elsewhere", "a.wav")
    root = touch(tmp_path / "music", "rock/b.wav")
    (root / "hip hop").symlink_to(elsewhere)
    (root / "rock/again").symlink_to(root / "rock")
    assert [track.id for track in load_benchmark(f"folder:{root}", LABELS).tracks] == ["hip hop/a.wav", "rock/b.wav"]


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    (tmp_path / "rock").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/rock/caf\xe9.wav")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses names that are no UTF-8")
    [track] = load_benchmark(f"folder:{tmp_path}", LABELS).tracks
    assert track.id == "rock/caf\ufffd.wav" and track.path.exists()


@pytest.mark.parametrize(
    ("files", "target", "says", "fix"),
    [
        ([], "nowhere", "does not exist", "check the path"),
        (["plain"], "plain", "is no folder", "a folder for each genre"),
        ([], "", "it holds no folder", "Electronica, Hip Hop, Rock"),
        (["a.wav", "b.mp3"], "", "audio files directly in it: 2", "one of the model's labels"),
        (["polka/a.wav"], "", "its folders are polka", "Electronica"),
        (["music/rock/a.wav"], "music/rock", "one level too low", "folder:.*/music$"),
        (["music/rock/a.wav"], "", "is too high", "folder:.*/music$"),
        (["Data/genres_original/rock/a.wav"], "", "is too high", "folder:.*/genres_original$"),
        (["rock/a.txt", "rock/.b.wav"], "", "no audio file in rock", r"\.flac"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, files: list[str], target: str, says: str, fix: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=says) as raised:
        load_benchmark(f"folder:{tmp_path / target}", LABELS)
    assert raised.value.fix is not None
    assert re.search(fix, raised.value.fix)


@pytest.mark.parametrize("spec", ["folder", "folder:", "gtzzan", "gtzzan:/somewhere", "", "Validation"])
def test_specs_that_name_nothing(spec: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_benchmark(spec, LABELS)
    assert "folder:PATH" in str(raised.value)


def test_folders_and_labels_that_yaml_reads_as_other_things(tmp_path: Path) -> None:
    """`no: rock` was a truth value for a key, and `1990: pop` a number: both were refused."""
    names = ["no", "1990", "null", "007", "1e3", "NA", "None", "true", "R&B: soul"]
    touch(tmp_path / "music", *(f"{name}/a.wav" for name in names))
    lines = [f"  {name}: {name}" for name in names[:-1]]
    (tmp_path / "mine.yaml").write_text("\n".join(["map:", *lines, '  "R&B: soul": "R&B: soul"']))
    for spec in (f"folder:{tmp_path / 'music'}", f"folder:{tmp_path / 'music'}?mapping={tmp_path / 'mine.yaml'}"):
        bench = load_benchmark(spec, names)
        assert {track.id: names[track.label] for track in bench.tracks} == {f"{name}/a.wav": name for name in names}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_folder_in_either_form_of_unicode_has_the_labels_spelling(tmp_path: Path, form: str) -> None:
    folder = unicodedata.normalize(form, "Forró")
    touch(tmp_path, f"{folder}/Ágætis.wav")
    for label in (unicodedata.normalize(other, "Forró") for other in ("NFC", "NFD")):
        bench = load_benchmark(f"folder:{tmp_path}", [label])
        assert [track.label for track in bench.tracks] == [0] and bench.notes == []


def test_a_mapping_of_ones_own(tmp_path: Path) -> None:
    touch(tmp_path, "music/Techno/a.wav", "music/Boogie/a.wav", "music/rock/a.wav")
    (tmp_path / "mine.yaml").write_text("map: {techno: electronica, ROCK: rock}\ndrop: {too old: [Boogie]}\n")
    bench = load_benchmark(f"folder:{tmp_path / 'music'}?mapping={tmp_path / 'mine.yaml'}", LABELS)
    assert [(track.id, track.label) for track in bench.tracks] == [("Techno/a.wav", 0), ("rock/a.wav", 2)]
    assert bench.left_out == {"Boogie": 1}
    assert "left out 1 track, too old: Boogie (1)" in bench.notes


def test_a_question_mark_in_a_path_is_no_option(tmp_path: Path) -> None:
    root = touch(tmp_path / "what?", "rock/a.wav")
    assert len(load_benchmark(f"folder:{root}", LABELS).tracks) == 1


def test_a_tempo_model_cannot_be_evaluated_on_labels(tmp_path: Path) -> None:
    touch(tmp_path, "rock/a.wav")
    with pytest.raises(RecipeError, match="not numbers"):
        load_benchmark(f"folder:{tmp_path}", ["tempo_bpm"], "tempo_bpm")


FILES = ("rock/a.wav", "rock/b.wav", "hip hop/c.wav", "stray.wav")
TABLE = "File\tArtist\tnote\nrock/a.wav\tX\t1\n.\\rock\\b.wav\t007\t2\nhip hop/c.wav\t\t3\nstray.wav\tY\t4\n"


def artists(root: Path) -> list[str | None]:
    """Of the tracks c, a, b."""
    return [track.artist for track in load_benchmark(f"folder:{root}", LABELS).tracks]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("SOURCE.tsv", TABLE),
        ("source.TSV", TABLE),
        ("metadata.csv", TABLE.replace("\t", ",").replace("File", "file_name")),
        ("Metadata.csv", TABLE.replace("\t", ";").replace("File", "FILE_NAME")),
        (
            "metadata.jsonl",
            '{"file": "rock/a.wav", "ARTIST": "X"}\n{"file": "rock/b.wav", "artist": "007"}\n{"file": "stray.wav"}\n'
            '{"file_name": "hip hop/c.wav", "artist": null}\n',
        ),
    ],
)
def test_artists_of_a_table_beside_the_audio(tmp_path: Path, name: str, content: str) -> None:
    (touch(tmp_path, *FILES) / name).write_text(content)
    assert artists(tmp_path) == [None, "X", "007"]
    benchmark = load_benchmark(f"folder:{tmp_path}", None)
    assert [row["artist"] for row in benchmark.dataset()] == [None, "X", "007"] and benchmark.notes == []
    (tmp_path / FILES[0]).write_bytes(b"RIFF")
    with pytest.raises(DataError):
        assert "1 track of unknown artist" in list(check_files(benchmark))


def test_a_table_in_a_genre_folder_and_artists_in_either_form_of_unicode(tmp_path: Path) -> None:
    touch(tmp_path, "rock/Mu\u0301m.wav", "rock/b.wav")
    (tmp_path / "rock/metadata.csv").write_text("file,artist\nM\u00fam.wav,M\u00fam\nb.wav,Mu\u0301m\n")
    bench = load_benchmark(f"folder:{tmp_path}", LABELS)
    assert [track.artist for track in bench.tracks] == ["M\u00fam"] * 2
    assert bench.notes == ["2 labels of the model without a track here: Electronica, Hip Hop"]


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        (
            "file,title\nrock/a.wav,x\n",
            [None] * 3,
            "metadata.csv has no column artist: every track counts as an artist",
        ),
        ("file,Album\nrock/a.wav,A\n", [None, "A", None], "has no column artist: each album counts as an artist"),
        (
            "file,artist\nrock/a.wav,X\nrock/no.wav,Y\n",
            [None, "X", None],
            "1 of 2 row(s) of metadata.csv name no file",
        ),
        ("file,artist\nrock/a.wav,X\n", [None, "X", None], "3 of 4 file(s) have no row in metadata.csv: hip hop"),
    ],
)
def test_tables_that_lack_something_are_noted(
    tmp_path: Path, content: str, expected: list[str | None], note: str
) -> None:
    (touch(tmp_path, *FILES) / "metadata.csv").write_text(content)
    assert artists(tmp_path) == expected
    assert any(note in line for line in load_benchmark(f"folder:{tmp_path}", LABELS).notes)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"metadata.csv": b"RIFF\xff\xfe\x00WAVE"}, "metadata.csv.*: not UTF-8 text"),
        ({"SOURCE.tsv": b"artist\ttitle\nX\ty\n"}, "column 'file_name' is missing; its columns are artist, title"),
        ({"SOURCE.tsv": b"file\tFile\tartist\nrock/a.wav\tb\tX\n"}, "column 'file_name' is there twice"),
        ({"SOURCE.tsv": b""}, "SOURCE.tsv: has no header"),
        (
            {"SOURCE.tsv": b"file\tartist\n", "metadata.csv": b"file,artist\n"},
            "SOURCE.tsv, metadata.csv\n  fix: keep one",
        ),
        (
            {"SOURCE.tsv": b"file\tartist\nrock/a.wav\tX\nrock/a.wav\tY\n"},
            "line 3: 'rock/a.wav' has artist 'Y', and 'X'",
        ),
        (
            {"metadata.jsonl": b'{"file": "rock/a.wav", "artist": ["X", "Y"]}'},
            r"line 1: artist is \['X', 'Y'\], not a name",
        ),
        ({"metadata.jsonl": b'{"file": "a", "File": "b"}'}, "line 1: has a key twice: file, File"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, tables: dict[str, bytes], message: str) -> None:
    touch(tmp_path, *FILES)
    for name, content in tables.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_benchmark(f"folder:{tmp_path}", LABELS)
