"""The corpus and the reference as a pair: the common standardisation, common genres, random samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from builder.names import format_count

from ..benchmarks.text import normalize_label
from ..results.fidelity import Side
from .embedded_sets import EmbeddedSet

LISTED = 12  # genres of the reference that the corpus does not have


@dataclass(frozen=True, slots=True)
class SetPair:
    """A corpus and a reference.

    Attributes:
        corpus: The corpus.
        reference: The reference.
        mean: float64 [dim], of the reference.
        scale: float64 [dim], standard deviation of the reference; 1 for constant dimensions.
        constant: Number of dimensions that are constant in the reference.
        prompted: The genre in the prompt of each clip, "" for none: object [n].
        labelled: The corpus's genre that each recording is labelled with, "" for none: object [m].
        seed: Of all random samples.
    """

    corpus: EmbeddedSet
    reference: EmbeddedSet
    mean: np.ndarray
    scale: np.ndarray
    constant: int
    prompted: np.ndarray
    labelled: np.ndarray
    seed: int

    @classmethod
    def of(cls, corpus: EmbeddedSet, reference: EmbeddedSet, seed: int) -> SetPair:
        """Match the genres of both sets and compute the reference's mean and standard deviation.

        Args:
            corpus: The corpus.
            reference: The reference, with embeddings of the same embedder. Its genres are matched with the corpus's
                after `normalize_label`.
            seed: Of all random samples.

        Returns:
            The pair.
        """
        names = {normalize_label(genre): genre for genre in corpus.genres if genre is not None}
        labelled = [names.get(normalize_label(genre), "") if genre is not None else "" for genre in reference.genres]
        scale = reference.vectors.std(axis=0, dtype=np.float64)
        varies = scale > 1e-6 * np.abs(reference.vectors).max(axis=0)
        return cls(
            corpus=corpus,
            reference=reference,
            mean=reference.vectors.mean(axis=0, dtype=np.float64),
            scale=np.where(varies, scale, 1.0),
            constant=int((~varies).sum()),
            prompted=np.array([genre or "" for genre in corpus.genres], dtype=object),
            labelled=np.array(labelled, dtype=object),
            seed=seed,
        )

    @property
    def genres(self) -> list[str]:
        """The corpus's genres, sorted."""
        return sorted(set(self.prompted) - {""})

    def sample(self, rows: np.ndarray, size: int, salt: int) -> np.ndarray:
        """Draw rows at random, without replacement.

        Args:
            rows: int64 [n], row numbers in ascending order.
            size: The most rows to draw.
            salt: Different salts give independent samples.

        Returns:
            At most `size` of the rows, ascending; all of them if there are no more.
        """
        if len(rows) <= size:
            return rows
        return np.sort(np.random.default_rng((self.seed, salt)).choice(rows, size, replace=False))


def describe_missing_genres(pair: SetPair) -> list[str]:
    """Describe which values by genre are left out, and why."""
    if not pair.genres:
        return ["all values by genre: the corpus's clips have no genre"]
    if not any(genre is not None for genre in pair.reference.genres):
        return ["distances by genre: the reference has no labels"]
    clips, recordings = Counter(pair.prompted), Counter(pair.labelled)
    left_out = [
        f"distances of {name}: {format_count(clips[name], 'clip')} in the corpus and {recordings[name]} in the "
        "reference, at least two of each are needed"
        for name in pair.genres
        if min(clips[name], recordings[name]) < 2
    ]
    other = Counter(
        genre
        for genre, name in zip(pair.reference.genres, pair.labelled, strict=True)
        if genre is not None and not name
    )
    if other:
        names = ", ".join(f"{name} ({count})" for name, count in other.most_common(LISTED))
        more = f" and {len(other) - LISTED} more" if len(other) > LISTED else ""
        left_out.append(f"by genre, recordings of genres that the corpus does not have: {names}{more}")
    return left_out


def describe_set(side: EmbeddedSet) -> Side:
    """Describe a set for fidelity.json."""
    notes = list(side.notes)
    if side.embedder.get("revision") is None:
        notes.append("the revision of the embedder that made its embeddings is unknown")
    return Side(
        name=side.name,
        kind=side.kind,
        n=len(side),
        labels=dict(sorted(Counter(genre for genre in side.genres if genre is not None).items())),
        unlabelled=sum(genre is None for genre in side.genres),
        fingerprint=side.fingerprint,
        notes=notes,
    )
