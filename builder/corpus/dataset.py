"""Recipes as a `datasets` builder, and corpora opened in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key

from ..audio import decode_clip
from ..errors import DataError, HubError, RecipeError
from ..io.hf_audio import load_dataset
from ..io.parquet_guard import described, look_over, row_batches
from ..io.safe_files import find
from ..io.storage import ADDRESS, reaching, readable
from ..recipe import Recipe
from .building.build import build, generator_for
from .building.plan import SPLITS
from .corpus import Corpus, newest
from .schema import LONGEST, SAMPLING_RATE, audio_features


@dataclass
class CorpusConfig(datasets.BuilderConfig):
    """A recipe as a builder's config: a shipped one by name, or any file as `recipe`."""

    recipe: str | None = None  # path of a recipe file; default: the shipped recipe called `name`
    folder: str | None = None  # where the corpus is, or is to be built; default: in the cache
    workers: int | None = None  # processes that build; default: as `synthmir build`


class MusicGenCorpus(datasets.ArrowBasedBuilder):
    """Builds a recipe's corpus, or finishes one that was begun, and gives it as a `datasets` data set.

    `MusicGenCorpus("demo").download_and_prepare()`, then `.as_dataset()` or `.as_streaming_dataset()`. The shards are
    the corpus folder's own: a run that is killed goes on where it was, which `datasets` alone would start afresh.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = CorpusConfig
    BUILDER_CONFIGS = [CorpusConfig(name=path.stem) for path in sorted(find("recipes").glob("*.yaml"))]
    DEFAULT_CONFIG_NAME = "demo"
    config: CorpusConfig

    def _info(self) -> datasets.DatasetInfo:
        self._recipe = Recipe.load(self.config.recipe or self.config.name)
        return datasets.DatasetInfo(
            description=f"Generated music, made from the recipe {self._recipe.name!r}",
            features=audio_features(self._recipe.labels),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        default = Path(self._cache_dir_root) / "synthmir" / f"{self._recipe.name}-{self._recipe.fingerprint()}"
        folder = Path(self.config.folder or default)
        build(self._recipe, folder, workers=self.config.workers)
        self.info.license = generator_for(self._recipe).license
        shards = Corpus.open(folder).shards()
        schema = pq.read_schema(folder / newest(shards))  # a corpus that has grown has labels of other recipes too
        self.info.features = datasets.Features.from_arrow_schema(schema)
        by_split = {
            split: [str(folder / s) for s in shards if Path(s).name.startswith(f"{split}-")] for split in SPLITS
        }
        return [datasets.SplitGenerator(split, gen_kwargs={"files": by_split[split]}) for split in SPLITS]

    def _generate_tables(self, files: list[str]) -> Iterator[tuple[Key, pa.Table]]:
        for shard, file in enumerate(files):
            for part, batch in enumerate(row_batches(file, 64)):
                yield Key(shard, part), pa.Table.from_batches([batch])


AS = ("dataset", "loader", "tensors")


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
    """A corpus in one line: a folder, its address (s3://...) or a Hub repository. Audio needs no FFmpeg: it is decoded
    by libsndfile.

    `config` is "default" (audio) or an embedder's name. Without `split`, a dictionary of splits.

    Without `task`, a `datasets` data set: each row's `audio` is {"array": float32 [samples], "sampling_rate": Hz,
    "path"}; with `decode_audio=False` it is {"bytes", "path"}.

    With `task` (genre, subgenre, mood, instruments, tempo, key, vocals), for torch. `as_="loader"`, the default for
    audio: a DataLoader of {"audio": float32 [batch, samples], "lengths": int64 [batch], "label", "id"}, or of
    {"embedding": float32 [batch, dim], "label", "id"}; further options are DataLoader's: shuffle, num_workers, ...
    `as_="tensors"`, the default for embeddings: `X, y = ...`, all in memory. A label is an int64 class, a float32
    mark for each instrument, or a float32 tempo; `names` of what is returned are the classes. Rows without the label
    are left out: `dropped` counts them.

    `sampling_rate`: Hz that audio is resampled to, default 32000. `num_channels`, as in `datasets.Audio`: 1, the
    default, is the mean of a stereo clip's channels; with 2, audio is float32 [2, samples], in a loader [batch, 2,
    samples], and a mono clip's channel is repeated. (`datasets` alone has both channels of a stereo clip in
    `row["audio"].get_all_samples().data` [2, samples], and their mean in `row["audio"]["array"]`.)

    `revision`: a tag or commit of a repository.
    Raises DataError for a folder that is no finished corpus, and for a config, a split or a task that is not there;
    RecipeError for options that do not go together; HubError for a repository that cannot be read.
    """
    kind = as_ or ("dataset" if task is None else "loader" if config == "default" else "tensors")
    _check_options(kind, task, config, sampling_rate, num_channels, options)
    if Path(path).exists() or ADDRESS.fullmatch(str(path)):
        _look_over(Corpus.open(path), config)
    loaded = _load(path, config, split=split, streaming=streaming, revision=revision)
    parts = loaded if split is None else {split: loaded}
    if kind == "dataset":
        if config == "default" and decode_audio:
            parts.update(
                {name: _with_audio(part, sampling_rate, num_channels, streaming) for name, part in parts.items()}
            )
        return loaded if split is None else parts[split]
    assert task is not None
    rate = sampling_rate or SAMPLING_RATE
    found = _for_torch(path, config, parts, kind, task, batch_size, rate, num_channels, revision, options)
    return found if split is None else found[split]


def _look_over(corpus: Corpus, config: str) -> None:
    """Raise DataError for a shard that would unpack to far more than it is: `datasets` unpacks whatever comes."""
    with reaching(corpus.root):
        for name in corpus.shards("data" if config == "default" else config):
            look_over(corpus.root / name)


def _check_options(
    kind: str, task: str | None, config: str, sampling_rate: int | None, num_channels: int, options: dict[str, Any]
) -> None:
    if kind not in AS:
        raise RecipeError(f"as_={kind!r}: not one of {', '.join(AS)}", 'say "loader" or "tensors"')
    if task is None and kind != "dataset":
        raise RecipeError(f"as_={kind!r}: needs a task, whose labels go along", 'say one: task="genre"')
    if task is not None and kind == "dataset":
        raise RecipeError('as_="dataset": has all labels, so a task says nothing', "leave one of them out")
    if options and kind != "loader":
        raise RecipeError(f"{next(iter(options))}: is of use to a DataLoader only", 'say as_="loader", with a task')
    if sampling_rate is not None and (config != "default" or sampling_rate < 1):
        raise RecipeError(f"sampling_rate={sampling_rate}: not a rate that {config} has", "leave it out")
    if num_channels not in (1, 2) or (config != "default" and num_channels != 1):
        raise RecipeError(
            f"num_channels={num_channels}: not a number of channels that {config} has", "1, or 2 of audio"
        )


def _load(path: str | Path, config: str, **options: Any) -> Any:
    """What `datasets` loads, and its errors in words."""
    from datasets.exceptions import DatasetNotFoundError

    try:
        if ADDRESS.fullmatch(str(path)) or Path(path).exists():
            options.pop("revision")
            return load_dataset("parquet", **_shard_files(Corpus.open(path), config), **options)
        return load_dataset(str(path), config, **options)
    except DatasetNotFoundError as error:
        raise HubError(
            f"{path}: there is no such folder, nor a repository that may be seen",
            "check the name; for a private one log in: hf auth login",
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise HubError(
            f"{path}: cannot be loaded: {_first_line(error)}", "check the network and HF_ENDPOINT"
        ) from error
    except ValueError as error:
        words = _first_line(error)
        if "BuilderConfig" in words or "config" in words.lower():
            known = datasets.get_dataset_config_names(str(path), revision=options.get("revision"))
            fix = f"there are {', '.join(known)}; others are added by: synthmir embed CORPUS --embedder NAME"
            raise DataError(f"{path}: has no config {config!r}", fix) from error
        raise DataError(f"{path}: {words}", f"the splits are {', '.join(SPLITS)}") from error


def _shard_files(corpus: Corpus, config: str) -> dict[str, Any]:
    """A config's shards by their paths; the columns are those of the newest one.

    `datasets` caches a folder under its name and its card alone, and gives the rows of another folder where both are
    equal; files that are named are cached under their paths and times.
    """
    shards = corpus.shards("data" if config == "default" else config)
    if not shards:
        known = ", ".join(["default", *corpus.embeddings()])
        fix = f"there are {known}; others are added by: synthmir embed CORPUS --embedder NAME"
        raise DataError(f"{corpus.root}: has no config {config!r}", fix)
    files = {split: [f"{corpus.root}/{name}" for name in shards if f"/{split}-" in name] for split in SPLITS}
    newest_shard = corpus.root / newest(shards)
    features = described(pq.read_schema(readable(newest_shard)), newest_shard)
    return {"data_files": {split: names for split, names in files.items() if names}, "features": features}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _for_torch(
    path: str | Path, config: str, parts: dict[str, Any], kind: str, task: str, batch_size: int, sampling_rate: int,
    num_channels: int, revision: str | None, options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    from .torch_data import column_of, labels_of, loader, tensors

    features = next(iter(parts.values())).features
    column = column_of(task, features, str(path))
    words: list[str] = []
    if features[column] == datasets.Value("string"):  # all splits' words, so that each split counts them alike
        rows = _load(path, config, streaming=True, columns=[column], revision=revision)
        words = sorted({row[column] for part in rows.values() for row in part} - {None})
    labels = labels_of(task, column, features, words)
    rate = sampling_rate if config == "default" else None
    if kind == "tensors":
        return {name: tensors(part, labels, rate, num_channels) for name, part in parts.items()}
    return {name: loader(part, labels, rate, batch_size, dict(options), num_channels) for name, part in parts.items()}


def _with_audio(part: Any, sampling_rate: int | None, num_channels: int, streaming: bool) -> Any:
    options: dict[str, Any] = {"sampling_rate": sampling_rate, "num_channels": num_channels}
    return (
        part.map(partial(_decoded, **options)) if streaming else part.with_transform(partial(_decode_batch, **options))
    )


def _decoded(row: dict[str, Any], sampling_rate: int | None, num_channels: int) -> dict[str, Any]:
    array, rate = decode_clip(row["audio"]["bytes"], LONGEST, sampling_rate, num_channels)
    return {**row, "audio": {"array": array, "sampling_rate": rate, "path": row["audio"]["path"]}}


def _decode_batch(batch: dict[str, list[Any]], **options: Any) -> dict[str, list[Any]]:
    if "audio" in batch:
        batch["audio"] = [_decoded({"audio": audio}, **options)["audio"] for audio in batch["audio"]]
    return batch
