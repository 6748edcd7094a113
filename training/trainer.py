"""Train a classifier on embeddings and write its model folder, with the training record and the model card."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from builder.corpus.corpus import Corpus, embed_record
from builder.embedders.augment import CLEAN, SUFFIX, recorded_damages, settings_of_config
from builder.embedders.base import config_name
from builder.embedders.embed_dataset import RECORD as EMBED_RECORD
from builder.embedders.embedded_dataset import is_corpus
from builder.errors import DataError
from builder.io.storage import is_remote, to_path
from builder.records import RunRecord, record_run
from builder.settings import EmbedderSettings, SplitSettings, TrainingSettings

from .card.card import write_card
from .data.features import Features, Split, load_features
from .data.selection import select_rows
from .data.subset import draw_subset
from .data.target import Target, load_target
from .frames.training import train_frames
from .models.audio_embedding import UNKNOWN
from .models.classifier import MULTI, REGRESSION, SynthmirConfig
from .models.folder import new_model_folder, save_model
from .optim.checkpoint import digest
from .optim.loop import Epoch, Fit, batch_size, start_accelerator
from .optim.trackers import tracked
from .strategies import Outcome, run_strategy

RECORD = "training.json"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data of a training, and where it comes from."""

    path: Path
    features: Features
    embedder: dict[str, Any]  # as the model's config describes it
    build_record: dict[str, Any]  # of the corpus, {} for other data
    options: dict[str, Any]  # of `load_features`, beside path, embedder and task
    target: Target | None  # real music, if the strategy uses it
    identity: str  # a hash of the tensors


def train(
    corpus: Path,
    out: Path,
    settings: TrainingSettings,
    embedder: EmbedderSettings | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    *,
    split: SplitSettings | None = None,
) -> RunRecord | None:
    """Train a classifier on the embeddings of a corpus, or of any data set, and write a model folder.

    Of tasks that are learnt from annotations (`settings.frame_tasks`) it trains a frame model, see `train_frames`.

    Runs in one process or in those that `accelerate launch` or torchrun starts: they share each batch, and the
    outcome is the same up to rounding. A killed training resumes when it is called again. An `out` that holds a
    synthmir model is replaced when the new one is finished.

    Args:
        corpus: A corpus folder or its address, or another data set of embeddings.
        out: The model folder to write: config, weights, training.json and README.md.
        settings: The training settings.
        embedder: What made the embeddings: by default melstats for a corpus, and for other data what its own record
            says.
        on_epoch: Called with each point of the learning curve, in the main process.
        split: How a data set without a validation split is divided.

    Returns:
        The training record in the main process, None in the others.

    Raises:
        DataError: The data cannot be read, or `out` cannot be written.
        RecipeError: The settings do not fit the data.
        BackendError: A package or a device is missing.
    """
    if settings.frame_tasks:
        return train_frames(corpus, out, settings, on_epoch)
    accelerator = start_accelerator(settings, Path(out))
    return train_on(
        lambda: load_training_data(to_path(corpus), settings, embedder, split), out, settings, accelerator, on_epoch
    )


def summarize_training(record: RunRecord) -> str:
    """One line for a terminal: the best validation metrics and their epoch."""
    details = record.details
    best = {key: value for key, value in details["best"].items() if key not in ("epoch", "train_loss")}
    figures = ", ".join(f"{key} {value:.4g}" for key, value in best.items())
    curve = details["curve"]
    return f"best of {len(curve)} epochs is {details['best_epoch']}, {figures}" if curve else figures


