"""Mappings: every target is in its vocabulary, every source in its benchmark, and a person's own file is checked."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import RecipeError
from builder.taxonomy import Taxonomy
from evaluation.benchmarks import fma, gtzan, nsynth
from evaluation.benchmarks.mapping import TABLES, VOCABULARIES, find_mapping, shipped_tables, vocabulary_keys
from evaluation.benchmarks.text import normalize_label

LISTS = gtzan.LISTS


def tags(file: str) -> list[str]:
    with (LISTS / file).open(encoding="utf-8") as lines:
        return [row["tag"] for row in csv.DictReader(lines)]


OWN = {
    "gtzan": gtzan.GENRES,
    "fma": fma.GENRES,
    "nsynth": nsynth.FAMILIES,
    "magnatagatune": tags("magnatagatune_tags.csv"),
    "jamendo": tags("jamendo_tags.csv"),
}
PAIRS = [(name, target) for name in sorted(OWN) for target in shipped_tables(name)]


def test_there_is_a_test_for_every_table() -> None:
    assert {path.stem for path in TABLES.glob("*.yaml")} == set(OWN)
    assert len(OWN["magnatagatune"]) == 188 and len(OWN["jamendo"]) == 195
    for file in ("magnatagatune_tags.csv", "jamendo_tags.csv"):
        with (LISTS / file).open(encoding="utf-8") as lines:
            assert sum(row["top50"] == "1" for row in csv.DictReader(lines)) == 50


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_every_label_of_a_table_is_known(name: str, target: str) -> None:
    table = shipped_tables(name)[target]
    assert target in VOCABULARIES
    assert {normalize_label(label) for label in table.map.values()} <= vocabulary_keys(target)
    dropped = [label for labels in table.drop.values() for label in labels]
    listed = [*table.map, *dropped]
    assert set(listed) <= set(OWN[name]), set(listed) - set(OWN[name])
    assert len(set(listed)) == len(listed), "a label is mapped and dropped, or dropped twice"


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_every_label_that_is_dropped_has_a_reason(name: str, target: str) -> None:
    vocabulary = sorted(vocabulary_keys(target))
    mapping = find_mapping([name], OWN[name], vocabulary)
    assert mapping.name == f"by the shipped table {name}, {target}"
    for label in OWN[name]:
        assert label in mapping.map or mapping.reason(label).strip()


@pytest.mark.parametrize(("name", "target"), [pair for pair in PAIRS if pair[0] in ("fma", "gtzan", "nsynth")])
def test_small_tables_name_every_label(name: str, target: str) -> None:
    table = shipped_tables(name)[target]
    assert set(OWN[name]) == {*table.map, *(label for labels in table.drop.values() for label in labels)}


def test_a_model_is_recognised_by_its_labels() -> None:
    paper = Taxonomy.load("paper").genre_names
    five = find_mapping(["fma"], fma.GENRES, [name.upper() for name in paper])
    assert five.map == {"Electronic": "ELECTRONICA", "Classical": "ORCHESTRAL", "Pop": "POP", "Rock": "ROCK"}
    two = find_mapping(["fma"], fma.GENRES, ["rock", "electronica"])
    assert two.map == {"Electronic": "electronica", "Rock": "rock"}
    assert find_mapping(["fma"], fma.GENRES, gtzan.GENRES).map["Hip-Hop"] == "hiphop"
    assert find_mapping(["gtzan"], gtzan.GENRES, gtzan.GENRES).map == {name: name for name in gtzan.GENRES}
    own = find_mapping(["fma"], fma.GENRES, ["hip hop", "Soul RnB", "polka"])
    assert own.name == "by name" and own.map == {"Hip-Hop": "hip hop", "Soul-RnB": "Soul RnB"}


@given(
    st.lists(st.sampled_from(sorted({*gtzan.GENRES, *fma.GENRES, "electronica", "samba"})), min_size=1, unique=True)
)
def test_a_mapping_leads_from_the_benchmarks_labels_to_the_models(labels: list[str]) -> None:
    for name, own in OWN.items():
        mapping = find_mapping([name], own, labels)
        assert set(mapping.map) <= set(own) and set(mapping.map.values()) <= set(labels)
        assert all(mapping.reason(label) for label in own)


def test_a_shipped_table_by_its_name() -> None:
    mapping = find_mapping([], ["Electronic", "Hip-Hop", "Samba"], ["electronica", "pop", "rock"], "fma")
    assert mapping.map == {"Electronic": "electronica"} and mapping.reason("Hip-Hop") == "none of the five genres"
    with pytest.raises(RecipeError, match="maps to paper, gtzan"):
        find_mapping([], ["Electronic"], ["samba"], "fma")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("map: {Rock: rok}", "no label 'rok' .did you mean 'rock'"),
        ("map: {Rokc: rock}", "no label 'Rokc' .did you mean 'Rock'"),
        ("map: {Rock: rock}\ndrop: {too old: [Polka]}", "drop: there is no label 'Polka'"),
        ("mapp: {Rock: rock}", "mapp: unknown key"),
        ("map: [Rock]", "map: "),
        ("map: {Rock: rock", "not valid YAML"),
        ("", "expected `key: value` lines"),
    ],
)
def test_a_file_that_cannot_be_meant(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as raised:
        find_mapping(["fma"], fma.GENRES, ["rock", "pop"], str(file))
    assert re.search(says, str(raised.value)) and "mine.yaml" in str(raised.value)
