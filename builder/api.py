"""The builder's commands as functions: prompts, plan, estimate, build, verify, embed, annotate, convert; and loaders.

Each command's function has its name and options. Heavy packages are imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RecipeError
from .progress import ProgressOption, show_progress

if TYPE_CHECKING:
    from .clip import Prompt
    from .corpus.building.capacity import Capacity as CapacityPlan
    from .corpus.building.estimate import Estimate
    from .corpus.corpus import Corpus
    from .corpus.export.export import Export
    from .corpus.torch_data import Loader, Tensors
    from .corpus.verify import Findings
    from .estimators.select_corpus import Selection
    from .executors import ExecutorSettings
    from .recipe import Recipe
    from .records import RunRecord
    from .settings import EmbedderSettings


def read_recipe(recipe: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """Read and check a recipe.

    Args:
        recipe: A recipe file, the name of a shipped recipe ("demo"), a dictionary of its keys, or a `Recipe`.

    Raises:
        RecipeError: Lists every fault at once, each with its key and what would be valid.

    Examples:
        >>> read_recipe({"name": "tiny", "prompts": {"per_genre": 10}}).generator.name
        'arranger'
    """
    from .recipe import Recipe

    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.from_dict(recipe) if isinstance(recipe, Mapping) else Recipe.load(recipe)


def make_executor_settings(
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
) -> ExecutorSettings:
    """Make the `ExecutorSettings` of these options.

    Args:
        executor: "local" (this machine) or "ray".
        address: Of a Ray cluster: "auto" or "HOST:PORT". Default: RAY_ADDRESS, else Ray is started on this machine.
        gpus_per_worker: On Ray: GPUs of one worker, a part of one (0.5) or a whole number. Default: 0, none.
        shard_timeout: Seconds after which a task is stopped. Default: no limit.

    Raises:
        RecipeError: The options are invalid or do not go together.
    """
    from .executors import ExecutorSettings

    return ExecutorSettings(executor, address, gpus_per_worker, shard_timeout)  # type: ignore[arg-type]


def prompts(recipe: Recipe | str | Path | Mapping[str, Any], *, limit: int | None = None) -> list[Prompt]:
    """Make a recipe's prompts with their labels.

    With a chat model as the source of descriptions, the model is asked first and its answers are kept in the file
    that the recipe names.

    Args:
        recipe: See `read_recipe`.
        limit: The most prompts to return.

    Examples:
        >>> synthmir.prompts("demo", limit=1)[0].genre
        'electronica'
    """
    from .prompts import make_prompts
    from .prompts.chat import ask_chat_model

    loaded = read_recipe(recipe)
    if loaded.prompts.source.kind == "chat":
        ask_chat_model(loaded)
    return make_prompts(loaded)[:limit]


def estimate(
    recipe: Recipe | str | Path | Mapping[str, Any], *, workers: int | None = None, corpus: str | Path | None = None
) -> Estimate:
    """Estimate what a build takes, from a few clips made on this machine. The command is `build --dry-run`.

    Args:
        recipe: See `read_recipe`.
        workers: Processes that would make clips. Default: what suits the generator.
        corpus: A finished corpus that would be extended.

    Returns:
        Clips, prompts, hours of music, shards, bytes of FLAC and hours of work.
    """
    from .corpus.building.estimate import estimate_build as estimate_build
    from .io.storage import to_path

    return estimate_build(read_recipe(recipe).enlarged(), workers, None if corpus is None else to_path(corpus))


def plan(
    recipe: Recipe | str | Path | Mapping[str, Any] = "demo",
    *,
    at: int | None = None,
    workers: int | None = None,
    clips_per_hour: float | None = None,
    clips_per_shard: int | None = None,
) -> CapacityPlan:
    """Calculate the files, bytes, commits and hours of a corpus of any size, and compare them with the Hub's limits.

    Args:
        recipe: See `read_recipe`.
        at: The number of clips. Default: as many as the recipe asks for.
        workers: The number of workers whose hours are given. Default: several numbers.
        clips_per_hour: The speed of one worker. Default: the generator is timed here.
        clips_per_shard: As in `build`.
    """
    from .corpus.building.capacity import estimate_capacity

    return estimate_capacity(read_recipe(recipe).enlarged(), at, workers, clips_per_hour, clips_per_shard)


def build(
    recipe: Recipe | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    workers: int | None = None,
    clips_per_shard: int | None = None,
    extend: bool = False,
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
    progress: ProgressOption = True,
) -> Corpus:
    """Build a corpus. A stopped build resumes when it is called again.

    Args:
        recipe: See `read_recipe`.
        out: The corpus folder, or its address: "s3://bucket/corpus".
        workers: Processes that make clips. Default: what suits the generator.
        clips_per_shard: Clips in each Parquet file. No clip depends on it.
        extend: Add to the finished corpus in `out` what the recipe asks for and the corpus does not have.
        executor: "local", on this machine, or "ray".
        address: A Ray cluster, "auto" or "HOST:PORT". Default: Ray is started here for this build.
        gpus_per_worker: With Ray, the GPUs of each worker, or a share of one.
        shard_timeout: Seconds that a shard may take before its worker is killed.
        progress: See `builder.progress.show_progress`.

    Returns:
        The finished corpus.

    Raises:
        RecipeError: The recipe or the options are not valid.
        DataError: `out` holds something else, or more clips were rejected than `quality.max_rejected` allows.
        BackendError: The generator cannot be loaded.

    Examples:
        >>> corpus = synthmir.build("demo", "corpus")
        >>> len(corpus.shards())
        2
    """
    from .estimators.build_selected import build_recipe

    scale = make_executor_settings(executor, address, gpus_per_worker, shard_timeout)
    return build_recipe(
        read_recipe(recipe), out, workers=workers, scale=scale, clips_per_shard=clips_per_shard, extend=extend,
        progress=progress,
    )  # fmt: skip


def describe_corpus(corpus: Corpus) -> list[str]:
    """Describe a corpus that was built, in lines for a terminal: its clips, and the embeddings that new clips lack."""
    from .corpus.estimates import annotate_command, count_missing

    record = corpus.record()
    lines = [f"corpus {corpus.root}: {record['rows']:,} clips, {record['details']['rejected']} rejected"]
    return (
        lines
        + [
            f"{name} has no embeddings of the new clips yet: {corpus.embed_command(name)}"
            for name in corpus.incomplete_embeddings()
        ]
        + ([f"the new clips have no estimates yet: {annotate_command(corpus)}"] if count_missing(corpus) else [])
    )


def verify(corpus: str | Path, *, progress: ProgressOption = True) -> Findings:
    """Check every file's hash, every shard's rows and ids, and decode every clip.

    Args:
        corpus: A corpus folder or its address.
        progress: See `builder.progress.show_progress`.

    Returns:
        What was counted, and `faults`, which is empty for an intact corpus.

    Raises:
        DataError: There is no finished corpus.
    """
    from .corpus.verify import verify as verify_corpus
    from .io.storage import to_path

    with show_progress(progress, "verify") as update:
        return verify_corpus(to_path(corpus), update)


def embed(
    source: str | Path,
    embedder: str | None = None,
    *,
    out: str | Path | None = None,
    column: str = "audio",
    weights: str | Path | None = None,
    arch: str | None = None,
    layer: int | None = None,
    dtype: str = "float32",
    device: str = "auto",
    batch_size: int = 16,
    augment: Sequence[str] = (),
    overwrite: bool = False,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
    progress: ProgressOption = True,
) -> RunRecord:
    """Add embeddings to a corpus as a config of its own, joined by `id`; or embed any audio with `out`.

    Args:
        source: A corpus folder or its address. With `out`, any audio data set or folder of audio files.
        embedder: "melstats", "musicnn", "passt", or "hf:ID" with a Hub id or a folder. Default: the embedder of the
            corpus's recipe, with its settings; with `out` "melstats".
        out: Write the embeddings to this folder, not into the corpus.
        column: With `out`, the column that holds the audio.
        weights: The embedder's weights, a file or a folder.
        arch: The embedder's architecture, where there are several.
        layer: Of "hf:ID", which hidden states.
        dtype: "float32" or "bfloat16".
        device: "auto", "cpu", "cuda".
        batch_size: Windows in each batch.
        augment: Degradations ("noise:20", "mp3:64"). Adds the config NAME-augmented, with degraded training clips.
        overwrite: Replace embeddings of another revision.
        workers: Without `out`, the processes that embed. Default: one, with many threads.
        executor: As in `build`, with `address`, `gpus_per_worker` and `shard_timeout`.
        progress: See `builder.progress.show_progress`.

    Returns:
        The run's record: `rows`, and in `details` the embedder's name, revision and dimension.

    Examples:
        >>> synthmir.embed("corpus").rows
        500
        >>> synthmir.embed("~/music", "passt", out="embeddings")
    """
    from .embedders.embed_corpus import embed_corpus
    from .embedders.embed_dataset import embed_dataset
    from .io.storage import to_path
    from .settings import EmbedderSettings
    from .validation import validate

    options: dict[str, Any] = {"arch": arch, "layer": layer, "dtype": dtype, "device": device}
    options |= {"weights": None if weights is None else str(weights), "batch_size": batch_size, "augment": augment}
    base = EmbedderSettings() if embedder or out is not None else _read_embedder_settings(to_path(source))
    fields = EmbedderSettings.model_fields
    given = {key: value for key, value in options.items() if value != fields[key].default}
    named = {"name": embedder} if embedder else {}
    settings = validate(EmbedderSettings, base.model_dump() | given | named, "options")
    if out is None:
        scale = make_executor_settings(executor, address, gpus_per_worker, shard_timeout)
        with show_progress(progress, "embed") as update:
            return embed_corpus(
                to_path(source), settings, overwrite=overwrite, workers=workers, scale=scale, progress=update
            )
    if executor != "local" or workers or address or gpus_per_worker or shard_timeout:
        raise RecipeError(
            "--out: one process embeds into a folder of its own",
            "leave out --executor and the options that belong to it",
        )
    with show_progress(progress, "embed") as update:
        return embed_dataset(str(source), settings, out, column=column, overwrite=overwrite, progress=update)


def annotate(
    corpus: str | Path,
    estimators: str | Sequence[str] = (),
    *,
    device: str = "auto",
    overwrite: bool = False,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_timeout: float | None = None,
    progress: ProgressOption = True,
) -> RunRecord:
    """Measure the sound of each clip: tempo, key, tags and more, as the config `estimates`, joined by `id`.

    What the config has of other estimators is kept. The same call completes a corpus that has grown.

    Args:
        corpus: A corpus folder or its address.
        estimators: "tempo", "key", "clap:ID" with a Hub id or a folder, ...; a list, or names with commas. Default:
            those that the corpus has, else its recipe's `estimates`, else all that need no download.
        device: "auto", "cpu", "cuda".
        overwrite: Replace estimates of another version of an estimator.
        workers: Processes that estimate. Default: one, with many threads.
        executor: As in `build`, with `address`, `gpus_per_worker` and `shard_timeout`.
        progress: See `builder.progress.show_progress`.

    Returns:
        The run's record: `rows`, and in `details["estimators"]` the name, version and columns of each.

    Raises:
        RecipeError: There is no such estimator.
        DataError: No finished corpus, or estimates of another version.
        BackendError: A package or weights are missing.

    Examples:
        >>> synthmir.annotate("corpus", ["tempo", "key"]).rows
        500
        >>> synthmir.load_corpus("corpus", "estimates")["train"][0]["tempo"]
        119.8
    """
    from .estimators.annotate_corpus import annotate_corpus
    from .io.storage import to_path

    names = estimators.split(",") if isinstance(estimators, str) else estimators
    scale = make_executor_settings(executor, address, gpus_per_worker, shard_timeout)
    with show_progress(progress, "annotate") as update:
        return annotate_corpus(
            to_path(corpus), [name for name in names if name.strip()], device=device, overwrite=overwrite,
            workers=workers, scale=scale, progress=update,
        )  # fmt: skip


def select(
    corpus: str | Path,
    out: str | Path,
    *,
    where: str | None = None,
    keep: float | None = None,
    progress: ProgressOption = True,
) -> Selection:
    """Write a corpus that holds the chosen clips of another one, in every config, with its estimates.

    Args:
        corpus: A corpus that `annotate` has measured.
        out: The folder of the new corpus. A run that was stopped resumes.
        where: An expression: "clap > 0.3 and agrees.genre". Default: all clips.
        keep: The share of those clips of each genre that is kept, the best first: by how many of their labels their
            estimates agree with, then by `clap`.
        progress: See `builder.progress.show_progress`.

    Returns:
        The new corpus, and the clips that were kept and left out by genre.

    Raises:
        RecipeError: The expression is not valid, or nothing is kept of a genre.
        DataError: The corpus has no estimates or is damaged, or `out` holds something else.

    Examples:
        >>> synthmir.select("corpus", "filtered", where="agrees.tempo", keep=0.8).kept
        {'pop': 72, 'rock': 70}
    """
    from .estimators.select_corpus import select_corpus

    with show_progress(progress, "select", " shards") as update:
        return select_corpus(corpus, out, where, keep, update)


def _read_embedder_settings(corpus: Path) -> EmbedderSettings:
    """The settings of the embedder in a corpus's recipe; the defaults where there is no recipe."""
    from .corpus.corpus import RECIPE
    from .io.storage import is_file
    from .recipe import Recipe
    from .settings import EmbedderSettings

    return Recipe.load(corpus / RECIPE, kept=True).embedder if is_file(corpus / RECIPE) else EmbedderSettings()


