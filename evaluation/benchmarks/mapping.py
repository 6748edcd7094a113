"""Mappings from a benchmark's labels to a model's. Tables are YAML, and say what is left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from builder.clip import VOCALS
from builder.errors import RecipeError
from builder.io.safe_files import read_yaml
from builder.io.storage import is_file
from builder.names import format_count
from builder.taxonomy import SHIPPED, Taxonomy
from builder.validation import Section, suggest, validate

from .text import join_names, normalize_label, printable

TABLES = Path(__file__).with_name("mappings")
VOCABULARIES = {  # targets of the shipped tables, the smallest first, and the task of their labels
    "paper": "genre",
    "gtzan": "genre",
    "vocals": "vocals",
    "moods": "mood",
    "instruments": "instruments",
}
BY_NAME = "by name"
OTHERWISE = "because the model has no such label"


class Table(Section):
    """A mapping from one set of labels to another."""

    map: dict[str, str]  # label of the benchmark -> label of the model
    drop: dict[str, list[str]] = {}  # labels of the benchmark that are left out, by the reason
    otherwise: str = OTHERWISE  # the reason for all others


class _Shipped(Section):
    labels: str  # what the labels are
    targets: dict[str, Table]  # by vocabulary


@dataclass(frozen=True, slots=True)
class Mapping:
    """The mapping from a benchmark's labels to a model's."""

    name: str  # where it comes from, for notes
    map: dict[str, str]  # label of the benchmark -> label of the model, as each spells it
    why: dict[str, str] = field(default_factory=dict)  # label of the benchmark -> the reason why it is left out
    otherwise: str = OTHERWISE

    def reason(self, label: str) -> str:
        """Return the reason why a label is left out."""
        return self.why.get(label, self.otherwise)

    def __str__(self) -> str:
        backwards: dict[str, list[str]] = {}
        for label, target in self.map.items():
            backwards.setdefault(target, []).append(label)
        return "; ".join(f"{target} is {join_names(names, 6)}" for target, names in backwards.items())


def find_mapping(tables: Sequence[str], own: Sequence[str], labels: Sequence[str], file: str | None = None) -> Mapping:
    """Find the mapping from a benchmark's labels to a model's.

    Args:
        tables: Names of shipped tables, in order of preference. The first one with a vocabulary that has all of the
            model's labels is used; without one, labels are mapped by name.
        own: The benchmark's labels.
        labels: The model's labels.
        file: A table of the user's, or the name of a shipped one, that is used instead.

    Raises:
        RecipeError: The file has unknown labels.
    """
    if file is not None:
        return _own(file, own, labels)
    wanted = {normalize_label(label) for label in labels}
    for name in tables:
        targets = shipped_tables(name)
        for vocabulary in VOCABULARIES:
            if vocabulary in targets and wanted <= vocabulary_keys(vocabulary):
                return _fit(targets[vocabulary], f"by the shipped table {name}, {vocabulary}", own, labels)
    known = {normalize_label(label): label for label in labels}
    return Mapping(BY_NAME, {name: known[normalize_label(name)] for name in own if normalize_label(name) in known})


@cache
def shipped_tables(name: str) -> dict[str, Table]:
    """Return the shipped tables of one benchmark by vocabulary; none where there is no file."""
    path = TABLES / f"{name}.yaml"
    return validate(_Shipped, read_yaml(path, words=True), str(path)).targets if is_file(path) else {}


@cache
def vocabulary_keys(vocabulary: str) -> frozenset[str]:
    """Return the normalised labels of a vocabulary."""
    return frozenset(map(normalize_label, vocabulary_labels(vocabulary)))


def vocabulary_labels(vocabulary: str) -> list[str]:
    """Return the labels of a vocabulary, in order. Raises RecipeError for an unknown vocabulary."""
    if vocabulary not in VOCABULARIES:
        raise RecipeError(
            f"there is no vocabulary {vocabulary!r}{suggest(vocabulary, VOCABULARIES)}",
            f"use one of: {', '.join(VOCABULARIES)}",
        )
    if vocabulary == "vocals":
        return list(VOCALS)
    if vocabulary in ("moods", "instruments"):
        return list(read_yaml(SHIPPED / "common.yaml")[vocabulary])
    return Taxonomy.load(vocabulary).genre_names


def _own(file: str, own: Sequence[str], labels: Sequence[str]) -> Mapping:
    path = Path(file).expanduser()
    if not is_file(path) and (targets := shipped_tables(file)):
        wanted = {normalize_label(label) for label in labels}
        for vocabulary, table in targets.items():
            if wanted <= vocabulary_keys(vocabulary):
                return _fit(table, f"by the shipped table {file}, {vocabulary}", own, labels)
        raise RecipeError(
            f"the shipped table {file} maps to {', '.join(targets)}, and not to the model's labels",
            f"write your own file for: {join_names(labels)}",
        )
    table = validate(Table, read_yaml(path, words=True), printable(str(path)))
    faults = [*_foreign("map", table.map, own), *_foreign("map", table.map.values(), labels)]
    faults += _foreign("drop", (name for names in table.drop.values() for name in names), own)
    if faults:
        raise RecipeError("\n".join([f"{printable(str(path))}: {format_count(len(faults), 'problem')}", *faults]))
    return _fit(table, f"by {printable(str(path))}", own, labels)


def _foreign(key: str, names: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    keys = {normalize_label(name) for name in known}
    for name in names:
        if normalize_label(name) not in keys:
            yield f"  - {key}: there is no label {name!r}{suggest(name, known)}. There are: {join_names(known, 20)}"


def _fit(table: Table, name: str, own: Sequence[str], labels: Sequence[str]) -> Mapping:
    """Spell a table as both sides do, without labels that they do not have."""
    spelt = {normalize_label(label): label for label in own}
    known = {normalize_label(label): label for label in labels}
    return Mapping(
        name,
        {
            spelt[normalize_label(label)]: known[normalize_label(target)]
            for label, target in table.map.items()
            if normalize_label(label) in spelt and normalize_label(target) in known
        },
        {
            spelt[normalize_label(label)]: why
            for why, names in table.drop.items()
            for label in names
            if normalize_label(label) in spelt
        },
        table.otherwise,
    )
