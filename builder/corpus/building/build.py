"""Build the corpus folder of a recipe. A build that was stopped resumes with the same command."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from ...audio import encode_flac
from ...errors import BackendError, DataError
from ...executors import ExecutorSettings, Tick, choose_executor
from ...generators.base import GeneratorBackend, check_generated_configs, describe_clip, load_generator
from ...io.atomic import write_text
from ...io.locks import lock_folder
from ...io.safe_files import parse_json
from ...io.storage import (
    delete_file,
    delete_temporary_files,
    hash_file,
    is_folder,
    limit_workers,
    map_parallel,
    storage_errors,
    to_path,
)
from ...recipe import Recipe
from ...records import RunRecord, record_run
from ...registry import GENERATORS
from ..card.card import write_card
from ..card.plots import ASSETS
from ..corpus import BUILD_RECORD, CARD, REJECTED, SUMS, Corpus, write_sums
from ..estimates import CONFIG as ESTIMATES
from ..estimates import annotate_command
from ..schema import SAMPLING_RATE, LabelEncoder, audio_features
from ..shards import WORK, Entry, Footer, Row, digest, read_footer, write_shard
from .build_record import complete_record, describe_part
from .extend import CombinedLabels, CorpusPart, write_recipe
from .plan import Shard, plan_clips
from .quality import Take, make_clips
from .resume import BuildJob, generator_file, match_version, open_job

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]  # clips made so far, clips in all


class ShardBuilder:
    """Makes shards in a folder. The generator is loaded once and used for all of them.

    The Arrow schema is given, as making it needs `datasets`, which takes a worker a second to import.
    """

    def __init__(
        self,
        recipe: Recipe,
        labels: CombinedLabels,
        schema: pa.Schema,
        fingerprint: str,
        made_by: Path,
        place: Path,
        details: Sequence[str],
    ) -> None:
        self.recipe, self.schema, self.fingerprint, self.place = recipe, schema, fingerprint, place
        self.generator = load_recipe_generator(recipe)
        self.details = details
        self.encode = LabelEncoder(labels)
        self.made_by = {key: getattr(self.generator, key) for key in ("name", "revision", "license", "about")}
        with storage_errors(made_by):
            _check_generator(made_by, self.made_by)

    def __call__(self, shard: Shard, tick: Tick) -> Entry:
        """Make one shard; `tick` is called with the number of clips of each batch."""
        clock = monotonic()
        path = self.place / shard.name
        footer = write_shard(path, self._generate_rows(shard, tick), self.schema)
        kept = len(shard.clips) - len(footer["rejected"])
        return Entry(shard.name, digest(path), round(monotonic() - clock, 3), kept, self.fingerprint)

    def _generate_rows(self, shard: Shard, tick: Tick) -> Generator[list[Row], None, Footer]:
        """Batches of accepted clips as rows; returns the footer of the shard."""
        settings, retried_before = self.recipe.generator, getattr(self.generator, "retried", 0)
        rejected: list[Row] = []
        for takes in make_clips(self.generator, shard.clips, settings.seconds, self.recipe.quality, settings.channels):
            rejected += [_describe_rejection(take) for take in takes if take.faults]
            rows = [self._row(take) for take in takes if not take.faults]
            tick(len(takes))
            yield rows
        footer: Footer = {
            "fingerprint": self.fingerprint,
            "shard": shard.name,
            "generator": self.made_by,
            "planned": len(shard.clips),
            "rejected": rejected,
        }
        if settings.stereo:
            footer["channels"] = 2
        if retried := getattr(self.generator, "retried", 0) - retried_before:
            footer["retried"] = retried
        return footer

    def _row(self, take: Take) -> dict[str, Any]:
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
            "guidance": settings.guidance if sampled else None,
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
        BackendError: It is not available, or does not generate at the sampling rate of a corpus.
    """
    generator = load_generator(recipe.generator, recipe.labels)
    if generator.sampling_rate != SAMPLING_RATE:
        raise BackendError(
            f"generator {generator.name!r} generates at {generator.sampling_rate} Hz, not {SAMPLING_RATE}"
        )
    return generator


