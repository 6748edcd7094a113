"""Generators, embedders and estimators by name. A class is imported only when its name is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import BackendError


class Registry(dict[str, str]):
    """A table of names and the classes that they stand for, each as "module:Class".

    Args:
        kind: What the classes are, for messages: "generator".
        parts: The classes by name.
    """

    def __init__(self, kind: str, **parts: str) -> None:
        super().__init__(parts)
        self.kind = kind

    def load(self, name: str) -> Any:
        """Import and return the class called `name`.

        Raises:
            BackendError: If no class has this name, or a package that it needs is not installed.
        """
        if name not in self:
            raise BackendError(
                f"there is no {self.kind} called {name!r} in this version of synthmir",
                f"use one of: {', '.join(sorted(self))}",
            )
        module, _, attribute = self[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise BackendError(
                f"{self.kind} {name!r} needs the package {error.name!r}, which is not installed",
                f"pip install {error.name}",
            ) from error


GENERATORS = Registry(
    "generator",
    arranger="builder.generators.arranger:Arranger",
    audiocraft="builder.generators.audiocraft.generator:AudioCraft",
    diffusers="builder.generators.diffusers.generator:Diffusers",
    musicgen="builder.generators.musicgen.generator:MusicGen",
)
# Those that have a score, for messages: asking their classes would import torch. A test compares them.
SCORED_GENERATORS = ("arranger",)

EMBEDDERS = Registry(
    "embedder",
    melstats="builder.embedders.melstats:MelStats",
    musicnn="builder.embedders.musicnn:Musicnn",
    passt="builder.embedders.passt:Passt",
    hf="builder.embedders.huggingface:HuggingFace",
)

ESTIMATORS = Registry(
    "estimator",
    aesthetics="builder.estimators.aesthetics:Aesthetics",
    clap="builder.estimators.clap:Clap",
    copies="builder.estimators.copies:Copies",
    key="builder.estimators.key:Key",
    loudness_range="builder.estimators.loudness_range:LoudnessRange",
    onset_rate="builder.estimators.onset_rate:OnsetRate",
    silence="builder.estimators.silence:Silence",
    spectral_centroid="builder.estimators.spectral_centroid:SpectralCentroid",
    tags="builder.estimators.tags:MusicTags",
    tempo="builder.estimators.tempo:Tempo",
)
