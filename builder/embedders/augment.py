"""Damaged copies of the training clips, embedded beside the clean ones: what `embedder.augment` adds to a corpus.

They stand in a config of their own, `<embedder>-augmented`: the train split holds each clip once clean and once a
damage, the validation split clean clips alone. The column `damage` tells them apart, "" for clean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import decode, mono, resample
from ..corpus.corpus import Corpus, embed_record
from ..degradations import Damage
from ..errors import DataError
from ..recipe import EmbedderSettings
from .base import config_name

SUFFIX, COLUMN, CLEAN = "-augmented", "damage", ""
SPLIT = "train"  # the one that gets damaged copies


def stored_name(settings: EmbedderSettings) -> str:
    """What a corpus calls the config that a recipe trains on: the embedder's own, or the one with damaged copies."""
    return config_name(settings) + (SUFFIX if settings.augment else "")


def named(name: str, own: EmbedderSettings, corpus: Path) -> EmbedderSettings:
    """The settings that stand behind a name: of an embedder, or of a config that the corpus holds.

    Whatever the name does not say is taken from `own`; which damages there are, from the corpus's record.
    """
    augment = recorded_damages(corpus, name)
    plain = name.removesuffix(SUFFIX) if augment else name
    plain = own.name if plain == config_name(own) else plain
    return own.model_copy(update={"name": plain, "augment": augment})


def recorded_damages(corpus: Path, name: str) -> tuple[str, ...]:
    """The damages that a config of a corpus was made with, by its record: none for an embedder's own config."""
    return tuple(Corpus(corpus).record(embed_record(name)).get("details", {}).get("augment", ()))


def tried(augment: Sequence[str]) -> tuple[Damage, ...]:
    """The damages, each tried on a moment of silence. Raises RecipeError, and BackendError for a missing package."""
    damages = tuple(Damage.parse(text) for text in augment)
    for damage in damages:
        damage(np.zeros((4_800, 2), np.float32), 48_000)
    return damages


def copies(rows: Sequence[dict[str, Any]], damages: Sequence[Damage]) -> list[dict[str, Any]]:
    """Rows of `id` and `audio` -> as many for each damage, clip after clip."""
    return [{**row, COLUMN: damage} for row in rows for damage in damages]


def damaged(row: dict[str, Any], sampling_rate: int) -> Iterator[np.ndarray]:
    """One of `copies` -> float32 [samples], mono at `sampling_rate` Hz, in one block.

    The clip is damaged as it is stored, all channels. What is random follows from its id and the damage alone.
    """
    samples, rate = decode(row["audio"]["bytes"])
    seed = int.from_bytes(hashlib.sha256(row["id"].encode()).digest()[:8], "big")
    out = row[COLUMN](samples, rate, seed)
    if len(out) == 0:
        raise DataError(f"nothing of the audio is left by {row[COLUMN]}")
    return iter([resample(mono(out), rate, sampling_rate)])
