"""How a labelled synthetic source and real music are learnt from: the six strategies.

They are those of Kroher, Manangu and Pikrakis 2024 (arXiv 2407.02156), with one difference of weight: when to stop,
and which epoch is kept, is decided on a validation part, never on the test part, which no code here can reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from builder.errors import RecipeError
from builder.settings import TrainingSettings

from .data.combine import alone, both, learnt, retold, two_labels
from .data.features import Features
from .data.target import Target, count_labels, take_shots
from .models.classifier import SINGLE, SynthmirConfig
from .models.heads import HEADS
from .optim.domain_adaptation import LABELLED, WEIGHTS, Adaptation, make_adaptation_loss
from .optim.loop import fit
from .optim.outcome import Epoch, Fit

ON_SOURCE, ON_TARGET = "the source's validation split", "the target's validation part"
TWO_STAGES = ("transfer", "finetune")
STAGES = ("source", "target", "both")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """One training: of what rows, from where, and how it went."""

    name: str  # one of STAGES: what its train rows are of
    features: Features
    fit: Fit
    lr: float

    def told(self) -> dict[str, Any]:
        """For the record."""
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
    """A finished strategy: its last stage's model, and what the record tells."""

    fit: Fit
    features: Features  # of the last stage: what the model learnt from last, and what stopped it
    told: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Run:
    """What all stages of a run share."""

    settings: TrainingSettings
    config: SynthmirConfig
    accelerator: Accelerator
    on_epoch: Callable[[Epoch], None] | None
    checkpoint: Path | None

    def stage(self, name: str, features: Features, *, lr: float | None = None, **options: Any) -> Stage:
        """Fit one stage; its epochs are told with the stage's name where there are two."""
        settings = self.settings if lr is None else self.settings.model_copy(update={"lr": lr})
        if settings.head in HEADS:
            return Stage(name, features, HEADS[settings.head](self.config, features, settings), settings.lr)
        checkpoint = self.checkpoint and self.checkpoint.with_name(f"{self.checkpoint.name}-{name}")
        fitted = fit(
            self.config, features, settings, self.accelerator, self._teller(name), checkpoint=checkpoint, **options
        )
        return Stage(name, features, fitted, settings.lr)

    def done(self) -> None:
        """No stage will be gone on with: its checkpoints go."""
        if self.checkpoint and self.accelerator.is_main_process:
            for name in STAGES:
                self.checkpoint.with_name(f"{self.checkpoint.name}-{name}").unlink(missing_ok=True)

    def _teller(self, name: str) -> Callable[[Epoch], None] | None:
        on_epoch = self.on_epoch
        if on_epoch is None or self.settings.strategy not in TWO_STAGES:
            return on_epoch
        return lambda point: on_epoch({**point, "stage": name})


