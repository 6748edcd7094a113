"""`Embedder`: embed arrays, audio files or the rows of a `datasets` data set from Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from ..audio import MAX_RATE, MIN_RATE
from ..errors import BackendError, DataError, RecipeError
from ..executors import count_cores
from ..records import package_versions
from ..settings import EmbedderSettings
from ..validation import validate
from .audio_sources import RESERVED, audio_value
from .base import EMBEDDERS, EmbedderBackend, load_embedder
from .shard_embedder import embed_rows
from .weights import file_revision, find_weights_file, folder_revision
from .windows import read_ahead

MAX_CHANNELS = 16  # more "channels" than this are a batch of clips in one array
ERROR_COLUMN, TAGS_COLUMN = "embedding_error", "tags"
_PROCESS = os.getpid()
AUDIO_FIELDS = {"bytes", "path", "array"}  # of a row's audio, as `datasets` stores it

Embedded = tuple[np.ndarray, list[str]]


class Embedder:
    """Embeds audio as `synthmir embed` does: same windows, same averaging, same numbers.

    Longer audio is cut into windows, whose embeddings are averaged: one vector a clip, whatever its length and rate.
    The model is loaded at the first call, or by `with`.

    An instance is a function for `datasets.map`. It finds the audio column, adds the column `embedding`, and its hash
    follows from its arguments and the content of local weights, so that `datasets` finds its cached results. Audio is
    decoded by libsndfile from what the data set stores: neither torchcodec nor FFmpeg is needed.

    Args:
        name: The embedder: "melstats" (statistics, no download), "musicnn" (music tagger), "passt" (AudioSet
            transformer) or "hf:<Hub id or folder>" (an audio model of transformers).
        weights: A file of weights, or a folder with one. Default: the released weights ("passt").
        arch: The variant ("passt" comes in several; see `builder.embedders.passt_network.ARCHS`).
        layer: Which hidden states ("hf:..."): 0 is the input of the first layer, negative counts from the last.
        dtype: "float32" or "bfloat16".
        device: "cpu", "cuda", "mps" or "auto", which takes a GPU if there is one.
        batch_size: Windows in one forward pass, and clips that are decoded ahead.
        column: The audio column of a data set. Default: its only column of type `Audio`, else the only one whose
            values hold audio.
        tags: Of "musicnn": rows get the column `tags` too, float32 [50], the probability of each of `tag_names`. It
            follows from the embedding: the network runs once.
        errors: What happens to a row whose audio cannot be read. "raise": DataError. "report": its embedding is NaN,
            and the column `embedding_error` has the reason, "" for the other rows.

    Raises:
        RecipeError: An argument that is not valid.
        BackendError: An unknown embedder, or a package that it needs and that is not installed.

    Examples:
        >>> with Embedder("melstats") as embedder:
        ...     vector = embedder(waveform, sampling_rate=44100)  # float32 [768]
        ...     vectors = embedder(["one.mp3", "two.wav"])  # float32 [2, 768]
        >>> dataset = datasets.load_dataset("org/any", split="train")
        >>> dataset = dataset.map(Embedder("passt"), batched=True, remove_columns="audio")
    """

    def __init__(
        self,
        name: str = "melstats",
        *,
        weights: str | Path | None = None,
        arch: str | None = None,
        layer: int | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
        device: str = "auto",
        batch_size: int = 16,
        column: str | None = None,
        tags: bool = False,
        errors: Literal["raise", "report"] = "raise",
    ) -> None:
        options = {
            "name": name,
            "weights": None if weights is None else str(weights),
            "arch": arch,
            "layer": layer,
            "dtype": dtype,
            "device": device,
            "batch_size": batch_size,
        }
        self.settings = validate(EmbedderSettings, options, f"Embedder({name!r})")
        if errors not in ("raise", "report"):
            raise RecipeError(f"Embedder({name!r}): errors={errors!r}", 'use errors="raise" or errors="report"')
        self._class = EMBEDDERS.load(name.partition(":")[0])
        if tags and not hasattr(self._class, "predict_tags"):
            raise RecipeError(f"Embedder({name!r}): it predicts no tags", 'use Embedder("musicnn", tags=True)')
        self._column, self._tags, self._errors = column, tags, errors
        self._backend: EmbedderBackend | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._content: str | None = None

    @property
    def name(self) -> str:
        """The embedder's name as a corpus has it: "passt", "hf-facebook-hubert-base-ls960"."""
        return self._load().name

    @property
    def revision(self) -> str:
        """The version of the weights, or of the definition where there are no weights. Loads the model."""
        return self._load().revision

    @property
    def dim(self) -> int:
        """How many numbers an embedding has. Loads the model."""
        return self._load().dim

    @property
    def sampling_rate(self) -> int:
        """The rate in Hz that audio is resampled to. Loads the model."""
        return self._load().sampling_rate

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The names of the tags that `predict_tags` gives, () of embedders that predict none. Loads the model."""
        return getattr(self._load(), "tag_names", ())

    def predict_tags(self, embeddings: np.ndarray) -> np.ndarray:
        """Predict tags from embeddings of "musicnn", new or stored ones, without running the network again.

        Args:
            embeddings: float32 [n, dim], as a call of this object or a corpus's config `musicnn` gives them.

        Returns:
            float32 [n, 50]: the probability of each tag of `tag_names`.

        Raises:
            RecipeError: The embedder predicts no tags.
        """
        backend: Any = self._load()
        if not hasattr(backend, "predict_tags"):
            raise RecipeError(f"{self!r}: it predicts no tags", 'use Embedder("musicnn")')
        probabilities: np.ndarray = backend.predict_tags(embeddings)
        return probabilities

    @overload
    def __call__(self, audio: Mapping[str, Any]) -> dict[str, Any]: ...

    @overload
    def __call__(self, audio: Any, sampling_rate: int | None = None) -> np.ndarray: ...

    def __call__(self, audio: Any, sampling_rate: int | None = None) -> np.ndarray | dict[str, Any]:
        """Embed a clip, several clips, or the rows of a data set.

        Args:
            audio: One clip: float [samples] or [channels, samples] in [-1, 1] (numpy, torch), a path, the bytes of a
                file, or {"array", "sampling_rate"}. A list of them: several clips. Rows as `datasets.map` gives them:
                a batch with `batched=True`, else one row.
            sampling_rate: Of arrays, in Hz. Channels are averaged and the rate is converted.

        Returns:
            float32 [dim] for a clip, float32 [clips, dim] for a list. For rows the new columns: {"embedding":
            float32 [rows, dim]}, or [dim] for one row; with `tags` also "tags", and with `errors="report"` also
            "embedding_error".

        Raises:
            DataError: Audio that cannot be read, samples that are NaN, a data set without an audio column.
            BackendError: The model cannot be loaded, or gives values that are not finite.
        """
        if isinstance(audio, Mapping) and not ("array" in audio and "sampling_rate" in audio):
            return self._embed_rows(audio)
        if isinstance(audio, list | tuple):
            return self._embed(audio, [f"clip {place}" for place in range(len(audio))], sampling_rate, False)[0]
        vector: np.ndarray = self._embed([audio], [""], sampling_rate, False)[0][0]
        return vector

    def close(self) -> None:
        """Let go of the model and the threads that decode. A later call loads it again."""
        if self._pool is not None:
            self._pool.shutdown()
        self._backend = self._pool = None

    def __enter__(self) -> Embedder:
        self._load()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        given = [f"{key}={getattr(self.settings, key)!r}" for key in sorted(self.settings.model_fields_set - {"name"})]
        defaults = {f"{key}={field.default!r}" for key, field in EmbedderSettings.model_fields.items()}
        return f"Embedder({', '.join([repr(self.settings.name), *(one for one in given if one not in defaults)])})"

    def __getstate__(self) -> dict[str, Any]:
        """The arguments, and what the vectors depend on beside them: `datasets` hashes it, processes load from it."""
        if self._content is None:
            self._content = _hash_weights(self.settings)
        return {
            "settings": self.settings.model_dump(mode="json"),
            "column": self._column,
            "tags": self._tags,
            "errors": self._errors,
            "revision": getattr(self._class, "revision", ""),
            "content": self._content,
            "version": package_versions().get("synthmir", ""),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = {key: value for key, value in state["settings"].items() if key != "augment"}
        self.__init__(**settings, **{key: state[key] for key in ("column", "tags", "errors")})  # type: ignore[misc]

    def _load(self) -> EmbedderBackend:
        if self._backend is None:
            if os.getpid() != _PROCESS:  # a fork has none of torch's threads, and would wait for them without end
                import torch

                torch.set_num_threads(1)
            self._backend = load_embedder(self.settings)
        return self._backend

    def _embed(self, clips: Sequence[Any], names: Sequence[str], rate: int | None, keep: bool) -> Embedded:
        """float32 [clips, dim], and why each clip cannot be read, "" if it can. Unless `keep`, the first is raised."""
        backend, size = self._load(), self.settings.batch_size
        self._pool = self._pool or ThreadPoolExecutor(count_cores())
        rows = [{"id": name, "audio": clip} for name, clip in zip(names, clips, strict=True)]
        batches = (rows[start : start + size] for start in range(0, len(rows), size))
        open_clip = partial(_open_clip, given=rate)
        parts, reasons = [np.zeros((0, backend.dim), np.float32)], [""] * len(rows)
        for batch, vectors, faults in embed_rows(batches, itemgetter("audio"), backend, size, self._pool, open_clip):
            for place, fault in faults.items():
                if not keep:
                    where = f"{name}: " if (name := batch[place]["id"]) else ""
                    raise DataError(f"{where}{fault.message}", fault.fix) from fault
                reasons[sum(map(len, parts)) + place] = fault.message
            parts.append(vectors)
        return np.concatenate(parts), reasons

    def _embed_rows(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """The new columns for a batch of rows, or for one row."""
        if RESERVED in rows:
            raise DataError(f"the data set has a column {RESERVED!r} already", f'.rename_column("{RESERVED}", "NAME")')
        column = self._column or _find_column(rows)
        if column not in rows:
            raise DataError(
                f"the data set has no column {column!r}; its columns are {', '.join(rows)}",
                f'name the one that holds the audio: Embedder({self.settings.name!r}, column="NAME")',
            )
        values = _stored_values(rows, column)
        clips = list(values) if _is_batch(values) else [values]
        ids = list(rows["id"]) if "id" in rows and _is_batch(values) else range(len(clips))
        report = self._errors == "report"
        vectors, reasons = self._embed(clips, [f"row {id}" for id in ids], None, report)
        columns: dict[str, Any] = {RESERVED: vectors} | ({ERROR_COLUMN: reasons} if report else {})
        if self._tags:
            columns[TAGS_COLUMN] = self.predict_tags(vectors)
        return columns if _is_batch(values) else {name: column[0] for name, column in columns.items()}


def _hash_weights(settings: EmbedderSettings) -> str:
    """16 hex digits of weights that are on this machine, "" for others: those count by name."""
    folder = Path(settings.name.partition(":")[2] or "/").expanduser()
    try:
        if settings.weights is not None:
            return file_revision(find_weights_file(settings.weights))
        return folder_revision(folder) if settings.name.startswith("hf:") and folder.is_dir() else ""
    except (BackendError, OSError):  # reported when the model is loaded
        return ""


def _is_batch(values: object) -> bool:
    """Whether a column's values are of many rows: a list, or an array of objects from a formatted data set."""
    return isinstance(values, list) or (isinstance(values, np.ndarray) and values.dtype == object)


