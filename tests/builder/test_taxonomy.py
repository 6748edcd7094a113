from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from builder.errors import RecipeError
from builder.io.safe_files import read_yaml
from builder.taxonomy import SHIPPED, Genre, Taxonomy

NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml") if path.stem != "common")
GENRES = [pytest.param(name, genre, id=f"{name}-{genre}") for name in NAMES for genre in Taxonomy.load(name).genres]

BLOCK = {
    "name": "polka",
    "tag": "Polka",
    "subgenres": {
        "Bohemian polka": {
            "tempo": [108, 132],
            "instruments": ["accordion", "tuba", "clarinet"],
            "words": ["an oom-pah pulse", "a hopping two-four lilt"],
        }
    },
    "instruments": ["accordion", "tuba", "clarinet"],
    "moods": ["joyful"],
    "productions": ["a dry room sound", "a wide stereo image", "a warm, woody tone"],
    "scenes": ["a beer tent", "a village wedding", "a country fair"],
}


def write(folder: Path, **changes: object) -> Path:
    """A taxonomy of one inline genre, with changes to its block."""
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "genres": ["rock", BLOCK | changes]}), encoding="utf-8")
    return file


def test_the_two_papers_genres() -> None:
    assert Taxonomy.load("paper").genre_names == ["electronica", "funk", "orchestral", "pop", "rock"]
    assert Taxonomy.load("gtzan").genre_names == (
        "blues classical country disco hiphop jazz metal pop reggae rock".split()  # noqa: SIM905
    )
    assert Taxonomy.load("gtzan").genres["hiphop"].tag == "Hip-Hop"


@pytest.mark.parametrize(("taxonomy", "name"), GENRES)
def test_a_shipped_genre_is_rich(taxonomy: str, name: str) -> None:
    genre = Taxonomy.load(taxonomy).genres[name]
    assert genre.name == name
    assert len(genre.subgenres) >= 8
    assert len(genre.instruments) >= 12
    assert len(genre.moods) >= 8
    assert len(genre.productions) >= 10
    assert len(genre.scenes) >= 10
    for subgenre in genre.subgenres.values():
        assert 3 <= len(subgenre.instruments) <= 8
        assert len(subgenre.words) >= 4
        assert subgenre.tempo[0] < subgenre.tempo[1]


@pytest.mark.parametrize(("taxonomy", "name"), GENRES)
def test_everything_a_shipped_genre_lists_is_used(taxonomy: str, name: str) -> None:
    genre = Taxonomy.load(taxonomy).genres[name]
    subgenres = genre.subgenres.values()
    assert {name for subgenre in subgenres for name in subgenre.instruments} == set(genre.instruments)
    assert {mood for subgenre in subgenres for mood in subgenre.moods or genre.moods} == set(genre.moods)


@pytest.mark.parametrize(("taxonomy", "name"), GENRES)
def test_shipped_words_leave_instruments_vocals_and_mode_to_the_labels(taxonomy: str, name: str) -> None:
    loaded = Taxonomy.load(taxonomy)
    genre = loaded.genres[name]
    heads = {
        word for instrument in loaded.instruments for word in (instrument.lower(), instrument.lower().split()[-1])
    }
    heads |= {head.removesuffix("s") for head in heads} - {"bas", "bras", "section", "box"}
    others = ("horn", "sax", "synth", "kick", "snare", "hi-hat", "cymbal", "vocal", "voice", "singer", "sung", "choir")
    barred = re.compile(rf"\b({'|'.join(map(re.escape, sorted(heads - {'section', 'box'} | set(others))))})s?\b")
    for phrase in phrases(genre):
        assert not barred.search(phrase.lower()), phrase
        assert not re.search(r"\b(major|minor)\b(?!-(third|sixth|seventh|ninth))", phrase), phrase


@pytest.mark.parametrize(("taxonomy", "name"), GENRES)
def test_shipped_moods_do_not_repeat_the_sub_genre(taxonomy: str, name: str) -> None:
    genre = Taxonomy.load(taxonomy).genres[name]
    for title, subgenre in genre.subgenres.items():
        assert not {mood[:5] for mood in subgenre.moods or genre.moods} & {word[:5] for word in title.split()}


def phrases(genre: Genre) -> list[str]:
    words = [phrase for subgenre in genre.subgenres.values() for phrase in subgenre.words]
    return [*words, *genre.productions, *genre.scenes]


