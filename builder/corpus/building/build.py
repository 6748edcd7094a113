"""Recipe -> a finished corpus folder. Stopped anywhere, the same command goes on where it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from ...audio import encode_flac
from ...errors import BackendError, DataError
from ...executors import ExecutorSettings, Tick, choose_executor
from ...generators.base import GeneratorBackend, load_generator
from ...io.atomic import write_text
from ...io.locks import lock_folder
from ...io.safe_files import parse_json
from ...io.storage import delete_file, delete_temporary_files, is_folder, limit_workers, map_parallel, storage_errors
from ...io.storage import to_path as place_of
from ...recipe import Recipe
from ...records import RunRecord, record_run
from ...registry import GENERATORS
from ..card.card import write_card
from ..card.plots import ASSETS
from ..corpus import BUILD_RECORD, CARD, REJECTED, SUMS, Corpus, write_sums
from ..schema import SAMPLING_RATE, LabelEncoder, audio_features
from ..shards import WORK, Entry, digest, hash_file, read_footer, write_shard
from .build_record import complete_record, describe_part
from .extend import CombinedLabels, CorpusPart, write_recipe
from .plan import Shard, plan_clips
from .quality import Take, make_clips
from .resume import BuildJob, generator_file, open_job

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]  # clips made so far, clips in all


class ShardBuilder:
    """Makes shards in a folder: the generator is loaded once and used for all of them."""

    def __init__(self, recipe: Recipe, labels: CombinedLabels, fingerprint: str, made_by: Path, place: Path) -> None:
        self.recipe, self.fingerprint, self.place = recipe, fingerprint, place
        self.generator = load_recipe_generator(recipe)
        self.features = audio_features(labels)
        self.encode = LabelEncoder(labels)
        self.made_by = {key: getattr(self.generator, key) for key in ("name", "revision", "license", "about")}
        with storage_errors(made_by):
            _same_generator(made_by, self.made_by)

    def __call__(self, shard: Shard, tick: Tick) -> Entry:
        """Make one shard and put it in its place."""
        clock = monotonic()
        footer: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "shard": shard.name,
            "generator": self.made_by,
            "planned": len(shard.clips),
            "rejected": [],
            **({"channels": 2} if self.recipe.generator.stereo else {}),
        }
        path = self.place / shard.name
        write_shard(path, self._rows(shard, footer, tick), self.features, footer)
        kept = len(shard.clips) - len(footer["rejected"])
        return Entry(shard.name, digest(path), round(monotonic() - clock, 3), kept, self.fingerprint)

    def _rows(self, shard: Shard, footer: dict[str, Any], tick: Tick) -> Iterator[list[dict[str, Any]]]:
        settings, before = self.recipe.generator, getattr(self.generator, "retried", 0)
        for takes in make_clips(self.generator, shard.clips, settings.seconds, self.recipe.quality, settings.channels):
            footer["rejected"] += [_rejection(take) for take in takes if take.faults]
            if retried := getattr(self.generator, "retried", 0) - before:
                footer["retried"] = retried
            rows = [self._row(take) for take in takes if not take.faults]
            tick(len(takes))
            yield rows

    def _row(self, take: Take) -> dict[str, Any]:
        settings, sampled = self.recipe.generator, self.generator.samples
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
            "guidance": settings.guidance if sampled else None,
            "temperature": settings.temperature if sampled else None,
            "top_k": settings.top_k if sampled else None,
            "duration": len(take.samples) / self.generator.sampling_rate,
            "loudness": take.loudness,
            "peak": take.peak,
            "attempts": take.attempts,
        }


def _same_generator(path: Path, made_by: dict[str, str]) -> None:
    """A corpus is made by one revision of a generator: what began it is kept in `path`, another is refused."""
    if not path.exists():
        write_text(path, json.dumps(made_by))
        return
    try:
        begun = parse_json(path.read_text(encoding="utf-8"))
        name, revision = begun["name"], begun["revision"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path}: is damaged: {error!r}",
            "delete this file alone, then run the same command again: nothing that is finished goes",
        ) from error
    if revision == made_by["revision"]:
        return
    if not ("recipe" in begun and load_recipe_generator(Recipe.load(begun["recipe"], kept=True)).revision == revision):
        raise DataError(
            f"{str(path).partition(f'/{WORK}/')[0]}: was begun with revision {revision} "
            f"of {name!r}, this is {made_by['revision']}",
            "go back to that version (generator.revision), or build into another --out",
        )


def _rejection(take: Take) -> dict[str, Any]:
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
    """The recipe's generator. Raises BackendError if it cannot be had or plays at another rate than a corpus has."""
    generator = load_generator(recipe.generator, recipe.labels)
    if generator.sampling_rate != SAMPLING_RATE:
        raise BackendError(f"generator {generator.name!r} plays at {generator.sampling_rate} Hz, not {SAMPLING_RATE}")
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
    """Make the recipe's corpus in the folder `out`, or finish one that was begun, or mend one that lost shards.

    With `extend`, add to the finished corpus there what this recipe asks for and it has not: more clips, a genre,
    another generator's. It stays as it is until all of that is made, and no shard of it is written again.

    `workers` processes each make shards of their own (default: one a core for a generator that keeps one core busy,
    else one), where `scale` says. Neither they nor `clips_per_shard` change a clip. A shard that fails thrice is set
    aside: the others are made, then SynthmirError tells. Returns the build's record, which is in the corpus too.
    Raises RecipeError, BackendError, and DataError for a folder that holds something else, or where more clips were
    rejected than `quality.max_rejected` allows.
    """
    out = place_of(out)
    with storage_errors(out):
        _refuse_foreign(out)
        first = not (out / SUMS).exists()
    part = GENERATORS.load(recipe.generator.name)  # before any folder is made
    executor = choose_executor(scale, limit_workers(out, workers), one_core=part.single_core, place=out / WORK)
    if first and extend:
        Corpus.open(out)  # refuses it
    clips = plan_clips(recipe) if first else None
    with lock_folder(out / WORK):
        if clips is not None and (out / SUMS).exists():  # another run has finished it in between
            clips = None
        job = open_job(recipe, out, clips, extend, clips_per_shard)
        todo = job.lacking()
        count = sum(len(shard.clips) for _, shards in todo for shard in shards)
        if job.new is None and not count:
            _mend_card(Corpus(out))
            job.close()
            return RunRecord.of(job.finished or {})
        with record_run("build", job.fingerprint) as record:
            total = max(count, job.new.clips if job.new else sum(part.clips for part in job.parts))
            done = total - count
            progress(done, total)

            def tick(more: int) -> None:
                nonlocal done
                done += more
                progress(done, total)

            for part, shards in ((part, shards) for part, shards in todo if shards):
                made_by = job.home / generator_file(part.number)
                setup = partial(ShardBuilder, part.recipe, part.labels, part.fingerprint, made_by, job.place(part))
                for entry in executor.run(setup, shards, tick):
                    job.ledger.enter(entry)
            delete_temporary_files(out)  # what workers that died left half-written
            footers = [
                map_parallel(read_footer, [job.path(part, shard) for shard in part.shards], out) for part in job.parts
            ]
            for part, found in zip(job.parts, footers, strict=True):
                _refuse_too_many(part, out, [row for footer in found for row in footer["rejected"]])
                _refuse_empty(out, found)
            job.publish()
        rejected = [row for found in footers for footer in found for row in footer["rejected"]]
        if job.new:
            told = describe_part(job.new, footers[-1], job.ledger, record, executor.count)
            record = complete_record(record, [*job.told, told], job.finished)
            record.details["made_in_this_session"] = count
        else:  # what was mended does not change how the corpus was made
            record = RunRecord.of(job.finished or {})
            record.details["mended_shards"] = record.details.get("mended_shards", 0) + sum(len(s) for _, s in todo)
        _finish(job, recipe, record, rejected)
    return record


