"""Whether clips are of the genre that was asked for, as a linear probe hears it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .two_sample import FOLDS, folds_of, probe

PROBE_SAMPLE = 10_000  # labelled clips that a probe learns from


@dataclass(frozen=True, slots=True)
class Adherence:
    """What a probe said of clips. Labels are positions in `names`."""

    names: list[str]
    asked: np.ndarray  # int64 [n]
    heard: np.ndarray  # int64 [n]
    probe_correct: int  # of the probe's own clips, each held out once
    probe_n: int


def cross_validated(x: np.ndarray, labels: np.ndarray, groups: Sequence[str], seed: int = 0) -> np.ndarray | None:
    """What probes trained on the other folds say of each row: int64 [n]. None where a fold would lack a label."""
    per_label = [
        len({group for group, own in zip(groups, labels == name, strict=True) if own}) for name in set(labels)
    ]
    folds = min(FOLDS, *per_label) if len(per_label) > 1 else 0
    if folds < 2:
        return None
    fold = np.empty(len(x), np.int64)
    for name in set(labels):  # label by label, so that every fold holds each
        own = np.flatnonzero(labels == name)
        fold[own] = folds_of([groups[i] for i in own.tolist()], folds, seed)
    said = np.empty(len(x), np.int64)
    for held in range(folds):
        said[fold == held] = probe(balanced=True).fit(x[fold != held], labels[fold != held]).predict(x[fold == held])
    return said


def by_reference(
    x: np.ndarray, asked: np.ndarray, y: np.ndarray, labels: np.ndarray, groups: Sequence[str], names: list[str]
) -> Adherence | None:
    """A probe trained on labelled real clips [m, dim] listens to clips [n, dim]. None where it cannot be trained."""
    if len(y) > PROBE_SAMPLE:
        chosen = np.sort(np.random.default_rng(0).choice(len(y), PROBE_SAMPLE, replace=False))
        y, labels, groups = y[chosen], labels[chosen], [groups[i] for i in chosen]
    held_out = cross_validated(y, labels, groups)
    if held_out is None:
        return None
    heard = probe(balanced=True).fit(y, labels).predict(x)
    return Adherence(names, asked, heard, int((held_out == labels).sum()), len(y))


def by_itself(x: np.ndarray, asked: np.ndarray, groups: Sequence[str], names: list[str]) -> Adherence | None:
    """Probes trained on the corpus itself, clips of one description never on both sides: whether genres differ at all.

    It hears consistency, not truth: a corpus whose "rock" is jazz throughout passes.
    """
    if len(x) > PROBE_SAMPLE:
        chosen = np.sort(np.random.default_rng(0).choice(len(x), PROBE_SAMPLE, replace=False))
        x, asked, groups = x[chosen], asked[chosen], [groups[i] for i in chosen]
    heard = cross_validated(x, asked, groups)
    if heard is None:
        return None
    return Adherence(names, asked, heard, int((heard == asked).sum()), len(x))
