"""Model folders for tests: an embedder and a classifier with random weights, saved as training saves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from builder.embedders.base import config_name, load_embedder
from builder.embedders.windows import embed_clips
from builder.settings import EmbedderSettings
from training.models.classifier import REGRESSION, SINGLE, SynthmirClassifier, SynthmirConfig
from training.models.folder import new_model_folder

LABELS = ("Calm", "Tense", "Wild")


def make_sound(seconds: float, rate: int = 32_000, seed: int = 0) -> np.ndarray:
    """Return a chord of varying loudness plus periodic noise bursts, float32 [samples]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * rng.uniform(90, 2000) * time) for _ in range(4)) * (0.4 + 0.3 * np.sin(time))
    beat = rng.standard_normal(len(time)) * np.exp(-9 * (time * rng.uniform(1, 3) % 1))
    return (0.1 * (chord + beat)).astype(np.float32)


def make_model_folder(
    folder: Path, settings: EmbedderSettings | None = None, problem: str = SINGLE, neighbors: int = 0
) -> Path:
    """Save a model with random weights on an embedder, by default melstats, and return its folder."""
    settings = settings or EmbedderSettings()
    embedder = load_embedder(settings)
    names = LABELS if problem != REGRESSION else ("tempo_bpm",)
    embeddings = torch.from_numpy(
        embed_clips(embedder, [make_sound(1.0, embedder.sampling_rate, seed) for seed in range(30)])
    )
    description = {
        "name": config_name(settings),
        "dim": embedder.dim,
        "revision": embedder.revision,
        "sampling_rate": embedder.sampling_rate,
        "settings": settings.model_dump(mode="json", exclude={"batch_size", "device"}),
    }
    config = SynthmirConfig(
        hidden=() if neighbors else (16,),
        examples=len(embeddings) if neighbors else 0,
        neighbors=neighbors,
        problem_type=problem,  # type: ignore[arg-type]
        embedder=description,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = SynthmirClassifier(config)
    model.standardise(embeddings, torch.linspace(70, 170, len(embeddings)))
    if neighbors:
        votes = torch.nn.functional.one_hot(torch.arange(len(embeddings)) % len(names), len(names)).float()
        model.output.store(0, model.represent(embeddings), votes)
    with new_model_folder(folder) as part:
        model.save_pretrained(part)
    return folder
