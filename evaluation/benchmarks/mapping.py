"""From a benchmark's labels to a model's: tables that are data and say what is dropped and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from builder.clip import VOCALS
from builder.errors import RecipeError
from builder.io.safe_files import read_yaml
from builder.io.storage import is_file
from builder.taxonomy import SHIPPED, Taxonomy
from builder.validation import Section, suggest, validate

from .text import listed, normalize_label, printable

TABLES = Path(__file__).with_name("mappings")
VOCABULARIES = {  # what the shipped tables map to, narrow first, and the task whose labels these are
    "paper": "genre",
    "gtzan": "genre",
    "vocals": "vocals",
    "moods": "mood",
    "instruments": "instruments",
}
BY_NAME = "by name"
OTHERWISE = "as no label of the model bears their name"


class Table(Section):
    """A way from one set of labels to another."""

    map: dict[str, str]  # label of the benchmark -> label of the model
    drop: dict[str, list[str]] = {}  # why -> labels of the benchmark that are left out
    otherwise: str = OTHERWISE  # why all others are


class _Shipped(Section):
    labels: str  # whose labels these are
    targets: dict[str, Table]  # vocabulary -> how its words are reached


@dataclass(frozen=True, slots=True)
class Mapping:
    """How each label of a benchmark is told in a model's labels."""

    name: str  # where it comes from, as a note tells it
    map: dict[str, str]  # label of the benchmark -> label of the model, both as they are spelt there
    why: dict[str, str] = field(default_factory=dict)  # label of the benchmark -> why it is left out
    otherwise: str = OTHERWISE

    def reason(self, label: str) -> str:
        """Why a label is left out."""
        return self.why.get(label, self.otherwise)

    def __str__(self) -> str:
        backwards: dict[str, list[str]] = {}
        for label, target in self.map.items():
            backwards.setdefault(target, []).append(label)
        return "; ".join(f"{target} is {listed(names, 6)}" for target, names in backwards.items())


def find_mapping(tables: Sequence[str], own: Sequence[str], labels: Sequence[str], file: str | None = None) -> Mapping:
    """The mapping from a benchmark's `own` labels to a model's.

    `file` is a person's own table, or the name of a shipped one. Without it: the first of the shipped `tables` that
    speaks about a vocabulary which holds all of the model's labels; else labels of one name are one.
    Raises RecipeError for a file with labels that there are not.
    """
    if file is not None:
        return _own(file, own, labels)
    wanted = {normalize_label(label) for label in labels}
    for name in tables:
        targets = shipped(name)
        for vocabulary in VOCABULARIES:
            if vocabulary in targets and wanted <= words(vocabulary):
                return _fit(targets[vocabulary], f"by the shipped table {name}, {vocabulary}", own, labels)
    known = {normalize_label(label): label for label in labels}
    return Mapping(BY_NAME, {name: known[normalize_label(name)] for name in own if normalize_label(name) in known})


@cache
def shipped(name: str) -> dict[str, Table]:
    """The shipped tables of one benchmark, by vocabulary; none where there is no such file."""
    path = TABLES / f"{name}.yaml"
    return validate(_Shipped, read_yaml(path, words=True), str(path)).targets if is_file(path) else {}


@cache
def words(vocabulary: str) -> frozenset[str]:
    """The keys of the labels that a vocabulary holds."""
    return frozenset(map(normalize_label, vocabulary_labels(vocabulary)))


def vocabulary_labels(vocabulary: str) -> list[str]:
    """The labels that a vocabulary holds, in its order. Raises RecipeError for one that there is not."""
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
    if not is_file(path) and (targets := shipped(file)):
        wanted = {normalize_label(label) for label in labels}
        for vocabulary, table in targets.items():
            if wanted <= words(vocabulary):
                return _fit(table, f"by the shipped table {file}, {vocabulary}", own, labels)
        raise RecipeError(
            f"the shipped table {file} maps to {', '.join(targets)}, and the model's labels are none of these",
            f"write a file of your own for: {listed(labels)}",
        )
    table = validate(Table, read_yaml(path, words=True), printable(str(path)))
    faults = [*_foreign("map", table.map, own), *_foreign("map", table.map.values(), labels)]
    faults += _foreign("drop", (name for names in table.drop.values() for name in names), own)
    if faults:
        raise RecipeError("\n".join([f"{printable(str(path))}: {len(faults)} fault(s)", *faults]))
    return _fit(table, f"by {printable(str(path))}", own, labels)


def _foreign(key: str, names: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    keys = {normalize_label(name) for name in known}
    for name in names:
        if normalize_label(name) not in keys:
            yield f"  - {key}: there is no label {name!r}{suggest(name, known)}. There are: {listed(known, 20)}"


def _fit(table: Table, name: str, own: Sequence[str], labels: Sequence[str]) -> Mapping:
    """A table in the spelling of both sides; what neither side has is left out of it."""
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
