"""Both sets side by side, with what all figures share: the reference's frame and the genres in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..benchmarks.text import normalize_label
from .figures import Side
from .sets import Embedded


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sets with what the figures share: the reference's frame, and its genres in the corpus's words."""

    corpus: Embedded
    reference: Embedded
    mean: np.ndarray  # float64 [dim], of the reference
    scale: np.ndarray  # float64 [dim], its standard deviation; 1 where it never varies
    constant: int  # dimensions that never vary
    asked: np.ndarray  # of each clip its genre, "" where it has none
    borne: np.ndarray  # of each recording the genre of the corpus that it bears, "" where none
    seed: int

    @classmethod
    def of(cls, corpus: Embedded, reference: Embedded, seed: int) -> Sides:
        """What the figures share."""
        words = {normalize_label(name): name for name in corpus.labels if name is not None}
        borne = [words.get(normalize_label(name), "") if name is not None else "" for name in reference.labels]
        scale = reference.vectors.std(axis=0, dtype=np.float64)
        varies = scale > 1e-6 * np.abs(reference.vectors).max(axis=0)
        return cls(
            corpus,
            reference,
            reference.vectors.mean(axis=0, dtype=np.float64),
            np.where(varies, scale, 1.0),
            int((~varies).sum()),
            np.array([name or "" for name in corpus.labels], dtype=object),
            np.array(borne, dtype=object),
            seed,
        )

    @property
    def genres(self) -> list[str]:
        """The corpus's genres, sorted."""
        return sorted(set(self.asked) - {""})

    def draw(self, places: np.ndarray, size: int, salt: int) -> np.ndarray:
        """`size` of the places at most, in order."""
        if len(places) <= size:
            return places
        return np.sort(np.random.default_rng((self.seed, salt)).choice(places, size, replace=False))


def too_few(sides: Sides) -> list[str]:
    """What per-genre figures cannot be told, in words."""
    if not sides.genres:
        return ["all figures by genre: the corpus's clips have no genre"]
    if not any(name is not None for name in sides.reference.labels):
        return ["distances by genre: the reference has no labels"]
    asked, borne = Counter(sides.asked), Counter(sides.borne)
    left_out = [
        f"distances of {name}: {asked[name]} clip(s) in the corpus, {borne[name]} in the reference, and it takes two"
        for name in sides.genres
        if min(asked[name], borne[name]) < 2
    ]
    foreign = Counter(
        label
        for label, name in zip(sides.reference.labels, sides.borne, strict=True)
        if label is not None and not name
    )
    if foreign:
        told = ", ".join(f"{name} ({count})" for name, count in foreign.most_common(12))
        more = f" and {len(foreign) - 12} more" if len(foreign) > 12 else ""
        left_out.append(f"by genre, recordings whose label is none of the corpus's: {told}{more}")
    return left_out


def described(side: Embedded) -> Side:
    """A set as the file tells it."""
    notes = list(side.notes)
    if side.embedder.get("revision") is None:
        notes.append("which revision of the embedder made its embeddings is not told")
    return Side(
        name=side.name,
        kind=side.kind,  # type: ignore[arg-type]
        n=len(side),
        labels=dict(sorted(Counter(name for name in side.labels if name is not None).items())),
        unlabelled=sum(name is None for name in side.labels),
        fingerprint=side.fingerprint,
        notes=notes,
    )
