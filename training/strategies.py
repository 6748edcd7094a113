"""The six strategies to learn from a labelled synthetic source and from real music, the target.

They are those of Kroher, Manangu and Pikrakis 2024 (arXiv 2407.02156), with one important difference: a validation
part decides when training stops and which epoch is kept. The test part is never used, and no code here can reach it.
"""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from builder.errors import RecipeError
from builder.settings import TrainingSettings

from .data.combine import (
    align_source,
    join_target,
    replace_rows,
    require_labels,
    require_several_labels,
    select_target,
)
from .data.features import Features, Split
from .data.target import Target, count_labels, take_shots
from .models.calibration import PRIOR, STATISTICS
from .models.classifier import MULTI, SINGLE, SynthmirClassifier, SynthmirConfig
from .models.heads import HEADS, validate_head
from .optim.domain_adaptation import LABELLED, WEIGHTS, Adaptation, make_adaptation_loss
from .optim.loop import fit
from .optim.objectives import objective
from .optim.outcome import Epoch, Fit

ON_SOURCE, ON_TARGET = "the source's validation split", "the target's validation part"
REVISION = 2  # of the strategies that use source and target; 0.1 wrote none
TWO_STAGES = ("transfer", "finetune")
MIXES = (0.5, 0.8, 0.95, 1.0)  # tried by `joint`: the target's share of the loss
_log = logging.getLogger(__name__)


def lacks_network(settings: TrainingSettings) -> bool:
    """Whether the strategy trains a network by its gradients, and the head is none."""
    by_loss = settings.strategy == "adapt" and settings.adaptation.loss != STATISTICS
    return settings.head in HEADS and (settings.strategy in TWO_STAGES or by_loss)


