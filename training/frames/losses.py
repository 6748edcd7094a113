"""The losses of the frame tasks, and what an epoch reports about each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from builder.annotations.tasks import CLIP_TASKS

from . import FRAME_RATE

# What the mean loss of a task counts: beats and notes are rare, so that their mean over frames is small.
LOSS_WEIGHTS = {
    "beats": 5.0, "chords": 1.0, "key": 0.3, "time_signature": 0.3, "melody": 0.5, "notes": 20.0, "instruments": 1.0,
}  # fmt: skip
CLASS_TASKS = ("chords", "melody", *CLIP_TASKS)  # one class of several; the others: any number of marks
PEAK = 0.4  # the least activation of a beat in the curve's own picking


def sum_losses(
    logits: dict[str, Tensor], targets: dict[str, Tensor], mask: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Sum the loss of each task over what is annotated.

    Args:
        logits: As `FrameNetwork.compute_logits` returns them.
        targets: As `make_targets` makes them, stacked.
        mask: bool [batch, frames].

    Returns:
        For each task the sum and the number of its summands, as tensors.
    """
    return {task: _sum_loss(task, logits[task].float(), targets[task], mask) for task in logits}


def _sum_loss(task: str, logits: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    if task in CLASS_TASKS:
        if task not in CLIP_TASKS:
            target = target.masked_fill(~mask, -1)
        total = functional.cross_entropy(logits.flatten(0, -2), target.flatten(), ignore_index=-1, reduction="sum")
        return total, (target >= 0).sum()
    known = ~target.isnan() & mask[..., None]
    losses = functional.binary_cross_entropy_with_logits(logits, target.nan_to_num(), reduction="none")
    return (losses * known).sum(), known.sum()


class TaskFigures:
    """Sums up, batch by batch, what a point of the learning curve says about each task.

    `chords_accuracy`, `melody_accuracy`, `key_accuracy`, `time_signature_accuracy`: the share of frames or clips.
    `beats_f`: the mean F-measure of the peaks of the activation, within 70 ms. `notes_f`, `instruments_f`: F1 of
    frames.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        names = [f"{task}_accuracy" if task in CLASS_TASKS else f"{task}_f" for task in tasks]
        self._sums = dict.fromkeys(names, (0.0, 0.0))

    def add(self, logits: dict[str, Tensor], targets: dict[str, Tensor], mask: Tensor) -> None:
        """Add a batch, see `sum_losses`."""
        for task, answer in logits.items():
            target = targets[task]
            if task == "beats":
                self._add_beats(answer[..., 0].sigmoid(), target[..., 0], mask)
            elif task in CLASS_TASKS:
                known = target >= 0 if task in CLIP_TASKS else (target >= 0) & mask
                right = (answer.argmax(dim=-1) == target) & known
                self._count(f"{task}_accuracy", float(right.sum()), float(known.sum()))
            else:
                known = ~target.isnan() & mask[..., None]
                said, true = (answer > 0) & known, (target > 0.75) & known
                both = 2.0 * float((said & true).sum())
                self._count(f"{task}_f", both, float(said.sum() + true.sum()))

    def reduce(self, accelerator: Accelerator) -> None:
        """Add up the sums of all processes."""
        sums = torch.tensor(list(self._sums.values()), device=accelerator.device)
        found = accelerator.reduce(sums).tolist()
        self._sums = {name: (part, whole) for name, (part, whole) in zip(self._sums, found, strict=True)}

    def values(self) -> dict[str, float]:
        """The figures so far; none of what no clip is annotated with."""
        return {name: part / whole for name, (part, whole) in self._sums.items() if whole}

    def _count(self, name: str, part: float, whole: float) -> None:
        before = self._sums[name]
        self._sums[name] = before[0] + part, before[1] + whole

    def _add_beats(self, activation: Tensor, target: Tensor, mask: Tensor) -> None:
        from mir_eval.beat import f_measure

        for row, truth, there in zip(activation.cpu().numpy(), target.cpu().numpy(), mask.cpu().numpy(), strict=True):
            if np.isnan(truth).any():
                continue
            times = [np.flatnonzero(marks & there) / FRAME_RATE for marks in (truth == 1.0, find_peaks(row, PEAK))]
            if len(times[0]):
                score = f_measure(*times) if len(times[1]) else 0.0
                self._count("beats_f", float(score), 1.0)


def find_peaks(activation: np.ndarray, least: float, reach: int = 7) -> np.ndarray:
    """Find the frames whose activation is `least` or more and the highest within `reach` frames, bool [frames]."""
    tensor = torch.from_numpy(np.ascontiguousarray(activation))[None]
    highest = functional.max_pool1d(tensor, 2 * reach + 1, stride=1, padding=reach)[0].numpy()
    return np.asarray((activation >= highest) & (activation >= least))