def _stored_values(rows: Mapping[str, Any], column: str) -> Any:
    """A column as the data set stores it. `rows[column]` would decode audio with torchcodec."""
    from datasets.formatting.formatting import LazyBatch, LazyDict

    if not isinstance(rows, LazyDict):
        return rows[column]
    values = rows.pa_table[column].to_pylist()
    return values if isinstance(rows, LazyBatch) else values[0]


def _find_column(rows: Mapping[str, Any]) -> str:
    """The column that holds audio, by its type or else by its values. Raises DataError for none and for several."""
    from datasets import Audio

    features = getattr(getattr(rows, "formatter", None), "features", None) or {}
    columns = [name for name in rows if isinstance(features.get(name), Audio)]
    columns = columns or [name for name in rows if _holds_audio(_stored_values(rows, name))]
    if len(columns) != 1:
        raise DataError(
            f"the data set has {len(columns) or 'no'} columns of audio among its columns {', '.join(columns or rows)}",
            'name the one to embed: Embedder(..., column="NAME")',
        )
    return columns[0]


def _holds_audio(values: Any) -> bool:
    value = next((one for one in values if one is not None), None) if _is_batch(values) else values
    return hasattr(value, "get_all_samples") or (isinstance(value, Mapping) and not AUDIO_FIELDS.isdisjoint(value))