def convert(
    corpus: str | Path,
    to: str,
    out: str | Path,
    *,
    format: str = "flac",
    split: Sequence[str] = (),
    progress: ProgressOption = True,
) -> Export:
    """Write a corpus as files beside a table, for tools that cannot read Parquet. Resumes when stopped.

    Args:
        corpus: A corpus folder or its address.
        to: "mirdata": an index, metadata.csv and audio, with annotations where the corpus has them. "audiofolder":
            metadata.csv and audio by split, with annotations where it has them. "jams": a JAMS file for each clip
            beside its audio. "midi": MIDI files. "musdb": stems in the folders of MUSDB18-HQ.
        out: The folder to write.
        format: "flac", the bytes as they are, or "wav", the same samples. "musdb" is always WAV.
        split: "train", "validation". Default: all.
        progress: See `builder.progress.show_progress`.
    """
    from .corpus.export.export import export_corpus
    from .io.storage import to_path

    with show_progress(progress, "convert") as update:
        return export_corpus(to_path(corpus), to, out, audio=format, splits=split, progress=update)


def load_tensors(
    path: str | Path,
    config: str = "melstats",
    *,
    split: str,
    task: str,
    sampling_rate: int | None = None,
    num_channels: int = 1,
    revision: str | None = None,
) -> Tensors:
    """Load a split of a corpus into memory as tensors, with the labels of one task.

    Args:
        path: A folder, its address in a store, or a repository on the Hub.
        config: The name of an embedder, or "default" for audio.
        split: "train" or "validation".
        task: "genre", "subgenre", "mood", "instruments", "tempo", "key" or "vocals".
        sampling_rate: Hz that audio is resampled to. Default: that of the corpus.
        num_channels: Of audio, 1 or 2.
        revision: A tag or commit of a repository on the Hub.

    Returns:
        `X, y`: float32 [n, dim] embeddings or [n, samples] audio, and the labels. `names` are the classes, `ids` the
        clips, and `dropped` counts the rows without the label, which are left out.

    Examples:
        >>> X, y = synthmir.load_tensors("corpus", "melstats", split="train", task="genre")
    """
    from .corpus.load import load_corpus

    tensors: Tensors = load_corpus(
        path, config, split=split, task=task, as_="tensors", sampling_rate=sampling_rate, num_channels=num_channels,
        revision=revision,
    )  # fmt: skip
    return tensors


