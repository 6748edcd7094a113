"""The two sets that are compared: embeddings with ids, genres and groups, and access to prompts and audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from builder.configs import AUDIO
from builder.corpus.corpus import RECIPE, SUMS, Corpus, embed_record
from builder.embedders.audio_sources import is_audio_folder
from builder.embedders.base import config_name, load_embedder
from builder.embedders.embed_dataset import RECORD, embed_dataset
from builder.embedders.embedded_dataset import EmbeddedDataset, Rows, open_dataset
from builder.errors import DataError, RecipeError
from builder.io.atomic import write_bytes
from builder.io.columns import names_of
from builder.io.hf_progress import no_progress_bars
from builder.io.safe_files import read_json
from builder.io.storage import path_exists
from builder.names import format_count
from builder.recipe import Recipe
from builder.settings import EmbedderSettings
from builder.validation import suggest

from ..benchmarks.base import BENCHMARKS, load_benchmark
from ..benchmarks.text import printable

LABEL_COLUMNS = ("genre", "label")
Kind = Literal["corpus", "embeddings", "audio", "benchmark"]
Progress = Callable[[int, int], None]
Audio = Mapping[str, Path | bytes]  # encoded audio or its file, by id


@dataclass(frozen=True, slots=True)
class EmbeddedSet:
    """A set of clips with their embeddings.

    Attributes:
        name: As the user gave it.
        kind: What it was read from.
        ids: The id of each clip.
        vectors: float32 [n, dim].
        genres: The genre of each clip; None if it has none.
        groups: The group of each clip (a prompt, an artist). Clips of one group are not independent.
        embedder: Name and revision of the embedder.
        fingerprint: Of the recipe.
        notes: Sentences for the page.
        read_audio: Returns the audio of some clips; without those whose audio is not available.
        read_prompts: Returns the prompts by id.
        read_labels: Returns the labels of a column, None for a clip without one; [] where there is no such column.
    """

    name: str
    kind: Kind
    ids: list[str]
    vectors: np.ndarray
    genres: list[str | None]
    groups: list[str]
    embedder: dict[str, Any]
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)
    read_audio: Callable[[Sequence[str]], Audio] = lambda ids: {}
    read_prompts: Callable[[], dict[str, str]] = dict
    read_labels: Callable[[str], list[Any]] = lambda column: []

    def __len__(self) -> int:
        return len(self.ids)


def open_corpus_set(
    path: Path, settings: EmbedderSettings | None, split: str | None = None
) -> tuple[EmbeddedSet, EmbedderSettings]:
    """Open a corpus, or one split of it, with its embeddings.

    Args:
        path: A corpus folder.
        settings: The embedder. Default: the only one that the corpus has embeddings of.
        split: Default: all splits.

    Returns:
        The set, and the settings of its embedder.

    Raises:
        DataError: It is not a corpus, or has no such embeddings.
    """
    corpus = Corpus.open(path)
    embedders = corpus.embedders()
    if not embedders:
        fix = f"synthmir embed {path} --embedder {settings.name if settings else 'melstats'}"
        raise DataError(f"{path}: holds no embeddings", fix)
    if settings is None and len(embedders) > 1:
        raise DataError(f"{path}: holds embeddings of {', '.join(embedders)}", "choose one: --embedder NAME")
    name = config_name(settings) if settings else embedders[0]
    dataset = open_dataset(corpus.root, name)
    if split is not None and split not in dataset.splits:
        raise DataError(f"{path}: has no split {split!r}", f"its splits are {', '.join(dataset.splits)}")
    opened = _read_set(
        dataset,
        dataset.rows(split) if split else dataset.rows(),
        name=f"{path}, {split} split" if split else str(path),
        kind="corpus",
        embedder=corpus.record(embed_record(name)).get("details", {}).get("embedder") or {"name": name},
        fingerprint=corpus.record().get("fingerprint"),
        read_audio=dataset.audio,
        read_prompts=lambda: _read_prompts(corpus),
    )
    return opened, settings or _settings_of(corpus, name)


def open_reference_set(
    spec: str,
    settings: EmbedderSettings,
    corpus: EmbeddedSet,
    cache: Path,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> EmbeddedSet:
    """Open what `--against` names, with embeddings of the corpus's embedder.

    Args:
        spec: Another corpus folder; a folder that `synthmir embed --out` wrote; a folder of audio or any audio data
            set; `folder:PATH` or another benchmark.
        settings: The embedder, for audio that is not embedded yet.
        corpus: The corpus to compare with.
        cache: Where new embeddings are written, and found by the next call.
        overwrite: Embed again.
        progress: Called with the number of clips that are embedded, and of all.

    Raises:
        DataError: The reference cannot be read, or its embedder is not the corpus's.
        RecipeError: There is no such benchmark.
        BackendError: The embedder cannot be loaded.
    """
    head = spec.partition(":")[0].partition("@")[0]
    is_benchmark = ":" in spec and head in BENCHMARKS
    path = Path(spec).expanduser()
    if not is_benchmark and ":" in spec and not path_exists(path) and (suggestion := suggest(head, BENCHMARKS)):
        raise RecipeError(f"there is no benchmark called {head!r}{suggestion}", "check its name: synthmir benchmarks")
    if not is_benchmark and path_exists(path / SUMS):
        reference, _ = open_corpus_set(path, EmbedderSettings(name=corpus.embedder["name"]))
    elif not is_benchmark and path_exists(path / RECORD):
        reference = _open_embedded(spec, path, "embeddings")
    else:
        _check_embedder(settings, corpus)
        if is_benchmark:
            reference = _embed_benchmark(spec, settings, corpus, cache, overwrite, progress)
        else:
            source = path if path_exists(path) else spec
            embed_dataset(source, settings, cache / "embeddings", overwrite=overwrite, progress=progress)
            reference = _open_embedded(spec, cache / "embeddings", "audio")
    _check_comparable(corpus, reference)
    return reference


def _check_embedder(settings: EmbedderSettings, corpus: EmbeddedSet) -> None:
    """Raise DataError if the embedder is not the corpus's: before hours of embedding."""
    embedder = load_embedder(settings)
    revision = corpus.embedder.get("revision", embedder.revision)
    if embedder.name != corpus.embedder["name"] or embedder.revision != revision:
        raise DataError(
            f"{corpus.name}: its embeddings are of {corpus.embedder['name']}, revision {revision}; here "
            f"{embedder.name} has revision {embedder.revision}",
            "use the same weights (--weights), or embed the corpus again: synthmir embed CORPUS --overwrite",
        )


