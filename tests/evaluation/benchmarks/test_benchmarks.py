"""Every benchmark on a miniature in its exact on-disk format: layouts, splits, labels, counts, every known fault."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.audio import load_audio
from builder.errors import DataError, RecipeError
from builder.taxonomy import Taxonomy
from evaluation.benchmarks.base import Benchmark, load_benchmark
from evaluation.benchmarks.gtzan import GENRES, LISTS
from evaluation.benchmarks.spec import Spec

from . import miniatures

PAPER = Taxonomy.load("paper").genre_names


def held(bench: Benchmark) -> set[object]:
    return {track.label for track in bench.tracks}


# GTZAN


@pytest.mark.parametrize("layout", ["archive", "kaggle", "flat"])
def test_gtzan_in_each_layout(tmp_path: Path, layout: str) -> None:
    bench = load_benchmark(f"gtzan:{miniatures.gtzan(tmp_path, layout)}", GENRES)
    assert len(bench.tracks) == 20 and held(bench) == set(range(10))
    join_names = pd.read_csv(LISTS / "gtzan_fault_filtered.csv").set_index("track")["split"]
    for track in bench.tracks:
        assert join_names[track.id] == track.split == "test"
        assert GENRES[int(track.label)] == track.id.split(".")[0]  # type: ignore[arg-type]
        assert len(load_audio(track.path, 22_050)) == 6_615  # type: ignore[arg-type]
    assert bench.left_out == {} and [track.id for track in bench.tracks] == sorted(track.id for track in bench.tracks)


def test_gtzans_lists_are_the_published_ones(tmp_path: Path) -> None:
    root = miniatures.gtzan(tmp_path)
    filtered = load_benchmark(f"gtzan:{root}", None)
    assert filtered.published_sizes == {"train": 443, "validation": 197, "test": 290}
    table = pd.read_csv(LISTS / "gtzan_fault_filtered.csv")
    test = table[table["split"] == "test"]["track"].str.partition(".")[0].value_counts().to_dict()
    assert test == {"blues": 31, "classical": 31, "country": 30, "disco": 29, "hiphop": 27, "jazz": 27, "metal": 27,
                    "pop": 30, "reggae": 26, "rock": 32}  # fmt: skip
    folds = [load_benchmark(f"gtzan@fold{fold}:{root}", None).published_sizes for fold in (1, 2, 3)]
    assert [fold["test"] for fold in folds] == [315, 316, 317]
    assert all(sum(fold.values()) == 948 for fold in folds)
    assert load_benchmark(f"gtzan@all:{root}", None).published_sizes == {"all": 1000}


def test_gtzans_folds_share_no_artist(tmp_path: Path) -> None:
    data = load_benchmark(f"gtzan@fold2:{miniatures.gtzan(tmp_path)}", None).dataset()
    by_split = {part: {row["artist"] for row in data if row["split"] == part} for part in ("train", "test")}
    assert all(by_split.values()) and not by_split["train"] & by_split["test"]


def test_the_unreadable_track_of_gtzan(tmp_path: Path) -> None:
    kaggle = load_benchmark(f"gtzan:{miniatures.gtzan(tmp_path / 'kaggle', 'kaggle')}?split=train", GENRES)
    archive = load_benchmark(f"gtzan:{miniatures.gtzan(tmp_path / 'archive')}?split=train", GENRES)
    assert "jazz.00054" in {track.id for track in archive.tracks}
    assert {track.id for track in archive.tracks} - {track.id for track in kaggle.tracks} == {"jazz.00054"}
    assert "left out 1 track, unreadable in many copies: jazz.00054" in kaggle.notes
    assert {count.split: count.known_faulty for count in kaggle.check()} == {"train": 1, "validation": 0, "test": 0}


def test_missing_duplicate_and_unknown_files_of_gtzan(tmp_path: Path) -> None:
    root = miniatures.gtzan(tmp_path, "kaggle")
    genres = root / "Data/genres_original"
    tracks = [track.id for track in load_benchmark(f"gtzan:{root}", GENRES).tracks]
    shutil.copy(genres / f"rock/{tracks[-1]}.wav", genres / f"rock/{tracks[-1]}.au")
    shutil.copy(genres / f"rock/{tracks[-1]}.wav", genres / "rock/my own song.wav")
    (genres / f"blues/{tracks[0]}.wav").unlink()
    bench = load_benchmark(f"gtzan:{root}", GENRES)
    assert [track.id for track in bench.tracks] == tracks[1:]
    assert bench.tracks[-1].path is not None and bench.tracks[-1].path.suffix == ".wav"
    assert f"left out 1 track whose id is in the lists twice: {tracks[-1]}" in bench.notes
    assert "ignored 1 audio file that no list names: my own song.wav" in bench.notes
    assert any(note.startswith("left out 271 tracks whose audio is not on disk: ") for note in bench.notes)


@pytest.mark.parametrize(
    ("layout", "inner"),
    [
        ("archive", "genres"),
        ("archive", "genres/blues"),
        ("kaggle", ""),
        ("kaggle", "Data"),
        ("kaggle", "Data/genres_original/jazz"),
    ],
)
def test_gtzan_a_level_too_high_or_too_low(tmp_path: Path, layout: str, inner: str) -> None:
    root = miniatures.gtzan(tmp_path / "gtzan", layout)
    assert len(load_benchmark(f"gtzan:{root / inner}", GENRES).tracks) == 20


def test_five_genres_on_gtzan(tmp_path: Path) -> None:
    bench = load_benchmark(f"gtzan:{miniatures.gtzan(tmp_path)}", PAPER)
    assert {PAPER[label] for label in held(bench)} == {"orchestral", "pop", "rock"}  # type: ignore[call-overload]
    assert bench.left_out == dict.fromkeys(["blues", "country", "disco", "hiphop", "jazz", "metal", "reggae"], 2)
    assert "left out 10 tracks, none of the five genres: blues (2), country (2), hiphop (2), jazz (2), reggae (2)" in (
        bench.notes
    )
    assert "2 labels of the model without a track here: electronica, funk" in bench.notes
    mapped = "labels are mapped by the shipped table gtzan, paper: orchestral is classical; pop is pop; rock is rock"
    assert mapped in (bench.notes)


@pytest.mark.parametrize(("labels", "options", "same"), [(GENRES, "", 9), (PAPER, "", 0), (GENRES, "?split=train", 0)])
def test_figures_of_others_are_like_ours_for_the_same_labels_and_part_alone(
    tmp_path: Path, labels: list[str], options: str, same: int
) -> None:
    figures = load_benchmark(f"gtzan:{miniatures.gtzan(tmp_path)}{options}", labels).published
    assert len(figures) == 13 and sum(figure["same_protocol"] for figure in figures) == same
    assert all(figure["note"] for figure in figures if not figure["same_protocol"])


# FMA


def test_fma_small(tmp_path: Path) -> None:
    bench = load_benchmark(f"fma:{miniatures.fma(tmp_path)}", PAPER)
    assert [(track.id, PAPER[int(track.label)], track.artist) for track in bench.tracks] == [  # type: ignore[arg-type]
        ("100003", "electronica", "43"), ("100004", "electronica", "44"), ("100063", "pop", "73"),
        ("100064", "pop", "74"), ("100073", "rock", "78"), ("100074", "rock", "79"),
    ]  # fmt: skip
    assert bench.left_out == dict.fromkeys(["Experimental", "Folk", "Hip-Hop", "Instrumental", "International"], 2)
    assert "left out 1 track, no audio in the archive: 099134" in bench.notes
    assert "left out 4 tracks, no genre of its own: Experimental (2), Instrumental (2)" in bench.notes
    assert bench.part_sizes == {"train": 6400, "validation": 800, "test": 800}
    assert [(count.split, count.on_disk, count.known_faulty) for count in bench.check()] == [
        ("train", 16, 1), ("validation", 8, 0), ("test", 16, 1),
    ]  # fmt: skip
    assert "Jazz" not in bench.own_labels and len(bench.own_labels) == 8


@pytest.mark.parametrize(("size", "count"), [("small", 40), ("medium", 42), ("large", 42)])
def test_fmas_subsets_are_nested(tmp_path: Path, size: str, count: int) -> None:
    root = miniatures.fma(tmp_path, size)
    bench = load_benchmark(f"fma:{root}", None)
    assert bench.variant == size and len(bench.dataset()) == count
    assert [len(load_benchmark(f"fma@small:{root}", None).part_recordings(part).usable) for part in bench.parts] == [
        16,
        8,
        16,
    ]
    assert load_benchmark(f"fma@{size}:{root}", None).published_sizes == bench.published_sizes


def test_fma_large_has_tracks_without_a_genre(tmp_path: Path) -> None:
    bench = load_benchmark(f"fma:{miniatures.fma(tmp_path, 'large')}", Taxonomy.load("gtzan").genre_names)
    assert "left out 1 track without a label: 000005" in bench.notes
    assert len(bench.own_labels) == 16 and sum(count.on_disk for count in bench.check()) == 43


def test_fmas_sizes_are_those_published(tmp_path: Path) -> None:
    totals = {}
    for size in ("small", "medium", "large"):
        totals[size] = sum(
            load_benchmark(f"fma:{miniatures.fma(tmp_path / size, size)}", None).published_sizes.values()
        )
    assert totals == {"small": 8_000, "medium": 25_000, "large": 106_574}


def test_fmas_audio_without_ids_and_ids_without_audio(tmp_path: Path) -> None:
    root = miniatures.fma(tmp_path)
    (root / "fma_small/100/100074.mp3").rename(root / "fma_small/100/100999.mp3")
    bench = load_benchmark(f"fma:{root}", PAPER)
    assert len(bench.tracks) == 5
    assert "left out 1 track whose audio is not on disk: 100074" in bench.notes
    assert "ignored 1 audio file that no list names: 100999" in bench.notes


@pytest.mark.parametrize("inner", ["", "fma_small", "fma_metadata"])
def test_fma_a_level_too_low(tmp_path: Path, inner: str) -> None:
    assert len(load_benchmark(f"fma:{miniatures.fma(tmp_path) / inner}", PAPER).tracks) == 6
    assert len(load_benchmark(f"fma:{tmp_path.parent / tmp_path.name}", PAPER).tracks) == 6


def test_fma_with_a_table_of_other_columns(tmp_path: Path) -> None:
    root = miniatures.fma(tmp_path)
    miniatures.put(root / "fma_metadata/tracks.csv", ",track\n,genre_top\ntrack_id,\n2,Rock\n")
    with pytest.raises(DataError, match="has no column 'set split'"):
        load_benchmark(f"fma:{root}", PAPER)


# MagnaTagATune


def test_magnatagatune(tmp_path: Path) -> None:
    root = miniatures.magnatagatune(tmp_path)
    bench = load_benchmark(f"magnatagatune:{root}", None)
    tags = bench.own_labels
    assert len(tags) == 50 and {"no vocals", "female vocal", "new age", "techno"} <= set(tags)
    assert [(count.split, count.on_disk, count.known_faulty) for count in bench.check()] == [
        ("train", 36, 1), ("validation", 3, 0), ("test", 10, 0),
    ]  # fmt: skip
    default_part = load_benchmark(f"magnatagatune:{root}", tags, "labels")
    assert default_part.problem == "multi_label_classification" and default_part.covered == tuple(range(50))
    by_id = {track.id: {tags[label] for label in track.label} for track in default_part.tracks}  # type: ignore[union-attr]
    assert by_id["13"] == {"rock", "guitar", "no vocals"} and by_id["213"] == {"classical", "new age"}
    assert "300" not in by_id and "301" not in by_id  # without a tag; with one that is not of the fifty
    assert {track.artist for track in default_part.tracks} >= {"the_d_band", "quartet_f", "both"}
    assert len(load_benchmark(f"magnatagatune@all:{root}", None).own_labels) == 188


def test_one_genre_of_many_tags(tmp_path: Path) -> None:
    bench = load_benchmark(f"magnatagatune:{miniatures.magnatagatune(tmp_path)}", PAPER)
    assert bench.problem == "single_label_classification"
    assert {PAPER[label] for label in held(bench)} == {"electronica", "rock"}  # type: ignore[call-overload]
    assert "left out 1 track with several of the model's labels" in bench.notes
    assert bench.left_out["classical"] == 3 and "harpsicord" not in bench.left_out
    assert any("solo and chamber music more than orchestral: classical (3)" in note for note in bench.notes)


def test_voices_in_magnatagatune(tmp_path: Path) -> None:
    labels = ["instrumental", "with-vocals"]
    bench = load_benchmark(f"magnatagatune:{miniatures.magnatagatune(tmp_path)}", labels, "vocals")
    assert {track.id: track.label for track in bench.tracks if track.id in ("13", "113")} == {"13": 0, "113": 1}


def test_magnatagatune_with_commas_for_tabs(tmp_path: Path) -> None:
    root = miniatures.magnatagatune(tmp_path)
    table = root / "annotations_final.csv"
    table.write_text(table.read_text().replace("\t", ","))
    with pytest.raises(DataError, match=r"has no column 'clip_id'.*tabs"):
        load_benchmark(f"magnatagatune:{root}", PAPER)


# MTG-Jamendo


@pytest.mark.parametrize("low", [False, True])
def test_jamendo(tmp_path: Path, low: bool) -> None:
    bench = load_benchmark(f"jamendo:{miniatures.jamendo(tmp_path, low)}", PAPER)
    assert bench.variant == "genre-split0"
    assert [(track.id, PAPER[int(track.label)], track.artist) for track in bench.tracks] == [  # type: ignore[arg-type]
        ("track_0002316", "rock", "artist_000040"), ("track_0002417", "electronica", "artist_000041"),
    ]  # fmt: skip
    assert bench.tracks[0].path is not None and bench.tracks[0].path.name == ("2316.low.mp3" if low else "2316.mp3")
    assert bench.left_out == {"jazz": 1}
    assert "left out 1 track with several of the model's labels" in bench.notes
    assert bench.published_sizes == {"train": 32_572, "validation": 11_043, "test": 11_479}


@pytest.mark.parametrize(
    ("task", "labels", "variant", "tracks"),
    [
        ("mood", ["dark", "joyful", "melancholic"], "moodtheme", {"2316": 0, "2417": 1, "2619": 2}),
        (
            "instruments",
            ["flute", "piano", "violin"],
            "instrument",
            {"2316": (1,), "2417": (0,), "2518": (), "2619": (2,)},
        ),
    ],
)
def test_jamendos_other_tags(
    tmp_path: Path, task: str, labels: list[str], variant: str, tracks: dict[str, object]
) -> None:
    bench = load_benchmark(f"jamendo:{miniatures.jamendo(tmp_path)}", labels, task)
    assert bench.variant == f"{variant}-split0"
    assert {track.id[-4:]: track.label for track in bench.tracks} == tracks
    if task == "instruments":
        assert bench.left_out == {"guitar": 1} and bench.covered == (0, 1, 2)
        assert any("left out 1 label, which may be any of several" in note for note in bench.notes)


@pytest.mark.parametrize("number", range(5))
def test_jamendos_splits(tmp_path: Path, number: int) -> None:
    root = miniatures.jamendo(tmp_path)
    bench = load_benchmark(f"jamendo@top50-split{number}:{root}", None)
    assert {row["artist"] for row in bench.dataset() if row["id"] == "track_0000948"} == {f"artist_{20 + number:06d}"}
    assert bench.own_labels == sorted(
        {tag.split("---")[1] for rows in miniatures.JAMENDO.values() for *_, tags in rows for tag in tags}
    )
    assert load_benchmark(f"jamendo@split{number}:{root}", None).variant == f"genre-split{number}"
    assert bench.part_sizes == ({"train": 32_136, "validation": 10_888, "test": 11_356} if number == 0 else
                            {"train": 2, "validation": 1, "test": 4})  # fmt: skip


def test_a_list_of_jamendo_that_is_torn(tmp_path: Path) -> None:
    root = miniatures.jamendo(tmp_path)
    file = root / "data/splits/split-0/autotagging_genre-test.tsv"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"autotagging_genre-test\.tsv, line \d: has \d fields"):
        load_benchmark(f"jamendo:{root}", PAPER)


# NSynth


def test_nsynth(tmp_path: Path) -> None:
    root = miniatures.nsynth(tmp_path)
    bench = load_benchmark(f"nsynth:{root}", ["flute", "guitar"], "instrument")
    assert [(track.id[:5], track.label) for track in bench.tracks] == [("flute", 0)] * 2 + [("guita", 1)] * 2
    assert {track.artist for track in bench.tracks} == {"flute_acoustic_002", "guitar_acoustic_003"}
    assert [(count.split, count.published, count.on_disk) for count in bench.check()] == [
        ("train", 289_205, 9), ("validation", 12_678, 2), ("test", 4_096, 4),
    ]  # fmt: skip
    many = load_benchmark(f"nsynth:{root}", ["acoustic guitar", "flute"], "instruments")
    assert [track.label for track in many.tracks] == [(1,), (1,)] and many.covered == (1,)
    assert many.left_out == {"guitar": 2}


def test_one_part_of_nsynth_is_enough(tmp_path: Path) -> None:
    root = miniatures.nsynth(tmp_path)
    shutil.rmtree(root / "nsynth-train")
    (root / "nsynth-test/audio/flute_acoustic_002-060-100.wav").unlink()
    miniatures.put(root / "nsynth-test/audio/other.wav", miniatures.sound("wav", 16_000))
    bench = load_benchmark(f"nsynth:{root / 'nsynth-test'}", ["flute", "guitar"])
    assert len(bench.tracks) == 3
    assert "ignored 1 audio file that no list names: other" in bench.notes
    assert [count.on_disk for count in bench.check()] == [0, 2, 3]
    with pytest.raises(DataError, match=r"nsynth-train/examples.json"):
        load_benchmark(f"nsynth:{root}?split=train", ["flute", "guitar"])


def test_a_broken_list_of_nsynth(tmp_path: Path) -> None:
    root = miniatures.nsynth(tmp_path)
    (root / "nsynth-test/examples.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        load_benchmark(f"nsynth:{root}", ["flute", "guitar"])


# What is wrong with a path, a spec or a mapping


@pytest.mark.parametrize(
    ("spec", "archive", "fix"),
    [
        ("gtzan", "genres.tar.gz", r"tar xf genres\.tar\.gz"),
        ("gtzan", "archive.zip", r"unzip archive\.zip"),
        ("fma", "fma_metadata.zip", r"unzip fma_metadata\.zip"),
        ("magnatagatune", "annotations_final.csv.zip", "unzip"),
        ("nsynth", "nsynth-test.jsonwav.tar.gz", "tar xf nsynth-test"),
    ],
)
def test_an_archive_that_nobody_unpacked(tmp_path: Path, spec: str, archive: str, fix: str) -> None:
    file = miniatures.put(tmp_path / "downloads" / archive, "archive")
    for path in (file.parent, tmp_path):
        with pytest.raises(DataError, match=f"{archive} is not unpacked") as raised:
            load_benchmark(f"{spec}:{path}", PAPER)
        assert re.search(fix, str(raised.value.fix))
    with pytest.raises(DataError, match=r"is an archive|is no folder"):
        load_benchmark(f"{spec}:{file}", PAPER)


@pytest.mark.parametrize(
    ("make", "lost", "archive", "says"),
    [
        (miniatures.fma, "fma_small", "fma_small.zip", r"fma_small/ with audio, but .*fma_small.zip is not unpacked"),
        (miniatures.fma, "fma_small", "", "fma_small/ with audio; its folders are fma_metadata"),
        (miniatures.fma, "fma_metadata", "", "holds no fma_metadata/tracks.csv"),
        (miniatures.magnatagatune, "annotations_final.csv", "", "holds no annotations_final.csv"),
        (miniatures.magnatagatune, "[0-9a-f]", "mp3.zip.001", "mp3.zip.001 is not unpacked"),
        (miniatures.jamendo, "data", "", "data/splits/split-0/autotagging_genre-test.tsv"),
        (miniatures.jamendo, "audio", "raw_30s_audio-00.tar", "raw_30s_audio-00.tar is not unpacked"),
        (miniatures.nsynth, "nsynth-*", "", "holds no nsynth-test/examples.json; it holds no folder"),
        (miniatures.gtzan, "genres/*/*", "", "holds no GTZAN track"),
    ],
)
def test_half_of_it_is_missing(
    tmp_path: Path, make: Callable[[Path], Path], lost: str, archive: str, says: str
) -> None:
    root = make(tmp_path / "data")
    for path in root.glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if archive:
        miniatures.put(root / archive, "archive")
    with pytest.raises(DataError, match=says) as raised:
        load_benchmark(f"{make.__name__}:{root}", PAPER)
    assert raised.value.fix


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gtzan", "gtzan:PATH"),
        ("gtzan@fold4:{root}", "no variant 'fold4'.*gtzan@fold1"),
        ("folder@big:{root}", "no variant 'big'"),
        ("jamendo@gener:{root}", "no variant 'gener'"),
        ("gtzan:{root}?splt=train", "no option 'splt'.*did you mean 'split'"),
        ("gtzan:{root}?split=dev", "no part 'dev'.*train, validation, test, all"),
        ("gtzan:{root}?split=", "option split is empty"),
        ("gtzan:{root}?split=test&split=train", "split is given twice"),
        ("gtzan:{root}?mapping={root}/none.yaml", "none.yaml"),
    ],
)
def test_invalid_specs(tmp_path: Path, spec: str, says: str) -> None:
    root = miniatures.gtzan(tmp_path)
    with pytest.raises(RecipeError) as raised:
        load_benchmark(spec.format(root=root), GENRES)
    assert re.search(says, str(raised.value), re.DOTALL)


@pytest.mark.parametrize("labels", [["samba", "tango"], ["rock", "tango"]])
def test_fewer_than_two_labels_after_mapping(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(
        DataError, match=r"of the model's labels .*has tracks here; the benchmark.s labels are blues"
    ) as raised:
        load_benchmark(f"gtzan:{miniatures.gtzan(tmp_path)}", labels)
    assert "mapping=FILE" in str(raised.value.fix)


@given(
    st.sampled_from(["gtzan", "hub"]),
    st.from_regex(r"[a-z0-9-]{0,8}", fullmatch=True),
    st.text(st.characters(blacklist_characters="?", blacklist_categories=["Cs"])),
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(st.characters(blacklist_categories=["Cs"])), max_size=3
    ),
)
def test_a_spec_is_taken_apart_as_it_was_put_together(
    name: str, variant: str, target: str, options: dict[str, str]
) -> None:
    query = "&".join(f"{key}={quote_plus(value)}" for key, value in options.items())
    text = f"{name}{'@' if variant else ''}{variant}:{target}{'?' if query else ''}{query}"
    assert Spec.parse(text) == Spec(text, name, variant, target, options)


def test_all_parts_can_be_evaluated_together(tmp_path: Path) -> None:
    root = miniatures.gtzan(tmp_path)
    assert len(load_benchmark(f"gtzan:{root}?split=all", GENRES).tracks) == 61
    assert len(load_benchmark(f"gtzan@all:{root}", GENRES).tracks) == len(miniatures.gtzan_tracks())
