"""Damaged copies of the training clips, embedded beside the clean ones: what `embedder.augment` adds to a corpus.

They are in a config of their own, `<embedder>-augmented`. Its train split has each clip clean and once with each
damage, its validation split has clean clips only. The column `damage` names the damage, "" for a clean clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import decode_audio, resample, to_mono
from ..corpus.corpus import Corpus, embed_record
from ..degradations import Damage
from ..errors import DataError
from ..settings import EmbedderSettings
from .base import config_name

SUFFIX, COLUMN, CLEAN = "-augmented", "damage", ""
SPLIT = "train"  # the split that gets damaged copies


def augmented_config_name(settings: EmbedderSettings) -> str:
    """The name of the config that a recipe trains on: `<embedder>`, or `<embedder>-augmented` with damaged copies."""
    return config_name(settings) + (SUFFIX if settings.augment else "")


def settings_of_config(name: str, own: EmbedderSettings, corpus: Path) -> EmbedderSettings:
    """The settings for a name, which is an embedder's or a config's of the corpus.

    Args:
        name: "passt", "hf:...", "passt-augmented", ...
        own: What the name does not say: weights, device, batch size, ...
        corpus: The folder whose record lists the damages of an augmented config.
    """
    augment = recorded_damages(corpus, name)
    plain = name.removesuffix(SUFFIX) if augment else name
    plain = own.name if plain == config_name(own) else plain
    return own.model_copy(update={"name": plain, "augment": augment})


def recorded_damages(corpus: Path, name: str) -> tuple[str, ...]:
    """The damages that a config of a corpus was made with, according to its record; () without damaged copies."""
    return tuple(Corpus(corpus).record(embed_record(name)).get("details", {}).get("augment", ()))


def check_damages(augment: Sequence[str]) -> tuple[Damage, ...]:
    """Parse damages ("noise:20", "mp3:64") and apply each to 0.1 s of silence, to find faults before any work.

    Raises:
        RecipeError: An unknown damage or level.
        BackendError: A damage needs a package that is not installed.
    """
    damages = tuple(Damage.parse(text) for text in augment)
    for damage in damages:
        damage(np.zeros((4_800, 2), np.float32), 48_000)
    return damages


def repeat_for_damages(rows: Sequence[dict[str, Any]], damages: Sequence[Damage]) -> list[dict[str, Any]]:
    """Repeat each row of `id` and `audio` once for each damage, clip after clip."""
    return [{**row, COLUMN: damage} for row in rows for damage in damages]


def read_damaged(row: dict[str, Any], sampling_rate: int) -> Iterator[np.ndarray]:
    """Decode and damage a row of `repeat_for_damages`: one block of float32 [samples], mono at `sampling_rate` Hz.

    All channels are damaged, at the stored rate. Random numbers depend on the clip's id and the damage only.
    """
    samples, rate = decode_audio(row["audio"]["bytes"])
    seed = int.from_bytes(hashlib.sha256(row["id"].encode()).digest()[:8], "big")
    damaged = row[COLUMN](samples, rate, seed)
    if len(damaged) == 0:
        raise DataError(f"the damage {row[COLUMN]} leaves no audio")
    return iter([resample(to_mono(damaged), rate, sampling_rate)])