@dataclass(frozen=True, slots=True)
class Stage:
    """One training of a strategy."""

    name: str  # "source", "target" or "both": where its training rows are from
    features: Features
    fit: Fit
    lr: float

    def describe(self) -> dict[str, Any]:
        """Describe the stage for the training record."""
        parts = {"train": self.features.train, "validation": self.features.validation}
        return {
            "name": self.name,
            "rows": {part: len(split) for part, split in parts.items()},
            "rows_by_label": {part: count_labels(split, self.features) for part, split in parts.items()},
            "lr": self.lr,
            "curve": self.fit.curve,
            "best": self.fit.best,
            "stopped_early": self.fit.stopped_early,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished strategy."""

    fit: Fit  # of the last stage
    features: Features  # of the last stage
    record: dict[str, Any]  # the key `strategy` of the training record


@dataclass(frozen=True, slots=True)
class _Stages:
    """Runs the stages of a strategy, with what they share."""

    settings: TrainingSettings
    config: SynthmirConfig
    accelerator: Accelerator
    on_epoch: Callable[[Epoch], None] | None
    checkpoint: Path | None

    def fit(
        self, name: str, features: Features, *, lr: float | None = None, part: str | None = None, **options: Any
    ) -> Stage:
        """Fit one stage. With several fits, each point of the learning curve names its stage, or its `part`."""
        settings = self.settings if lr is None else self.settings.model_copy(update={"lr": lr})
        if settings.head in HEADS:
            return Stage(name, features, HEADS[settings.head](self.config, features, settings), settings.lr)
        checkpoint = self.checkpoint and self.checkpoint.with_name(f"{self.checkpoint.name}-{part or name}")
        fitted = fit(
            self.config,
            features,
            settings,
            self.accelerator,
            self._report_epochs(part or (name if self.settings.strategy in TWO_STAGES else None)),
            checkpoint=checkpoint,
            **options,
        )
        return Stage(name, features, fitted, settings.lr)

    def delete_checkpoints(self) -> None:
        """Delete the checkpoints of all stages, once the strategy is finished."""
        if self.checkpoint and self.accelerator.is_main_process:
            for file in self.checkpoint.parent.glob(f"{glob.escape(self.checkpoint.name)}-*"):
                file.unlink(missing_ok=True)

    def _report_epochs(self, name: str | None) -> Callable[[Epoch], None] | None:
        on_epoch = self.on_epoch
        if on_epoch is None or name is None:
            return on_epoch
        return lambda point: on_epoch({**point, "stage": name})


def run_strategy(
    settings: TrainingSettings,
    source: Features,
    target: Target | None,
    config: SynthmirConfig,
    accelerator: Accelerator,
    on_epoch: Callable[[Epoch], None] | None = None,
    *,
    checkpoint: Path | None = None,
) -> Outcome:
    """Train by `settings.strategy`.

    - `synthetic`: only the source.
    - `real`: only the labelled rows of the target; labels that none of them has get no output.
    - `joint`: source and target together. The target's rows get the share `mix` of the loss; without it the best of
      `MIXES` by the loss on the target's validation part, where a share of 1 leaves the source out.
    - `transfer`: the source, then only the last layer on the target.
    - `finetune`: the source, then all layers on the target, at `finetune_lr`. It starts between new weights and those
      of the source, whose share is `warm_start`: weights that fit other data generalise worse than new ones, and
      shrunk they keep what they know (Ash and Adams 2020, arXiv 1910.08475).
    - `adapt`: the source, standardised apart from the target. `adaptation.loss` may also align the hidden
      representations of the target with it. Labels of the target are used by the losses that need them, and where
      `shots` says how many; these rows are then trained on as well.

    `shots` labelled rows of each class are drawn from the target's train part. A strategy that uses labels of the
    target is stopped on the target's validation part, any other on the source's validation split. Where both are
    trained on, each is standardised by its own statistics, see `align_source`.

    Args:
        settings: The training settings.
        source: The labelled synthetic data.
        target: The real music, for every strategy but `synthetic`.
        config: The config of the classifier.
        accelerator: The processes and the device.
        on_epoch: Called with each point of the learning curve.
        checkpoint: A file to resume from; each stage has its own beside it.

    Raises:
        RecipeError: The strategy needs a target, or does not fit the head or the task.
        DataError: The target has no labelled rows to train or validate on.
    """
    stages = _Stages(settings, config, accelerator, on_epoch, checkpoint)
    outcome = _run_stages(stages, source, target)
    stages.delete_checkpoints()
    return outcome


def _run_stages(stages: _Stages, source: Features, target: Target | None) -> Outcome:
    settings = stages.settings
    if target is not None and settings.shots is not None and settings.strategy != "synthetic":
        target = take_shots(target, settings.shots, source.names, settings.seed)
    if settings.strategy == "synthetic":
        if settings.target is not None:
            _log.warning("training.strategy: synthetic does not use the target %s", settings.target)
        return _make_outcome(settings, None, [stages.fit("source", source)], ON_SOURCE)
    if target is None:
        raise RecipeError(f"training.strategy: {settings.strategy} needs a target", "name real music: --target DIR")
    if lacks_network(settings):
        raise RecipeError(
            f"training.strategy: {settings.strategy} needs a network, and {settings.head} is not one",
            "training.head (--head): mlp or linear, or the strategy real or joint",
        )
    if settings.mix is not None and settings.head == "knn" and settings.strategy == "joint":
        raise RecipeError("training.mix: knn has no weights of rows", "remove training.mix")
    if settings.strategy != "real":
        source = align_source(source, target.embeddings)
    if settings.strategy == "adapt":
        return _adapt(stages, source, target)
    train, validation = require_labels(target, source, settings.strategy)
    if settings.strategy == "real":
        features, left_out = select_target(source, train, validation)
        stages = replace(stages, config=_with_labels(stages.config, features.names))
        return _make_outcome(settings, {**target.record, **left_out}, [stages.fit("target", features)], ON_TARGET)
    if settings.strategy == "joint":
        return _join(stages, source, target, train, validation)
    require_several_labels(source, train)
    first = stages.fit("source", source)
    real = replace_rows(source, train, validation)
    start = first.fit.model
    if settings.strategy == "transfer":
        second = stages.fit("target", real, start=start, only_output=True)
    else:
        start = _shrink_weights(start, stages.config, settings.warm_start, settings.seed)
        second = stages.fit("target", real, start=start, lr=settings.finetune_lr)
    return _make_outcome(settings, target.record, [first, second], ON_TARGET)


def _join(stages: _Stages, source: Features, target: Target, train: Split, validation: Split) -> Outcome:
    """Train on source and target with the mix of the settings, or with the best on the target's validation part."""
    settings = stages.settings
    if settings.mix is not None or settings.head == "knn":  # knn has no weights of rows
        features = join_target(source, train, validation, settings.mix, settings.class_weights)
        return _make_outcome(settings, target.record, [stages.fit("both", features)], ON_TARGET)
    real = replace_rows(source, train, validation)
    goal = objective(real, balanced=False)  # one loss for all
    tried: list[tuple[float, float, Stage]] = []
    for mix in MIXES:
        if mix < 1:
            features = join_target(source, train, validation, mix, settings.class_weights)
        elif settings.head in HEADS or (source.problem_type != MULTI and len(train.labels.unique()) < 2):
            continue  # logistic regression needs rows of every label
        else:
            features = real
        stage = stages.fit("both" if mix < 1 else "target", features, part=f"mix-{mix:g}")
        tried.append((validate_head(stage.fit.model, real, goal)["validation_loss"], mix, stage))
    _, chosen, stage = min(tried, key=lambda one: one[0])
    outcome = _make_outcome(settings, target.record, [stage], ON_TARGET)
    search = [{"mix": mix, "validation_loss": loss} for loss, mix, _ in tried]
    return replace(outcome, record={**outcome.record, "mix": chosen, "mixes": search})


def _shrink_weights(model: SynthmirClassifier, config: SynthmirConfig, share: float, seed: int) -> SynthmirClassifier:
    """A copy of a classifier with weights between its own, which have this share, and those of a new classifier."""
    start = deepcopy(model)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter, fresh in zip(start.parameters(), SynthmirClassifier(config).parameters(), strict=True):
            parameter.lerp_(fresh, 1 - share)
    return start


def _adapt(stages: _Stages, source: Features, target: Target) -> Outcome:
    settings, chosen = stages.settings, stages.settings.adaptation
    if chosen.loss in LABELLED and source.problem_type != SINGLE:
        raise RecipeError(
            f"training.adaptation.loss: {chosen.loss} needs one label a clip, which {source.task} is not",
            "coral, mmd or dann",
        )
    if chosen.loss != STATISTICS and (settings.head == "linear" or not settings.hidden):
        raise RecipeError(
            "training.strategy: adapt aligns hidden layers, and this classifier has none",
            "training.hidden: [128], for example, and training.head: mlp",
        )
    labelled = chosen.loss in LABELLED or settings.shots is not None
    rows, features = target.embeddings, source
    labels = torch.full((len(rows),), -1)
    if labelled:
        train, validation = require_labels(target, source, f"adapt with {_name_need(settings)}")
        features = join_target(source, train, validation, settings.mix, settings.class_weights)
        if source.problem_type == SINGLE:
            labels[: len(train)] = train.labels
    weight: float | None = None
    options: dict[str, Any] = {}
    if chosen.loss != STATISTICS:
        weight = WEIGHTS[chosen.loss] if chosen.weight is None else chosen.weight
        loss = make_adaptation_loss(chosen, settings.hidden[-1], settings.seed)
        options["adaptation"] = Adaptation(rows, labels, loss, weight)
    stage = stages.fit("both" if labelled else "source", features, **options)
    outcome = _make_outcome(settings, target.record, [stage], ON_TARGET if labelled else ON_SOURCE)
    description = {
        **chosen.model_dump(mode="json"),
        "weight": weight,
        "rows": len(rows),
        "labelled": int((labels >= 0).sum()),
    }
    return replace(outcome, record={**outcome.record, "adaptation": description})


def _name_need(settings: TrainingSettings) -> str:
    """The setting that makes `adapt` need labels."""
    return settings.adaptation.loss if settings.adaptation.loss in LABELLED else "shots"


def _make_outcome(
    settings: TrainingSettings, target: dict[str, Any] | None, stages: list[Stage], selected_on: str
) -> Outcome:
    record: dict[str, Any] = {
        "name": settings.strategy,
        "revision": REVISION,
        "target": target,
        "selected_on": selected_on,
        "standardised_on": _name_statistics(settings),
        "shots": settings.shots if target else None,
        "mix": settings.mix if stages[0].name == "both" else None,
    }
    if len(stages) > 1:
        record["stages"] = [stage.describe() for stage in stages]
    else:  # the rest is in the record of the training itself
        record["stages"] = [{"name": stages[0].name, "lr": stages[0].lr, "rows": stages[0].describe()["rows"]}]
    return Outcome(stages[-1].fit, stages[-1].features, record)


def _name_statistics(settings: TrainingSettings) -> str:
    """What embeddings are standardised by, for the record."""
    if settings.strategy in ("synthetic", "real"):
        return "train rows"
    return (
        "source and target by their own statistics; the target's are those of its train part, in which the source "
        f"counts as {PRIOR} rows"
    )


def _with_labels(config: SynthmirConfig, names: tuple[str, ...]) -> SynthmirConfig:
    """A copy of the config with these labels."""
    copy = SynthmirConfig.from_dict(config.to_dict())
    copy.id2label = dict(enumerate(names))
    copy.label2id = {name: index for index, name in enumerate(names)}
    return copy
