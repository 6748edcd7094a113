"""Recipes as a `datasets` builder, and corpora opened in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key

from ..audio import decode, mono
from ..recipe import Recipe
from ..resources import find
from .build import build, generator_for
from .features import audio_features
from .folder import Corpus
from .plan import SPLITS


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
        by_split = {
            split: [str(folder / s) for s in shards if Path(s).name.startswith(f"{split}-")] for split in SPLITS
        }
        return [datasets.SplitGenerator(split, gen_kwargs={"files": by_split[split]}) for split in SPLITS]

    def _generate_tables(self, files: list[str]) -> Iterator[tuple[Key, pa.Table]]:
        for shard, file in enumerate(files):
            for part, batch in enumerate(pq.ParquetFile(file).iter_batches(64)):
                yield Key(shard, part), pa.Table.from_batches([batch])


def load_corpus(
    path: str | Path,
    config: str = "default",
    *,
    split: str | None = None,
    streaming: bool = False,
    decode_audio: bool = True,
) -> Any:
    """A corpus folder or Hub repository as a `datasets` data set, audio decoded by libsndfile: no FFmpeg is needed.

    `config` is "default" (audio) or an embedder's name. Each row's `audio` is {"array": float32 [samples],
    "sampling_rate": Hz, "path"}; with `decode_audio=False` it is {"bytes", "path"}. Without `split`, a dictionary of
    splits. Raises DataError for a folder that is no finished corpus.
    """
    if Path(path).exists():
        Corpus.open(path)
    loaded = datasets.load_dataset(str(path), config, split=split, streaming=streaming)
    if config != "default":
        return loaded
    parts = loaded if split is None else {split: loaded}
    for name, part in parts.items():
        raw = part.cast_column("audio", datasets.Audio(decode=False))
        if decode_audio:
            raw = raw.map(_decoded) if streaming else raw.with_transform(_decode_batch)
        parts[name] = raw
    return loaded if split is None else parts[split]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    samples, rate = decode(row["audio"]["bytes"])
    return {**row, "audio": {"array": mono(samples), "sampling_rate": rate, "path": row["audio"]["path"]}}


def _decode_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if "audio" in batch:
        batch["audio"] = [_decoded({"audio": audio})["audio"] for audio in batch["audio"]]
    return batch