def _refuse_foreign(out: Path) -> None:
    """A folder that holds anything but a corpus of ours is left alone."""
    if not is_folder(out):
        if out.exists():
            raise DataError(f"{out}: is a file, not a folder", "choose another --out")
        return
    if (out / WORK).is_dir() or (out / SUMS).exists():
        return
    if any(path.name != ".gitattributes" for path in out.iterdir()):  # which each repository of the Hub is born with
        raise DataError(f"{out}: is not empty, and what it holds is no corpus", "choose an empty or a new folder")


def _refuse_too_many(part: CorpusPart, out: Path, rejected: list[dict[str, Any]]) -> None:
    path, most = out / WORK / REJECTED, part.recipe.quality.max_rejected
    if len(rejected) <= most * part.clips:
        return
    write_text(path, _lines(rejected))
    raise DataError(
        f"{len(rejected)} of {part.clips} clips were rejected, more than quality.max_rejected "
        f"({most:.1%}) allows; {path} says which and why. First: {rejected[0]['faults'][0]}",
        "mend the recipe or the generator, or raise quality.max_rejected and run the same command: nothing is remade; "
        f"to have them tried again delete {out / WORK}",
    )


def _refuse_empty(out: Path, footers: list[dict[str, Any]]) -> None:
    """`datasets` cannot read a Parquet file without rows."""
    for footer in footers:
        if footer["planned"] == len(footer["rejected"]):
            raise DataError(
                f"{out}: every clip of {footer['shard']} was rejected; first: {footer['rejected'][0]['faults'][0]}",
                "mend the generator or quality.*, or build anew with more --clips-per-shard",
            )


