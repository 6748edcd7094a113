"""A small generator and a small embedder, with which tests build whole corpora."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builder.clip import Clip
from builder.recipe import Recipe
from builder.registry import EMBEDDERS, GENERATORS
from builder.settings import EmbedderSettings, GeneratorSettings
from builder.taxonomy import Taxonomy

RECIPE = """
name: small
taxonomy: paper
prompts: {{per_genre: {per_genre}, seed: {seed}}}
generator: {{name: tone, seconds: 1, batch_size: {batch_size}}}
quality: {{max_rejected: {max_rejected}, attempts: {attempts}}}
split: {{validation: 0.2}}
embedder: {{name: levels}}
"""


class Tone:
    """A tone and a little noise by the clip's seed. Seeds that start with a digit of `TONE_FAULT` are silent."""

    name = "tone"
    revision = "1"
    sampling_rate = 32_000
    license = "cc-by-4.0"
    about = "One sine a clip."
    samples = False
    single_core = False  # so that a build stays in the test's own process

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        self.seconds = settings.seconds
        self.rows_at_once = settings.batch_size or 16
        self.made: list[str] = []

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        return [self._make_tone(row) for row in rows]

    def _make_tone(self, row: Clip) -> np.ndarray:
        time.sleep(float(os.environ.get("TONE_SLEEP", "0")))
        if log := os.environ.get("TONE_LOG"):
            with Path(log).open("a") as handle:
                handle.write(row.id + "\n")
        noise = np.random.default_rng(row.seed)
        t = np.arange(round(self.seconds * self.sampling_rate)) / self.sampling_rate
        tone = 0.2 * np.sin(2 * np.pi * noise.uniform(100, 1000) * t) + 0.01 * noise.standard_normal(len(t))
        if str(row.seed)[0] in os.environ.get("TONE_FAULT", ""):
            tone *= 0
        return tone.astype(np.float32)


class Levels:
    """Four numbers a window, which show whether embeddings belong to their clips."""

    name = "levels"
    revision = "1"
    dim = 4
    sampling_rate = 16_000
    window_seconds = 1.0
    about = "Mean square, peak, mean and length."

    def __init__(self, settings: EmbedderSettings) -> None:
        self.revision = settings.weights or "1"

    def embed(self, audio: np.ndarray) -> np.ndarray:
        parts = [(audio**2).mean(1), np.abs(audio).max(1), audio.mean(1), np.full(len(audio), audio.shape[1] / 16_000)]
        return np.stack(parts, axis=1).astype(np.float32)


def small_recipe(
    folder: Path, per_genre: int = 6, seed: int = 0, batch_size: int = 4, max_rejected: float = 0.01, attempts: int = 4
) -> Recipe:
    """Write small.yaml into a folder: tones of one second, `per_genre` of each of five genres."""
    path = folder / "small.yaml"
    path.write_text(
        RECIPE.format(
            per_genre=per_genre, seed=seed, batch_size=batch_size, max_rejected=max_rejected, attempts=attempts
        )
    )
    return Recipe.load(path)


def register() -> None:
    """Register both in this process."""
    GENERATORS["tone"] = "tests.builder.fakes:Tone"
    EMBEDDERS["levels"] = "tests.builder.fakes:Levels"
