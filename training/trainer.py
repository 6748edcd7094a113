"""Embeddings -> a classifier in a model folder, with the record of how it came to be and its card."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers.utils import logging as transformers_logging

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
from .data.subset import subset
from .data.target import Target, load_target
from .models.audio_embedding import UNKNOWN
from .models.classifier import CONFIG, MULTI, REGRESSION, WEIGHTS, SynthmirClassifier, SynthmirConfig
from .models.folder import new_model_folder
from .optim.checkpoint import digest
from .optim.loop import WEIGHT_DECAY, Epoch, Fit, batch_size, start_accelerator
from .optim.trackers import tracked
from .strategies import Outcome, run

RECORD = "training.json"


@dataclass(frozen=True, slots=True)
class Data:
    """What a training reads: the features, and where they come from."""

    path: Path
    features: Features
    embedder: dict[str, Any]  # of the model's config
    made: dict[str, Any]  # the corpus's build record, {} of other data
    options: dict[str, Any]  # what `load_features` was given beside path, embedder and task
    target: Target | None  # real music, where the strategy asks for it
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
    """Train on a corpus's embeddings, or on any data set's; write `out`: config, weights, training.json, README.md.

    Runs in one process or in those that `accelerate launch` or torchrun starts: they share each batch, and the
    outcome is the same up to rounding. Only the main process writes, calls `on_epoch` and returns the record; the
    others return None. Killed in the middle, the same call goes on where it was. An `out` that holds a model of ours
    is replaced when the new one is finished. `embedder` is by default melstats of a corpus, and of other data what
    their own record says. Raises DataError, RecipeError and BackendError.
    """
    accelerator = start_accelerator(settings, Path(out))
    return train_on(
        lambda: load_data(to_path(corpus), settings, embedder, split), out, settings, accelerator, on_epoch
    )


def described(record: RunRecord) -> str:
    """In a line for a terminal: what was reached, and when."""
    details = record.details
    best = {key: value for key, value in details["best"].items() if key not in ("epoch", "train_loss")}
    figures = ", ".join(f"{key} {value:.4g}" for key, value in best.items())
    curve = details["curve"]
    return f"best of {len(curve)} epochs is {details['best_epoch']}, {figures}" if curve else figures


def load_data(
    path: Path, settings: TrainingSettings, embedder: EmbedderSettings | None, split: SplitSettings | None = None
) -> Data:
    """Read what is to be learnt from. Raises DataError and RecipeError."""
    ours = is_corpus(path)
    made = Corpus(path).record() if path.is_dir() else {}
    recorded = {} if ours or not path.is_dir() else Corpus(path).record(EMBED_RECORD)
    recorded = recorded.get("details", {}).get("embedder", {})
    if ours and embedder is not None and not embedder.augment:
        embedder = settings_of_config(embedder.name, embedder, path)
    name = config_name(embedder or EmbedderSettings()) if ours or embedder else recorded.get("name", UNKNOWN)
    if recorded and recorded["name"] != name:
        raise DataError(f"{path}: holds embeddings of {recorded['name']}, not of {name}", "leave --embedder out")
    options: dict[str, Any] = {
        "label_column": settings.label_column,
        "embedding_column": settings.embedding_column,
        "problem": settings.problem,
    }
    augment = embedder.augment if ours and embedder is not None else ()
    stored = name + (SUFFIX if augment else "")
    features = load_features(path, stored, settings.task, **options, split=split)
    if augment:
        _check_copies(path, name, augment)
    features = subset(replace(features, embedder=name), settings)
    if features.division is not None:
        options["split"] = (split or SplitSettings()).model_dump(mode="json")
    if ours:
        recorded = Corpus(path).record(embed_record(stored)).get("details", {}).get("embedder", {})
    if recorded.get("dim", features.dim) != features.dim:
        raise DataError(f"{path}: its embeddings have {features.dim} numbers, its record says {recorded['dim']}")
    known = {key: recorded.get(key) for key in ("revision", "sampling_rate", "window_seconds", "about")}
    again = embedder or (EmbedderSettings(name=name) if ours or recorded else None)
    described = {"name": name, "weights": again and again.weights, "dim": features.dim, **known}
    if again is not None:
        described["settings"] = again.model_dump(mode="json", exclude={"batch_size", "device", "augment"})
    parts = [(s.ids, s.embeddings, s.labels) for s in (features.train, features.validation)]
    target = None
    if settings.target is not None and settings.strategy != "synthetic":
        label, embedding = settings.label_column, settings.embedding_column
        target = load_target(settings.target, features, described, label=label, embedding=embedding)
        parts += [(s.ids, s.embeddings, s.labels) for s in (target.train, target.validation) if s is not None]
    tensors = [part for parts_of in parts for part in parts_of]
    identity = digest(*tensors, features.names, *([] if target is None else [target.unlabelled]))
    return Data(path, features, described, made, options, target, identity)


def _check_copies(path: Path, embedder: str, augment: tuple[str, ...]) -> None:
    """Raise DataError where a corpus's damaged copies are not those asked for, or not of its clean clips' revision."""
    name, options = embedder + SUFFIX, "".join(f" --augment {damage}" for damage in augment)
    mend = f"synthmir embed {path} --embedder {embedder}{options} --overwrite"
    if (there := recorded_damages(path, name)) != augment:
        raise DataError(
            f"{path}: {name} was made with {', '.join(there) or 'no record of its damages'}, "
            f"embedder.augment is {', '.join(augment)}",
            f"write what is there, or make it anew: {mend}",
        )
    records = [Corpus(path).record(embed_record(config)).get("details", {}) for config in (embedder, name)]
    clean, damaged = (record.get("embedder", {}).get("revision") for record in records)
    if clean != damaged:
        raise DataError(f"{path}: {name} is of revision {damaged}, {embedder} of {clean or 'none: it is gone'}", mend)


def train_on(
    load: Callable[[], Data],
    out: Path,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> RunRecord | None:
    """`train`, on data that `load` reads: what others have read already need not be read again."""
    out = Path(out)
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    with new_model_folder(out) if accelerator.is_main_process else nullcontext() as part:
        with record_run("train") as record:
            data = load()
            with tracked(accelerator, out, settings, on_epoch if part else None) as told:
                outcome = _learn(data, settings, accelerator, told, checkpoint)
            record.fingerprint = data.made.get("fingerprint")
            record.rows = len(outcome.features.train) + len(outcome.features.validation)
            record.details = {
                **_origin(data, out),
                "augmentation": _augmentation(data, settings),
                **_details(outcome.features, settings, outcome.fit),
                "strategy": outcome.told,
                "embedder": data.embedder,
                "processes": accelerator.num_processes,
                "device_type": accelerator.device.type,
                "mixed_precision": accelerator.mixed_precision,
            }
        if part:
            _save(outcome.fit.model, part)
            record.write(part / RECORD)
            write_card(part)
    if part:
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return record if part else None


def _learn(
    data: Data,
    settings: TrainingSettings,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None,
    checkpoint: Path,
) -> Outcome:
    """The one place where a strategy decides what is learnt from what."""
    config = _config(data, settings)
    return run(settings, data.features, data.target, config, accelerator, on_epoch, checkpoint=checkpoint)


def _config(data: Data, settings: TrainingSettings) -> SynthmirConfig:
    names = data.features.names
    problem: Any = data.features.problem_type
    return SynthmirConfig(
        task=data.features.task,
        hidden=settings.hidden if settings.head == "mlp" else (),
        problem_type=problem,
        embedder=data.embedder,
        corpus=data.made.get("fingerprint"),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )


def _origin(data: Data, out: Path) -> dict[str, Any]:
    """Where the training data lies, as seen from the model folder, and what its own record says of it."""
    details, path = data.made.get("details", {}), data.path if is_remote(data.path) else data.path.resolve()
    return {
        "corpus": str(path) if is_remote(path) else os.path.relpath(path, out.resolve()),
        "corpus_name": details.get("identity", {}).get("name", path.stem if path.is_file() else path.name),
        "generator": details.get("generator"),
        "synthetic": is_corpus(data.path),  # of other data we do not know
        "data": data.options,
        "identity": data.identity,
    }


def _augmentation(data: Data, settings: TrainingSettings) -> dict[str, Any] | None:
    """How many clips of the corpus were learnt from, and what each was put through besides; None: they were clean."""
    damages = data.features.train.damages
    if damages is None or settings.strategy == "real":
        return None
    return {"clips": damages.count(CLEAN), "damages": [name for name in dict.fromkeys(damages) if name != CLEAN]}


def _details(features: Features, settings: TrainingSettings, fitted: Fit) -> dict[str, Any]:
    splits = {"train": features.train, "validation": features.validation}
    by_epochs, batch = bool(fitted.curve), batch_size(settings, len(features.train))
    return {
        "settings": settings.model_dump(mode="json"),
        "problem_type": features.problem_type,
        "optimizer": {"name": "AdamW", "weight_decay": WEIGHT_DECAY, "batch_size": batch} if by_epochs else None,
        "labels": list(features.names),
        "rows": {split: len(rows) for split, rows in splits.items()},
        **{key: value for key, value in _labels(features, splits).items() if value},
        "dropped": features.dropped,
        "left_out": list(features.left_out),
        "division": features.division,
        "curve": fitted.curve,
        "search": fitted.search,
        "best": fitted.best,
        "best_epoch": fitted.best.get("epoch"),
        "stopped_early": fitted.stopped_early,
    }


def _labels(features: Features, splits: dict[str, Split]) -> dict[str, Any]:
    """How many rows have each label, or where the numbers lie."""
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


def _save(model: SynthmirClassifier, folder: Path) -> None:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # one small file
    try:
        model.save_pretrained(folder)
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors lets nobody else read what it writes
