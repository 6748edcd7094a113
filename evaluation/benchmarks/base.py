"""The base class of benchmarks, and the registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from builder.errors import DataError, RecipeError
from builder.io.storage import path_exists
from builder.names import format_count
from builder.registry import Registry
from builder.validation import suggest

from .files import require_folder
from .label_selection import Selection, account_for, as_numbers, covered_labels, pair, relabel, too_few
from .mapping import Mapping, find_mapping
from .published import Published, published
from .recordings import PartRecordings
from .spec import Spec
from .table import recordings_to_dataset
from .text import join_names, normalize_label, printable
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
    mirdata=f"{_HERE}.mirdata:Mirdata",
)
MULTI_TASKS = ("instruments", "tags", "labels")
NUMBER_TASKS = ("tempo", "tempo_bpm")
ALL = "all"  # as an option, `split=all`: every part


@dataclass(frozen=True, slots=True)
class PartCount:
    """How many tracks a part (a split) should have, and has."""

    split: str
    published: int | None  # None: no count is published, and the lists give none
    on_disk: int  # audio files
    known_faulty: int  # of the missing ones, those with a known fault
    extra_allowed: int = 0  # so many more are accepted; see `Benchmark.extra_reason`

    @property
    def differs(self) -> bool:
        """Whether the count on disk is not the published one, apart from known faults."""
        if self.published is None:
            return False
        return not self.published - self.known_faulty <= self.on_disk <= self.published + self.extra_allowed


class Benchmark(ABC):
    """Labelled recordings on disk, and the tracks to evaluate a model on."""

    title: ClassVar[str]
    about: ClassVar[str]
    licence: ClassVar[str] = "unknown"
    citation: ClassVar[str] = ""  # empty where there is nothing to cite
    homepage: ClassVar[str] = ""  # where the recordings come from
    how_to_get: ClassVar[str]  # how to get it, and what the path must contain
    variants: ClassVar[dict[str, str]] = {}  # name -> what it is; the first is the default
    options: ClassVar[tuple[str, ...]] = ("mapping", "split")
    parts: tuple[str, ...] = ("train", "validation", "test")
    default_part: str = "test"
    multi_label: bool = False  # whether a recording can have several labels
    min_labels: ClassVar[int] = 2  # so many of the model's labels must have tracks
    extra_allowed: ClassVar[dict[str, int]] = {}
    extra_reason: ClassVar[str] = ""

    def __init__(
        self, spec: Spec, labels: Sequence[str] | None = None, task: str = "genre", problem: Problem | None = None
    ) -> None:
        """Open a benchmark.

        Args:
            spec: The benchmark as it is written on the command line.
            labels: A model's labels; the tracks to evaluate it on are then selected. None: no tracks.
            task: What the model predicts.
            problem: The model's problem type; by default that of the task.

        Raises:
            RecipeError: The spec is not valid.
            DataError: The data cannot be used.
        """
        self.spec, self.task, self.labels = spec, task, labels
        self.name = printable(spec.text)  # as in scores.json: "gtzan@fold2:/data/gtzan"
        spec.only(self.options)
        self.variant = self.choose_variant(spec.variant)
        if not spec.target:
            raise RecipeError(f"{spec.text or spec.name}: names no data", f"write {spec.name}:PATH; {self.how_to_get}")
        self.notes: list[str] = []  # sentences: what was left out and why
        self.left_out: dict[str, int] = {}  # by the benchmark's label: tracks whose label has no mapping
        self.covered: tuple[int, ...] = ()  # indices of the model's labels that the benchmark covers
        self.mapping: Mapping | None = None
        self.problem: Problem = problem or self._problem()
        self.tracks: Sequence[Track] = []  # sorted by id
        self.open()
        if labels is not None:
            self._select(labels)

    @property
    def source(self) -> str:
        """The origin of the recordings."""
        return self.homepage

    @property
    def protocol(self) -> str:
        """One sentence: the split, filters, and how published scores were obtained."""
        text = self.variants.get(self.variant, self.about)
        other = f" Evaluated split: {self.evaluated_split}." if self.evaluated_split != self.default_part else ""
        return f"{text[:1].upper()}{text[1:]}.{other}"

    @property
    def published(self) -> list[Published]:
        """Published scores with their sources. Each says whether its protocol is the same.

        It is not where the model has other labels than the benchmark, or another part is evaluated.
        """
        figures = published(self.spec.name, self.variant)
        if self.labels is None or (
            self.evaluated_split == self.default_part and _keys(self.labels) == _keys(self.own_labels)
        ):
            return figures
        why = "here other labels or another part are evaluated"
        return [
            {**one, "same_protocol": False, "note": f"{one['note']}; {why}"} if one["same_protocol"] else one
            for one in figures
        ]

    @property
    def published_sizes(self) -> dict[str, int]:
        """The published number of tracks of each part; empty where there is none."""
        return {}

    @property
    def part_sizes(self) -> dict[str, int]:
        """The number of tracks of each part: as published, else as in the lists on disk."""
        return self.published_sizes or {part: self.part_recordings(part).total for part in self.parts}

    @property
    def evaluated_split(self) -> str:
        """The part that a model is evaluated on: the option `split`, or the test part."""
        chosen = self.spec.options.get("split", self.default_part)
        if chosen not in (*self.parts, ALL):
            raise RecipeError(
                f"{self.name}: has no part {chosen!r}", f"write split= one of {', '.join((*self.parts, ALL))}"
            )
        return chosen

    @property
    @abstractmethod
    def own_labels(self) -> list[str]:
        """The benchmark's own labels, in its order."""

    @abstractmethod
    def open(self) -> None:
        """Find the audio and the lists near `root`. Raises DataError where they are missing."""

    @abstractmethod
    def read(self, part: str) -> list[Recording]:
        """Return all recordings that the lists name in a part. Raises DataError for lists that cannot be read."""

    @property
    def root(self) -> Path:
        """The path as given. Raises DataError where it is no folder."""
        path = Path(self.spec.target).expanduser()
        require_folder(path, self.how_to_get)
        return path

    @property
    def mapping_names(self) -> tuple[str, ...]:
        """Names of the shipped mapping tables for these labels, in order of preference."""
        return (self.spec.name,)

    def choose_variant(self, wanted: str) -> str:
        """Return the variant to use. Raises RecipeError for an unknown one."""
        if not wanted:
            return next(iter(self.variants), "")
        if wanted not in self.variants:
            known = f"use one of: {', '.join(f'{self.spec.name}@{name}' for name in self.variants)}"
            raise RecipeError(
                f"{self.spec.text}: {self.spec.name} has no variant {wanted!r}",
                known if self.variants else f"write {self.spec.name}:PATH",
            )
        return wanted

    def part_recordings(self, part: str) -> PartRecordings:
        """Return the recordings of a part, usable ones and others. They are read once."""
        if part not in self._sieves:
            self._sieves[part] = PartRecordings.of(self.read(part))
        return self._sieves[part]

    @cached_property
    def _sieves(self) -> dict[str, PartRecordings]:
        return {}

    def part(self, split: str) -> list[Recording]:
        """Return the usable recordings of a part, or of all parts, sorted by id."""
        chosen = self.parts if split == ALL else (split,)
        return sorted((one for part in chosen for one in self.part_recordings(part).usable), key=lambda one: one.id)

    def make_tracks(self, pairs: list[tuple[Recording, Label]]) -> Sequence[Track]:
        """Make tracks of recordings and their labels among the model's."""
        return [Track(one.id, one.path, label, one.split, one.artist) for one, label in pairs]

    def unlisted_files(self, part: str) -> list[str]:
        """Return audio files on disk that no list names."""
        return []

    def ignored_notes(self, part: str) -> list[str]:
        """Return sentences about files on disk that are no tracks of the benchmark."""
        names = self.unlisted_files(part)
        count = format_count(len(names), "audio file")
        return [f"ignored {count} that no list names: {join_names(names, 3)}"] if names else []

    def empty(self, part: str) -> list[str]:
        """Return the ids of recordings whose files have 0 bytes."""
        return [
            one.id
            for one in self.part_recordings(part).usable
            if one.path is not None and one.path.stat().st_size == 0
        ]

    def no_tracks_error(self) -> DataError:
        """Return the error for a part without a usable track."""
        problems = "; ".join(["has no usable track", *self.notes])
        return DataError(f"{self.name}: its {self.evaluated_split} part {problems}", self.how_to_get)

    def find_mapping(self, labels: Sequence[str]) -> Mapping:
        """Return the mapping from the benchmark's labels to a model's."""
        return find_mapping(self.mapping_names, self.own_labels, labels, self.spec.options.get("mapping"))

    def check(self) -> list[PartCount]:
        """Compare the published counts with what is on disk, part by part."""
        counts = []
        for part in self.parts:
            part_recordings = self.part_recordings(part)
            on_disk = len(part_recordings.usable) + len(part_recordings.unlabelled) - len(self.empty(part))
            counts.append(
                PartCount(
                    part,
                    self.part_sizes.get(part),
                    on_disk,
                    len(part_recordings.damaged),
                    self.extra_allowed.get(part, 0),
                )
            )
        return counts

    def dataset(self, labels: Sequence[str] | None = None) -> Dataset:
        """Return all parts as one data set, which `synthmir embed` takes once it is saved to disk.

        Args:
            labels: Labels to map the benchmark's to, without recordings that have none of them; by default its own.

        Returns:
            A data set with the columns id, audio (path or bytes, not decoded), label or labels, split and artist.
        """
        return recordings_to_dataset(*self.rows(labels))

    def rows(self, labels: Sequence[str] | None) -> tuple[list[Recording], list[str], bool]:
        """Return the recordings of all parts, their labels, and whether a recording can have several."""
        if labels is None:
            return self.part(ALL), self.own_labels, self.multi_label
        selection = pair(self.part(ALL), self.find_mapping(labels), labels, self.many, self.multi_label)
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
            self.notes += self.part_recordings(part).notes()
        if not recordings:
            raise self.no_tracks_error()
        if mapping is None:
            self.tracks = self.make_tracks(as_numbers(recordings, self.name, self.task))
            self.notes += self.ignored_notes(split)
            return
        if any(not one.labels for one in recordings):
            raise RecipeError(
                f"{self.name}: its label is a number, not a {self.task}",
                "name a column of labels, or evaluate a model of tempo on it",
            )
        self.mapping = mapping
        selection = pair(recordings, mapping, labels, self.many, self.multi_label)
        self.left_out = dict(selection.unmapped.most_common())
        self.covered = covered_labels(mapping, labels)
        self.notes += account_for(selection, recordings, mapping, labels, self.many and self.multi_label)
        self.notes += self.ignored_notes(split)
        self._check_enough(labels, selection)
        self.tracks = self.make_tracks(selection.pairs)

    def _check_enough(self, labels: Sequence[str], selection: Selection) -> None:
        """Raise DataError where too few of the model's labels have tracks."""
        if len(selection.held) < (1 if self.many else self.min_labels):
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
    """Open a benchmark.

    Args:
        spec: As on the command line: `folder:PATH`, `gtzan@fold2:PATH`, ...
        labels: A model's labels; the tracks to evaluate it on are then selected. None: no tracks.
        task: What the model predicts.
        problem: The model's problem type; by default that of the task.

    Raises:
        RecipeError: The spec is not valid.
        DataError: The data cannot be used.

    Example:
        >>> benchmark = load_benchmark("gtzan@filtered:/data/gtzan", ["blues", "rock"])
        >>> len(benchmark.tracks), benchmark.notes
    """
    parsed, kind = find_benchmark(spec)
    benchmark: Benchmark = kind(parsed, labels, task, problem)
    return benchmark


def find_benchmark(spec: str) -> tuple[Spec, Any]:
    """Parse a benchmark's spec and return it with its class, without opening data. Raises RecipeError."""
    parsed = Spec.parse(spec)
    if parsed.name not in BENCHMARKS:
        known = ", ".join(["validation", *(f"{key}:PATH" for key in sorted(BENCHMARKS))])
        hint = f"write what it is before the path: folder:{spec}, say; " if spec and path_exists(Path(spec)) else ""
        raise RecipeError(
            f"there is no benchmark called {parsed.name!r}{suggest(parsed.name, BENCHMARKS)}",
            f"{hint}use one of: {known}",
        )
    return parsed, BENCHMARKS.load(parsed.name)
