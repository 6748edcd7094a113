"""What a benchmark is, and which ones there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from builder.errors import DataError, RecipeError
from builder.io.storage import path_exists
from builder.registry import Registry
from builder.validation import suggest

from .files import must_be_folder
from .label_selection import Selection, account_for, as_numbers, covered_labels, pair, relabel, too_few
from .mapping import Mapping, find_mapping
from .published import Published, published
from .recordings import SplitRecordings
from .spec import Spec
from .table import recordings_to_dataset
from .text import listed, normalize_label, printable
from .track import Label, Problem, Recording, Track

if TYPE_CHECKING:
    from datasets import Dataset

_HERE = "evaluation.benchmarks"
BENCHMARKS = Registry(
    "benchmark",
    folder=f"{_HERE}.folder:Folder",
    gtzan=f"{_HERE}.gtzan:Gtzan",
    fma=f"{_HERE}.fma:Fma",
    magnatagatune=f"{_HERE}.magnatagatune:MagnaTagATune",
    jamendo=f"{_HERE}.jamendo:Jamendo",
    nsynth=f"{_HERE}.nsynth:NSynth",
    hub=f"{_HERE}.hub:Hub",
)
MULTI_TASKS = ("instruments", "tags", "labels")
NUMBER_TASKS = ("tempo", "tempo_bpm")
ALL = "all"  # as an option, `split=all`: every part


@dataclass(frozen=True, slots=True)
class Count:
    """How many tracks a part should have and has."""

    split: str
    declared: int | None  # None: nobody published a number, and the lists tell none
    found: int  # audio files that are there
    known: int  # of those that are missing, the ones known to be damaged
    extra_allowed: int = 0  # so many more may be there; `Benchmark.slack_reason` tells why

    @property
    def differs(self) -> bool:
        """Whether what is on disk is not what was published, known faults aside."""
        if self.declared is None:
            return False
        return not self.declared - self.known <= self.found <= self.declared + self.extra_allowed


class Benchmark(ABC):
    """Labelled recordings as they lie on disk; with a model's labels also the tracks that it is judged on."""

    title: ClassVar[str]
    about: ClassVar[str]
    licence: ClassVar[str] = "unknown"
    citation: ClassVar[str] = ""  # empty where there is nothing to cite
    home: ClassVar[str] = ""  # where the recordings come from
    get: ClassVar[str]  # how to get it, and what the path must hold
    variants: ClassVar[dict[str, str]] = {}  # name -> what it is; the first is the default
    options: ClassVar[tuple[str, ...]] = ("mapping", "split")
    parts: tuple[str, ...] = ("train", "validation", "test")
    judged: str = "test"
    multi: bool = False  # whether a recording can bear several labels
    least: ClassVar[int] = 2  # labels of the model's that must have tracks
    extra_allowed: ClassVar[dict[str, int]] = {}
    extra_reason: ClassVar[str] = ""

    def __init__(
        self, spec: Spec, labels: Sequence[str] | None = None, task: str = "genre", problem: Problem | None = None
    ) -> None:
        """Find the data set that `spec` names; with `labels` also the tracks to judge a model of them on."""
        self.spec, self.task, self.labels = spec, task, labels
        self.name = printable(spec.text)  # as it stands in scores: "gtzan@fold2:/data/gtzan"
        spec.only(self.options)
        self.variant = self.choose_variant(spec.variant)
        if not spec.target:
            raise RecipeError(f"{spec.text or spec.name}: names no data", f"write {spec.name}:PATH; {self.get}")
        self.notes: list[str] = []  # plain sentences: what was left out and why
        self.left_out: dict[str, int] = {}  # label of the benchmark's -> judged tracks whose label has no mapping
        self.covered: tuple[int, ...] = ()  # the model's labels that this benchmark can speak about
        self.mapping: Mapping | None = None
        self.problem: Problem = problem or self._problem()
        self.tracks: Sequence[Track] = []  # sorted by id
        self.open()
        if labels is not None:
            self._select(labels)

    @property
    def source(self) -> str:
        """Where the recordings come from."""
        return self.home

    @property
    def protocol(self) -> str:
        """One sentence: the split, what is filtered, how figures that others published were made."""
        told = self.variants.get(self.variant, self.about)
        other = f" The part that is judged: {self.evaluated_split}." if self.evaluated_split != self.judged else ""
        return f"{told[:1].upper()}{told[1:]}.{other}"

    @property
    def published(self) -> list[Published]:
        """Figures that others published, with their sources; whether the protocol is this one stands in each.

        It is not where the model has other labels than the benchmark, or another part is judged.
        """
        figures = published(self.spec.name, self.variant)
        if self.labels is None or (
            self.evaluated_split == self.judged and _keys(self.labels) == _keys(self.own_labels)
        ):
            return figures
        why = "here other labels or another part are judged"
        return [
            {**one, "same_protocol": False, "note": f"{one['note']}; {why}"} if one["same_protocol"] else one
            for one in figures
        ]

    @property
    def declared(self) -> dict[str, int]:
        """Tracks in each part as they were published; empty where nobody published them."""
        return {}

    @property
    def splits(self) -> dict[str, int]:
        """Tracks in each part: as published, else as the lists on disk name them."""
        return self.declared or {part: self.sieve(part).listed for part in self.parts}

    @property
    def evaluated_split(self) -> str:
        """The part that a model is judged on: the option `split`, or the test part."""
        chosen = self.spec.options.get("split", self.judged)
        if chosen not in (*self.parts, ALL):
            raise RecipeError(
                f"{self.name}: has no part {chosen!r}", f"write split= one of {', '.join((*self.parts, ALL))}"
            )
        return chosen

    @property
    @abstractmethod
    def own_labels(self) -> list[str]:
        """The benchmark's labels, in its own words and order."""

    @abstractmethod
    def open(self) -> None:
        """Find the audio and the lists near `root`. Raises DataError that says what is missing and how to get it."""

    @abstractmethod
    def read(self, part: str) -> list[Recording]:
        """Every recording that the lists name in one part. Raises DataError for lists that cannot be read."""

    @property
    def root(self) -> Path:
        """The path as given. Raises DataError if it is no folder."""
        path = Path(self.spec.target).expanduser()
        must_be_folder(path, self.get)
        return path

    @property
    def mapping_names(self) -> tuple[str, ...]:
        """The shipped tables of mappings that speak about these labels, the most fitting first."""
        return (self.spec.name,)

    def choose_variant(self, wanted: str) -> str:
        """The variant to use. Raises RecipeError for one that there is not."""
        if not wanted:
            return next(iter(self.variants), "")
        if wanted not in self.variants:
            known = f"use one of: {', '.join(f'{self.spec.name}@{name}' for name in self.variants)}"
            raise RecipeError(
                f"{self.spec.text}: {self.spec.name} has no variant {wanted!r}",
                known if self.variants else f"write {self.spec.name}:PATH",
            )
        return wanted

    def sieve(self, part: str) -> SplitRecordings:
        """The recordings of one part, parted into those that can be used and the others. Kept: read once."""
        if part not in self._sieves:
            self._sieves[part] = SplitRecordings.of(self.read(part))
        return self._sieves[part]

    @cached_property
    def _sieves(self) -> dict[str, SplitRecordings]:
        return {}

    def part(self, split: str) -> list[Recording]:
        """The recordings of a part (or of all) that can be used, sorted by id."""
        chosen = self.parts if split == ALL else (split,)
        return sorted((one for part in chosen for one in self.sieve(part).kept), key=lambda one: one.id)

    def make_tracks(self, pairs: list[tuple[Recording, Label]]) -> Sequence[Track]:
        """Recordings and what they are in the model's labels -> tracks."""
        return [Track(one.id, one.path, label, one.split, one.artist) for one, label in pairs]

    def unlisted_files(self, part: str) -> list[str]:
        """Audio files on disk that no list names."""
        return []

    def aside(self, part: str) -> list[str]:
        """In sentences: what lies on disk and is no track of this benchmark."""
        unlisted_files = self.unlisted_files(part)
        return (
            [f"ignored {len(unlisted_files)} audio file(s) that no list names: {listed(unlisted_files, 3)}"]
            if unlisted_files
            else []
        )

    def empty(self, part: str) -> list[str]:
        """Ids of the recordings that could be used if their files did not hold 0 bytes."""
        return [one.id for one in self.sieve(part).kept if one.path is not None and one.path.stat().st_size == 0]

    def nothing(self) -> DataError:
        """The error for a part without a track that can be used."""
        told = "; ".join(["holds no track that can be used", *self.notes])
        return DataError(f"{self.name}: its {self.evaluated_split} part {told}", self.get)

    def find_mapping(self, labels: Sequence[str]) -> Mapping:
        """How this benchmark's labels are told in the model's."""
        return find_mapping(self.mapping_names, self.own_labels, labels, self.spec.options.get("mapping"))

    def check(self) -> list[Count]:
        """The published counts beside what is on disk, part by part."""
        counts = []
        for part in self.parts:
            sieve = self.sieve(part)
            found = len(sieve.kept) + len(sieve.unlabelled) - len(self.empty(part))
            counts.append(
                Count(part, self.splits.get(part), found, len(sieve.faulty), self.extra_allowed.get(part, 0))
            )
        return counts

    def dataset(self, labels: Sequence[str] | None = None) -> Dataset:
        """All parts as one data set: id, audio (path or bytes, not decoded), label or labels, split, artist.

        In its own labels; or in others, as the mapping tells them, without what that leaves out. To train on:
        `synthmir embed` takes it once saved to disk.
        """
        return recordings_to_dataset(*self.rows(labels))

    def rows(self, labels: Sequence[str] | None) -> tuple[list[Recording], list[str], bool]:
        """The recordings of all parts in the given labels, these labels, and whether a recording can bear several."""
        if labels is None:
            return self.part(ALL), self.own_labels, self.multi
        selection = pair(self.part(ALL), self.find_mapping(labels), labels, self.many, self.multi)
        self._check_enough(labels, selection)
        return relabel(selection, labels), list(labels), self.many

    @property
    def many(self) -> bool:
        """Whether the model gives a track any number of labels."""
        return self.problem == "multi_label_classification"

    def _select(self, labels: Sequence[str]) -> None:
        """Set the tracks to evaluate a model of these labels on, and note what is left out and why."""
        split = self.evaluated_split
        mapping = None if self.problem == "regression" else self.find_mapping(labels)
        recordings = self.part(split)
        for part in self.parts if split == ALL else (split,):
            self.notes += self.sieve(part).notes()
        if not recordings:
            raise self.nothing()
        if mapping is None:
            self.tracks = self.make_tracks(as_numbers(recordings, self.name, self.task))
            self.notes += self.aside(split)
            return
        if any(not one.labels for one in recordings):
            raise RecipeError(
                f"{self.name}: its label is a number, which is no {self.task}",
                "name a column of labels, or evaluate a model of tempo on it",
            )
        self.mapping = mapping
        selection = pair(recordings, mapping, labels, self.many, self.multi)
        self.left_out = dict(selection.unmapped.most_common())
        self.covered = covered_labels(mapping, labels)
        self.notes += account_for(selection, recordings, mapping, labels, self.many and self.multi)
        self.notes += self.aside(split)
        self._check_enough(labels, selection)
        self.tracks = self.make_tracks(selection.pairs)

    def _check_enough(self, labels: Sequence[str], selection: Selection) -> None:
        """Raise DataError where too few of the model's labels have tracks."""
        if len(selection.held) < (1 if self.many else self.least):
            raise too_few(selection, labels, self.own_labels, self.name, f"{self.spec.name}:{self.spec.target}")

    def _problem(self) -> Problem:
        if self.task in NUMBER_TASKS:
            return "regression"
        return "multi_label_classification" if self.task in MULTI_TASKS else "single_label_classification"


def _keys(names: Sequence[str]) -> set[str]:
    return set(map(normalize_label, names))


def load_benchmark(
    spec: str, labels: Sequence[str] | None, task: str = "genre", problem: Problem | None = None
) -> Benchmark:
    """The benchmark that `spec` (`folder:PATH`, `gtzan@fold2:PATH`, ...) names, for a model of these labels.

    `problem` is what the model does, where its task alone does not tell. Without labels nothing is picked to judge.
    Raises RecipeError for a spec that cannot be meant, DataError for data that cannot be used.
    """
    parsed = Spec.parse(spec)
    if parsed.name not in BENCHMARKS:
        known = ", ".join(["validation", *(f"{key}:PATH" for key in sorted(BENCHMARKS))])
        hint = f"write what it is before the path: folder:{spec}, say; " if spec and path_exists(Path(spec)) else ""
        raise RecipeError(
            f"there is no benchmark called {parsed.name!r}{suggest(parsed.name, BENCHMARKS)}",
            f"{hint}use one of: {known}",
        )
    kind: Any = BENCHMARKS.load(parsed.name)
    benchmark: Benchmark = kind(parsed, labels, task, problem)
    return benchmark