def load_training_data(
    path: Path, settings: TrainingSettings, embedder: EmbedderSettings | None, split: SplitSettings | None = None
) -> TrainingData:
    """Read the features and, if the strategy uses one, the target.

    Args:
        path: A corpus, or another data set of embeddings.
        settings: The training settings.
        embedder: What made the embeddings; see `train`.
        split: How a data set without a validation split is divided.

    Raises:
        DataError: The data cannot be read, or the embeddings are not those of `embedder`.
        RecipeError: The settings do not fit the data.
    """
    corpus = is_corpus(path)
    build_record = Corpus(path).record() if path.is_dir() else {}
    recorded = {} if corpus or not path.is_dir() else Corpus(path).record(EMBED_RECORD)
    recorded = recorded.get("details", {}).get("embedder", {})
    if corpus and embedder is not None and not embedder.augment:
        embedder = settings_of_config(embedder.name, embedder, path)
    name = config_name(embedder or EmbedderSettings()) if corpus or embedder else recorded.get("name", UNKNOWN)
    if recorded and recorded["name"] != name:
        raise DataError(f"{path}: holds embeddings of {recorded['name']}, not of {name}", "leave --embedder out")
    options: dict[str, Any] = {
        "label_column": settings.label_column,
        "embedding_column": settings.embedding_column,
        "problem": settings.problem,
    }
    augment = embedder.augment if corpus and embedder is not None else ()
    stored = name + (SUFFIX if augment else "")
    features = load_features(path, stored, settings.task, **options, split=split)
    if augment:
        _check_copies(path, name, augment)
    features = draw_subset(select_rows(replace(features, embedder=name), path, settings), settings)
    if features.division is not None:
        options["split"] = (split or SplitSettings()).model_dump(mode="json")
    if corpus:
        recorded = Corpus(path).record(embed_record(stored)).get("details", {}).get("embedder", {})
    if recorded.get("dim", features.dim) != features.dim:
        raise DataError(
            f"{path}: its embeddings have {features.dim} values, its record says {recorded['dim']}", "embed it again"
        )
    known = {key: recorded.get(key) for key in ("revision", "sampling_rate", "window_seconds", "about")}
    again = embedder or (EmbedderSettings(name=name) if corpus or recorded else None)
    description = {"name": name, "weights": again and again.weights, "dim": features.dim, **known}
    if again is not None:
        description["settings"] = again.model_dump(mode="json", exclude={"batch_size", "device", "augment"})
    parts = [(s.ids, s.embeddings, s.labels) for s in (features.train, features.validation)]
    target = None
    if settings.target is not None and settings.strategy != "synthetic":
        label, embedding = settings.label_column, settings.embedding_column
        target = load_target(settings.target, features, description, label=label, embedding=embedding)
        parts += [(s.ids, s.embeddings, s.labels) for s in (target.train, target.validation) if s is not None]
    tensors = [part for parts_of in parts for part in parts_of]
    identity = digest(*tensors, features.names, *([] if target is None else [target.unlabelled]))
    return TrainingData(path, features, description, build_record, options, target, identity)


def _check_copies(path: Path, embedder: str, augment: tuple[str, ...]) -> None:
    """Raise DataError if a corpus has other damaged copies than those asked for, or copies of another revision."""
    name, options = embedder + SUFFIX, "".join(f" --augment {damage}" for damage in augment)
    fix = f"synthmir embed {path} --embedder {embedder}{options} --overwrite"
    if (recorded := recorded_damages(path, name)) != augment:
        raise DataError(
            f"{path}: {name} was made with {', '.join(recorded) or 'no record of its damages'}, "
            f"embedder.augment is {', '.join(augment)}",
            f"name the damages that it has, or make it again: {fix}",
        )
    records = [Corpus(path).record(embed_record(config)).get("details", {}) for config in (embedder, name)]
    clean, damaged = (record.get("embedder", {}).get("revision") for record in records)
    if clean != damaged:
        raise DataError(f"{path}: {name} is of revision {damaged}, {embedder} of {clean or 'none: it is gone'}", fix)


