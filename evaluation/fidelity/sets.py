"""The two sets that are compared: embeddings with ids and labels, and the clips' sound where it can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from builder.corpus.corpus import RECIPE, SUMS, Corpus, embed_record
from builder.embedders.audio_sources import is_audio_folder
from builder.embedders.base import config_name, load_embedder
from builder.embedders.embed_dataset import RECORD, embed_dataset
from builder.embedders.embedded_dataset import AUDIO, EMBEDDING, EmbeddedDataset, Rows, open_dataset
from builder.errors import DataError, RecipeError
from builder.io.atomic import write_bytes
from builder.io.columns import names_of
from builder.io.hf_progress import no_progress_bars
from builder.io.safe_files import read_json
from builder.io.storage import path_exists
from builder.recipe import EmbedderSettings, Recipe
from builder.validation import suggest

from ..benchmarks.base import BENCHMARKS, load_benchmark
from ..benchmarks.text import printable

LABEL_COLUMNS = ("genre", "label")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Clips as an embedder describes them."""

    name: str  # as the user gave it
    kind: str  # "corpus", "embeddings", "audio" or "benchmark"
    ids: list[str]
    vectors: np.ndarray  # float32 [n, dim]
    labels: list[str | None]  # genres, None where a clip has none
    groups: list[str]  # clips of one group (a description, an artist) are not independent
    embedder: dict[str, Any]  # name, revision, ...
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)
    sound: Callable[[Sequence[str]], Mapping[str, Path | bytes]] = lambda ids: {}  # audio of some clips, by id
    texts: Callable[[], dict[str, str]] = dict  # prompts, by id

    def __len__(self) -> int:
        return len(self.ids)


def open_corpus(
    path: Path, settings: EmbedderSettings | None, split: str | None = None
) -> tuple[Embedded, EmbedderSettings]:
    """A corpus folder (or one `split` of it) with its embeddings, and the settings of the embedder that made them.

    Without `settings` the corpus must have embeddings of one embedder. Raises DataError.
    """
    corpus = Corpus.open(path)
    there = corpus.embedders()
    mend = f"synthmir embed {path} --embedder {settings.name if settings else 'melstats'}"
    if not there:
        raise DataError(f"{path}: holds no embeddings", mend)
    if settings is None and len(there) > 1:
        raise DataError(f"{path}: holds embeddings of {', '.join(there)}", "choose one: --embedder NAME")
    name = config_name(settings) if settings else there[0]
    if name not in there:
        raise DataError(f"{path}: holds no embeddings of {name!r} (there: {', '.join(there)})", mend)
    dataset = open_dataset(corpus.root, name)
    rows = dataset.rows(split) if split else dataset.rows()
    embedder = corpus.record(embed_record(name)).get("details", {}).get("embedder") or {"name": name}
    called = f"{path}, {split} split" if split else str(path)
    found = _read(
        called, "corpus", dataset, rows, embedder, corpus.record().get("fingerprint"),
        sound=dataset.audio, texts=lambda: _read_prompts(corpus),
    )  # fmt: skip
    return found, settings or _own_settings(corpus, name)