def _finish(job: BuildJob, recipe: Recipe, record: RunRecord, rejected: list[dict[str, Any]]) -> None:
    """Write everything beside the shards, the sums last; then the folder is a corpus and the work folder goes."""
    out = job.out
    if recipe is job.parts[-1].recipe:  # an older part's stands among the corpus's own already
        write_recipe(out, recipe)
    if rejected:
        write_text(out / REJECTED, _lines(rejected))
    else:
        delete_file(out / REJECTED)
    record.write(out / BUILD_RECORD)
    old = Corpus(out).sums() if job.finished else {}
    if job.new is None:
        _drop_harmed(out, old)
    write_card(out)
    known = {name: digest for name, digest in old.items() if name.endswith(".parquet")} if job.new else {}
    write_sums(out, known | {name: entry.sha256 for name, entry in job.ledger.entries.items()})
    job.close()


def _mend_card(corpus: Corpus) -> None:
    """Write the card and its pictures anew if one of them is lost or damaged; they follow from the rest."""
    sums = corpus.sums()
    drawn = [name for name in sums if name == CARD or name.startswith(f"{ASSETS}/")]
    if all((corpus.root / name).exists() and hash_file(corpus.root / name) == sums[name] for name in drawn):
        return
    _drop_harmed(corpus.root, sums)
    write_card(corpus.root)
    write_sums(corpus.root, {name: digest for name, digest in sums.items() if name not in drawn})


def _drop_harmed(out: Path, sums: dict[str, str]) -> None:
    """Delete embeddings that are not what they were, for `embed` to make again: none may get a new hash."""
    corpus = Corpus(out)
    shards = [shard for config in corpus.embeddings() for shard in corpus.shards(config)]
    there = map_parallel(lambda shard: digest(out / shard), shards, out)
    for shard in (shard for shard, found in zip(shards, there, strict=True) if sums.get(shard, found) != found):
        again = corpus.embed_command(shard.partition("/")[0])
        log.warning("%s: is damaged and goes; `%s` makes it again", out / shard, again)
        delete_file(out / shard)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
