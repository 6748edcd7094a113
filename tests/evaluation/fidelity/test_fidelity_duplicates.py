"""Near-duplicates: planted pairs are found, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from evaluation.fidelity import neighbours
from evaluation.fidelity.duplicates import find_duplicates, intrinsic_dimensions
from evaluation.fidelity.neighbours import nearest_neighbours, unit_vectors


def clusters(n: int, seed: int, dim: int = 64, inner: int = 16) -> np.ndarray:
    """float32 [n, dim]: five clusters of unequal width that fill `inner` dimensions, and a little noise."""
    rng = np.random.default_rng(seed)
    genre = rng.integers(0, 5, n)
    centres, widths = np.random.default_rng(99).normal(size=(5, inner)) * 2, np.array([0.3, 0.6, 1.0, 1.5, 2.0])
    mix = np.random.default_rng(98).normal(size=(inner, dim))
    points = centres[genre] + widths[genre, None] * rng.normal(size=(n, inner))
    return np.float32(points @ mix + 0.05 * rng.normal(size=(n, dim)))


def standardise(vectors: np.ndarray) -> np.ndarray:
    return unit_vectors(vectors, vectors.mean(axis=0), vectors.std(axis=0))


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
@pytest.mark.parametrize("seed", range(3))
def test_planted_duplicates_are_found_and_no_others(noise: float, seed: int) -> None:
    """Half a percent of 3,000 clips are copies of others, with noise relative to the standard deviation."""
    rng = np.random.default_rng(seed)
    vectors = clusters(3_000, seed)
    sources, copies = rng.permutation(3_000)[:30].reshape(2, 15)
    vectors[copies] = vectors[sources] + noise * vectors.std(axis=0) * rng.normal(size=(15, 64))
    duplicates = find_duplicates(standardise(vectors))
    planted = {tuple(sorted(pair)) for pair in zip(sources.tolist(), copies.tolist(), strict=True)}
    assert set(map(tuple, duplicates.pairs.tolist())) == planted
    assert sorted(map(tuple, duplicates.groups())) == sorted(planted)
    assert (np.diff(duplicates.cosines) <= 0).all()
    assert set(duplicates.indices.tolist()) == {*sources.tolist(), *copies.tolist()}


@pytest.mark.parametrize("inner", [3, 8, 40])
def test_sets_without_duplicates(inner: int) -> None:
    for seed in range(4):
        assert len(find_duplicates(standardise(clusters(2_000, seed, inner=inner))).pairs) == 0
        assert (
            len(
                find_duplicates(
                    standardise(clusters(1_000, seed, inner=inner)), standardise(clusters(1_500, seed + 9))
                ).pairs
            )
            == 0
        )


def test_copies_of_reference_clips_are_found() -> None:
    corpus, reference = clusters(1_000, 1) + 0.5, clusters(1_200, 2)  # shifted, as synthetic music is
    corpus[[3, 500, 999]] = reference[[7, 8, 9]] + 0.02 * np.random.default_rng(0).normal(size=(3, 64))
    mean, scale = reference.mean(axis=0), reference.std(axis=0)
    duplicates = find_duplicates(unit_vectors(corpus, mean, scale), unit_vectors(reference, mean, scale))
    assert sorted(map(tuple, duplicates.pairs.tolist())) == [(3, 7), (500, 8), (999, 9)]
    assert duplicates.indices.tolist() == [3, 500, 999]


@pytest.mark.parametrize("copies", [5, 40])
def test_many_copies_of_a_clip_are_one_group(copies: int) -> None:
    """As of a generator that repeats one clip; 40 copies are more than the neighbours that are searched."""
    vectors = clusters(1_000, 4)
    vectors[100 : 100 + copies] = vectors[100] + 0.01 * np.random.default_rng(0).normal(size=(copies, 64))
    assert find_duplicates(standardise(vectors)).groups() == [list(range(100, 100 + copies))]


def test_a_set_in_which_every_clip_is_repeated() -> None:
    vectors = clusters(400, 5)
    duplicates = find_duplicates(standardise(np.concatenate([vectors, vectors])))
    assert sorted(duplicates.pairs.tolist()) == [[i, i + 400] for i in range(400)]
    assert len(find_duplicates(standardise(vectors), standardise(vectors)).pairs) == 400


def test_few_clips_and_a_given_cosine() -> None:
    rng = np.random.default_rng(0)
    few = rng.normal(size=(2, 8))
    assert len(find_duplicates(unit_vectors(few, np.zeros(8), np.ones(8))).pairs) == 0
    assert find_duplicates(unit_vectors(few[[0, 1, 0]], np.zeros(8), np.ones(8))).pairs.tolist() == [[0, 2]]
    assert (
        len(
            find_duplicates(
                unit_vectors(few, np.zeros(8), np.ones(8)), unit_vectors(few[:1], np.zeros(8), np.ones(8))
            ).pairs
        )
        == 1
    )
    assert len(find_duplicates(np.zeros((4, 8), np.float32)).pairs) == 0
    angles = np.array([0.0, 0.1, 0.3, 2.0])
    circle = np.float32(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert find_duplicates(circle, similarity=float(np.cos(0.15))).pairs.tolist() == [[0, 1]]
    assert find_duplicates(circle, similarity=float(np.cos(0.25))).groups() == [[0, 1, 2]]


@pytest.mark.parametrize("dim", [1, 3, 10])
def test_intrinsic_dimension_of_uniform_points(dim: int) -> None:
    points = np.random.default_rng(0).uniform(size=(4_000, dim))
    distance = NearestNeighbors(n_neighbors=16).fit(points).kneighbors()[0]
    assert np.median(intrinsic_dimensions(distance)) == pytest.approx(dim, rel=0.2)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 50), st.integers(1, 8), st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_neighbours_equal_scikit_learns(seed: int, n: int, m: int, dim: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    queries, other = (
        unit_vectors(rng.normal(size=(size, dim + 1)), np.zeros(dim + 1), np.ones(dim + 1)) for size in (n, m)
    )
    before, neighbours.BLOCK = neighbours.BLOCK, block
    try:
        for base in (other, None):
            k = min(7, m if base is not None else n - 1)
            cosines, indices = nearest_neighbours(queries, base, k)
            fit = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(
                queries if base is None else base
            )
            distance = fit.kneighbors(None if base is None else queries)[0]
            assert 1 - cosines == pytest.approx(distance, abs=1e-5)
            searched = queries if base is None else base
            assert np.einsum("nd,nkd->nk", queries, searched[indices]) == pytest.approx(cosines, abs=1e-5)
            assert all(len(set(row)) == k for row in indices.tolist())
            assert base is not None or not (indices == np.arange(n)[:, None]).any()
    finally:
        neighbours.BLOCK = before
