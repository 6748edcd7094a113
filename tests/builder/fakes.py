"""Small generators and a small embedder, with which tests build whole corpora."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builder.annotations.annotation import Annotation, Notes, Segments, TrackActivity
from builder.clip import Clip
from builder.errors import RecipeError
from builder.recipe import Recipe
from builder.registry import EMBEDDERS, GENERATORS
from builder.settings import EmbedderSettings, GeneratorSettings
from builder.taxonomy import Taxonomy

RECIPE = """
name: small
taxonomy: paper
prompts: {{per_genre: {per_genre}, seed: {seed}}}
generator: {{name: {generator}, seconds: 1, batch_size: {batch_size}}}
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
        if settings.stereo:
            raise RecipeError("generator.stereo: a tone is mono", "leave stereo out")
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


class Scored(Tone):
    """A tone, and in clips of an odd seed clicks at the beats: a generator that has a score."""

    name = "scored"
    about = "A melody and drums."

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        return [mix for mix, _ in self.generate_stems(rows)]

    def generate_stems(self, rows: Sequence[Clip]) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        return [self._make_stems(row) for row in rows]

    def _make_stems(self, row: Clip) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        stems = {"melody": self._make_tone(row)}
        if row.seed % 2:
            stems["drums"] = np.zeros_like(stems["melody"])
            for beat in self._beats(row):
                start = round(beat * self.sampling_rate)
                stems["drums"][start : start + 400] = 0.25
        return np.sum(list(stems.values()), axis=0), stems

    def _beats(self, row: Clip) -> np.ndarray:
        return np.arange(0.0, self.seconds, 0.25 + row.seed % 8 / 16)

    def annotate(self, row: Clip) -> Annotation:
        beats = self._beats(row)
        whole = (np.array([0.0]), np.array([self.seconds]))
        note = [np.array([value], np.int16) for value in (60, 90, 0)]
        return Annotation(
            row.id,
            self.seconds,
            beats=beats,
            positions=(np.arange(len(beats)) % 4 + 1).astype(np.int8),
            tempo_bpm=60 / float(beats[1]),
            time_signature="4/4",
            chords=Segments(*whole, ("C:maj",)),
            key="C:major",
            sections=Segments(*whole, ("verse",)),
            melody=np.full(round(100 * self.seconds), row.seed % 1000, np.float32),
            notes=Notes(*whole, *note, np.array([False]), np.array([0], np.int16)),
            tracks=(TrackActivity("piano", 0, False, "melody", *whole),),
            midi=f"MThd {row.seed}".encode(),
        )


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
    folder: Path,
    per_genre: int = 6,
    seed: int = 0,
    batch_size: int = 4,
    max_rejected: float = 0.01,
    attempts: int = 4,
    generator: str = "tone",
    **keys: bool,
) -> Recipe:
    """Write small.yaml into a folder: clips of one second, `per_genre` of each of five genres, with top-level keys."""
    path = folder / "small.yaml"
    text = RECIPE.format(
        per_genre=per_genre,
        seed=seed,
        batch_size=batch_size,
        max_rejected=max_rejected,
        attempts=attempts,
        generator=generator,
    )
    path.write_text(text + "".join(f"{key}: {str(value).lower()}\n" for key, value in keys.items()))
    return Recipe.load(path)


def register() -> None:
    """Register them in this process."""
    GENERATORS["tone"] = "tests.builder.fakes:Tone"
    GENERATORS["scored"] = "tests.builder.fakes:Scored"
    EMBEDDERS["levels"] = "tests.builder.fakes:Levels"
