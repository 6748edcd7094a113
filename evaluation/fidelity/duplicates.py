"""Near-duplicates: pairs of clips that are nearer than chance puts any two, by their embeddings.

What is "near" differs from corner to corner of an embedding space, and from embedder to embedder, so no cosine is the
right threshold everywhere. Here a pair's distance is measured in the distance to the k-th neighbour, which is the
local scale, and compared with what clips laid at random into as many dimensions as the set really fills would give:
of n clips with k neighbours each, `EXPECTED` pairs of them all. A threshold given by hand overrides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from .neighbours import nearest

NEIGHBOURS = 16
EXPECTED = 0.01  # pairs taken for duplicates by chance in the whole set
CLOSEST = 0.5  # of the local scale: no pair further than that counts, whatever chance says
IDENTICAL = 1 - 1e-6  # cosines at and above are of the same embedding, up to float32
CLUMP = 0.25  # of the median scale: a clump of copies larger than k does not set its own scale


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Pairs [p, 2] of places, nearest first: within the set (smaller first), or of the set and the reference."""

    pairs: np.ndarray
    cosines: np.ndarray  # float32 [p]
    nearest: np.ndarray  # float32 [n]: each clip's cosine with its nearest neighbour
    dimension: float | None  # that the clips fill where they lie (median)
    ratio: float | None  # of the local scale: pairs nearer than that are duplicates (median)
    within: bool  # in the set itself, not with a reference

    @property
    def places(self) -> np.ndarray:
        """Clips of the set that have a duplicate, in order."""
        found: np.ndarray = np.unique(self.pairs if self.within else self.pairs[:, 0])
        return found

    def groups(self) -> list[list[int]]:
        """Clips of the set that are duplicates of each other, through others too; the largest group first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n, (left, right) = len(self.nearest), self.pairs.T
        graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(n, n))
        _, label = connected_components(graph, directed=False)
        order = np.argsort(label, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
        found = [part.tolist() for part in parts if len(part) > 1]
        return sorted(found, key=lambda group: (-len(group), group))


def find_duplicates(
    rows: np.ndarray, reference: np.ndarray | None = None, similarity: float | None = None
) -> Duplicates:
    """Unit vectors [n, dim] -> pairs within them, or with the reference [m, dim]; exact, in blocked memory.

    `similarity` is a cosine: pairs at and above it count, instead of what chance says. Of a clip its 16 nearest
    neighbours are looked at; groups may be larger, as they hang together through each other.
    """
    base = len(rows) - 1 if reference is None else len(reference)
    k = min(base, max(min(NEIGHBOURS, base), 1))
    cosines, places = nearest(rows, reference, k)
    distance = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))
    dimension = ratio = None
    if similarity is not None:
        close = cosines >= similarity
    else:
        close = cosines >= IDENTICAL
        k = min(k, max(3, isqrt(base)))  # few clips: the scale is a smaller neighbourhood's
        if k >= 3:
            dimension, ratio, near = _nearer_than_chance(distance[:, :k], places[:, :k], reference)
            close[:, :k] |= near
    left, slot = np.nonzero(close)
    right = places[left, slot]
    pairs = np.stack([left, right], axis=1)
    if reference is None:
        pairs = np.sort(pairs, axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    found = cosines[left, slot][first]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -found))
    return Duplicates(pairs[order], found[order], cosines[:, 0], dimension, ratio, reference is None)


def _nearer_than_chance(
    distance: np.ndarray, places: np.ndarray, reference: np.ndarray | None
) -> tuple[float, float, np.ndarray]:
    """Distances [n, k] and places of neighbours -> median dimension, median ratio, and bool [n, k].

    Of points laid at random, k - 1 are nearer than the k-th, each at a share u^(1 / dimension) of its distance with u
    uniform; so n (k - 1) ratio^dimension of them are under `ratio`. Dimension and ratio are each clip's own.
    """
    n, k = distance.shape
    if reference is None:
        around = np.concatenate([np.arange(n)[:, None], places], axis=1)
        filled = intrinsic_dimensions(distance)[around]
    else:
        # What lies far off a set sees it from outside, where all distances are alike: the set's own dimensions count.
        near = min(k, len(reference) - 1)
        own = np.sqrt(np.maximum(2 - 2 * nearest(reference, None, near)[0].astype(np.float64), 0))
        filled = intrinsic_dimensions(own)[places]
    dimension = np.median(filled, axis=1)  # of one clip alone it is known to a third, of its neighbourhood better
    ratio = np.minimum(CLOSEST, (EXPECTED / (n * (k - 1))) ** (1 / dimension))
    scale = distance[:, -1]
    scale = np.maximum(scale, CLUMP * np.median(scale))
    if reference is None:  # both clips of a pair must find it near
        limit = np.minimum(ratio[:, None], ratio[places]) * np.sqrt(scale[:, None] * scale[places])
    else:
        limit = (ratio * scale)[:, None]
    return float(np.median(dimension)), float(np.median(ratio)), distance <= limit


def intrinsic_dimensions(distance: np.ndarray) -> np.ndarray:
    """Distances [n, k >= 3] to the nearest k, ascending -> how many dimensions each point's neighbours fill, [n] >= 1.

    Levina and Bickel 2004, on the farther half of the neighbours, so that duplicates (the nearest ones) do not count.
    """
    inner = distance.shape[1] - 1
    used = max(1, inner // 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(distance[:, -1:] / distance[:, inner - used : -1]).sum(axis=1)
        # The smallest `used` of `inner` standard exponentials sum up to this; the logs are `dimension` times smaller.
        expected = sum(1 / (inner - step) for end in range(used) for step in range(end + 1))
        found = expected / logs
    return np.where(np.isfinite(found), np.maximum(found, 1.0), 1.0)
