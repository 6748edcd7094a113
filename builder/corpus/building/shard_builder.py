"""Make one shard of a corpus: its clips, and of the same clips the annotations and the stems."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa

from ...audio import encode_flac
from ...configs import AUDIO
from ...errors import DataError
from ...executors import Tick
from ...generators.base import GeneratorBackend, describe_clip, load_generator
from ...io.atomic import write_text
from ...io.safe_files import parse_json
from ...io.storage import storage_errors
from ...recipe import Recipe
from ..schema import LabelEncoder
from ..shards import WORK, Entry, Footer, Row, ShardWriter, digest, open_shard
from .extend import CombinedLabels
from .plan import Shard
from .quality import Take, make_clips
from .score_configs import annotate_clips, make_stem_rows, read_made_clips, remake_with_stems

Batch = list[Take]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """The files to make of one shard.

    Attributes:
        shard: The shard.
        configs: The folders of the files: "data", "annotations", "stems".
        source: The shard's file of audio, where that is finished.
    """

    shard: Shard
    configs: tuple[str, ...]
    source: Path | None = None

    @property
    def name(self) -> str:
        """The first of its files, for messages."""
        return f"{self.configs[0]}/{self.shard.file}"


class ShardBuilder:
    """Makes shards in folders. The generator is loaded once and used for all of them.

    The Arrow schemas are given, as making them needs `datasets`, which takes a worker a second to import.

    Args:
        recipe: The recipe of the part.
        labels: The names of its label columns.
        schemas: The schema of each config that is made.
        fingerprint: Of the part.
        made_by: The file that keeps which generator made the part.
        places: The folder that each config is written below.
        details: The columns that the generator fills, of `DETAILS`.
    """

    def __init__(
        self,
        recipe: Recipe,
        labels: CombinedLabels,
        schemas: Mapping[str, pa.Schema],
        fingerprint: str,
        made_by: Path,
        places: Mapping[str, Path],
        details: Sequence[str],
    ) -> None:
        self.recipe, self.schemas, self.fingerprint, self.places = recipe, schemas, fingerprint, places
        self.generator = load_recipe_generator(recipe)
        self.details = details
        self.encode = LabelEncoder(labels)
        self.made_by = {key: getattr(self.generator, key) for key in ("name", "revision", "license", "about")}
        self.made_by |= getattr(self.generator, "made_at", {})
        with storage_errors(made_by):
            _check_generator(made_by, self.made_by)

    def __call__(self, task: ShardTask, tick: Tick) -> list[Entry]:
        """Make the files of one shard; `tick` is called with the number of clips of each batch."""
        clock, rejected, retried = monotonic(), list[Row](), getattr(self.generator, "retried", 0)
        seconds, rows = dict.fromkeys(task.configs, 0.0), dict.fromkeys(task.configs, 0)
        with ExitStack() as stack:
            writers: dict[str, ShardWriter] = {}
            for config in task.configs:
                path = self.places[config] / config / task.shard.file
                writers[config] = stack.enter_context(open_shard(path, self.schemas[config]))
            for takes in self._make_batches(task):
                rejected += [_describe_rejection(take) for take in takes if take.faults]
                accepted = [take for take in takes if not take.faults]
                for config, writer in writers.items():
                    before = monotonic()
                    made = self._make_rows(config, accepted)
                    writer.write(made)
                    rows[config] += len(made)
                    seconds[config] += monotonic() - before
                tick(len(takes))
            retried = getattr(self.generator, "retried", 0) - retried
            for config, writer in writers.items():
                writer.footer = self._make_footer(task.shard, config, rejected, retried)
        making = monotonic() - clock - sum(seconds.values())
        seconds[task.configs[0]] += making  # the time to make the clips is that of the first config
        return [
            Entry(
                f"{config}/{task.shard.file}",
                digest(self.places[config] / config / task.shard.file),
                round(seconds[config], 3),
                rows[config],
                self.fingerprint,
            )
            for config in task.configs
        ]

    def _make_batches(self, task: ShardTask) -> Iterator[Batch]:
        """The clips of a shard: made, or those of the finished file of audio, with stems where they are needed."""
        settings, stems = self.recipe.generator, "stems" in task.configs
        if task.source is None:
            yield from make_clips(
                self.generator, task.shard.clips, settings.seconds, self.recipe.quality, self.recipe.channels, stems
            )
            return
        for made in read_made_clips(task.shard.clips, task.source, ["audio"] if stems else []):
            if stems:
                yield remake_with_stems(self.generator, made)
            else:
                yield [Take(clip, np.empty(0, np.float32), 1) for clip, _ in made]

    def _make_rows(self, config: str, takes: Batch) -> list[Row]:
        if config == AUDIO:
            return [self._make_row(take) for take in takes]
        if config == "annotations":
            return annotate_clips(self.generator, [take.clip for take in takes])
        return [row for take in takes for row in make_stem_rows(take, self.generator.sampling_rate)]

    def _make_footer(self, shard: Shard, config: str, rejected: list[Row], retried: int) -> Footer:
        footer: Footer = {
            "fingerprint": self.fingerprint,
            "shard": f"{config}/{shard.file}",
            "generator": self.made_by,
        }
        if config == AUDIO:
            footer |= {"planned": len(shard.clips), "rejected": rejected}
        if self.recipe.channels == 2 and config != "annotations":
            footer["channels"] = 2
        if retried and config == AUDIO:
            footer["retried"] = retried
        return footer

    def _make_row(self, take: Take) -> dict[str, Any]:
        settings, sampled = self.recipe.generator, self.generator.samples
        made = describe_clip(self.generator, take.clip) if self.details else {}
        return {
            "id": take.clip.id,
            "audio": {
                "bytes": encode_flac(take.samples, self.generator.sampling_rate),
                "path": f"{take.clip.id}.flac",
            },
            "prompt": take.clip.prompt.text,
            **self.encode(take.clip),
            "seed": take.clip.seed,
            "generator": self.generator.name,
            "generator_revision": self.generator.revision,
            **{column: made.get(column) for column in self.details},
            "guidance": settings.guidance if sampled else getattr(self.generator, "guidance", None),
            "temperature": settings.temperature if sampled else None,
            "top_k": settings.top_k if sampled else None,
            "duration": len(take.samples) / self.generator.sampling_rate,
            "loudness": take.loudness,
            "peak": take.peak,
            "attempts": take.attempts,
        }


def _check_generator(path: Path, made_by: dict[str, str]) -> None:
    """Refuse another revision of the generator than the one that began the corpus, which the file `path` keeps."""
    if not path.exists():
        write_text(path, json.dumps(made_by))
        return
    try:
        begun = parse_json(path.read_text(encoding="utf-8"))
        name, revision = begun["name"], begun["revision"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path}: is damaged: {error!r}",
            "delete this file only, then run the same command again: finished work is kept",
        ) from error
    if revision == made_by["revision"]:
        return
    if not ("recipe" in begun and load_recipe_generator(Recipe.load(begun["recipe"], kept=True)).revision == revision):
        raise DataError(
            f"{str(path).partition(f'/{WORK}/')[0]}: was begun with revision {revision} "
            f"of {name!r}, this is {made_by['revision']}",
            "go back to that version (generator.revision), or build into another --out",
        )


def _describe_rejection(take: Take) -> Row:
    clip = take.clip
    return {
        "id": clip.id,
        "split": clip.split,
        "genre": clip.prompt.genre,
        "prompt": clip.prompt.text,
        "attempts": take.attempts,
        "last_seed": clip.seed,
        "faults": list(take.faults),
    }


def load_recipe_generator(recipe: Recipe) -> GeneratorBackend:
    """Load the generator of a recipe.

    Raises:
        BackendError: It is not available.
    """
    return load_generator(recipe.generator, recipe.labels, recipe.audio)
