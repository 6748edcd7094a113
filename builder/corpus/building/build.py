"""Build the corpus folder of a recipe. A build that was stopped resumes with the same command."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...configs import AUDIO
from ...errors import DataError, RecipeError
from ...executors import ExecutorSettings, choose_executor
from ...generators.base import check_generated_configs, check_settings
from ...io.atomic import write_text
from ...io.locks import lock_folder
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
from ..schema import audio_features
from ..shards import EXPORT_STATE, SELECT_STATE, WORK, digest, read_footer
from .build_record import complete_record, describe_configs, describe_part
from .extend import CorpusPart, write_recipe
from .job import BuildJob, generator_file
from .plan import plan_clips
from .resume import keep_configs, match_version, open_job
from .score_configs import make_schema
from .shard_builder import ShardBuilder

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]  # clips made so far, clips in all


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
    if recipe.select is not None:
        raise RecipeError("select: clips are selected when all are made and measured", "use `synthmir.build`")
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
    if first:
        check_settings(recipe.generator)
    with lock_folder(out / WORK):
        if clips is not None and (out / SUMS).exists():  # another run finished it in between
            clips = None
        recipe = keep_configs(match_version(recipe, out), out)
        job = open_job(recipe, out, clips, extend, clips_per_shard)
        todo = job.list_missing()
        count = sum(len(task.shard.clips) for _, tasks in todo for task in tasks)
        if job.new is None and not count and job.is_listed():
            _repair_card(Corpus(out))
            job.clean_up()
            return RunRecord.from_dict(job.finished_record or {})
        job.keep_readable(todo)
        with record_run("build", job.fingerprint) as record:
            total = max(count, job.new.clips if job.new else sum(part.clips for part in job.parts))
            done = total - count
            progress(done, total)

            def tick(more: int) -> None:
                nonlocal done
                done += more
                progress(done, total)

            details = job.detail_columns(todo)
            for part, tasks in ((part, tasks) for part, tasks in todo if tasks):
                made_by = job.home / generator_file(part.number)
                made = dict.fromkeys(config for task in tasks for config in task.configs)
                rate = part.recipe.audio.sampling_rate
                schemas = {config: make_schema(config, rate) for config in made if config != AUDIO}
                schemas[AUDIO] = audio_features(part.labels, details, rate).arrow_schema
                places = {config: job.place(part, config) for config in made}
                setup = partial(
                    ShardBuilder, part.recipe, part.labels, schemas, part.fingerprint, made_by, places, details
                )
                for entries in executor.run(setup, tasks, tick):
                    for entry in entries:
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
            if repaired := job.count_repaired(todo):
                record.details["mended_shards"] = record.details.get("mended_shards", 0) + repaired
        if configs := describe_configs(out, job.ledger, record.details.get("configs", {})):
            record.details["configs"] = configs
        _finish(job, recipe, record, rejected)
    return record


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something other than a corpus."""
    if not is_folder(out):
        if out.exists():
            raise DataError(f"{out}: is a file, not a folder", "choose another --out")
        return
    if (out / WORK / EXPORT_STATE).exists() and not (out / SUMS).exists():
        raise DataError(f"{out}: holds what `synthmir convert` wrote, not a corpus", "choose an empty or a new folder")
    if (out / WORK / SELECT_STATE).exists():
        raise DataError(f"{out}: holds a selection that is not finished", "run `synthmir select` again")
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
