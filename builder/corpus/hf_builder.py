"""A recipe as a `datasets` builder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key

from ..io.parquet_guard import read_batches
from ..io.safe_files import find_shipped
from ..recipe import Recipe
from .building.build import build
from .building.plan import SPLITS
from .building.shard_builder import load_recipe_generator
from .corpus import Corpus, newest_shard
from .schema import audio_features


@dataclass
class CorpusConfig(datasets.BuilderConfig):
    """A recipe as the config of a builder.

    Attributes:
        recipe: Path of a recipe file. Default: the shipped recipe called `name`.
        folder: Where the corpus is, or will be built. Default: in the cache of `datasets`.
        workers: Processes that build. Default: as `synthmir build`.
    """

    recipe: str | None = None
    folder: str | None = None
    workers: int | None = None


class MusicGenCorpus(datasets.ArrowBasedBuilder):
    """Builds the corpus of a recipe, or completes one that was begun, and opens it as a `datasets` dataset.

    The shards are those of the corpus folder. A run that was killed resumes there, where `datasets` alone would start
    again.

    Example:
        >>> builder = MusicGenCorpus("demo")
        >>> builder.download_and_prepare()
        >>> corpus = builder.as_dataset()  # or builder.as_streaming_dataset()
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = CorpusConfig
    BUILDER_CONFIGS = [CorpusConfig(name=path.stem) for path in sorted(find_shipped("recipes").glob("*.yaml"))]
    DEFAULT_CONFIG_NAME = "demo"
    config: CorpusConfig

    def _info(self) -> datasets.DatasetInfo:
        self._recipe = Recipe.load(self.config.recipe or self.config.name)
        return datasets.DatasetInfo(
            description=f"Generated music, made from the recipe {self._recipe.name!r}",
            features=audio_features(self._recipe.labels, sampling_rate=self._recipe.audio.sampling_rate),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        default = Path(self._cache_dir_root) / "synthmir" / f"{self._recipe.name}-{self._recipe.fingerprint()}"
        folder = Path(self.config.folder or default)
        build(self._recipe, folder, workers=self.config.workers)
        self.info.license = load_recipe_generator(self._recipe).license
        shards = Corpus.open(folder).shards()
        schema = pq.read_schema(folder / newest_shard(shards))  # an extended corpus has labels of other recipes too
        self.info.features = datasets.Features.from_arrow_schema(schema)
        by_split = {
            split: [str(folder / name) for name in shards if Path(name).name.startswith(f"{split}-")]
            for split in SPLITS
        }
        return [datasets.SplitGenerator(split, gen_kwargs={"files": by_split[split]}) for split in SPLITS]

    def _generate_tables(self, files: list[str]) -> Iterator[tuple[Key, pa.Table]]:
        for shard, file in enumerate(files):
            for part, batch in enumerate(read_batches(file, 64)):
                yield Key(shard, part), pa.Table.from_batches([batch])
