"""Train a frame model with accelerate, and write its model folder."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from builder.cpu_kernels import one_torch_thread
from builder.io.storage import is_remote, to_path
from builder.records import RunRecord, record_run
from builder.settings import TrainingSettings

from ..models.folder import new_model_folder, save_model
from ..optim.checkpoint import Checkpoint, digest
from ..optim.epochs import Learned, run_epochs
from ..optim.loop import start_accelerator
from ..optim.outcome import Epoch
from ..optim.trackers import tracked
from .card import write_frame_card
from .data import Draw, FrameBatch, FrameData, FrameSplit, load_frame_data, make_batch
from .losses import LOSS_WEIGHTS, TaskFigures, sum_losses
from .model import FrameModel
from .network import FrameConfig

FRAMES_RECORD = "training.json"
WARM_UP = 0.05  # the share of the steps in which the learning rate rises
CLIP_NORM = 1.0  # the longest gradient
EVALUATION_WINDOWS = 16  # at once


def train_frames(
    corpus: str | Path,
    out: str | Path,
    settings: TrainingSettings,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> RunRecord | None:
    """Train a frame model on the audio and the annotations of a corpus, and write a model folder.

    As `training.trainer.train` it runs in one process or several, resumes when it was killed, and replaces an older
    model when the new one is finished.

    Args:
        corpus: A corpus folder, or its address, with the config `annotations`.
        out: The model folder to write.
        settings: The training settings, with tasks of `FRAME_TASKS`.
        on_epoch: Called with each point of the learning curve, in the main process.

    Returns:
        The training record in the main process, None in the others.

    Raises:
        DataError: The corpus has no annotations of a task, or `out` cannot be written.
        RecipeError: The learning rate is too high.
        BackendError: A package or a device is missing.
    """
    accelerator = start_accelerator(settings, Path(out))
    with frame_data(to_path(corpus), Path(out), settings, accelerator) as load:
        return train_frames_on(load, Path(out), settings, accelerator, on_epoch)


@contextmanager
def frame_data(
    corpus: Path, out: Path, settings: TrainingSettings, accelerator: Accelerator
) -> Iterator[Callable[[], FrameData]]:
    """Give a function that reads the data, once; what it keeps on disk is deleted at the end."""
    cache = out.with_name(f".{out.name}.spectrograms-{accelerator.process_index}")
    loaded: list[FrameData] = []

    def load() -> FrameData:
        if not loaded:
            loaded.append(load_frame_data(corpus, settings, cache))
        return loaded[0]

    try:
        yield load
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def train_frames_on(
    load: Callable[[], FrameData],
    out: Path,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> RunRecord | None:
    """Train a frame model as `train_frames` does, on data that several trainings can share."""
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    with new_model_folder(out) if accelerator.is_main_process else nullcontext() as folder:
        with record_run("train") as record:
            data = load()
            config = configure(data, settings)
            with tracked(accelerator, out, settings, on_epoch if folder else None) as report_epoch:
                model, learned = fit_frames(config, data, settings, accelerator, report_epoch, checkpoint)
            record.fingerprint = data.build_record.get("fingerprint")
            record.rows = len(data.train) + len(data.validation)
            record.details = _describe(data, out, settings, learned, accelerator, model)
        if folder:
            save_model(model, folder)
            record.write(folder / FRAMES_RECORD)
            write_frame_card(folder)
    if folder:
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return record if folder else None


def fit_frames(
    config: FrameConfig,
    data: FrameData,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoint: Path | None = None,
) -> tuple[FrameModel, Learned]:
    """Minimise the weighted sum of the tasks' losses with AdamW; the learning rate rises, then falls as a cosine.

    `settings.seed` determines the weights, the order of the windows and what is changed of each. A killed training
    that resumes, and one that was not killed, end with the same weights.

    Returns:
        The model with the weights of the lowest validation loss, on the CPU; and the learning curve.
    """
    options, seed = settings.frames, settings.seed
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FrameModel(config)
    model.standardise_by(*data.statistics())
    identity = digest(data.identity, config.to_dict(), settings.model_dump(mode="json", exclude={"tracker"}))
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=settings.weight_decay, fused=True)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    kept = Checkpoint(checkpoint, identity, {"model": model}, optimizer, {}, accelerator.scaler)
    steps = math.ceil(len(data.train) / options.batch_size)

    def train_epoch(epoch: int) -> float:
        wrapped.train()
        order = np.random.default_rng((seed, epoch)).permutation(len(data.train)).tolist()
        batches = [order[first : first + options.batch_size] for first in range(0, len(order), options.batch_size)]
        mine = [_share(batch, accelerator) for batch in batches]
        total = torch.zeros((), device=accelerator.device)
        draws = [[Draw.of(options, seed, epoch, place) for place in batch] for batch in mine]
        for step, batch in enumerate(_prefetch(data.train, mine, draws, data)):
            torch.manual_seed(_seed_of(seed, epoch, step, accelerator.process_index))  # of dropout
            rate = options.lr * _rate_share((epoch - 1) * steps + step, options.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _weigh(sum_losses(*_predict(wrapped, batch, accelerator)), accelerator)
            accelerator.backward(loss * accelerator.num_processes)
            accelerator.clip_grad_norm_(wrapped.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.detach()
        return float(accelerator.reduce(total)) / steps

    # The seeds of dropout must not change the caller's random numbers.
    with one_torch_thread(), torch.random.fork_rng():
        learned = run_epochs(
            model,
            kept,
            train_epoch,
            lambda: evaluate_frames(wrapped, data, accelerator),
            on_epoch or (lambda _: None),
            epochs=options.epochs,
            patience=settings.patience,
            lr=options.lr,
            saves=accelerator.is_main_process,
        )
    model.load_state_dict(learned.weights)
    model = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    return model.cpu().eval(), learned


@torch.no_grad()
def evaluate_frames(model: torch.nn.Module, data: FrameData, accelerator: Accelerator) -> dict[str, float]:
    """Compute the validation loss, that of each task, and what `TaskFigures` reports, over all processes."""
    model.eval()
    figures = TaskFigures(data.tasks)
    sums = torch.zeros(len(data.tasks), 2, dtype=torch.float64)
    places = list(range(len(data.validation)))
    mine = places[accelerator.process_index :: accelerator.num_processes]
    batches = [mine[first : first + EVALUATION_WINDOWS] for first in range(0, len(mine), EVALUATION_WINDOWS)]
    for batch in _prefetch(data.validation, batches, [[None] * len(batch) for batch in batches], data):
        logits, targets, mask = _predict(model, batch, accelerator)
        for row, (total, count) in enumerate(sum_losses(logits, targets, mask).values()):
            sums[row] += torch.stack([total.double().cpu(), count.double().cpu()])
        figures.add(logits, targets, mask)
    sums = accelerator.reduce(sums.to(torch.float32).to(accelerator.device)).double().cpu()
    figures.reduce(accelerator)
    means = {
        task: float(total / max(1.0, float(count))) for task, (total, count) in zip(data.tasks, sums, strict=True)
    }
    loss = sum(LOSS_WEIGHTS[task] * mean for task, mean in means.items())
    losses = {f"{task}_loss": mean for task, mean in means.items()} if len(means) > 1 else {}
    return {"validation_loss": loss, **losses, **figures.values()}


def _prefetch(split: FrameSplit, places: list[list[int]], draws: list[Any], data: FrameData) -> Iterator[FrameBatch]:
    """Make each batch in another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for batch, drawn in zip(places, draws, strict=True):
            ahead = pool.submit(make_batch, split, batch, data.classes, data.tasks, drawn)
            if pending is not None:
                yield pending.result()
            pending = ahead
        if pending is not None:
            yield pending.result()


