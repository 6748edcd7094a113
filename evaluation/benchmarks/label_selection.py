"""A benchmark's recordings -> the tracks that a model of other labels is judged on, and an account of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from builder.errors import DataError, RecipeError

from .base import ALL
from .mapping import BY_NAME
from .text import label_key, listed

if TYPE_CHECKING:
    from .base import Benchmark, Label, Recording
    from .mapping import Mapping


def judge(benchmark: Benchmark, labels: Sequence[str]) -> None:
    """Fill in `tracks`, `left_out`, `covered`, `mapping` and `notes`. Raises DataError where nothing can be judged."""
    split, numeric = benchmark.judged_split, benchmark.problem == "regression"
    mapping = None if numeric else benchmark.find_mapping(labels)
    recordings = benchmark.part(split)
    for part in benchmark.parts if split == ALL else (split,):
        benchmark.notes += benchmark.sieve(part).notes()
    if not recordings:
        raise benchmark.nothing()
    if mapping is None:
        benchmark.tracks = benchmark.make_tracks(_numbers(benchmark, recordings))
        benchmark.notes += benchmark.aside(split)
        return
    if any(not one.labels for one in recordings):
        raise RecipeError(
            f"{benchmark.name}: its label is a number, which is no {benchmark.task}",
            "name a column of labels, or judge a model of tempo on it",
        )
    benchmark.mapping = mapping
    paired = _pair(benchmark, mapping, labels, recordings)
    benchmark.left_out = dict(paired.unmapped.most_common())
    known = {label_key(target) for target in mapping.map.values()}
    benchmark.covered = tuple(number for number, name in enumerate(labels) if label_key(name) in known)
    benchmark.notes += [*_account(benchmark, mapping, labels, recordings, paired), *benchmark.aside(split)]
    _enough(benchmark, labels, paired)
    benchmark.tracks = benchmark.make_tracks(paired.pairs)


def retell(benchmark: Benchmark, labels: Sequence[str]) -> list[Recording]:
    """The recordings of all parts with their labels told in others. Raises DataError where too few are left."""
    paired = _pair(benchmark, benchmark.find_mapping(labels), labels, benchmark.part(ALL))
    _enough(benchmark, labels, paired)
    return [replace(one, labels=tuple(labels[i] for i in _numbers_of(label))) for one, label in paired.pairs]


@dataclass(slots=True)
class _Paired:
    """Recordings beside what they are in a model's labels, and how often each label of theirs found none."""

    pairs: list[tuple[Recording, Label]] = field(default_factory=list)
    unmapped: Counter[str] = field(default_factory=Counter)
    several: int = 0  # recordings of more labels than the model can give

    @property
    def held(self) -> set[int]:
        """The model's labels that have a recording."""
        return {number for _, label in self.pairs for number in _numbers_of(label)}


def _numbers_of(label: Label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (int(label),)


def _pair(benchmark: Benchmark, mapping: Mapping, labels: Sequence[str], recordings: Sequence[Recording]) -> _Paired:
    """For a model that gives one label: the recordings that have exactly one of its labels.

    For one that gives several: every recording of a tagged set, as a tag that is not there says no. Of a set of one
    label only those that have a mapping, as others may bear a finer name of the model's: "guitar" is no
    counter-example of "acoustic guitar".
    """
    index = {label_key(name): number for number, name in enumerate(labels)}
    places = {name: index[label_key(target)] for name, target in mapping.map.items()}
    many = benchmark.problem == "multi_label_classification"
    paired = _Paired()
    for one in recordings:
        found = sorted({places[name] for name in one.labels if name in places})
        if many or not found:
            paired.unmapped.update(dict.fromkeys((name for name in one.labels if name not in places), 1))
        if many and (found or benchmark.multi):
            paired.pairs.append((one, tuple(found)))
        elif not many and len(found) == 1:
            paired.pairs.append((one, found[0]))
        elif not many and found:
            paired.several += 1
    return paired


def _numbers(benchmark: Benchmark, recordings: list[Recording]) -> list[tuple[Recording, Label]]:
    if any(one.value is None for one in recordings):
        raise RecipeError(
            f"{benchmark.name}: holds labels, no numbers: a model of {benchmark.task} cannot be judged on it",
            "give hub:PATH?label=COLUMN with a column of numbers",
        )
    return [(one, float(one.value)) for one in recordings if one.value is not None]


def _account(
    benchmark: Benchmark, mapping: Mapping, labels: Sequence[str], recordings: Sequence[Recording], paired: _Paired
) -> list[str]:
    """What the mapping does, and what it leaves out and why."""
    tagged = benchmark.multi and benchmark.problem == "multi_label_classification"
    notes = [] if mapping.name == BY_NAME else [f"labels are told {mapping.name}: {mapping}"]
    by_reason: dict[str, Counter[str]] = {}
    for name, count in paired.unmapped.items():
        by_reason.setdefault(mapping.reason(name), Counter())[name] = count
    for reason, names in by_reason.items():
        told = listed([f"{name} ({count})" for name, count in names.most_common()])
        if tagged:
            notes.append(f"left out {len(names)} label(s), {reason}: {told}")
        else:
            lost = (one for one in recordings if mapping.map.keys().isdisjoint(one.labels))
            count = sum(not names.keys().isdisjoint(one.labels) for one in lost)
            notes.append(f"left out {count} track(s), {reason}: {told}")
    if paired.several:
        notes.append(f"left out {paired.several} track(s) that bear several of the model's labels")
    held = paired.held
    if without := [name for number, name in enumerate(labels) if number not in held]:
        notes.append(f"{len(without)} label(s) of the model have no track here: {listed(without)}")
    return notes


def _enough(benchmark: Benchmark, labels: Sequence[str], paired: _Paired) -> None:
    """Raises DataError where what is left cannot tell one label from another."""
    held = paired.held
    tagged = benchmark.problem == "multi_label_classification"
    if len(held) >= (1 if tagged else benchmark.least):
        return
    left = f"only {labels[held.pop()]!r}" if held else "none"
    raise DataError(
        f"{benchmark.name}: of the model's labels ({listed(labels)}) {left} has tracks here, whose labels are "
        f"{listed(benchmark.own_labels)}",
        f"give your own mapping: {benchmark.spec.name}:{benchmark.spec.target}?mapping=FILE "
        "(YAML, `map: {label of the benchmark: label of the model}`), or judge on another benchmark",
    )
