"""Annotate a corpus: it gets the config `estimates`, joined by `id`. Its audio is read and never written again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from ..corpus.corpus import RECIPE, Corpus, newest_shard
from ..corpus.estimates import CONFIG, EstimatorEntry, read_entries
from ..corpus.shard_map import map_shards, refuse_links
from ..corpus.shards import WORK
from ..errors import DataError
from ..executors import ExecutorSettings, choose_executor
from ..io.hf_features import features_from_schema
from ..io.locks import lock_folder
from ..io.storage import is_file, limit_workers, map_parallel, open_for_arrow
from ..recipe import Recipe
from ..records import RunRecord
from ..registry import ESTIMATORS
from .base import Estimator, EstimatorSettings, LabelSet, load_estimator, parse_estimators
from .estimates_config import EstimatesConfig, describe_estimator

Progress = Callable[[int, int], None]  # clips estimated so far, clips in total


def annotate_corpus(
    path: str | Path,
    estimators: Sequence[str] = (),
    *,
    overwrite: bool = False,
    device: str = "auto",
    workers: int | None = None,
    scale: ExecutorSettings | None = None,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Add the columns of estimators to the config `estimates` of a finished corpus, shard by shard.

    Columns of other estimators that the config has are kept, and completed for the new clips of a grown corpus. A
    run that was stopped resumes. Shards whose audio has changed are estimated again.

    Args:
        path: The corpus folder or its address.
        estimators: Names of the registry, some with a checkpoint: "tempo", "clap:laion/clap-htsat-unfused". Default:
            those that the config has, else those of the recipe, else all that need no download.
        overwrite: Replace columns of another version of an estimator, which are refused otherwise.
        device: "auto", "cpu" or "cuda", for estimators that are networks.
        workers: Processes that each load the estimators and take whole shards. Default: this process.
        scale: Where the workers run. Default: on this machine.
        progress: Called with the clips estimated so far and in total.

    Returns:
        The run's record. `details["estimators"]` lists all whose columns the config has.

    Raises:
        DataError: Not a finished corpus, audio that cannot be read, or columns of another version.
        RecipeError: An unknown estimator.
        BackendError: An estimator cannot be loaded or fails.
        SynthmirError: A shard failed three times; all others are estimated.
    """
    corpus = Corpus.open(path)
    refuse_links(corpus.root, (CONFIG,))
    labels = read_label_names(corpus)
    stored = read_entries(corpus)
    asked = parse_estimators(estimators or _choose_estimators(corpus, stored), device, labels)
    settings = {entry.name: EstimatorSettings(entry.name, entry.source, device, labels) for entry in stored.values()}
    settings |= {one.name: _with_stored_source(one, stored) for one in asked}
    executor = choose_executor(scale, limit_workers(corpus.root, workers), one_core=False, place=corpus.root / WORK)
    with lock_folder(corpus.root / WORK):
        config = _load_config(corpus, stored, settings, [one.name for one in asked], overwrite)
        total = sum(map_parallel(config.count_work, [corpus.root / name for name in corpus.shards()], corpus.root))
        return map_shards(corpus, config, executor, lambda done: progress(done, total))


def read_label_names(corpus: Corpus) -> LabelSet:
    """Read the labels that the clips of a corpus can have, from its newest shard."""
    shards = corpus.shards()
    if not shards:
        raise DataError(f"{corpus.root}: has no shard of audio", "list the damage with synthmir verify CORPUS")
    path = corpus.root / newest_shard(shards)
    features = features_from_schema(pq.read_schema(open_for_arrow(path)), path)

    def names(column: str) -> tuple[str, ...]:
        kind = features.get(column)
        return tuple(getattr(getattr(kind, "feature", kind), "names", None) or ())

    return LabelSet(names("genre"), names("mood"), names("instruments"))


def _choose_estimators(corpus: Corpus, stored: Mapping[str, EstimatorEntry]) -> Sequence[str]:
    """The estimators where none is named."""
    if stored:
        return [str(EstimatorSettings(entry.name, entry.source)) for entry in stored.values()]
    recipe = Recipe.load(corpus.root / RECIPE, kept=True) if is_file(corpus.root / RECIPE) else None
    return (recipe.estimates if recipe else ()) or list_light()


def list_light() -> list[str]:
    """The estimators that need no download."""
    return [name for name in sorted(ESTIMATORS) if ESTIMATORS.load(name).light]


def _with_stored_source(settings: EstimatorSettings, stored: Mapping[str, EstimatorEntry]) -> EstimatorSettings:
    """The settings with the checkpoint that the corpus has estimates of, where none is named."""
    if settings.source is None and settings.name in stored:
        return replace(settings, source=stored[settings.name].source)
    return settings


def _load_config(
    corpus: Corpus,
    stored: Mapping[str, EstimatorEntry],
    settings: Mapping[str, EstimatorSettings],
    asked: Sequence[str],
    overwrite: bool,
) -> EstimatesConfig:
    """Load the estimators that are asked for, and those of which a shard lacks the columns.

    Raises:
        DataError: The corpus has columns of another revision of one of them.
    """
    loaded: dict[str, Estimator] = {name: load_estimator(settings[name]) for name in asked}
    sums = corpus.sums()
    shards = {f"{CONFIG}/{name.split('/', 1)[1]}": sums.get(name, "") for name in corpus.shards()}
    kept = EstimatesConfig(corpus.root, settings, {name: stored[name] for name in stored if name not in asked}, {})
    incomplete = {name for shard, sha256 in shards.items() for name in kept.missing(shard, sha256)}
    loaded |= {name: load_estimator(settings[name]) for name in sorted(incomplete)}
    entries = {**stored, **{name: describe_estimator(one, settings[name]) for name, one in loaded.items()}}
    for name, entry in entries.items():
        if name in stored and stored[name].revision != entry.revision and not (overwrite and name in asked):
            raise DataError(
                f"{corpus.root}: its estimates of {name!r} are of revision {stored[name].revision}, "
                f"this is {entry.revision}",
                f"use the same checkpoint or recordings, or replace them: --with {settings[name]} --overwrite",
            )
    return EstimatesConfig(corpus.root, settings, entries, loaded)
