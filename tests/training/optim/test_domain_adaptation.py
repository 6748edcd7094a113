from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import rbf_kernel

from builder.settings import AdaptationSettings
from training.optim.domain_adaptation import (
    LABELLED,
    MMD,
    ContrastivePairs,
    Coral,
    DomainAdversarial,
    SupervisedContrastive,
    make_adaptation_loss,
    reversal_strength,
)

NAMES = ("coral", "mmd", "dann", "supcon", "ccsa")
sizes = st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(0, 2**16))


def draw(n: int, m: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two domains of float64, labels of three classes and some unknown."""
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((n, width))
    target = 0.5 + 2.0 * rng.standard_normal((m, width))
    return source, target, rng.integers(-1, 3, n), rng.integers(-1, 3, m)


def loss_of(module: torch.nn.Module, *arrays: np.ndarray, progress: float = 0.5) -> float:
    with torch.no_grad():
        return float(module(*(torch.from_numpy(array) for array in arrays), progress))


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_coral_is_the_distance_of_numpys_covariances(size: tuple[int, int, int, int]) -> None:
    source, target, *labels = draw(*size)
    width = source.shape[1]
    gap = np.atleast_2d(np.cov(source, rowvar=False)) - np.atleast_2d(np.cov(target, rowvar=False))
    expected = np.linalg.norm(gap, "fro") ** 2 / (4 * width**2)
    assert loss_of(Coral(), source, target, *labels) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_coral_of_a_scaled_domain_in_closed_form() -> None:
    """Covariance C against s^2 C: (s^2 - 1)^2 |C|^2 / 4 d^2, wherever the target was moved to."""
    source = draw(50, 1, 4, 0)[0]
    target = 3.0 * source + 7.0
    expected = (9 - 1) ** 2 * np.linalg.norm(np.cov(source, rowvar=False)) ** 2 / (4 * 16)
    assert loss_of(Coral(), source, target, np.zeros(50), np.zeros(50)) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_mmd_is_the_mean_of_sklearns_kernels(size: tuple[int, int, int, int]) -> None:
    source, target, *labels = draw(*size)
    both = np.concatenate([source, target])
    mean = cdist(both, both, "sqeuclidean").sum() / (len(both) * (len(both) - 1))
    expected = np.mean(
        [
            rbf_kernel(source, gamma=gamma).mean()
            + rbf_kernel(target, gamma=gamma).mean()
            - 2 * rbf_kernel(source, target, gamma=gamma).mean()
            for gamma in (1 / (scale * mean) for scale in MMD.SCALES)
        ]
    )
    assert loss_of(MMD(), source, target, *labels) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_mmd_of_two_points_in_closed_form() -> None:
    """Both at distance d: the mean of d^2 is d^2, and each kernel gives 2 - 2 exp(-1 / scale)."""
    expected = np.mean([2 - 2 * math.exp(-1 / scale) for scale in (0.25, 0.5, 1, 2, 4)])
    found = loss_of(MMD(), np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), np.zeros(1), np.zeros(1))
    assert found == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(sizes)
def test_the_critics_loss_is_sklearns_log_loss(size: tuple[int, int, int, int]) -> None:
    source, target, *labels = draw(*size)
    module = DomainAdversarial(source.shape[1]).double()
    with torch.no_grad():
        logits = module.critic(torch.from_numpy(np.concatenate([source, target]))).squeeze(1).numpy()
    truth = np.repeat([1, 0], [len(source), len(target)])
    weights = np.repeat([1 / len(source), 1 / len(target)], [len(source), len(target)])  # the domains weigh the same
    expected = log_loss(truth, 1 / (1 + np.exp(-logits)), sample_weight=weights, labels=[0, 1])
    assert loss_of(module, source, target, *labels) == pytest.approx(expected)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_gradient_is_reversed_for_the_representation_alone(progress: float) -> None:
    """Against plain autograd through the same critic: -strength times as much; the critic's own stays."""
    source, target, *_ = (torch.from_numpy(array) for array in draw(6, 5, 4, 1))
    module = DomainAdversarial(4).double()
    rows = torch.cat([source, target]).requires_grad_()
    logits = module.critic(rows).squeeze(1)
    truth = torch.tensor([1.0] * 6 + [0.0] * 5, dtype=torch.float64)
    weight = torch.tensor([1 / 12] * 6 + [1 / 10] * 5, dtype=torch.float64)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    parameters = list(module.parameters())
    straight, *own = torch.autograd.grad(plain, [rows, *parameters])
    source.requires_grad_(), target.requires_grad_()
    found = torch.autograd.grad(module(source, target, None, None, progress), [source, target, *parameters])
    torch.testing.assert_close(torch.cat(found[:2]), -reversal_strength(progress) * straight)
    for ours, reference in zip(found[2:], own, strict=True):
        torch.testing.assert_close(ours, reference)


def test_the_reversal_rises_from_nothing_to_all_of_it() -> None:
    """Ganin et al. 2016, section 5.2.2: 2 / (1 + exp(-10 p)) - 1, which is tanh(5 p)."""
    for progress in (0.0, 0.1, 0.5, 1.0):
        assert reversal_strength(progress) == pytest.approx(math.tanh(5 * progress))


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_supervised_contrastive_is_equation_two(size: tuple[int, int, int, int]) -> None:
    source, target, of_source, of_target = draw(*size)
    labels = np.concatenate([of_source, of_target])
    rows = np.concatenate([source, target])[labels >= 0]
    labels = labels[labels >= 0]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    terms = []
    for anchor in range(len(rows)):
        others = [i for i in range(len(rows)) if i != anchor]
        share = dict(zip(others, log_softmax(rows[others] @ rows[anchor] / 0.2), strict=True)) if others else {}
        if positives := [i for i in others if labels[i] == labels[anchor]]:
            terms.append(-np.mean([share[i] for i in positives]))
    expected = np.mean(terms) if terms else 0.0
    assert loss_of(SupervisedContrastive(0.2), source, target, of_source, of_target) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_contrastive_pairs_by_scipys_distances(size: tuple[int, int, int, int]) -> None:
    source, target, of_source, of_target = draw(*size)
    distances = cdist(source, target)
    pairs = [(distances[i, j], of_source[i] == of_target[j]) for i in range(len(source)) for j in range(len(target))
             if of_source[i] >= 0 and of_target[j] >= 0]  # fmt: skip
    same = [d**2 for d, alike in pairs if alike]
    apart = [max(0.0, 2.0 - d) ** 2 for d, alike in pairs if not alike]
    expected = ((np.mean(same) if same else 0) + (np.mean(apart) if apart else 0)) / 2
    found = loss_of(ContrastivePairs(2.0), source, target, of_source, of_target)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["coral", "supcon", "ccsa"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    source, target, *labels = (torch.from_numpy(array) for array in draw(6, 5, 3, 4))
    loss = make_adaptation_loss(AdaptationSettings(loss=name, margin=4.0), 3).double()
    source.requires_grad_(), target.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, *labels, 0.5), (source, target))


