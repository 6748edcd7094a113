"""A benchmark as the target of a training: its tracks with the source's labels, embedded as the source is."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from builder.embedders.embed_dataset import embed_dataset
from builder.errors import DataError, RecipeError
from builder.io.hf_progress import no_progress_bars
from builder.io.storage import path_exists
from builder.settings import EmbedderSettings, TrainingSettings
from training.models.classifier import REGRESSION
from training.settings import ChosenSettings
from training.trainer import TrainingData, load_training_data

from ..benchmarks.base import BENCHMARKS, load_benchmark
from ..benchmarks.spec import Spec

FOLDER = "real"
_log = logging.getLogger(__name__)


def is_benchmark(target: str | None) -> bool:
    """Return whether a target is written as a benchmark, NAME:PATH, and is not itself a path."""
    if target is None or ":" not in target or path_exists(Path(target).expanduser()):
        return False
    return Spec.parse(target).name in BENCHMARKS


def embed_target(
    corpus: Path,
    chosen: ChosenSettings,
    beside: Path,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> ChosenSettings:
    """Embed the benchmark that a training names as its target, into `beside`/real/NAME.

    Args:
        corpus: What the training learns from. Its labels and its embedder are used.
        chosen: The settings of the training. A target that is no benchmark stays as it is.
        beside: Where the folder of embeddings is made. Embeddings that are there are kept.
        progress: Called with the tracks that are done, and all of them.

    Returns:
        The settings with that folder as the target.

    Raises:
        DataError: The benchmark cannot be read, or the corpus does not name its embedder.
        RecipeError: The target is not valid, or several processes are running.
        BackendError: The embedder cannot be loaded.
    """
    training = chosen.training
    target = training.target
    if target is None or not is_benchmark(target):
        return chosen
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            f"training.target: {target} is embedded by one process, and several are running",
            f"first: synthmir benchmarks {target} --out LIST, then synthmir embed LIST --out DIR; --target DIR",
        )
    source = training.model_copy(update={"strategy": "synthetic", "target": None, "shots": None})
    data = load_training_data(corpus, source, chosen.embedder, chosen.split)
    settings, names = _settings(data, corpus), list(data.features.names)
    problem = data.features.problem_type
    benchmark = load_benchmark(target, None, data.features.task, problem)  # type: ignore[arg-type]
    tracks = benchmark.dataset(None if problem == REGRESSION else names)
    for note in benchmark.notes:
        _log.warning("%s: %s", target, note)
    artists = tracks["artist"] if benchmark.spec.name == "folder" else []  # of a table that people edit
    folder = beside / FOLDER / _slug(target, names, settings, artists)
    listed = folder.with_name(f"{folder.name}-tracks")
    with no_progress_bars():
        tracks.save_to_disk(str(listed))
    embed_dataset(listed, settings, folder, progress=progress)
    return ChosenSettings(_at(training, folder), chosen.embedder, chosen.split)


def _settings(data: TrainingData, corpus: Path) -> EmbedderSettings:
    """Return the settings of the embedder that made the source's embeddings, from its record."""
    if (settings := data.embedder.get("settings")) is None:
        raise DataError(
            f"{corpus}: has no record of its embedder, so a benchmark cannot be embedded with it",
            "embed the benchmark with it yourself, and give that folder: --target DIR",
        )
    return EmbedderSettings(**settings)


def _at(training: TrainingSettings, folder: Path) -> TrainingSettings:
    return training.model_copy(update={"target": str(folder)})


def _slug(target: str, names: list[str], settings: EmbedderSettings, artists: Sequence[str | None]) -> str:
    """Return a folder name for these tracks with these labels and artists by this embedder."""
    spec = Spec.parse(target)
    name = "-".join(part for part in (spec.name, spec.variant, Path(spec.target).name) if part)
    options = settings.model_dump(mode="json", include={"name", "weights", "arch", "layer", "dtype"})
    parts: tuple[object, ...] = (target, names, options)
    if any(artists):
        parts = (*parts, list(artists))
    digest = hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()[:6]
    return re.sub(r"[^\w.-]+", "-", f"{name}-{digest}").strip("-.")