def test_label_names_are_sorted_unions() -> None:
    taxonomy = Taxonomy.load("gtzan")
    assert taxonomy.mood_names == sorted(set(taxonomy.mood_names)) == sorted(taxonomy.moods)
    assert taxonomy.instrument_names == sorted(set(taxonomy.instrument_names)) == sorted(taxonomy.instruments)


def test_no_line_of_the_tables_is_idle() -> None:
    common = read_yaml(SHIPPED / "common.yaml")
    used = [Taxonomy.load(name) for name in NAMES]
    assert {name for taxonomy in used for name in taxonomy.instruments} == set(common["instruments"])
    assert {name for taxonomy in used for name in taxonomy.moods} == set(common["moods"])


def test_a_users_file_mixes_shipped_and_inline_genres_and_adds_to_the_tables(tmp_path: Path) -> None:
    extra = {
        "name": "mine",
        "instruments": {"zither": {"roles": ["lead", "chords"], "program": 107}},
        "moods": {"giddy": {"mode": "major", "density": 1}},
        "genres": ["jazz", BLOCK | {"instruments": ["accordion", "tuba", "clarinet", "zither"], "moods": ["giddy"]}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(extra), encoding="utf-8")
    taxonomy = Taxonomy.load("mine.yaml", tmp_path)
    assert taxonomy.genre_names == ["jazz", "polka"]
    assert taxonomy.instruments["zither"].program == 107
    assert "giddy" in taxonomy.mood_names
    assert "distorted guitar" not in taxonomy.instruments  # no genre of it plays one


def test_voices_are_known_by_their_program() -> None:
    instruments = Taxonomy.load("paper").instruments
    assert {name for name, item in instruments.items() if item.is_voice} == {"wordless choir", "synth choir"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instruments": ["acordion", "tuba", "clarinet"]}, "'acordion' is not in the table of instruments"),
        ({"instruments": ["acordion", "tuba", "clarinet"]}, "did you mean 'accordion'?"),
        ({"instruments": ["piano", "tuba", "clarinet"]}, "'accordion' is not in the genre's instruments"),
        ({"moods": ["joyfull"]}, "did you mean 'joyful'?"),
        ({"moods": []}, "moods: expected at least 1"),
        ({"scenes": ["a tent", "a tent", "a fair"]}, "scenes: 'a tent' is there twice"),
        ({"scenes": ["a tent", "a {thing}", "a fair"]}, "scenes.1: expected words"),
        ({"productions": ["a dry room.", "a b", "c d"]}, "productions.0: expected words"),
        ({"subgenres": {}}, "subgenres: expected at least 1"),
        ({"tempi": [1, 2]}, "tempi: unknown key"),
        ({"name": "rock"}, "genre 'rock' is there twice"),
        ({"tag": "rock"}, "tag 'rock' belongs to two genres"),
        ({"name": "Polka Music"}, "name: expected lower-case letters"),
        (
            {"subgenres": {"x": BLOCK["subgenres"]["Bohemian polka"] | {"tempo": [140, 120]}}},
            "tempo must be [low, high]",
        ),  # type: ignore[index]
        (
            {"subgenres": {"x": BLOCK["subgenres"]["Bohemian polka"] | {"moods": ["dark"]}}},
            "'dark' is not in the genre's",
        ),  # type: ignore[index]
    ],
)
def test_a_fault_is_reported(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        Taxonomy.load(write(tmp_path, **changes))
    assert words in error.value.message
    assert "mine.yaml" in error.value.message


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    genres = ["rok", BLOCK | {"moods": ["glad"]}, {"name": "x"}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "genres": genres}), encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        Taxonomy.load("mine.yaml", tmp_path)
    for words in ("unknown genre 'rok' (did you mean 'rock'?)", "Shipped: blues", "'glad'", "genres.2: tag: missing"):
        assert words in error.value.message


@pytest.mark.parametrize("name", ["gtzen", "../nowhere.yaml", "."])
def test_the_error_for_a_missing_taxonomy_lists_the_shipped_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="use one of gtzan, paper"):
        Taxonomy.load(name, tmp_path)


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "name: [", "name: x\ngenres: rock\n", "name: x\ngenres: []\n", "\x00"]
)
def test_a_file_that_is_no_taxonomy_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"t\.yaml"):
        Taxonomy.load("t.yaml", tmp_path)