def run(
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

    - `synthetic`: the source alone.
    - `real`: the target's labelled rows alone; labels that none of them has take no output.
    - `joint`: both at once; real rows get the share `mix` of the loss, without it every row weighs the same.
    - `transfer`: the source, then the last layer alone on the target.
    - `finetune`: the source, then all layers on the target, at `finetune_lr`.
    - `adapt`: the source, while `adaptation.loss` draws the target's hidden representations to it. The target's labels
      are used by the losses that need them and where `shots` says how many; those rows then are learnt from as well.

    `shots` labelled rows a class are drawn from the target's train part. Whoever learns from labels of the target is
    stopped on its validation part, the others on the source's validation split. The embeddings are standardised by the
    rows of the first stage. Raises RecipeError and DataError.
    """
    stages = _Run(settings, config, accelerator, on_epoch, checkpoint)
    outcome = _follow(stages, source, target)
    stages.done()
    return outcome


def _follow(run: _Run, source: Features, target: Target | None) -> Outcome:
    settings = run.settings
    if target is not None and settings.shots is not None and settings.strategy != "synthetic":
        target = take_shots(target, settings.shots, source.names, settings.seed)
    if settings.strategy == "synthetic":
        if settings.target is not None:
            _log.warning("training.strategy: synthetic makes no use of the target %s", settings.target)
        return _outcome(settings, None, [run.stage("source", source)], ON_SOURCE)
    if target is None:
        raise RecipeError(f"training.strategy: {settings.strategy} needs a target", "name real music: --target DIR")
    if settings.head in HEADS and settings.strategy in ("transfer", "finetune", "adapt"):
        raise RecipeError(
            f"training.strategy: {settings.strategy} trains a network on, and {settings.head} is none",
            "training.head: mlp or linear, or the strategy real or joint",
        )
    if settings.mix is not None and settings.head == "knn" and settings.strategy == "joint":
        raise RecipeError("training.mix: neighbours vote alike, knn can weigh no rows", "remove training.mix")
    if settings.strategy == "adapt":
        return _adapt(run, source, target)
    train, validation = learnt(target, source, settings.strategy)
    if settings.strategy == "real":
        features, lost = alone(source, train, validation)
        run = replace(run, config=_renamed(run.config, features.names))
        return _outcome(settings, {**target.record, **lost}, [run.stage("target", features)], ON_TARGET)
    if settings.strategy == "joint":
        features = both(source, train, validation, settings)
        return _outcome(settings, target.record, [run.stage("both", features)], ON_TARGET)
    two_labels(source, train)
    first = run.stage("source", source)
    real = retold(source, train, validation)
    start = first.fit.model
    if settings.strategy == "transfer":
        second = run.stage("target", real, start=start, only_output=True)
    else:
        second = run.stage("target", real, start=start, lr=settings.finetune_lr)
    return _outcome(settings, target.record, [first, second], ON_TARGET)


def _adapt(run: _Run, source: Features, target: Target) -> Outcome:
    settings, chosen = run.settings, run.settings.adaptation
    if chosen.loss in LABELLED and source.problem_type != SINGLE:
        raise RecipeError(
            f"training.adaptation.loss: {chosen.loss} compares rows of one class, and {source.task} is no one class",
            "coral, mmd or dann",
        )
    if settings.head == "linear" or not settings.hidden:
        raise RecipeError(
            "training.strategy: adapt draws hidden layers together, and this classifier has none",
            "training.hidden: [128], say, and training.head: mlp",
        )
    labelled = chosen.loss in LABELLED or settings.shots is not None
    rows, features = target.embeddings, source
    labels = torch.full((len(rows),), -1)
    if labelled:
        train, validation = learnt(target, source, f"adapt with {_why(settings)}")
        features = both(source, train, validation, settings)
        if source.problem_type == SINGLE:
            labels[: len(train)] = train.labels
    weight = WEIGHTS[chosen.loss] if chosen.weight is None else chosen.weight
    drawn = Adaptation(rows, labels, make_adaptation_loss(chosen, settings.hidden[-1], settings.seed), weight)
    stage = run.stage("both" if labelled else "source", features, adaptation=drawn)
    outcome = _outcome(settings, target.record, [stage], ON_TARGET if labelled else ON_SOURCE)
    told = {
        **chosen.model_dump(mode="json"),
        "weight": weight,
        "rows": len(rows),
        "labelled": int((labels >= 0).sum()),
    }
    return replace(outcome, told={**outcome.told, "adaptation": told})


def _why(settings: TrainingSettings) -> str:
    return settings.adaptation.loss if settings.adaptation.loss in LABELLED else "shots"


def _outcome(
    settings: TrainingSettings, target: dict[str, Any] | None, stages: list[Stage], selected_on: str
) -> Outcome:
    told: dict[str, Any] = {
        "name": settings.strategy,
        "target": target,
        "selected_on": selected_on,
        "standardised_on": f"train rows of the stage {stages[0].name!r}",
        "shots": settings.shots if target else None,
        "mix": settings.mix if stages[0].name == "both" else None,
    }
    if len(stages) > 1:
        told["stages"] = [stage.told() for stage in stages]
    else:  # its curve and counts are the model's
        told["stages"] = [{"name": stages[0].name, "lr": stages[0].lr, "rows": stages[0].told()["rows"]}]
    return Outcome(stages[-1].fit, stages[-1].features, told)


def _renamed(config: SynthmirConfig, names: tuple[str, ...]) -> SynthmirConfig:
    """The same config for these labels."""
    found = SynthmirConfig.from_dict(config.to_dict())
    found.id2label = dict(enumerate(names))
    found.label2id = {name: index for index, name in enumerate(names)}
    return found
