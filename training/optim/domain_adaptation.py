"""Losses that align the hidden representations of a synthetic source and a real target.

Each loss is a module called as `loss(source, target, source_labels, target_labels, progress)`: float32 [n, width] and
[m, width], int64 [n] and [m] (-1 where a label is unknown), progress in [0, 1] the share of the epochs done. It gives
a scalar. Losses that look at no labels (`coral`, `mmd`, `dann`) need none of the target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from builder.settings import AdaptationSettings

LABELLED = ("supcon", "ccsa")  # the losses that need labels of the target
# Beside a cross-entropy, where a recipe names none: 0.7 to 0.3 for ccsa (the 2024 paper); coral's are small numbers.
# Larger ones gain more on a planted shift and lose on real music: see docs/results/strategies.md.
WEIGHTS = {"coral": 30.0, "mmd": 0.3, "dann": 0.3, "supcon": 1.0, "ccsa": 7 / 3}


@dataclass(frozen=True, slots=True)
class Adaptation:
    """A target that a training is drawn to: the loop adds `weight * loss(...)` of each batch to its own loss.

    Several processes each compare their own share of a batch, so that losses over pairs then see fewer pairs.
    """

    rows: Tensor  # float32 [m, dim], the target's embeddings
    labels: Tensor  # int64 [m], -1 where the label is unknown
    loss: nn.Module
    weight: float


def make_adaptation_loss(settings: AdaptationSettings, width: int, seed: int = 0) -> nn.Module:
    """Make the loss that the settings name.

    Args:
        settings: The loss, "coral", "mmd", "dann", "supcon" or "ccsa", and its temperature or margin.
        width: The length of a representation.
        seed: Of the weights that a loss may have. The global random state is not changed.

    Returns:
        The loss, a module called as the module's docstring says.

    Raises:
        ValueError: The settings name no loss.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match settings.loss:
            case "coral":
                return Coral()
            case "mmd":
                return MMD()
            case "dann":
                return DomainAdversarial(width)
            case "supcon":
                return SupervisedContrastive(settings.temperature)
            case "ccsa":
                return ContrastivePairs(settings.margin)
            case "statistics":
                raise ValueError("statistics is no loss: source and target are only standardised apart")


class Coral(nn.Module):
    """Correlation alignment: the squared Frobenius distance of the covariances, over 4 width^2.

    Sun and Saenko 2016, "Deep CORAL" (arXiv 1607.01719), equations 1 to 3; covariances are the unbiased ones.
    """

    def forward(self, source: Tensor, target: Tensor, *_: Any) -> Tensor:
        """Zero where both have one covariance; needs two rows of each."""
        if min(len(source), len(target)) < 2:
            return source.sum() * 0.0
        width = source.shape[1]
        return (_covariance(source) - _covariance(target)).square().sum() / (4 * width**2)


def _covariance(rows: Tensor) -> Tensor:
    """[n, width] -> [width, width]."""
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / (len(rows) - 1)


class MMD(nn.Module):
    """Maximum mean discrepancy, squared, under a mean of Gaussian kernels.

    The biased estimate of Gretton et al. 2012 (JMLR 13, equation 5), which is never negative. The kernels are those of
    Long et al. 2015 (arXiv 1502.02791), exp(-d^2 / bandwidth), with bandwidths a quarter to four times the mean of d^2
    over all pairs of the batch, which is held fixed for the gradient.
    """

    SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)

    def forward(self, source: Tensor, target: Tensor, *_: Any) -> Tensor:
        """Zero where both are the same rows."""
        n = len(source)
        both = torch.cat([source, target])
        distances = _squared_distances(both, both)
        mean = distances.detach().sum() / (len(both) * (len(both) - 1))
        kernel = torch.stack([torch.exp(-distances / (scale * mean + 1e-12)) for scale in self.SCALES]).mean(dim=0)
        return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


