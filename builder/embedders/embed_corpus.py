"""Embed a corpus: it gets one more config, joined by `id`. Its audio is read and never written again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..configs import find_kind
from ..corpus.corpus import Corpus
from ..corpus.shard_map import map_shards, read_versions, refuse_links
from ..corpus.shards import WORK
from ..errors import DataError, RecipeError
from ..executors import ExecutorSettings, choose_executor
from ..io.locks import lock_folder
from ..io.storage import limit_workers, map_parallel
from ..records import RunRecord
from ..settings import EmbedderSettings
from .augment import SUFFIX, check_damages
from .base import load_embedder
from .shard_embedder import EmbeddingConfig, describe_revision

Progress = Callable[[int, int], None]  # clips embedded so far, clips in total; a damaged copy counts as a clip


def embed_corpus(
    path: str | Path,
    settings: EmbedderSettings,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    scale: ExecutorSettings | None = None,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Add a config of embeddings to a finished corpus: `id`, `embedding` and the labels, shard by shard.

    With `settings.augment` it also adds `<name>-augmented`, whose train split has damaged copies of each clip too;
    the column `damage` names the damage. A run that was stopped resumes. Shards whose audio has changed are embedded
    again.

    Args:
        path: The corpus folder or its address.
        settings: The embedder and its options.
        overwrite: Replace embeddings of another revision of the embedder or of other damages, which are refused
            otherwise.
        workers: Processes that each load the embedder and embed whole shards. Default: this process. Embeddings do
            not depend on it.
        scale: Where the workers run. Default: on this machine.
        progress: Called with the clips embedded so far and in total.

    Returns:
        The run's record; with `settings.augment` the record of the augmented config.

    Raises:
        DataError: Not a finished corpus, audio that cannot be read, or embeddings of another revision.
        RecipeError: Settings that are not valid.
        BackendError: The embedder cannot be loaded or fails.
        SynthmirError: A shard failed three times; all others are embedded.
    """
    corpus = Corpus.open(path)
    damages = check_damages(settings.augment)
    embedder = load_embedder(settings)
    if (kind := find_kind(embedder.name)) != "embeddings":
        raise RecipeError(f"embedder {embedder.name!r}: a corpus keeps its {kind} under this name", "rename it")
    refuse_links(corpus.root, (embedder.name, f"{embedder.name}{SUFFIX}"))
    executor = choose_executor(scale, limit_workers(corpus.root, workers), one_core=False, place=corpus.root / WORK)
    configs = [
        EmbeddingConfig(embedder, settings),
        *([EmbeddingConfig(embedder, settings, damages)] if damages else []),
    ]
    shards = [corpus.root / shard for shard in corpus.shards()]
    amounts = [sum(map_parallel(config.count_work, shards, corpus.root)) for config in configs]
    with lock_folder(corpus.root / WORK):
        for config in configs:
            _refuse_other(corpus, config, overwrite)
        before = 0
        for config, amount in zip(configs, amounts, strict=True):
            record = map_shards(corpus, config, executor, partial(_progress, progress, before, sum(amounts)))
            before += amount
    return record


def _progress(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _refuse_other(corpus: Corpus, config: EmbeddingConfig, overwrite: bool) -> None:
    """Raise DataError if the corpus, or a stopped run, has embeddings of another revision or of other damages."""
    stored = corpus.record(config.record_name).get("details", {})
    existing = read_versions(corpus, config)
    if stored.get("embedder"):
        existing.add(
            describe_revision(stored["embedder"].get("revision", config.embedder.revision), stored.get("augment", ()))
        )
    others = existing - {config.made_with, ""}
    if others and not overwrite:
        raise DataError(
            f"{corpus.root}: its {config.name!r} embeddings are of revision {'; '.join(sorted(others))}, "
            f"this is {config.made_with}",
            f"use the same {'damages' if config.damages else 'weights'}, or replace them all: --overwrite",
        )