def test_the_gradient_of_mmd_is_that_of_fixed_bandwidths() -> None:
    """By central differences of scikit-learn's kernels, their bandwidths held."""
    source, target, *_ = draw(6, 5, 3, 4)
    both = np.concatenate([source, target])
    mean = cdist(both, both, "sqeuclidean").sum() / (len(both) * (len(both) - 1))

    def fixed(moved: np.ndarray) -> float:
        kernel = np.mean([rbf_kernel(moved, gamma=1 / (scale * mean)) for scale in MMD.SCALES], axis=0)
        return float(kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean())

    expected = np.zeros_like(both)
    for place in np.ndindex(*both.shape):
        step = np.zeros_like(both)
        step[place] = 1e-5
        expected[place] = (fixed(both + step) - fixed(both - step)) / 2e-5
    rows = torch.from_numpy(both).requires_grad_()
    MMD()(rows[:6], rows[6:]).backward()
    assert rows.grad is not None
    np.testing.assert_allclose(rows.grad.numpy(), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_where_nothing_can_be_compared(name: str) -> None:
    """One row of each, no label: a number, and gradients that are finite."""
    loss = make_adaptation_loss(AdaptationSettings(loss=name), 3)
    source, target = torch.ones(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    unknown = torch.tensor([-1])
    value = loss(source, target, unknown, unknown, 0.0)
    value.backward()
    assert math.isfinite(value.item())
    assert source.grad is not None and bool(source.grad.isfinite().all())
    if name in LABELLED:
        assert value.item() == 0.0


@pytest.mark.parametrize("name", ["mmd", "dann", "supcon", "ccsa"])  # coral is blind to translation: see above
def test_descent_draws_the_domains_together(name: str) -> None:
    """Minimising over the target's rows brings its classes' means nearer to the source's."""
    rng = np.random.default_rng(0)
    labels = torch.arange(60) % 2
    centres = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    source = centres[labels] + torch.from_numpy(rng.standard_normal((60, 2))).float()
    moved = centres[labels] + torch.tensor([1.0, 2.0]) + torch.from_numpy(rng.standard_normal((60, 2))).float()
    target = moved.requires_grad_()
    loss = make_adaptation_loss(AdaptationSettings(loss=name, margin=6.0), 2)
    optimizer = torch.optim.Adam([target, *loss.parameters()], lr=0.05)

    def gap() -> float:
        seen = [source, target.detach()]
        if name == "supcon":  # it looks at directions
            seen = [torch.nn.functional.normalize(rows) for rows in seen]
        return sum(float((seen[0][labels == c].mean(0) - seen[1][labels == c].mean(0)).norm()) for c in (0, 1))

    before = gap()
    for _ in range(150):
        optimizer.zero_grad()
        loss(source, target, labels, labels, 0.5).backward()
        optimizer.step()
    assert gap() < 0.7 * before


def test_the_same_seed_gives_the_same_critic() -> None:
    made: list[Any] = [
        make_adaptation_loss(AdaptationSettings(loss="dann"), 4, seed).state_dict() for seed in (1, 1, 2)
    ]
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])
    assert not all(torch.equal(made[0][key], made[2][key]) for key in made[0])
