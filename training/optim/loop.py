"""The loop: a classifier fitted with accelerate over embeddings in memory, stopped early, its best weights kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from builder.cpu_kernels import one_torch_thread
from builder.errors import BackendError, RecipeError
from builder.settings import TrainingSettings

from ..data.features import Features, Split
from ..models.classifier import SynthmirClassifier, SynthmirConfig
from ..models.heads import HEADS
from .checkpoint import Checkpoint, digest, hash_modules
from .domain_adaptation import Adaptation
from .epochs import run_epochs
from .objectives import Objective, objective, scores
from .outcome import Epoch, Fit
from .products import use_onednn
from .trackers import tracker_options

BATCH = 16, 512  # the least and the most rows that a batch has by default
EVALUATION_ROWS = 1024  # at once: more would leave the cache

__all__ = ["Epoch", "Fit", "fit", "start_accelerator"]


def start_accelerator(settings: TrainingSettings | None = None, out: Path | None = None) -> Accelerator:
    """This process's part in the training; where there is no GPU, the launcher's processes find each other too.

    Raises BackendError for a precision or a tracker that this machine does not have.
    """
    buffers = DistributedDataParallelKwargs(broadcast_buffers=False)  # mean and std never change
    asked = (settings and settings.precision) or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != asked:
        AcceleratorState._reset_state()  # of an earlier training of this process
    try:
        accelerator = Accelerator(
            # A classifier standardizes in float64, which Apple's MPS does not have; it is small enough for the CPU.
            cpu=not torch.accelerator.is_available() or torch.backends.mps.is_available(),
            mixed_precision=asked,
            kwargs_handlers=[buffers],
            **tracker_options(settings, out),
        )
    except ValueError as error:
        raise BackendError(f"training.precision: {asked} cannot be used: {error}", "training.precision: no") from error
    if asked == "fp16" and accelerator.device.type == "cpu":  # accelerate would take float32 and say nothing
        raise BackendError("training.precision: fp16 needs a GPU", "training.precision: bf16")
    return accelerator


def batch_size(settings: TrainingSettings, rows: int) -> int:
    """Rows a batch: what the settings say, or so many that even a small set is many steps an epoch."""
    least, most = BATCH
    return settings.batch_size or min(max(rows // 32, least), most)


def fit(
    config: SynthmirConfig,
    features: Features,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
    *,
    start: SynthmirClassifier | None = None,
    only_output: bool = False,
    adaptation: Adaptation | None = None,
    checkpoint: Path | None = None,
) -> Fit:
    """Minimise the task's weighted loss with AdamW until validation has not improved for `patience` epochs.

    The validation loss has the same label weights. `settings.seed` determines the weights and the order of the rows,
    and so the result. The heads in `HEADS` are fitted without epochs.

    Args:
        config: The classifier's config.
        features: The training and validation rows.
        settings: The training settings.
        accelerator: The device, the precision and the processes.
        on_epoch: Called with each point of the learning curve.
        start: A classifier that is copied and trained further, with its standardisation. None: a new one.
        only_output: Whether the hidden layers are left as they are.
        adaptation: A target and a loss, which is added to the loss of each step.
        checkpoint: A file from which a killed training resumes.

    Returns:
        The classifier with its best weights, and the learning curve.

    Raises:
        RecipeError: The first epoch ends with a loss that is not finite, or a head that is fitted without epochs is
            used with `start`, `only_output` or `adaptation`.
    """
    if settings.head in HEADS:
        if start is not None or only_output or adaptation is not None:
            raise RecipeError(
                f"training.head: {settings.head} is not learnt by steps, which training.strategy needs",
                "training.head: mlp or linear",
            )
        return HEADS[settings.head](config, features, settings)
    # A batch is so small that threads wait for each other longer than they work, most of all on a busy machine.
    with one_torch_thread():
        return _descend(
            config,
            features,
            settings,
            accelerator,
            on_epoch or _ignore,
            start,
            only_output,
            adaptation,
            checkpoint,
        )


def _ignore(point: Epoch) -> None:
    """Do nothing with a point of the learning curve."""


def _descend(
    config: SynthmirConfig,
    features: Features,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None],
    start: SynthmirClassifier | None,
    only_output: bool,
    adaptation: Adaptation | None,
    checkpoint: Path | None,
) -> Fit:
    train, validation = (_on(accelerator.device, split) for split in (features.train, features.validation))
    goal = objective(features, settings.class_weights, accelerator.device)
    goal = replace(goal, smoothing=settings.label_smoothing)
    model = _model(config, features, settings.seed) if start is None else deepcopy(start).to(accelerator.device)
    if only_output:
        model.hidden.requires_grad_(False)
    modules: dict[str, torch.nn.Module] = {"model": model}
    if adaptation is not None:
        modules["loss"] = adaptation.loss.to(accelerator.device)
        rows, labels = (tensor.to(accelerator.device) for tensor in (adaptation.rows, adaptation.labels))
        adaptation = replace(adaptation, rows=rows, labels=labels)
    identity = _identity(config, features, settings, modules, adaptation, only_output) if checkpoint else ""
    parameters = [each for module in modules.values() for each in module.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    if adaptation is not None and any(True for _ in adaptation.loss.parameters()):
        adaptation = replace(adaptation, loss=accelerator.prepare(adaptation.loss))
    shuffle = torch.Generator().manual_seed(settings.seed)
    draw = torch.Generator().manual_seed(settings.seed)
    model = accelerator.unwrap_model(wrapped)
    modules["model"] = model
    kept = Checkpoint(checkpoint, identity, modules, optimizer, {"shuffle": shuffle, "draw": draw}, accelerator.scaler)
    scaled = _Scaled(model)
    step = _Step(wrapped, scaled, optimizer, goal, settings, accelerator, adaptation, draw)

    def train_epoch(epoch: int) -> float:
        order = torch.randperm(len(train), generator=shuffle).to(accelerator.device)
        return step.epoch(train, order, epoch)

    with use_onednn(model):
        learned = run_epochs(
            model, kept, train_epoch, lambda: _evaluate(wrapped, scaled, validation, goal, accelerator), on_epoch,
            epochs=settings.epochs, patience=settings.patience, lr=settings.lr, saves=accelerator.is_main_process,
        )  # fmt: skip
    model.load_state_dict(learned.weights)
    model.config.threshold = learned.best.get("threshold")
    model.requires_grad_(True)
    model = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    return Fit(model.cpu().eval(), learned.curve, learned.best, learned.stopped_early)


def _model(config: SynthmirConfig, features: Features, seed: int) -> SynthmirClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SynthmirClassifier(config)
    model.standardise_by(features.standardisation, features.train.labels)
    return model


def _on(device: torch.device, split: Split) -> Split:
    weights = None if split.weights is None else split.weights.to(device)
    return replace(split, embeddings=split.embeddings.to(device), labels=split.labels.to(device), weights=weights)


def _identity(
    config: SynthmirConfig,
    features: Features,
    settings: TrainingSettings,
    modules: dict[str, torch.nn.Module],
    adaptation: Adaptation | None,
    only_output: bool,
) -> str:
    """A hash of all that the weights follow from."""
    parts: list[Any] = [config.to_dict(), settings.model_dump(mode="json", exclude={"tracker"}), only_output]
    for split in (features.train, features.validation):
        parts += [split.ids, split.embeddings, split.labels, split.weights]
    if features.statistics is not None:
        parts += features.statistics
    if adaptation is not None:
        parts += [adaptation.rows, adaptation.labels, adaptation.weight]
    return digest(*parts, *hash_modules(modules.values()))


class _Scaled:
    """Rows of the data, standardised as the model does it, in memory that is used again and again."""

    def __init__(self, model: SynthmirClassifier) -> None:
        self.mean, self.std = model.mean, model.std
        self.memory = torch.empty(0, len(model.mean), device=model.mean.device)

    def __call__(self, embeddings: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """float32 [len(rows), dim], good until the next call."""
        if len(rows) > len(self.memory):
            self.memory = torch.empty(len(rows), len(self.mean), device=self.mean.device)
        found = self.memory[: len(rows)]
        torch.index_select(embeddings, 0, rows, out=found)
        return found.sub_(self.mean).div_(self.std)


class _Step:
    """What happens to the weights in an epoch."""

    def __init__(
        self,
        model: torch.nn.Module,
        scaled: _Scaled,
        optimizer: Any,
        goal: Objective,
        settings: TrainingSettings,
        accelerator: Accelerator,
        adaptation: Adaptation | None,
        draw: torch.Generator,
    ) -> None:
        self.model, self.scaled, self.goal = model, scaled, goal
        # Without a gradient scaler accelerate's wrapper adds nothing but a search for packages at each step.
        self.optimizer = optimizer if accelerator.scaler else optimizer.optimizer
        self.parameters = [each for group in optimizer.param_groups for each in group["params"]]
        self.settings, self.accelerator, self.adaptation, self.draw = settings, accelerator, adaptation, draw
        self.size = 0  # of a batch

    def epoch(self, rows: Split, order: torch.Tensor, number: int) -> float:
        """One pass over the rows in `order`; returns the mean loss on the way, without what adaptation adds.

        The data is one tensor in memory, so a batch is an index into it. Each process takes every n-th row of it and
        divides by the whole batch's weight: averaged over processes that is the gradient of the whole batch.
        """
        self.model.train()
        weights = self.goal.weights(rows.labels, rows.weights)[order]
        labels = rows.labels[order]
        size = self.size = batch_size(self.settings, len(rows))
        whole = size * self.settings.accumulate
        total = torch.zeros((), device=order.device)
        for start in range(0, len(order), whole):
            progress = (number - 1 + start / len(order)) / self.settings.epochs
            stop = min(start + whole, len(order))
            scale = self.accelerator.num_processes / weights[start:stop].sum()
            for first in range(start, stop, size):
                last = min(first + size, stop)
                part = slice(first + self.accelerator.process_index, last, self.accelerator.num_processes)
                share = (last - first) / (stop - start)
                with nullcontext() if last == stop else self.accelerator.no_sync(self.model):
                    total += self._backward(
                        rows.embeddings, order[part], labels[part], weights[part], scale, share, progress
                    )
            self.optimizer.step()
            for parameter in self.parameters:  # what zero_grad does, at a tenth of its price
                parameter.grad = None
        return float(self.accelerator.reduce(total) / weights.sum())

    def _backward(
        self,
        embeddings: torch.Tensor,
        mine: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
        scale: torch.Tensor,
        share: float,
        progress: float,
    ) -> torch.Tensor:
        """Add the gradient of this process's rows of a part that is a `share` of its batch; returns their losses' sum.

        `mine` int64 [n] are places in `embeddings`; `labels` and `weights` are theirs; `scale` divides by the batch.
        """
        if self.adaptation is None:
            x = self.scaled(embeddings, mine)
            if self.settings.mixup:
                loss = self._mixed_loss(x, labels, weights)
            else:
                (logits,) = self.model(x, standardised=True, return_dict=False)
                loss = (self.goal.losses(logits, labels, training=True) * weights).sum()
            self.accelerator.backward(loss * scale)
            return loss.detach()
        drawn = torch.randint(len(self.adaptation.rows), (self.size,), generator=self.draw)
        drawn = drawn[self.accelerator.process_index :: self.accelerator.num_processes].to(mine.device)
        both = torch.cat([embeddings[mine], self.adaptation.rows[drawn]])
        logits, (hidden,) = self.model(both, output_hidden_states=True, return_dict=False)
        source, target = hidden.split([len(mine), len(drawn)])
        loss = (self.goal.losses(logits[: len(mine)], labels, training=True) * weights).sum()
        apart = self.adaptation.loss(source, target, labels, self.adaptation.labels[drawn], progress)
        self.accelerator.backward(loss * scale + self.adaptation.weight * share * apart)
        return loss.detach()

    def _mixed_loss(self, x: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The loss of mixtures of each row with another (Zhang et al. 2018, arXiv 1710.09412, equation 1).

        `x` float32 [n, dim], standardised; `labels` and `weights` are theirs.
        """
        alpha, device = self.settings.mixup, x.device
        seed = int(torch.randint(1 << 62, (), generator=self.draw))
        share = float(np.random.default_rng(seed).beta(alpha, alpha))
        other = torch.randperm(len(x), generator=self.draw).to(device)
        (logits,) = self.model(x.lerp(x[other], 1 - share), standardised=True, return_dict=False)
        own, others = (self.goal.losses(logits, truth, training=True) for truth in (labels, labels[other]))
        return (share * own * weights + (1 - share) * others * weights[other]).sum()


@torch.no_grad()
def _evaluate(
    model: torch.nn.Module, scaled: _Scaled, rows: Split, goal: Objective, accelerator: Accelerator
) -> dict[str, float]:
    """Weighted loss and the task's metrics over the rows, which the processes share among them."""
    model.eval()
    rank, processes = accelerator.process_index, accelerator.num_processes
    each = -(-len(rows) // processes)  # the same number for every process: the last rows may be seen twice
    mine = torch.arange(rank, each * processes, processes, device=rows.labels.device).clamp(max=len(rows) - 1)
    chunks = (scaled(rows.embeddings, chunk) for chunk in mine.split(EVALUATION_ROWS))
    logits = torch.cat([model(chunk, standardised=True, return_dict=False)[0].float() for chunk in chunks])
    if processes > 1:
        logits = accelerator.gather(logits).reshape(processes, each, -1).transpose(0, 1).flatten(0, 1)[: len(rows)]
    weights = goal.weights(rows.labels, rows.weights)
    loss = (goal.losses(logits, rows.labels) * weights).sum() / weights.sum()
    return {"validation_loss": float(loss), **scores(goal.problem, logits, rows.labels)}