def train_on(
    load: Callable[[], TrainingData],
    out: Path,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> RunRecord | None:
    """Train a classifier as `train` does, on data that several trainings can share.

    Args:
        load: Returns the data.
        out: The model folder to write.
        settings: The training settings.
        accelerator: The device, the precision and the processes.
        on_epoch: Called with each point of the learning curve, in the main process.

    Returns:
        The training record in the main process, None in the others.

    Raises:
        DataError: The data cannot be read, or `out` cannot be written.
        RecipeError: The settings do not fit the data.
        BackendError: A package or a device is missing.
    """
    out = Path(out)
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    with new_model_folder(out) if accelerator.is_main_process else nullcontext() as folder:
        with record_run("train") as record:
            data = load()
            with tracked(accelerator, out, settings, on_epoch if folder else None) as report_epoch:
                outcome = _learn(data, settings, accelerator, report_epoch, checkpoint)
            record.fingerprint = data.build_record.get("fingerprint")
            record.rows = len(outcome.features.train) + len(outcome.features.validation)
            record.details = {
                **_origin(data, out),
                "augmentation": _augmentation(data, settings),
                **_details(outcome.features, settings, outcome.fit),
                "strategy": outcome.record,
                "embedder": data.embedder,
                "processes": accelerator.num_processes,
                "device_type": accelerator.device.type,
                "mixed_precision": accelerator.mixed_precision,
            }
        if folder:
            save_model(outcome.fit.model, folder)
            record.write(folder / RECORD)
            write_card(folder)
    if folder:
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return record if folder else None


def _learn(
    data: TrainingData,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None,
    checkpoint: Path,
) -> Outcome:
    config = _config(data, settings)
    return run_strategy(settings, data.features, data.target, config, accelerator, on_epoch, checkpoint=checkpoint)


def _config(data: TrainingData, settings: TrainingSettings) -> SynthmirConfig:
    names = data.features.names
    problem: Any = data.features.problem_type
    return SynthmirConfig(
        task=data.features.task,
        hidden=settings.hidden if settings.head == "mlp" else (),
        problem_type=problem,
        embedder=data.embedder,
        corpus=data.build_record.get("fingerprint"),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )


def _origin(data: TrainingData, out: Path) -> dict[str, Any]:
    """The training data: its path relative to the model folder, and what its own record says about it."""
    details, path = data.build_record.get("details", {}), data.path if is_remote(data.path) else data.path.resolve()
    return {
        "corpus": str(path) if is_remote(path) else os.path.relpath(path, out.resolve()),
        "corpus_name": details.get("identity", {}).get("name", path.stem if path.is_file() else path.name),
        "generator": details.get("generator"),
        "synthetic": is_corpus(data.path),  # unknown for other data
        "data": data.options,
        "identity": data.identity,
    }


def _augmentation(data: TrainingData, settings: TrainingSettings) -> dict[str, Any] | None:
    """The number of training clips and the damages of their copies; None if there are only clean clips."""
    damages = data.features.train.damages
    if damages is None or settings.strategy == "real":
        return None
    return {"clips": damages.count(CLEAN), "damages": [name for name in dict.fromkeys(damages) if name != CLEAN]}


def _details(features: Features, settings: TrainingSettings, fit: Fit) -> dict[str, Any]:
    splits = {"train": features.train, "validation": features.validation}
    by_epochs, batch = bool(fit.curve), batch_size(settings, len(features.train))
    return {
        "settings": settings.model_dump(mode="json"),
        "problem_type": features.problem_type,
        "optimizer": {"name": "AdamW", "weight_decay": settings.weight_decay, "batch_size": batch}
        if by_epochs
        else None,
        "labels": list(features.names),
        "rows": {split: len(rows) for split, rows in splits.items()},
        **{key: value for key, value in _labels(features, splits).items() if value},
        "dropped": features.dropped,
        "left_out": list(features.left_out),
        "division": features.division,
        "curve": fit.curve,
        "search": fit.search,
        "best": fit.best,
        "best_epoch": fit.best.get("epoch"),
        "stopped_early": fit.stopped_early,
    }


def _labels(features: Features, splits: dict[str, Split]) -> dict[str, Any]:
    """How many rows have each label; of a regression, the range of the values."""
    if features.problem_type == REGRESSION:
        spread = {
            name: {key: round(float(getattr(rows.labels, key)()), 4) for key in ("min", "mean", "max")}
            for name, rows in splits.items()
        }
        return {"range": spread}
    if features.problem_type == MULTI:
        counts = {name: rows.labels.sum(dim=0).int() for name, rows in splits.items()}
    else:
        counts = {name: torch.bincount(rows.labels, minlength=len(features.names)) for name, rows in splits.items()}
    return {"rows_by_label": {n: dict(zip(features.names, c.tolist(), strict=True)) for n, c in counts.items()}}