def _share(batch: list[int], accelerator: Accelerator) -> list[int]:
    """This process's windows of a batch; at least one, so that all processes make as many steps."""
    return batch[accelerator.process_index :: accelerator.num_processes] or batch[:1]


def _predict(model: torch.nn.Module, batch: FrameBatch, accelerator: Accelerator) -> tuple[Any, Any, torch.Tensor]:
    batch = batch.to(accelerator.device)
    return model(spectrogram=batch.spectrogram, mask=batch.mask), batch.targets, batch.mask


def _weigh(sums: dict[str, tuple[torch.Tensor, torch.Tensor]], accelerator: Accelerator) -> torch.Tensor:
    """This process's part of the loss of the whole batch: its sums, divided by the counts of all processes."""
    counts = accelerator.reduce(torch.stack([count for _, count in sums.values()]).float()).clamp(min=1)
    parts = [
        LOSS_WEIGHTS[task] * total / count for (task, (total, _)), count in zip(sums.items(), counts, strict=True)
    ]
    return torch.stack(parts).sum()


def _rate_share(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of the highest one."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def configure(data: FrameData, settings: TrainingSettings) -> FrameConfig:
    """Make the config of a model for some data and settings."""
    options, classes = settings.frames, data.classes
    config = FrameConfig(
        tasks=list(data.tasks),
        vocabulary=options.chords,
        time_signatures=list(classes.time_signatures) if "time_signature" in data.tasks else [],
        instruments=list(classes.instruments) if "instruments" in data.tasks else [],
        instrument_tracks=_describe_instruments(data) if "instruments" in data.tasks else [],
        width=options.width,
        dropout=options.dropout,
        window_seconds=options.seconds,
        corpus=data.build_record.get("fingerprint"),
    )
    if config.clip_task is not None:
        labels = config.clip_labels(config.clip_task)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: place for place, label in enumerate(labels)}
    return config


