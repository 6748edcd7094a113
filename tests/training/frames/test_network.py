"""The network: shapes, masks, and what it sees of a clip."""

from __future__ import annotations

import torch

from builder.annotations.tasks import FRAME_TASKS
from training.frames.losses import CLASS_TASKS, TaskFigures, find_peaks, sum_losses
from training.frames.network import FrameConfig, FrameNetwork
from training.frames.spectrogram import SPECTRUM_ROWS
from training.frames.targets import make_targets

from .planted import make_clip

CONFIG = FrameConfig(tasks=list(FRAME_TASKS), time_signatures=["3/4", "4/4"], instruments=["organ"], width=8)


def test_each_task_has_the_outputs_of_its_classes() -> None:
    model = FrameNetwork(CONFIG).eval()
    found = model.compute_logits(torch.rand(2, 30, SPECTRUM_ROWS))
    assert list(found) == list(FRAME_TASKS)
    for task, logits in found.items():
        outputs = CONFIG.classes.outputs(task)
        assert logits.shape == ((2, outputs) if task in ("key", "time_signature") else (2, 30, outputs))


def test_what_follows_a_shorter_clip_makes_no_difference() -> None:
    model = FrameNetwork(CONFIG).eval()
    clip = torch.rand(1, 20, SPECTRUM_ROWS)
    longer = torch.cat([clip, torch.rand(1, 15, SPECTRUM_ROWS)], dim=1)
    mask = torch.arange(35)[None] < 20
    with torch.no_grad():
        alone, padded = (
            model.compute_logits(clip, torch.ones(1, 20, dtype=torch.bool)),
            model.compute_logits(longer, mask),
        )
    for task, logits in alone.items():
        found = padded[task] if task in ("key", "time_signature") else padded[task][:, :17]
        expected = logits if task in ("key", "time_signature") else logits[:, :17]  # the last see the next in time
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_loss_of_each_task_is_that_of_the_annotated_frames() -> None:
    _, annotation = make_clip(1)
    made = make_targets(annotation, FRAME_TASKS, CONFIG.classes, 200)
    targets = {task: torch.from_numpy(target)[None] for task, target in made.items()}
    perfect = {}
    for task, target in targets.items():
        outputs = CONFIG.classes.outputs(task)
        one_of = task in CLASS_TASKS
        perfect[task] = 40 * torch.eye(outputs)[target] - 20 if one_of else 40 * target - 20
    mask = torch.ones(1, 200, dtype=torch.bool)
    sums = sum_losses(perfect, targets, mask)
    for task, (total, count) in sums.items():
        assert count > 0 and total / count < (0.9 if task == "beats" else 1e-3), task  # beats have half targets, too
    figures = TaskFigures(FRAME_TASKS)
    figures.add(perfect, targets, mask)
    assert set(figures.values().values()) == {1.0} and len(figures.values()) == len(FRAME_TASKS)
    nothing = sum_losses(perfect, targets, ~mask)
    assert all(float(nothing[task][1]) == 0 for task in FRAME_TASKS if task not in ("key", "time_signature"))


def test_a_peak_is_the_highest_of_its_neighbours() -> None:
    import numpy as np

    activation = np.zeros(40, np.float32)
    activation[[5, 8, 25]] = 0.9, 0.6, 0.3
    assert np.flatnonzero(find_peaks(activation, 0.25)).tolist() == [5, 25]
    assert np.flatnonzero(find_peaks(activation, 0.5)).tolist() == [5]
