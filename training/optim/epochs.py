"""The epochs of a training: the learning curve, early stopping, and the checkpoint from which a killed one resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from builder.errors import RecipeError

from .checkpoint import Checkpoint
from .outcome import Epoch


@dataclass(frozen=True, slots=True)
class Learned:
    """The learning curve, its best point, and the weights at that point."""

    curve: list[Epoch]
    best: Epoch
    weights: dict[str, torch.Tensor]
    stopped_early: bool


def run_epochs(
    model: torch.nn.Module,
    kept: Checkpoint,
    train_epoch: Callable[[int], float],
    evaluate: Callable[[], dict[str, float]],
    on_epoch: Callable[[Epoch], None],
    *,
    epochs: int,
    patience: int,
    lr: float,
    saves: bool,
) -> Learned:
    """Train until the validation loss has not improved for some epochs.

    Args:
        model: The model, whose best weights are returned. It is left with those of the last epoch.
        kept: The checkpoint. If there is one of this training, the training resumes from it.
        train_epoch: Trains for one epoch, given its number from 1, and returns the training loss.
        evaluate: Returns the `validation_loss`, and other figures for the learning curve.
        on_epoch: Called with each point of the learning curve, those before a resumption included.
        epochs: The most epochs.
        patience: Stop after so many epochs without a lower validation loss.
        lr: The learning rate, for the error message.
        saves: Whether this process writes checkpoints.

    Returns:
        The learning curve and the best weights.

    Raises:
        RecipeError: The first epoch ends with a loss that is not finite.
    """
    curve: list[Epoch] = []
    best: Epoch = {"validation_loss": float("inf")}
    weights: dict[str, torch.Tensor] = {}
    if found := kept.restore():
        weights, curve = found[0], found[1]["curve"]
        best = min(curve, key=lambda point: point["validation_loss"])
        for point in curve:
            on_epoch(point)
    for epoch in range(len(curve) + 1, epochs + 1):
        train_loss = train_epoch(epoch)
        point = {"epoch": epoch, "train_loss": train_loss, **evaluate()}
        curve.append(point)
        on_epoch(point)
        if point["validation_loss"] < best["validation_loss"]:
            best = point
            weights = {key: value.clone() for key, value in model.state_dict().items()}
        elif epoch - best.get("epoch", 0) >= patience:
            break
        if epoch == 1 and best is not point:
            loss = point["validation_loss"]
            raise RecipeError(
                f"training.lr: {lr:g} is too high: the loss is {loss} after one epoch", "lower training.lr"
            )
        if saves and kept.due():
            kept.save(weights, {"curve": curve})
    return Learned(curve, best, weights, stopped_early=len(curve) - best["epoch"] >= patience)
