"""How fast is a corpus held against real music: distances and near-duplicates, beside what one would write with scipy.

uv run perf/distances.py [--quick] [--json FILE]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import table
from sklearn.neighbors import NearestNeighbors

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script beside this one would hide the package `evaluation`

from evaluation.fidelity.duplicates import find_duplicates
from evaluation.fidelity.frechet import extrapolate_frechet, frechet_distance
from evaluation.fidelity.kernel_distance import gaussian_kernel, kernel_distance, median_bandwidth
from evaluation.fidelity.neighbours import unit_vectors
from evaluation.fidelity.prdc import compute_prdc
from evaluation.fidelity.two_sample import two_sample_test

DIM, INNER = 768, 40
PAPER = 57_562  # clips of Kroher, Cuesta and Pikrakis 2023


def embeddings(n: int, seed: int) -> np.ndarray:
    """float32 [n, 768] that fill 40 dimensions and a little of the rest."""
    mix = np.random.default_rng(0).normal(size=(INNER, DIM)).astype(np.float32)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, DIM), dtype=np.float32)
    return rng.standard_normal((n, INNER), dtype=np.float32) @ mix + np.float32(0.3) * noise


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance as it is mostly written: covariances and a matrix square root."""
    a, b = np.cov(x.T.astype(np.float64)), np.cov(y.T.astype(np.float64))
    cross = np.real(np.trace(scipy.linalg.sqrtm(a @ b)))
    return float(
        ((x.mean(0, dtype=float) - y.mean(0, dtype=float)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * cross
    )


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    options = table.arguments(__doc__)
    n, rounds = (2_000, 2) if options.quick else (5_000, 3)
    x, y = embeddings(n, 1), embeddings(n, 2)
    mean, scale = y.mean(axis=0), y.std(axis=0)
    mine = unit_vectors(x, mean, scale)

    def pair(name: str, ours: Callable[[], Any], peer: Callable[[], Any], peer_name: str, note: str) -> dict[str, Any]:
        times = [(seconds(ours), seconds(peer)) for _ in range(rounds)]
        return table.paired(name, "s", [one for one, _ in times], [other for _, other in times], peer_name, note)

    def alone(name: str, work: Callable[[], Any], note: str = "") -> dict[str, Any]:
        return table.row(name, "s", seconds(work), n=1, note=note)

    size = f"{n:,} and {n:,} x {DIM}"
    apart = frechet_distance(x, y) / by_scipy(x, y) - 1
    neighbours = NearestNeighbors(n_neighbors=16, metric="cosine", algorithm="brute")
    bandwidth = median_bandwidth(y)
    groups = [str(i) for i in range(n)]
    rows = [
        pair(
            f"Fréchet distance, {size}",
            lambda: frechet_distance(x, y),
            lambda: by_scipy(x, y),
            "scipy.linalg.sqrtm",
            f"relative difference {apart:.1e}",
        ),
        pair(
            f"near-duplicates among {n:,} x {DIM}",
            lambda: find_duplicates(mine),
            lambda: neighbours.fit(mine).kneighbors(),
            "sklearn NearestNeighbors",
            "theirs: the 16 nearest alone",
        ),
        alone("the Fréchet distance's extrapolation", lambda: extrapolate_frechet(x, y)),
        alone(
            "kernel distance with its error",
            lambda: kernel_distance(x, y, gaussian_kernel(bandwidth)),
            "Gaussian kernel",
        ),
        alone("precision, recall, density, coverage", lambda: compute_prdc(x, y)),
        alone("two-sample test", lambda: two_sample_test(x, y, groups, groups), "logistic regression, five folds"),
    ]
    if not options.quick:
        paper = embeddings(PAPER, 3)
        paper = unit_vectors(paper, paper.mean(axis=0), paper.std(axis=0))
        rows.append(alone(f"near-duplicates among {PAPER:,} x {DIM}", lambda: find_duplicates(paper), "exact"))
    table.finish("distances", rows, options)


if __name__ == "__main__":
    main()
