"""Open a corpus: as a `datasets` dataset, as tensors, or as batches of a torch DataLoader."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq

from ..annotations.annotation import Annotation
from ..audio import decode_clip
from ..configs import AUDIO, GENERATED, config_folder, find_kind
from ..errors import DataError, HubError, RecipeError
from ..io.hf_audio import load_dataset
from ..io.hf_features import features_from_schema
from ..io.parquet_guard import check_parquet
from ..io.storage import ADDRESS, open_for_arrow, storage_errors
from .building.plan import SPLITS
from .corpus import Corpus, newest_shard
from .schema import LONGEST

FORMATS = ("dataset", "loader", "tensors")
WITH_AUDIO = ("default", "stems")  # configs


def load_corpus(
    path: str | Path,
    config: str = "default",
    *,
    split: str | None = None,
    task: str | None = None,
    as_: str | None = None,
    batch_size: int = 32,
    sampling_rate: int | None = None,
    num_channels: int = 1,
    streaming: bool = False,
    decode_audio: bool = True,
    revision: str | None = None,
    **options: Any,
) -> Any:
    """Load a corpus. FFmpeg is not needed: libsndfile decodes the audio.

    Without `task`, the result is a `datasets` dataset with all labels. With `task`, it is for torch: a DataLoader, or
    tensors in memory, with the labels of that task. Rows without the label are left out, and counted in `dropped`.

    Args:
        path: A folder, its address in a store (s3://...), or a repository on the Hub.
        config: "default" (audio), "annotations", "stems", "estimates" or the name of an embedder.
        split: "train" or "validation". Default: a dictionary of all splits.
        task: "genre", "subgenre", "mood", "instruments", "tempo", "key" or "vocals".
        as_: "dataset", the default without `task`; "loader", the default for audio; "tensors", the default for
            embeddings, which takes all rows into memory.
        batch_size: Rows in a batch of a loader.
        sampling_rate: Hz that audio is resampled to. Default: that of the corpus.
        num_channels: 1: the mean of the channels of a stereo clip. 2: both; the channel of a mono clip is repeated.
        streaming: Read rows as they are needed, instead of downloading the corpus first.
        decode_audio: False: the `audio` of a dataset stays {"bytes", "path"}.
        revision: A tag or commit of a repository on the Hub.
        **options: Options of torch's DataLoader: `shuffle`, `num_workers`, ...

    Returns:
        A dataset: the `audio` of each row is {"array": float32 [samples] or [2, samples] in [-1, 1],
        "sampling_rate": Hz, "path"}. The lists of `annotations` are arrays, as `Annotation.to_arrays` gives them, and
        `Annotation.from_row` reads them.

        A loader (`Loader`): batches of {"audio": float32 [batch, samples] or [batch, 2, samples], "lengths": int64
        [batch], "label", "id"}, or of {"embedding": float32 [batch, dim], "label", "id"}.

        Tensors (`Tensors`): `X, y = load_corpus(...)`.

        A label is an int64 class, float32 [instruments] of 0 and 1, or a float32 tempo in beats per minute. `names` of
        a loader or of tensors are the classes.

    Raises:
        DataError: The folder is not a finished corpus, or the config, the split or the task does not exist.
        RecipeError: Options contradict each other.
        HubError: The repository cannot be read.

    Example:
        >>> X, y = load_corpus("corpus", "melstats", split="train", task="genre")
        >>> for batch in load_corpus("corpus", split="train", task="mood", batch_size=8, shuffle=True):
        ...     batch["audio"], batch["label"]
    """
    format = as_ or ("dataset" if task is None else "loader" if config == "default" else "tensors")
    _check_options(format, task, config, sampling_rate, num_channels, options)
    source: Corpus | str = str(path)
    if Path(path).exists() or ADDRESS.fullmatch(str(path)):
        source = Corpus.open(path)
        _check_sizes(source, config)
    loaded = _load(source, config, split=split, streaming=streaming, revision=revision)
    splits = loaded if split is None else {split: loaded}
    if format == "dataset":
        if config in WITH_AUDIO and decode_audio:
            decoded = {
                name: _with_audio(rows, sampling_rate, num_channels, streaming) for name, rows in splits.items()
            }
            splits.update(decoded)
        elif find_kind(config) == "annotations":
            splits.update({name: _with_arrays(rows, streaming) for name, rows in splits.items()})
        return loaded if split is None else splits[split]
    assert task is not None
    converted = _for_torch(
        source, config, splits, format, task, batch_size, sampling_rate, num_channels, revision, options
    )
    return converted if split is None else converted[split]


def _check_sizes(corpus: Corpus, config: str) -> None:
    """Raise DataError for a shard that would expand to far more than its size: `datasets` expands anything."""
    with storage_errors(corpus.root):
        for name in corpus.shards(config_folder(config)):
            check_parquet(corpus.root / name)


def _check_options(
    format: str, task: str | None, config: str, sampling_rate: int | None, num_channels: int, options: dict[str, Any]
) -> None:
    if format not in FORMATS:
        raise RecipeError(f"as_={format!r}: not one of {', '.join(FORMATS)}", 'use "loader" or "tensors"')
    if task is None and format != "dataset":
        raise RecipeError(f"as_={format!r}: needs a task, whose labels it returns", 'name one: task="genre"')
    if task is not None and format == "dataset":
        raise RecipeError('as_="dataset": has the labels of every task', "leave out task or as_")
    if options and format != "loader":
        raise RecipeError(f"{next(iter(options))}: is an option of a DataLoader only", 'use as_="loader", with a task')
    if task is not None and find_kind(config) not in ("audio", "embeddings"):
        raise RecipeError(
            f"task={task!r}: {config} has no such labels", "load them as a dataset: leave out task, and join it by id"
        )
    if sampling_rate is not None and (config not in WITH_AUDIO or sampling_rate < 1):
        raise RecipeError(f"sampling_rate={sampling_rate}: not possible for {config}", "leave it out")
    if num_channels not in (1, 2) or (config not in WITH_AUDIO and num_channels != 1):
        raise RecipeError(f"num_channels={num_channels}: not possible for {config}", "use 1, or 2 with audio")


def _load(source: Corpus | str, config: str, **options: Any) -> Any:
    """Load a corpus, or a repository of the Hub, by `datasets`, with its errors as DataError and HubError."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    name = _name(source)
    try:
        if isinstance(source, Corpus):
            options.pop("revision")
            return load_dataset("parquet", **_list_shard_files(source, config), **options)
        return load_dataset(source, config, **options)
    except DatasetNotFoundError as error:
        raise HubError(
            f"{name}: there is no such folder, and no repository that you may read",
            "check the name; for a private one log in: hf auth login",
        ) from error
    except DatasetGenerationError as error:
        raise DataError(
            f"{name}: config {config!r} cannot be read: {_first_line(error.__cause__ or error)}",
            "find what is damaged: synthmir verify CORPUS",
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise HubError(
            f"{name}: cannot be loaded: {_first_line(error)}", "check the network and HF_ENDPOINT"
        ) from error
    except ValueError as error:
        message = _first_line(error)
        if "BuilderConfig" in message or "config" in message.lower():
            known = datasets.get_dataset_config_names(name, revision=options.get("revision"))
            raise DataError(f"{name}: has no config {config!r}", _suggest_config(config, known)) from error
        raise DataError(f"{name}: {message}", f"the splits are {', '.join(SPLITS)}") from error


def _suggest_config(config: str, known: Sequence[str]) -> str:
    """What to do where a corpus has the configs `known`, and not this one."""
    kind = find_kind(config)
    if kind in GENERATED:
        add = f"to add it: the command that built it, with `{config}: true` in its recipe"
    elif kind == "estimates":
        add = "to add it: synthmir annotate CORPUS"
    else:
        add = "to add another: synthmir embed CORPUS --embedder NAME"
    return f"it has {', '.join(known)}; {add}"


def _name(source: Corpus | str) -> str:
    return str(source.root) if isinstance(source, Corpus) else source


def _list_shard_files(corpus: Corpus, config: str) -> dict[str, Any]:
    """The shards of a config by path, as options of `datasets`; the columns are those of the newest shard.

    `datasets` caches a folder by its name and card alone, and gives the rows of another folder where both are equal.
    Files that are listed are cached by their paths and times.
    """
    shards = corpus.shards(config_folder(config))
    if not shards:
        known = ["default", *(name for name in corpus.configs() if name != AUDIO)]
        raise DataError(f"{corpus.root}: has no config {config!r}", _suggest_config(config, known))
    files = {split: [f"{corpus.root}/{name}" for name in shards if f"/{split}-" in name] for split in SPLITS}
    newest = corpus.root / newest_shard(shards)
    features = features_from_schema(pq.read_schema(open_for_arrow(newest)), newest)
    return {"data_files": {split: names for split, names in files.items() if names}, "features": features}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _for_torch(
    source: Corpus | str, config: str, splits: dict[str, Any], format: str, task: str, batch_size: int,
    sampling_rate: int | None, num_channels: int, revision: str | None, options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    from .torch_data import find_label_column, load_tensors, make_label_encoding, make_loader

    features = next(iter(splits.values())).features
    column = find_label_column(task, features, _name(source))
    values: list[str] = []
    if features[column] == datasets.Value("string"):  # values of all splits, so that each split numbers them alike
        rows = _load(source, config, streaming=True, columns=[column], revision=revision)
        values = sorted({row[column] for split in rows.values() for row in split} - {None})
    encoding = make_label_encoding(task, column, features, values)
    rate = sampling_rate or int(features["audio"].sampling_rate) if config == "default" else None
    if format == "tensors":
        return {name: load_tensors(rows, encoding, rate, num_channels) for name, rows in splits.items()}
    return {
        name: make_loader(rows, encoding, rate, batch_size, dict(options), num_channels)
        for name, rows in splits.items()
    }


def _with_audio(rows: Any, sampling_rate: int | None, num_channels: int, streaming: bool) -> Any:
    """The rows with their audio decoded as it is read."""
    options: dict[str, Any] = {"sampling_rate": sampling_rate, "num_channels": num_channels}
    if streaming:
        return rows.map(partial(_decode_row, **options))
    return rows.with_transform(partial(_decode_batch, **options))


def _decode_row(row: dict[str, Any], sampling_rate: int | None, num_channels: int) -> dict[str, Any]:
    array, rate = decode_clip(row["audio"]["bytes"], LONGEST, sampling_rate, num_channels)
    return {**row, "audio": {"array": array, "sampling_rate": rate, "path": row["audio"]["path"]}}


def _with_arrays(rows: Any, streaming: bool) -> Any:
    """The rows of annotations with arrays for their lists, made as they are read."""
    if streaming:
        return rows.map(_read_annotation)
    return rows.with_transform(_read_annotations)


def _read_annotation(row: dict[str, Any]) -> dict[str, Any]:
    return Annotation.from_row(row).to_arrays()


def _read_annotations(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    names, columns = list(batch), list(batch.values())
    if not {"id", "duration"} <= set(names):  # some columns alone
        return batch
    rows = [Annotation.from_row(dict(zip(names, row, strict=True))).to_arrays() for row in zip(*columns, strict=True)]
    return {name: [row[name] for row in rows] for name in names}


def _decode_batch(batch: dict[str, list[Any]], **options: Any) -> dict[str, list[Any]]:
    if "audio" in batch:
        batch["audio"] = [_decode_row({"audio": audio}, **options)["audio"] for audio in batch["audio"]]
    return batch
