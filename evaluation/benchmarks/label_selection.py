"""Choose the recordings that a model can be evaluated on, and describe the ones that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from builder.errors import DataError, RecipeError
from builder.names import format_count

from .mapping import BY_NAME, Mapping
from .text import join_names, normalize_label
from .track import Label, Recording, label_indices


@dataclass(slots=True)
class Selection:
    """Recordings with their labels as a model names them, and counts of what has no such label.

    Attributes:
        pairs: Each selected recording with its label: an index into the model's labels, or several.
        unmapped: The benchmark's labels that map to none of the model's, each with its number of recordings.
        several: Recordings that have more than one of the labels of a model that predicts one.
    """

    pairs: list[tuple[Recording, Label]] = field(default_factory=list)
    unmapped: Counter[str] = field(default_factory=Counter)
    several: int = 0

    @property
    def held(self) -> set[int]:
        """Indices of the model's labels that have a recording."""
        return {index for _, label in self.pairs for index in label_indices(label)}


def pair(
    recordings: Sequence[Recording], mapping: Mapping, labels: Sequence[str], many: bool, tagged: bool
) -> Selection:
    """Pair recordings with their labels as a model names them.

    A model that predicts one label gets the recordings with exactly one of its labels. One that predicts several gets
    every recording of a tagged benchmark, as a missing tag is a negative example. Of a benchmark with one label a
    recording it gets only those whose label maps to one of the model's: a recording called "guitar" is no negative
    example of "acoustic guitar".

    Args:
        recordings: The usable recordings of a split.
        mapping: From the benchmark's labels to the model's.
        labels: The model's labels.
        many: Whether the model predicts any number of labels.
        tagged: Whether a recording of the benchmark can have several labels.
    """
    index = {normalize_label(name): number for number, name in enumerate(labels)}
    targets = {name: index[normalize_label(target)] for name, target in mapping.map.items()}
    selection = Selection()
    for recording in recordings:
        held = sorted({targets[name] for name in recording.labels if name in targets})
        if many or not held:
            selection.unmapped.update(dict.fromkeys((name for name in recording.labels if name not in targets), 1))
        if many and (held or tagged):
            selection.pairs.append((recording, tuple(held)))
        elif not many and len(held) == 1:
            selection.pairs.append((recording, held[0]))
        elif not many and held:
            selection.several += 1
    return selection


def relabel(selection: Selection, labels: Sequence[str]) -> list[Recording]:
    """Return the selected recordings with the model's label names in place of the benchmark's."""
    return [
        replace(recording, labels=tuple(labels[index] for index in label_indices(label)))
        for recording, label in selection.pairs
    ]


def covered_labels(mapping: Mapping, labels: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the model's labels that a mapping reaches."""
    targets = {normalize_label(target) for target in mapping.map.values()}
    return tuple(index for index, name in enumerate(labels) if normalize_label(name) in targets)


def as_numbers(recordings: Sequence[Recording], name: str, task: str) -> list[tuple[Recording, Label]]:
    """Pair recordings with the numbers that they are labelled with.

    Args:
        recordings: The recordings of a benchmark.
        name: The benchmark's name, for the error message.
        task: The model's task, for the error message.

    Returns:
        Each recording with its number.

    Raises:
        RecipeError: The benchmark `name` has labels that are not numbers.
    """
    if any(recording.value is None for recording in recordings):
        raise RecipeError(
            f"{name}: holds labels, not numbers: a model of {task} cannot be evaluated on it",
            "give hub:PATH?label=COLUMN with a column of numbers",
        )
    return [(recording, float(recording.value)) for recording in recordings if recording.value is not None]


def account_for(
    selection: Selection, recordings: Sequence[Recording], mapping: Mapping, labels: Sequence[str], tagged: bool
) -> list[str]:
    """Describe what a mapping did: what it maps, and what it leaves out and why.

    Args:
        selection: What `pair` made of `recordings`.
        recordings: The usable recordings of the split.
        mapping: From the benchmark's labels to the model's.
        labels: The model's labels.
        tagged: Whether both the benchmark and the model give a recording any number of labels: then labels are left
            out, and no recordings.
    """
    notes = [] if mapping.name == BY_NAME else [f"labels are mapped {mapping.name}: {mapping}"]
    by_reason: dict[str, Counter[str]] = {}
    for name, count in selection.unmapped.items():
        by_reason.setdefault(mapping.reason(name), Counter())[name] = count
    for reason, names in by_reason.items():
        counts = join_names([f"{name} ({count})" for name, count in names.most_common()])
        if tagged:
            notes.append(f"left out {format_count(len(names), 'label')}, {reason}: {counts}")
        else:
            unmapped = [recording for recording in recordings if mapping.map.keys().isdisjoint(recording.labels)]
            count = sum(not names.keys().isdisjoint(recording.labels) for recording in unmapped)
            notes.append(f"left out {format_count(count, 'track')}, {reason}: {counts}")
    if selection.several:
        notes.append(f"left out {format_count(selection.several, 'track')} with several of the model's labels")
    held = selection.held
    if without := [name for index, name in enumerate(labels) if index not in held]:
        notes.append(f"{format_count(len(without), 'label')} of the model without a track here: {join_names(without)}")
    return notes


def too_few(
    selection: Selection, labels: Sequence[str], own_labels: Sequence[str], name: str, place: str
) -> DataError:
    """Return the error for a selection with too few of the model's labels.

    Args:
        selection: What `pair` selected.
        labels: The model's labels.
        own_labels: The benchmark's labels.
        name: The benchmark's name.
        place: How the benchmark is written on the command line, without options: `folder:PATH`.
    """
    held = selection.held
    left = f"only {labels[held.pop()]!r}" if held else "none"
    return DataError(
        f"{name}: of the model's labels ({join_names(labels)}) {left} has tracks here; the benchmark's labels are "
        f"{join_names(own_labels)}",
        f"give your own mapping: {place}?mapping=FILE "
        "(YAML, `map: {label of the benchmark: label of the model}`), or evaluate on another benchmark",
    )