def _describe_instruments(data: FrameData) -> list[list[Any]]:
    """What the tracks of each instrument are in the training clips, most often: program, whether drums, stem."""
    counts: dict[str, Counter[tuple[int, bool, str]]] = {name: Counter() for name in data.classes.instruments}
    for annotation in data.train.annotations:
        for track in annotation.tracks:
            counts[track.instrument][int(track.program), bool(track.is_drum), track.stem] += 1
    return [list(counts[name].most_common(1)[0][0]) for name in data.classes.instruments]


def _describe(
    data: FrameData, out: Path, settings: TrainingSettings, learned: Learned, accelerator: Accelerator,
    model: FrameModel,
) -> dict[str, Any]:  # fmt: skip
    """The details of the training record."""
    details, path = data.build_record.get("details", {}), data.path if is_remote(data.path) else data.path.resolve()
    options = settings.frames
    return {
        "corpus": str(path) if is_remote(path) else os.path.relpath(path, out.resolve()),
        "corpus_name": details.get("identity", {}).get("name", path.name),
        "generator": details.get("generator"),
        "synthetic": True,
        "identity": data.identity,
        "settings": settings.model_dump(mode="json"),
        "tasks": list(data.tasks),
        "classes": {task: data.classes.outputs(task) for task in data.tasks},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "optimizer": {
            "name": "AdamW", "weight_decay": settings.weight_decay, "batch_size": options.batch_size, "lr": options.lr,
        },
        "rows": {"train": len(data.train), "validation": len(data.validation)},
        "clips": {"train": len(set(data.train.ids)), "validation": len(set(data.validation.ids))},
        "dropped": data.dropped,
        "curve": learned.curve,
        "best": learned.best,
        "best_epoch": learned.best.get("epoch"),
        "stopped_early": learned.stopped_early,
        "processes": accelerator.num_processes,
        "device_type": accelerator.device.type,
        "mixed_precision": accelerator.mixed_precision,
    }  # fmt: skip