def build(
    recipe: Recipe,
    out: str | Path,
    *,
    workers: int | None = None,
    scale: ExecutorSettings | None = None,
    clips_per_shard: int | None = None,
    extend: bool = False,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Build the corpus of a recipe.

    Where `out` holds an unfinished corpus of this recipe, the build resumes. Where it holds a finished one that has
    lost shards, they are made again. A shard that fails three times is set aside: the others are made, then the error
    is raised.

    Args:
        recipe: The recipe.
        out: The corpus folder, or its address in a store.
        workers: Processes that make shards. Default: one per core for a generator that keeps one core busy, else one.
        scale: Where the workers run. Default: on this machine.
        clips_per_shard: Default: about 256 shards of 64 to 1,024 clips. Neither this nor `workers` changes a clip.
        extend: Add to the finished corpus the clips that this recipe asks for and the corpus does not have: more
            clips, another genre, another generator. The corpus stays as it is until all of them are made, and none of
            its shards is written again.
        progress: Called with the number of clips made so far, and of all.

    Returns:
        The record of the build, which is also in the corpus.

    Raises:
        RecipeError: The recipe cannot be planned.
        BackendError: The generator is not available.
        DataError: The folder holds something else, or more clips were rejected than `quality.max_rejected` allows.
    """
    out = to_path(out)
    with storage_errors(out):
        _check_folder(out)
        first = not (out / SUMS).exists()
    generator = GENERATORS.load(recipe.generator.name)  # before any folder is made
    check_generated_configs(recipe)
    executor = choose_executor(scale, limit_workers(out, workers), one_core=generator.single_core, place=out / WORK)
    if first and extend:
        Corpus.open(out)  # raises the error
    clips = plan_clips(recipe) if first else None
    with lock_folder(out / WORK):
        if clips is not None and (out / SUMS).exists():  # another run finished it in between
            clips = None
        recipe = match_version(recipe, out)
        job = open_job(recipe, out, clips, extend, clips_per_shard)
        todo = job.list_missing()
        count = sum(len(shard.clips) for _, shards in todo for shard in shards)
        if job.new is None and not count:
            _repair_card(Corpus(out))
            job.clean_up()
            return RunRecord.from_dict(job.finished_record or {})
        with record_run("build", job.fingerprint) as record:
            total = max(count, job.new.clips if job.new else sum(part.clips for part in job.parts))
            done = total - count
            progress(done, total)

            def tick(more: int) -> None:
                nonlocal done
                done += more
                progress(done, total)

            details = job.detail_columns(todo)
            for part, shards in ((part, shards) for part, shards in todo if shards):
                made_by = job.home / generator_file(part.number)
                schema = audio_features(part.labels, details).arrow_schema
                setup = partial(
                    ShardBuilder, part.recipe, part.labels, schema, part.fingerprint, made_by, job.place(part), details
                )
                for entry in executor.run(setup, shards, tick):
                    job.ledger.add(entry)
            delete_temporary_files(out)  # of workers that died
            footers = [
                map_parallel(read_footer, [job.path(part, shard) for shard in part.shards], out) for part in job.parts
            ]
            for part, part_footers in zip(job.parts, footers, strict=True):
                _check_rejected(part, out, [row for footer in part_footers for row in footer["rejected"]])
                _check_empty(out, part_footers)
            job.put_in_place()
        rejected = [row for part_footers in footers for footer in part_footers for row in footer["rejected"]]
        if job.new:
            new_part = describe_part(job.new, footers[-1], job.ledger, record, executor.count)
            record = complete_record(record, [*job.finished_parts, new_part], job.finished_record)
            record.details["made_in_this_session"] = count
        else:  # a repair does not change how the corpus was made
            record = RunRecord.from_dict(job.finished_record or {})
            record.details["mended_shards"] = record.details.get("mended_shards", 0) + sum(len(s) for _, s in todo)
        _finish(job, recipe, record, rejected)
    return record


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something other than a corpus."""
    if not is_folder(out):
        if out.exists():
            raise DataError(f"{out}: is a file, not a folder", "choose another --out")
        return
    if (out / WORK).is_dir() or (out / SUMS).exists():
        return
    if any(path.name != ".gitattributes" for path in out.iterdir()):  # every repository of the Hub has one
        raise DataError(f"{out}: is not empty, and not a corpus", "choose an empty or a new folder")


def _check_rejected(part: CorpusPart, out: Path, rejected: list[dict[str, Any]]) -> None:
    path, most = out / WORK / REJECTED, part.recipe.quality.max_rejected
    if len(rejected) <= most * part.clips:
        return
    write_text(path, _format_jsonl(rejected))
    raise DataError(
        f"{len(rejected)} of {part.clips} clips were rejected, more than quality.max_rejected "
        f"({most:.1%}) allows; {path} lists them with the reasons. First: {rejected[0]['faults'][0]}",
        "change the recipe or the generator; or raise quality.max_rejected and run the same command, which keeps all "
        f"clips; to generate the rejected ones again, delete {out / WORK}",
    )


def _check_empty(out: Path, footers: list[dict[str, Any]]) -> None:
    """`datasets` cannot read a Parquet file without rows."""
    for footer in footers:
        if footer["planned"] == len(footer["rejected"]):
            raise DataError(
                f"{out}: every clip of {footer['shard']} was rejected; first: {footer['rejected'][0]['faults'][0]}",
                "change the generator or quality.*, or build again with more --clips-per-shard",
            )


def _finish(job: BuildJob, recipe: Recipe, record: RunRecord, rejected: list[dict[str, Any]]) -> None:
    """Write all files other than shards, the sums last, and remove the work folder: then the folder is a corpus."""
    out = job.out
    if recipe is job.parts[-1].recipe:  # the corpus has the recipes of older parts already
        write_recipe(out, recipe)
    if rejected:
        write_text(out / REJECTED, _format_jsonl(rejected))
    else:
        delete_file(out / REJECTED)
    record.write(out / BUILD_RECORD)
    old = Corpus(out).sums() if job.finished_record else {}
    if job.new is None:
        _delete_damaged_configs(out, old)
    write_card(out)
    known = {name: digest for name, digest in old.items() if name.endswith(".parquet")} if job.new else {}
    write_sums(out, known | {name: entry.sha256 for name, entry in job.ledger.entries.items()})
    job.clean_up()


def _repair_card(corpus: Corpus) -> None:
    """Write the card and its plots again if one of them is missing or damaged."""
    sums = corpus.sums()
    written = [name for name in sums if name == CARD or name.startswith(f"{ASSETS}/")]
    if all((corpus.root / name).exists() and hash_file(corpus.root / name) == sums[name] for name in written):
        return
    _delete_damaged_configs(corpus.root, sums)
    write_card(corpus.root)
    write_sums(corpus.root, {name: digest for name, digest in sums.items() if name not in written})


def _delete_damaged_configs(out: Path, sums: dict[str, str]) -> None:
    """Delete embeddings and estimates whose hash is not the listed one, so that their commands make them again."""
    corpus = Corpus(out)
    shards = [shard for config in (*corpus.embeddings(), ESTIMATES) for shard in corpus.shards(config)]
    hashes = map_parallel(lambda shard: digest(out / shard), shards, out)
    for shard, actual in zip(shards, hashes, strict=True):
        if sums.get(shard, actual) != actual:
            config = shard.partition("/")[0]
            command = annotate_command(corpus) if config == ESTIMATES else corpus.embed_command(config)
            log.warning("%s: is damaged and was deleted; to make it again: %s", out / shard, command)
            delete_file(out / shard)


def _format_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