def _check_comparable(corpus: EmbeddedSet, reference: EmbeddedSet) -> None:
    """Raise DataError unless both sets are of one embedder."""
    fix = "embed both with the same embedder and weights"
    for key in ("name", "revision"):
        own, other = corpus.embedder.get(key), reference.embedder.get(key)
        if None not in (own, other) and own != other:
            raise DataError(
                f"{reference.name}: its embeddings have {key} {other!r}, those of {corpus.name} {own!r}: "
                "embeddings of different embedders cannot be compared",
                fix,
            )
    own_dim, other_dim = corpus.vectors.shape[1], reference.vectors.shape[1]
    if own_dim != other_dim:
        raise DataError(
            f"{reference.name}: its embeddings have {other_dim} dimensions, those of {corpus.name} {own_dim}", fix
        )


def _embed_benchmark(
    spec: str, settings: EmbedderSettings, corpus: EmbeddedSet, cache: Path, overwrite: bool, progress: Progress
) -> EmbeddedSet:
    """Embed a benchmark's recordings, labelled with the corpus's genres."""
    from datasets import Dataset, Features, Value

    names = sorted({genre for genre in corpus.genres if genre is not None})
    benchmark = load_benchmark(spec, names)
    rows: dict[str, list[Any]] = {"id": [], "label": [], "artist": [], "audio": []}
    for number, track in enumerate(benchmark.tracks):
        rows["id"].append(track.id)
        rows["label"].append(names[track.label] if isinstance(track.label, int) else None)
        rows["artist"].append(track.artist)
        rows["audio"].append(str(track.path or _write_audio(cache / "audio" / f"{number:06d}", track.data or b"")))
    columns = Features({name: Value("string") for name in rows})
    with no_progress_bars():
        Dataset.from_dict(rows, features=columns).save_to_disk(str(cache / "tracks"))
    embed_dataset(cache / "tracks", settings, cache / "embeddings", overwrite=overwrite, progress=progress)
    files = {identity: Path(file) for identity, file in zip(rows["id"], rows["audio"], strict=True)}
    reference = _open_embedded(spec, cache / "embeddings", "benchmark", files)
    reference.notes.extend(benchmark.notes)
    return reference