class DomainAdversarial(nn.Module):
    """A small classifier learns to separate source and target; its reversed gradient makes them inseparable.

    Ganin et al. 2016 (JMLR 17), section 4: the reversed gradient is scaled by 2 / (1 + exp(-10 progress)) - 1, so that
    it starts at nothing. The mean of the two domains' cross-entropies, whatever their sizes.
    """

    HIDDEN = 64

    def __init__(self, width: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(width, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, 1))

    def forward(
        self, source: Tensor, target: Tensor, source_labels: Any, target_labels: Any, progress: float
    ) -> Tensor:
        """Compute the domain classifier's loss, ln 2 where the domains are inseparable.

        Args:
            source: float32 [n, width].
            target: float32 [m, width].
            source_labels: Not used.
            target_labels: Not used.
            progress: The share of the epochs done, in [0, 1], which scales the reversed gradient.

        Returns:
            A scalar.
        """
        strength = reversal_strength(progress)
        both = torch.cat([source, target])
        logits = self.critic(_Reversal.apply(both, strength)).squeeze(1)
        return (
            functional.softplus(-logits[: len(source)]).mean() + functional.softplus(logits[len(source) :]).mean()
        ) / 2


def reversal_strength(progress: float) -> float:
    """How much of the critic's gradient is turned round, 0 at the start to 1 at the end."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


class SupervisedContrastive(nn.Module):
    """Rows of one label are drawn together, whichever domain they come from, and away from all others.

    Khosla et al. 2020 (arXiv 2004.11362), equation 2 (the sum outside the logarithm), on normalised representations;
    every labelled row is an anchor, and an anchor without a second row of its label counts for nothing.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self, source: Tensor, target: Tensor, source_labels: Tensor, target_labels: Tensor, progress: float = 0.0
    ) -> Tensor:
        """Compute the mean loss of the anchors.

        Args:
            source: float32 [n, width].
            target: float32 [m, width].
            source_labels: int64 [n], -1 where a label is unknown.
            target_labels: int64 [m], -1 where a label is unknown.
            progress: Not used.

        Returns:
            A scalar; 0 where no two rows share a label.
        """
        labels = torch.cat([source_labels, target_labels])
        rows = functional.normalize(torch.cat([source, target])[labels >= 0], dim=1)
        labels = labels[labels >= 0]
        others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        positives = (labels[:, None] == labels[None]) & others
        similarity = (rows @ rows.T / self.temperature).masked_fill(~others, -torch.inf)
        log_share = similarity - similarity.logsumexp(dim=1, keepdim=True)
        counts = positives.sum(dim=1)
        anchors = counts > 0
        if not anchors.any():
            return source.sum() * 0.0
        means = log_share.masked_fill(~positives, 0.0).sum(dim=1)[anchors] / counts[anchors]
        return -means.mean()


class ContrastivePairs(nn.Module):
    """Across the domains, rows of one label are drawn together and others pushed `margin` apart.

    The contrastive loss of Hadsell, Chopra and LeCun 2006, d^2 or max(margin - d, 0)^2 for a pair at distance d, with
    labels of both domains as in CCSA (Motiian et al. 2017, arXiv 1709.10190). So does Kroher, Manangu and Pikrakis
    2024 (arXiv 2407.02156), margin 2, with one pair of each kind drawn for a row; here all pairs of the batch stand
    for the draw, the two kinds with the same weight.
    """

    def __init__(self, margin: float = 2.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(
        self, source: Tensor, target: Tensor, source_labels: Tensor, target_labels: Tensor, progress: float = 0.0
    ) -> Tensor:
        """Compute the mean of the two kinds' mean losses.

        Args:
            source: float32 [n, width].
            target: float32 [m, width].
            source_labels: int64 [n], -1 where a label is unknown.
            target_labels: int64 [m], -1 where a label is unknown.
            progress: Not used.

        Returns:
            A scalar. A kind without a pair counts as 0.
        """
        known, known_target = source_labels >= 0, target_labels >= 0
        source, target = source[known], target[known_target]
        same = source_labels[known][:, None] == target_labels[known_target][None]
        squares = _squared_distances(source, target)
        apart = (self.margin - (squares + 1e-12).sqrt()).clamp(min=0).square()
        return (_mean(squares, same) + _mean(apart, ~same)) / 2


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[n, width] and [m, width] -> [n, m]; by products, which are far faster than differences."""
    return (a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None] - 2 * a @ b.T).clamp(min=0)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of the chosen values, 0 (with a gradient of 0) where none is chosen."""
    return (values * where).sum() / where.sum().clamp(min=1)