def load_batches(
    path: str | Path,
    config: str = "default",
    *,
    split: str,
    task: str,
    batch_size: int = 32,
    sampling_rate: int | None = None,
    num_channels: int = 1,
    streaming: bool = False,
    revision: str | None = None,
    **options: Any,
) -> Loader:
    """Load a split of a corpus as batches of a torch DataLoader, with the labels of one task.

    Args:
        path: As in `load_tensors`, with `split`, `task`, `sampling_rate`, `num_channels` and `revision`.
        config: "default" for audio, or the name of an embedder.
        batch_size: Rows in each batch.
        streaming: Read rows as they are needed, instead of downloading the corpus first.
        **options: Options of torch's DataLoader: `shuffle`, `num_workers`, ...

    Returns:
        Batches of {"audio": float32 [batch, samples], "lengths": int64 [batch], "label", "id"}, or of {"embedding":
        float32 [batch, dim], "label", "id"}.

    Examples:
        >>> for batch in synthmir.load_batches("corpus", split="train", task="mood", shuffle=True):
        ...     batch["audio"], batch["label"]
    """
    from .corpus.load import load_corpus

    loader: Loader = load_corpus(
        path, config, split=split, task=task, as_="loader", batch_size=batch_size, sampling_rate=sampling_rate,
        num_channels=num_channels, streaming=streaming, revision=revision, **options,
    )  # fmt: skip
    return loader
