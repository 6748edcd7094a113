"""Distances, coverage and Vendi score compared with scipy, scikit-learn, closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from evaluation.fidelity import frechet, kernel_distance, prdc
from evaluation.fidelity.frechet import extrapolate_frechet, frechet_distance
from evaluation.fidelity.prdc import compute_prdc
from evaluation.fidelity.vendi import vendi_score

SEEDS = st.integers(0, 2**32 - 1)


def exact(n: int, mean: np.ndarray, variances: np.ndarray, seed: int) -> np.ndarray:
    """float64 [n, dim] whose sample mean and covariance (divisor n - 1) are exactly these, up to rounding."""
    raw = np.random.default_rng(seed).normal(size=(n, len(mean)))
    basis = np.linalg.qr(raw - raw.mean(axis=0))[0]
    return mean + basis * np.sqrt((n - 1) * variances)


def skewed(n: int, dim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


@pytest.mark.parametrize(("n", "m", "dim"), [(300, 200, 12), (100, 1000, 40), (60, 50, 1)])
def test_frechet_equals_the_matrix_square_root_of_scipy(n: int, m: int, dim: int) -> None:
    x, y = skewed(n, dim, 1), skewed(m, dim, 2)
    a, b = np.cov(x.T).reshape(dim, dim), np.cov(y.T).reshape(dim, dim)
    root = np.real(scipy.linalg.sqrtm(a @ b))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("n", "m"), [(200, 150), (30, 200), (13, 13)])
def test_frechet_equals_the_closed_form_of_gaussians(n: int, m: int) -> None:
    """For commuting covariances it is |mean|^2 + sum (sigma - tau)^2, also with constant dimensions."""
    rng = np.random.default_rng(0)
    mean, sigma, tau = rng.normal(size=12), rng.uniform(0.1, 3, 12), rng.uniform(0.1, 3, 12)
    sigma[:3], tau[2:4] = 0, 0
    distance = frechet_distance(exact(n, np.zeros(12), sigma**2, 1), exact(m, mean, tau**2, 2))
    assert distance == pytest.approx((mean**2).sum() + ((sigma - tau) ** 2).sum(), rel=1e-8)


def test_frechet_of_fewer_clips_than_dimensions_equals_that_in_their_subspace() -> None:
    """20 and 30 clips in 64 dimensions lie in a subspace of 48, where the product of the covariances has rank 19."""
    x, y = skewed(20, 64, 3), skewed(30, 64, 4)
    centred = np.concatenate([x - x.mean(0), y - y.mean(0)])
    basis = np.linalg.svd(centred, full_matrices=False)[2][:48]
    values = np.linalg.eigvals(np.cov((x @ basis.T).T) @ np.cov((y @ basis.T).T))
    cross = np.sqrt(np.maximum(values.real, 0)[np.argsort(values.real)[-19:]]).sum()  # the rank is 19
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum() - 2 * cross
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


@given(SEEDS, st.integers(2, 30), st.integers(2, 30), st.integers(1, 12), st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_frechet_is_symmetric_and_invariant_to_rotation_and_translation(
    seed: int, n: int, m: int, dim: int, scale: float
) -> None:
    x, y = skewed(n, dim, seed), skewed(m, dim, seed + 1)
    size = (x**2).sum() / n + (y**2).sum() / m
    distance = frechet_distance(x, y)
    assert distance >= 0
    assert frechet_distance(y, x) == pytest.approx(distance, rel=1e-7, abs=1e-9 * size)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9 * size)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    assert frechet_distance(x @ turn + 3, y @ turn + 3) == pytest.approx(
        distance, rel=1e-6, abs=1e-8 * (size + 9 * dim)
    )
    assert frechet_distance(scale * x, scale * y) == pytest.approx(
        scale**2 * distance, rel=1e-6, abs=1e-9 * scale**2 * size
    )


def test_frechet_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = skewed(500, 20, 5).astype(np.float32), skewed(300, 20, 6).astype(np.float32)
    whole = frechet_distance(x, y)
    monkeypatch.setattr(frechet, "BLOCK", 33)
    assert frechet_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_the_extrapolated_distance_is_that_of_the_distributions() -> None:
    """Normal samples of 600 and a huge reference: the distance is biased, the extrapolated one is not."""
    rng, dim = np.random.default_rng(0), 24
    sigma = np.linspace(0.5, 2, dim)
    truth = ((sigma - 1) ** 2).sum() + 0.25
    reference = exact(20_000, np.eye(dim)[0] / 2, np.ones(dim), 1)
    plain, ends, errors = [], [], []
    for seed in range(12):
        x = rng.normal(size=(600, dim)) * sigma
        line = extrapolate_frechet(x, reference, seed)
        assert line is not None and line.sizes[0] == 60 and line.sizes[-1] == 600 and line.slope > 0 and line.r2 > 0.8
        assert line.distances[-1] == pytest.approx(frechet_distance(x, reference), rel=1e-6)
        plain.append(line.distances[-1])
        ends.append(line.value)
        errors.append(line.error)
    assert np.mean(plain) - truth > 3 * abs(np.mean(ends) - truth)
    assert np.mean(ends) == pytest.approx(truth, abs=4 * np.std(ends) / np.sqrt(12) + 2 * np.mean(errors))


def test_extrapolation_is_deterministic_and_needs_twenty_clips() -> None:
    x, y = skewed(40, 100, 1), skewed(50, 100, 2)
    assert extrapolate_frechet(x, y, 3) == extrapolate_frechet(x, y, 3) != extrapolate_frechet(x, y, 4)
    assert extrapolate_frechet(x[:19], y) is None
    same = extrapolate_frechet(np.ones((30, 4)), np.ones((30, 4)))
    assert same is not None and same.value == pytest.approx(0, abs=1e-9) and same.r2 == 1


def unbiased_mmd(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """The unbiased squared MMD from kernel matrices, by its definition."""
    n, m = xy.shape
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


@pytest.mark.parametrize("name", ["rbf", "polynomial"])
def test_kernel_distance_equals_scikit_learns_kernels_and_a_jackknife_loop(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_distance, "BLOCK", 16)
    x, y = skewed(40, 6, 1), skewed(33, 6, 2)
    if name == "rbf":
        ours = kernel_distance.gaussian_kernel(2.5)

        def theirs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return rbf_kernel(a, b, gamma=1 / (2 * 2.5**2))
    else:
        ours = kernel_distance.polynomial_kernel

        def theirs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return polynomial_kernel(a, b, degree=3, gamma=1 / 6, coef0=1)

    distance = kernel_distance.kernel_distance(x, y, ours)
    assert distance.value == pytest.approx(unbiased_mmd(theirs(x, x), theirs(y, y), theirs(x, y)), rel=1e-9)
    without_x = [
        unbiased_mmd(theirs(a, a), theirs(y, y), theirs(a, y)) for a in (np.delete(x, i, 0) for i in range(40))
    ]
    without_y = [
        unbiased_mmd(theirs(x, x), theirs(b, b), theirs(x, b)) for b in (np.delete(y, i, 0) for i in range(33))
    ]
    assert distance.error == pytest.approx(np.sqrt(39 * np.var(without_x) + 32 * np.var(without_y)), rel=1e-8)


def test_kernel_distance_is_unbiased_and_its_intervals_cover_it() -> None:
    """For two normals the squared MMD of the Gaussian kernel has a closed form."""
    rng, width = np.random.default_rng(1), 1.5

    def mean_kernel(spread: float, shift: float) -> float:
        """E k(a, b) for a - b normal with variance `spread` in both dimensions and mean `shift` in one."""
        return width**2 / (width**2 + spread) * np.exp(-(shift**2) / (2 * (width**2 + spread)))

    for shift in (0.0, 1.0):
        truth = 2 * mean_kernel(2, 0) - 2 * mean_kernel(2, shift)
        distances = []
        for _ in range(150):
            x, y = rng.normal(size=(80, 2)), rng.normal(size=(60, 2)) + np.array([shift, 0])
            distances.append(kernel_distance.kernel_distance(x, y, kernel_distance.gaussian_kernel(width)))
        values, errors = (
            np.array([distance.value for distance in distances]),
            np.array([distance.error for distance in distances]),
        )
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(150))
        assert 0.9 <= np.mean(np.abs(values - truth) <= 1.96 * errors) <= 1


def test_kernel_distance_of_few_and_of_equal_rows() -> None:
    x = np.array([[0.0], [1.0]])
    rbf = kernel_distance.gaussian_kernel(1.0)
    assert kernel_distance.kernel_distance(x, x + 50, rbf) == (pytest.approx(2 * np.exp(-0.5), abs=1e-12), None)
    assert kernel_distance.median_bandwidth(np.ones((5, 3))) == 1.0
    assert kernel_distance.median_bandwidth(np.array([[0.0], [1.0], [4.0]])) == 3.0
    assert kernel_distance.kernel_distance(np.ones((5, 3)), np.ones((4, 3)), rbf) == (
        pytest.approx(0),
        pytest.approx(0),
    )


@given(SEEDS, st.integers(6, 40), st.integers(6, 40), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_prdc_equals_its_definitions(seed: int, n: int, m: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, dim)), rng.normal(size=(m, dim)) + 0.5
    reach_x = np.sort(cdist(x, x), axis=1)[:, 5]  # the nearest is the row itself
    reach_y = np.sort(cdist(y, y), axis=1)[:, 5]
    distance = cdist(x, y)
    result = compute_prdc(x, y)
    assert (result.precision == (distance <= reach_y).any(axis=1)).all()
    assert (result.recall == (distance <= reach_x[:, None]).any(axis=0)).all()
    assert result.density == pytest.approx((distance <= reach_y).sum(axis=1) / 5)
    assert (result.coverage == (distance.min(axis=0) <= reach_y)).all()


def test_prdc_of_equal_distant_and_collapsed_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prdc, "BLOCK", 13)
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 8))
    same = compute_prdc(y, y)
    assert same.precision.all() and same.recall.all() and same.coverage.all()
    far = compute_prdc(y + 100, y)
    assert not far.precision.any() and not far.coverage.any() and not far.density.any()
    collapsed = compute_prdc(y[:1] + 1e-3 * rng.normal(size=(200, 8)), y)
    assert collapsed.precision.all() and collapsed.coverage.mean() < 0.2 and collapsed.recall.mean() < 0.05


def test_vendi_score_counts_different_clips() -> None:
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.ones((5, 4)) / 2) == pytest.approx(1)
    assert vendi_score(np.zeros((5, 4))) == 1
    assert vendi_score(np.repeat(np.eye(3), 10, axis=0)) == pytest.approx(3)
    # Two rows at cosine c have eigenvalues (1 +- c) / 2.
    rows = np.array([[1, 0], [0.6, 0.8]])
    assert vendi_score(rows) == pytest.approx(np.exp(-0.8 * np.log(0.8) - 0.2 * np.log(0.2)))


@given(SEEDS, st.integers(2, 30), st.integers(2, 20))
@settings(max_examples=40, deadline=None)
def test_vendi_score_equals_that_of_the_kernel_matrix(seed: int, n: int, dim: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(rows @ rows.T / n)
    shares = shares[shares > 1e-15]
    assert vendi_score(rows) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert vendi_score(np.concatenate([rows, rows])) == pytest.approx(vendi_score(rows), rel=1e-6)