def open_reference(
    spec: str,
    settings: EmbedderSettings,
    corpus: Embedded,
    cache: Path,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Embedded:
    """What the corpus is held against, by the same embedder: anything that `--against` takes.

    Another corpus folder; a folder that `synthmir embed --out` wrote; a folder of audio or any audio data set;
    `folder:PATH` or another benchmark. What is not embedded yet is embedded into `cache`, and found there again the
    next time. Raises DataError where the embedder is another than the corpus's, RecipeError, BackendError.
    """
    head = spec.partition(":")[0].partition("@")[0]
    benchmark = ":" in spec and head in BENCHMARKS
    place = Path(spec).expanduser()
    if not benchmark and ":" in spec and not path_exists(place) and (meant := suggest(head, BENCHMARKS)):
        raise RecipeError(f"there is no benchmark called {head!r}{meant}", "check its name: synthmir benchmarks")
    if not benchmark and path_exists(place / SUMS):
        found, _ = open_corpus(place, EmbedderSettings(name=corpus.embedder["name"]))
    elif not benchmark and path_exists(place / RECORD):
        found = _written(spec, place, "embeddings")
    else:
        _check_embedder(settings, corpus)
        if benchmark:
            found = _embed_benchmark(spec, settings, corpus, cache, overwrite, progress)
        else:
            source = place if path_exists(place) else spec
            embed_dataset(source, settings, cache / "embeddings", overwrite=overwrite, progress=progress)
            found = _written(spec, cache / "embeddings", "audio")
    _refuse_other(corpus, found)
    return found


def _check_embedder(settings: EmbedderSettings, corpus: Embedded) -> None:
    """Before hours of embedding: whether what would be used is what the corpus was embedded with."""
    embedder = load_embedder(settings)
    revision = corpus.embedder.get("revision", embedder.revision)
    if embedder.name != corpus.embedder["name"] or embedder.revision != revision:
        raise DataError(
            f"{corpus.name}: its embeddings are of {corpus.embedder['name']}, revision {revision}; here "
            f"{embedder.name} has revision {embedder.revision}",
            "use the same weights (--weights), or embed the corpus anew: synthmir embed CORPUS --overwrite",
        )


def _refuse_other(corpus: Embedded, reference: Embedded) -> None:
    for key in ("name", "revision"):
        mine, other = corpus.embedder.get(key), reference.embedder.get(key)
        if None not in (mine, other) and mine != other:
            raise DataError(
                f"{reference.name}: its embeddings have {key} {other!r}, those of {corpus.name} {mine!r}: "
                "vectors of two embedders cannot be compared",
                "embed both with the same embedder and weights",
            )
    if corpus.vectors.shape[1] != reference.vectors.shape[1]:
        raise DataError(
            f"{reference.name}: its embeddings have {reference.vectors.shape[1]} numbers, those of {corpus.name} "
            f"{corpus.vectors.shape[1]}",
            "embed both with the same embedder",
        )


def _embed_benchmark(
    spec: str, settings: EmbedderSettings, corpus: Embedded, cache: Path, overwrite: bool, progress: Progress
) -> Embedded:
    """A benchmark's recordings, in the corpus's genres."""
    from datasets import Dataset, Features, Value

    names = sorted({label for label in corpus.labels if label is not None})
    bench = load_benchmark(spec, names)
    rows: dict[str, list[Any]] = {"id": [], "label": [], "artist": [], "audio": []}
    for number, track in enumerate(bench.tracks):
        rows["id"].append(track.id)
        rows["label"].append(names[track.label] if isinstance(track.label, int) else None)
        rows["artist"].append(track.artist)
        rows["audio"].append(str(track.path or _kept(cache / "audio" / f"{number:06d}", track.data or b"")))
    columns = Features({name: Value("string") for name in rows})
    with no_progress_bars():
        Dataset.from_dict(rows, features=columns).save_to_disk(str(cache / "tracks"))
    embed_dataset(cache / "tracks", settings, cache / "embeddings", overwrite=overwrite, progress=progress)
    files = dict(zip(rows["id"], rows["audio"], strict=True))
    found = _written(spec, cache / "embeddings", "benchmark", files)
    found.notes.extend(bench.notes)
    return found


def _kept(path: Path, data: bytes) -> Path:
    """Audio that lies in no file of its own, in one."""
    if not (path.is_file() and path.read_bytes() == data):
        write_bytes(path, data)
    return path


def _written(spec: str, folder: Path, kind: str, files: dict[str, str] | None = None) -> Embedded:
    """What `embed_dataset` left in a folder."""
    try:
        details = read_json(folder / RECORD)["details"]
        embedder, source = dict(details["embedder"]), Path(str(details.get("source", "")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / RECORD}: no record of embeddings", "synthmir embed AUDIO --out DIR") from error

    def sound(ids: Sequence[str]) -> dict[str, Path | bytes]:
        if files is not None:
            return {name: Path(files[name]) for name in ids}
        if is_audio_folder(source):
            return {name: source / name for name in ids if (source / name).is_file()}
        return dict(open_dataset(source, EMBEDDING).audio(ids)) if source.exists() else {}

    skipped = details.get("skipped", 0)
    notes = [f"{skipped} clip(s) could not be read and are in no figure"] if skipped else []
    notes += details.get("notes") or []
    dataset = open_dataset(folder, str(embedder.get("name")))
    return _read(spec, kind, dataset, dataset.rows(), embedder, None, sound, notes=notes)


def _read(
    name: str, kind: str, dataset: EmbeddedDataset, rows: Rows, embedder: dict[str, Any], fingerprint: str | None,
    sound: Callable[[Sequence[str]], Mapping[str, Path | bytes]],
    texts: Callable[[], dict[str, str]] = dict,
    notes: Sequence[str] = (),
) -> Embedded:  # fmt: skip
    """Read rows of a data set into memory. Raises DataError that names the clip."""
    ids = list(dataset.ids(rows))
    vectors = dataset.embeddings(rows, fix="embed it again: synthmir embed")
    if len(ids) < 2:
        raise DataError(f"{name}: holds {len(ids)} clip(s): a distribution needs two at least", "give more clips")
    column = next((column for column in LABEL_COLUMNS if _holds_labels(dataset, column)), None)
    labels = dataset.labels(column, rows).by_name() if column else [None] * len(ids)
    groups = [group or identity for identity, group in zip(ids, dataset.groups(rows), strict=True)]
    return Embedded(
        printable(name), kind, ids, vectors, [label or None for label in labels], groups, embedder, fingerprint,
        list(notes), sound, texts,
    )  # fmt: skip


def _holds_labels(dataset: EmbeddedDataset, column: str) -> bool:
    """Whether there is a column of that name with one label a row, as a string or a named code."""
    if column not in dataset.columns:
        return False
    kind = dataset.type_of(column)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or (pa.types.is_integer(kind) and names_of(dataset.describe(column)) is not None)


def _own_settings(corpus: Corpus, name: str) -> EmbedderSettings:
    """The embedder's settings by the corpus's recipe; its name alone where the recipe tells of another."""
    try:
        settings = Recipe.load(corpus.root / RECIPE, kept=True).embedder
    except RecipeError:
        settings = EmbedderSettings(name=name)
    return settings if config_name(settings) == name else EmbedderSettings(name=name)


def _read_prompts(corpus: Corpus) -> dict[str, str]:
    """The prompt of each clip by its id."""
    if not corpus.shards(AUDIO):
        return {}
    clips = open_dataset(corpus.root, AUDIO)
    if "prompt" not in clips.columns:
        return {}
    table = clips.read(["id", "prompt"], clips.rows())
    return {row["id"]: row["prompt"] or "" for row in table.to_pylist()}
