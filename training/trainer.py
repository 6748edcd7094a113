"""Embeddings -> a classifier in a model folder: an accelerate loop over one tensor, stopped early."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.nn.functional import cross_entropy
from transformers.utils import logging as transformers_logging

from builder.corpus.folder import Corpus, embed_record
from builder.embedders.base import config_name
from builder.errors import RecipeError
from builder.recipe import EmbedderSettings, TrainingSettings
from builder.records import RunRecord, recording

from .card import write_card
from .features import Features, Split, load_features
from .folder import model_folder
from .model import SynthmirClassifier, SynthmirConfig

RECORD = "training.json"
WEIGHT_DECAY = 0.01
EVALUATION_ROWS = 8192  # at once

Epoch = dict[str, Any]
"""One point of the learning curve: epoch, train_loss, validation_loss, accuracy, macro_f1."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A finished training: the model holds the weights of `best`."""

    model: SynthmirClassifier
    curve: list[Epoch]
    best: Epoch
    stopped_early: bool


def start_accelerator() -> Accelerator:
    """This process's part in the training; where there is no GPU, torchrun's processes find each other too."""
    buffers = DistributedDataParallelKwargs(broadcast_buffers=False)  # mean and std never change
    return Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=[buffers])


def train(
    corpus: Path,
    out: Path,
    settings: TrainingSettings,
    embedder: EmbedderSettings,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> RunRecord | None:
    """Train on a corpus's embeddings; write the model folder `out`: config, weights, training.json, README.md.

    Runs in one process or in those that `accelerate launch` or torchrun starts: they share each batch, and the
    outcome is the same up to rounding. Only the main process writes, calls `on_epoch` and returns the record; the
    others return None. An `out` that holds a model of ours is replaced when the new one is finished. Raises DataError
    and RecipeError.
    """
    accelerator = start_accelerator()
    source = Corpus(Path(corpus))
    made = source.record()
    with model_folder(Path(out)) if accelerator.is_main_process else nullcontext() as part:
        with recording("train", made.get("fingerprint")) as record:
            features = load_features(corpus, config_name(embedder), settings.task)
            config = _config(features, settings, _embedder(source, features, embedder), made.get("fingerprint"))
            fitted = fit(config, features, settings, accelerator, on_epoch if part else None)
            record.rows = len(features.train) + len(features.validation)
            record.details = {
                **_origin(source, made, out),
                **_details(features, settings, fitted),
                "embedder": config.embedder,
                "processes": accelerator.num_processes,
                "device_type": accelerator.device.type,
                "mixed_precision": accelerator.mixed_precision,
            }
        if part:
            _save(fitted.model, part)
            record.write(part / RECORD)
            write_card(part)
    accelerator.wait_for_everyone()
    return record if part else None


@contextmanager
def _one_thread() -> Iterator[None]:
    """A batch is so small that threads wait for each other longer than they work, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def fit(
    config: SynthmirConfig,
    features: Features,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fit:
    """Minimise the class-weighted cross-entropy with AdamW until validation has not improved for `patience` epochs.

    The validation loss carries the same class weights. Weights, order of rows and thus the outcome follow from
    `settings.seed`. Raises RecipeError if the first epoch ends with a loss that is not finite.
    """
    train, validation = (_on(accelerator.device, split) for split in (features.train, features.validation))
    weights = features.class_weights() if settings.class_weights else torch.ones(len(features.names))
    weights = weights.to(accelerator.device)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = SynthmirClassifier(config)
    model.standardise(features.train.embeddings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=WEIGHT_DECAY, fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    shuffle = torch.Generator().manual_seed(settings.seed)
    curve: list[Epoch] = []
    best: Epoch = {"validation_loss": float("inf")}
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(train), generator=shuffle).to(accelerator.device)
        train_loss = _epoch(model, optimizer, train, order, weights, settings.batch_size, accelerator)
        scores = _evaluate(model, validation, weights, accelerator)
        point = {"epoch": epoch, "train_loss": train_loss, **scores}
        curve.append(point)
        if on_epoch:
            on_epoch(point)
        if point["validation_loss"] < best["validation_loss"]:
            best = point
            state = {key: value.clone() for key, value in accelerator.unwrap_model(model).state_dict().items()}
        elif epoch - best.get("epoch", 0) >= settings.patience:
            break
        if epoch == 1 and best is not point:
            raise RecipeError(
                f"training.lr: {settings.lr:g} is too high: the loss is {point['validation_loss']} after one epoch",
                "lower training.lr",
            )
    fitted: SynthmirClassifier = accelerator.unwrap_model(model)
    fitted.load_state_dict(state)
    return Fit(fitted.cpu().eval(), curve, best, stopped_early=len(curve) - best["epoch"] >= settings.patience)


def _on(device: torch.device, split: Split) -> Split:
    return Split(split.ids, split.embeddings.to(device), split.labels.to(device))


def _epoch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Split,
    order: torch.Tensor,
    weights: torch.Tensor,
    batch_size: int,
    accelerator: Accelerator,
) -> float:
    """One pass over the rows in `order`; returns the mean loss on the way.

    The data is one tensor in memory, so a batch is an index into it. Each process takes every n-th row of it and
    divides by the whole batch's weight: averaged over processes that is the gradient of the whole batch.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    model.train()
    row_weights = weights[rows.labels]
    total = torch.zeros((), device=order.device)
    for batch in order.split(batch_size):
        mine = batch[rank::processes]
        logits = model(rows.embeddings[mine]).logits
        loss = cross_entropy(logits, rows.labels[mine], weight=weights, reduction="sum")
        total += loss.detach()
        optimizer.zero_grad()
        accelerator.backward(loss * (processes / row_weights[batch].sum()))
        optimizer.step()
    return float(accelerator.reduce(total) / row_weights.sum())


@torch.inference_mode()
def _evaluate(
    model: torch.nn.Module, rows: Split, weights: torch.Tensor, accelerator: Accelerator
) -> dict[str, float]:
    """Weighted loss, accuracy and macro-F1 over the rows, which the processes share among them."""
    model.eval()
    labels = len(weights)
    mine = torch.arange(accelerator.process_index, len(rows), accelerator.num_processes, device=rows.labels.device)
    total = torch.zeros((), device=mine.device)
    confusion = torch.zeros(labels * labels, dtype=torch.long, device=mine.device)  # truth * labels + predicted
    for chunk in mine.split(EVALUATION_ROWS):
        logits, truth = model(rows.embeddings[chunk]).logits, rows.labels[chunk]
        total += cross_entropy(logits, truth, weight=weights, reduction="sum")
        confusion += torch.bincount(truth * labels + logits.argmax(dim=1), minlength=labels * labels)
    loss = float(accelerator.reduce(total) / weights[rows.labels].sum())
    return {"validation_loss": loss, **_scores(accelerator.reduce(confusion).reshape(labels, labels).cpu())}


def _scores(confusion: torch.Tensor) -> dict[str, float]:
    """Accuracy and macro-F1 from counts [truth, predicted]; a label that is neither counts in neither."""
    hits, both = confusion.diagonal(), confusion.sum(dim=0) + confusion.sum(dim=1)
    f1 = 2 * hits[both > 0] / both[both > 0]
    return {"accuracy": float(hits.sum() / confusion.sum()), "macro_f1": float(f1.mean())}


def _embedder(source: Corpus, features: Features, settings: EmbedderSettings) -> dict[str, Any]:
    """What made the embeddings, as its own record says, and the settings that load it again."""
    recorded = source.record(embed_record(features.embedder)).get("details", {}).get("embedder", {})
    known = {key: recorded.get(key) for key in ("revision", "sampling_rate", "window_seconds", "about")}
    again = settings.model_dump(mode="json", exclude={"batch_size", "device"})
    return {"name": features.embedder, "weights": settings.weights, "dim": features.dim, **known, "settings": again}


def _config(
    features: Features, settings: TrainingSettings, embedder: dict[str, Any], fingerprint: str | None
) -> SynthmirConfig:
    return SynthmirConfig(
        task=features.task,
        hidden=settings.hidden,
        embedder=embedder,
        corpus=fingerprint,
        id2label=dict(enumerate(features.names)),
        label2id={name: index for index, name in enumerate(features.names)},
    )


def _origin(source: Corpus, made: dict[str, Any], out: Path) -> dict[str, Any]:
    """Where the training data lies, as seen from the model folder, and what its own record says of it."""
    details = made.get("details", {})
    return {
        "corpus": os.path.relpath(source.root.resolve(), out.resolve()),
        "corpus_name": details.get("identity", {}).get("name", source.root.resolve().name),
        "generator": details.get("generator"),
    }


def _details(features: Features, settings: TrainingSettings, fitted: Fit) -> dict[str, Any]:
    splits = {"train": features.train, "validation": features.validation}
    counts = {split: torch.bincount(rows.labels, minlength=len(features.names)) for split, rows in splits.items()}
    return {
        "settings": settings.model_dump(mode="json"),
        "optimizer": {"name": "AdamW", "weight_decay": WEIGHT_DECAY},
        "labels": list(features.names),
        "rows": {split: len(rows) for split, rows in splits.items()},
        "rows_by_label": {split: dict(zip(features.names, n.tolist(), strict=True)) for split, n in counts.items()},
        "dropped": features.dropped,
        "curve": fitted.curve,
        "best_epoch": fitted.best["epoch"],
        "stopped_early": fitted.stopped_early,
    }


def _save(model: SynthmirClassifier, folder: Path) -> None:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # one small file
    try:
        model.save_pretrained(folder)
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