def _open_clip(clip: Any, sampling_rate: int, given: int | None) -> Iterator[np.ndarray]:
    """Blocks of float32 [samples] at `sampling_rate` of a clip in any of the forms that `Embedder` takes."""
    if hasattr(clip, "get_all_samples"):  # the decoder that `datasets` gives; it keeps what it was made from
        stored = audio_value(getattr(clip, "_hf_encoded", None))
        if isinstance(stored, bytes) or (stored is not None and stored.is_file()):
            return read_ahead(stored, sampling_rate)
        samples = clip.get_all_samples()
        clip, given = samples.data, samples.sample_rate
    if isinstance(clip, Mapping) and clip.get("array") is not None:
        clip, given = clip["array"], clip["sampling_rate"]
    elif clip is None or isinstance(clip, Mapping | str | Path | bytes):
        return read_ahead(audio_value(clip), sampling_rate)
    return read_ahead(_encode_wav(np.asarray(clip), given), sampling_rate)


def _encode_wav(samples: np.ndarray, rate: int | None) -> bytes:
    """float [samples] or [channels, samples] -> WAV of float32, so that arrays take the path of files."""
    import soundfile

    if samples.dtype.kind != "f":
        raise DataError(f"the array holds {samples.dtype} values", "give floats in [-1, 1]; of int16: array / 32768")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and len(samples) > MAX_CHANNELS):
        raise DataError(
            f"the array has the shape {list(samples.shape)}, not [samples] or [channels, samples]",
            "give a batch of clips as a list of arrays",
        )
    if not samples.size or not np.isfinite(samples).all():
        raise DataError("the array holds NaN or infinite samples" if samples.size else "the array holds no samples")
    if rate is None or not MIN_RATE <= rate <= MAX_RATE:
        raise DataError(
            f"the sampling rate of the array is {rate or 'missing'}",
            f"give it in Hz, {MIN_RATE:,} to {MAX_RATE:,}: embedder(array, sampling_rate=44100)",
        )
    buffer = BytesIO()
    soundfile.write(buffer, samples.T.astype(np.float32), int(rate), format="WAV", subtype="FLOAT")
    return buffer.getvalue()
