"""Near-duplicates: pairs of clips whose embeddings are closer than chance would put any two.

The density of clips differs across an embedding space and between embedders, so no single cosine is the right
threshold everywhere. The distance of a pair is therefore measured relative to a local scale: the distance to the k-th
nearest neighbour. The threshold on that ratio is chosen so that points that are placed at random, in a space of the
intrinsic dimension of the set, would give `EXPECTED` pairs in the whole set. A cosine given by the user replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from .neighbours import nearest_neighbours

NEIGHBOURS = 16
EXPECTED = 0.01  # false pairs expected by chance in the whole set
MAX_RATIO = 0.5  # of the local scale: pairs that are further apart never count
IDENTICAL = 1 - 1e-6  # cosines from here on belong to equal embeddings, up to float32 rounding
MIN_SCALE = 0.25  # of the median scale: keeps a group of more than k copies from setting its own scale


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Near-duplicates within a set, or between a set and a reference.

    Attributes:
        pairs: int64 [p, 2], indices of the clips, nearest pair first. Within a set the smaller index is first,
            otherwise the index in the set.
        cosines: float32 [p].
        nearest: float32 [n], each clip's cosine to its nearest neighbour.
        neighbours: int64 [n], that neighbour.
        dimension: Median intrinsic dimension of the set; None if it was not needed.
        ratio: Median threshold, as a ratio of the local scale; None if it was not needed.
        within: Whether the pairs are within the set.
    """

    pairs: np.ndarray
    cosines: np.ndarray
    nearest: np.ndarray
    neighbours: np.ndarray
    dimension: float | None
    ratio: float | None
    within: bool

    @property
    def indices(self) -> np.ndarray:
        """The clips of the set that have a duplicate, int64, ascending."""
        indices: np.ndarray = np.unique(self.pairs if self.within else self.pairs[:, 0])
        return indices

    def groups(self) -> list[list[int]]:
        """Return the connected groups of duplicates within the set, the largest first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n, (left, right) = len(self.nearest), self.pairs.T
        graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(n, n))
        _, component = connected_components(graph, directed=False)
        order = np.argsort(component, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
        groups = [part.tolist() for part in parts if len(part) > 1]
        return sorted(groups, key=lambda group: (-len(group), group))


def find_duplicates(
    rows: np.ndarray, reference: np.ndarray | None = None, similarity: float | None = None
) -> Duplicates:
    """Find near-duplicates exactly, with blocked memory. Looks at the 16 nearest neighbours of each clip.

    Args:
        rows: Unit vectors [n, dim].
        reference: Unit vectors [m, dim] to compare with. None searches within `rows`.
        similarity: The lowest cosine of a pair, in place of the threshold by chance.
    """
    base = len(rows) - 1 if reference is None else len(reference)
    k = min(base, max(min(NEIGHBOURS, base), 1))
    cosines, indices = nearest_neighbours(rows, reference, k)
    distances = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))
    dimension = ratio = None
    if similarity is not None:
        close = cosines >= similarity
    else:
        close = cosines >= IDENTICAL
        k = min(k, max(3, isqrt(base)))  # of few clips, a smaller neighbourhood sets the scale
        if k >= 3:
            dimension, ratio, closer = _closer_than_chance(distances[:, :k], indices[:, :k], reference)
            close[:, :k] |= closer
    left, slot = np.nonzero(close)
    right = indices[left, slot]
    pairs = np.stack([left, right], axis=1)
    if reference is None:
        pairs = np.sort(pairs, axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    pair_cosines = cosines[left, slot][first]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -pair_cosines))
    return Duplicates(
        pairs[order], pair_cosines[order], cosines[:, 0], indices[:, 0], dimension, ratio, reference is None
    )


def _closer_than_chance(
    distances: np.ndarray, indices: np.ndarray, reference: np.ndarray | None
) -> tuple[float, float, np.ndarray]:
    """Compare the distances [n, k] to neighbours with the threshold by chance.

    Of points at random in d dimensions, the k - 1 that are nearer than the k-th are at u^(1 / d) of its distance, with
    u uniform in [0, 1]. So n (k - 1) ratio^d of them are expected below `ratio`. Each clip has its own d and ratio.

    Returns:
        Median dimension, median ratio, and bool [n, k].
    """
    n, k = distances.shape
    if reference is None:
        neighbourhood = np.concatenate([np.arange(n)[:, None], indices], axis=1)
        dimensions = intrinsic_dimensions(distances)[neighbourhood]
    else:
        # From a point far outside a set all distances look alike, so the dimensions are those of the reference.
        size = min(k, len(reference) - 1)
        cosines = nearest_neighbours(reference, None, size)[0].astype(np.float64)
        dimensions = intrinsic_dimensions(np.sqrt(np.maximum(2 - 2 * cosines, 0)))[indices]
    dimension = np.median(dimensions, axis=1)  # the estimate of one clip is off by a third; the median by less
    ratio = np.minimum(MAX_RATIO, (EXPECTED / (n * (k - 1))) ** (1 / dimension))
    scale = distances[:, -1]
    scale = np.maximum(scale, MIN_SCALE * np.median(scale))
    if reference is None:  # the pair must be close by the scales of both clips
        limit = np.minimum(ratio[:, None], ratio[indices]) * np.sqrt(scale[:, None] * scale[indices])
    else:
        limit = (ratio * scale)[:, None]
    return float(np.median(dimension)), float(np.median(ratio)), distances <= limit


def intrinsic_dimensions(distances: np.ndarray) -> np.ndarray:
    """Estimate the intrinsic dimension around each point by maximum likelihood (Levina and Bickel 2004).

    Only the farther half of the neighbours is used, so that duplicates, which are the nearest, have no effect.

    Args:
        distances: [n, k >= 3] to the k nearest neighbours, ascending.

    Returns:
        float64 [n], at least 1.
    """
    inner = distances.shape[1] - 1
    used = max(1, inner // 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(distances[:, -1:] / distances[:, inner - used : -1]).sum(axis=1)
        # The expected sum of the smallest `used` of `inner` standard exponentials; logs are 1 / dimension of it.
        expected = sum(1 / (inner - step) for end in range(used) for step in range(end + 1))
        dimensions = expected / logs
    return np.where(np.isfinite(dimensions), np.maximum(dimensions, 1.0), 1.0)