def _write_audio(path: Path, data: bytes) -> Path:
    """Write audio that has no file, such as that in an archive, and return its file."""
    if not (path.is_file() and path.read_bytes() == data):
        write_bytes(path, data)
    return path


def _open_embedded(spec: str, folder: Path, kind: Kind, files: Mapping[str, Path] | None = None) -> EmbeddedSet:
    """Open what `embed_dataset` wrote. `files` are the recordings by id, if they are known."""
    try:
        details = read_json(folder / RECORD)["details"]
        embedder, source = dict(details["embedder"]), Path(str(details.get("source", "")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / RECORD}: no record of embeddings", "synthmir embed AUDIO --out DIR") from error

    def read_audio(ids: Sequence[str]) -> Audio:
        if files is not None:
            return {identity: files[identity] for identity in ids}
        if is_audio_folder(source):
            return {identity: source / identity for identity in ids if (source / identity).is_file()}
        return open_dataset(source, AUDIO).audio(ids) if source.exists() else {}

    skipped = details.get("skipped", 0)
    notes = [f"left out {format_count(skipped, 'clip')} that could not be read"] if skipped else []
    dataset = open_dataset(folder, str(embedder.get("name", "")))
    return _read_set(
        dataset,
        dataset.rows(),
        name=spec,
        kind=kind,
        embedder=embedder,
        notes=[*notes, *(details.get("notes") or [])],
        read_audio=read_audio,
    )


def _read_set(dataset: EmbeddedDataset, rows: Rows, *, name: str, **attributes: Any) -> EmbeddedSet:
    """Read embeddings, genres and groups of some rows. Raises DataError."""
    ids = list(dataset.ids(rows))
    if len(ids) < 2:
        raise DataError(
            f"{name}: holds {format_count(len(ids), 'clip')}: a distribution needs at least two", "give more clips"
        )
    groups = dataset.groups(rows)
    column = next((column for column in LABEL_COLUMNS if _holds_genres(dataset, column)), None)
    genres = dataset.labels(column, rows).by_name() if column else [None] * len(ids)
    return EmbeddedSet(
        name=printable(name),
        ids=ids,
        vectors=dataset.embeddings(rows),
        genres=[genre or None for genre in genres],
        groups=[group or own for group, own in zip(groups, ids, strict=True)],
        read_labels=lambda column: dataset.labels(column, rows).by_name() if column in dataset.columns else [],
        **attributes,
    )


def _holds_genres(dataset: EmbeddedDataset, column: str) -> bool:
    """Whether there is a column of that name with one text or one named class in each row."""
    if column not in dataset.columns:
        return False
    kind = dataset.type_of(column)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return is_text or (pa.types.is_integer(kind) and names_of(dataset.describe(column)) is not None)


def _settings_of(corpus: Corpus, name: str) -> EmbedderSettings:
    """The embedder's settings in the corpus's recipe, or its name alone if the recipe names another embedder."""
    try:
        settings = Recipe.load(corpus.root / RECIPE, kept=True).embedder
    except RecipeError:
        settings = EmbedderSettings(name=name)
    return settings if config_name(settings) == name else EmbedderSettings(name=name)


def _read_prompts(corpus: Corpus) -> dict[str, str]:
    """Read the prompts of all clips by id; nothing from a corpus that has embeddings alone."""
    if not corpus.shards(AUDIO):
        return {}
    clips = open_dataset(corpus.root, AUDIO)
    if "prompt" not in clips.columns:
        return {}
    table = clips.read(["id", "prompt"], clips.rows())
    return {str(row["id"]): row["prompt"] or "" for row in table.to_pylist()}
