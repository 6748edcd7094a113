"""Recipe -> a finished corpus folder. Stopped anywhere, the same command goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from ..atomic import write_bytes, write_text
from ..audio import encode_flac
from ..errors import BackendError, DataError
from ..executors import Tick, cores, local
from ..generators.base import GENERATORS, Generator, load_generator
from ..recipe import Recipe
from ..records import RunRecord, recording
from ..rows import Clip
from .card import write_card
from .features import SAMPLING_RATE, LabelEncoder, audio_features
from .folder import BUILD_RECORD, REJECTED, STATE, SUMS, Corpus, write_sums
from .plan import Shard, plan, shards
from .quality import Take, make
from .shards import WORK, Entry, Ledger, locked, read_footer, sha256, write_shard

GENERATOR = "generator.json"
Progress = Callable[[int, int], None]  # clips made so far, clips in all


class ShardBuilder:
    """Makes shards in a folder: the generator is loaded once and used for all of them."""

    def __init__(self, recipe: Recipe, work: Path, place: Path) -> None:
        self.recipe, self.place = recipe, place
        self.generator = generator_for(recipe)
        self.features = audio_features(recipe.labels)
        self.encode = LabelEncoder(recipe.labels)
        self.fingerprint = recipe.fingerprint()
        self.made_by = {key: getattr(self.generator, key) for key in ("name", "revision", "license", "about")}
        _same_generator(work / GENERATOR, self.made_by)

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
        return Entry(shard.name, sha256(path), round(monotonic() - clock, 3), kept, self.fingerprint)

    def _rows(self, shard: Shard, footer: dict[str, Any], tick: Tick) -> Iterator[list[dict[str, Any]]]:
        settings, before = self.recipe.generator, getattr(self.generator, "retried", 0)
        for takes in make(self.generator, shard.clips, settings.seconds, self.recipe.quality, settings.channels):
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
    begun = json.loads(path.read_text(encoding="utf-8"))
    if begun["revision"] != made_by["revision"]:
        raise DataError(
            f"{path.parent.parent}: was begun with revision {begun['revision']} of {begun['name']!r}, "
            f"this is {made_by['revision']}",
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


def generator_for(recipe: Recipe) -> Generator:
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
    clips_per_shard: int | None = None,
    progress: Progress = lambda done, total: None,
) -> RunRecord:
    """Make the recipe's corpus in the folder `out`, or finish one that was begun, or mend one that lost shards.

    `workers` processes each make shards of their own (default: one a core for a generator that keeps one core busy,
    else one). Neither it nor `clips_per_shard` changes a clip. Returns the build's record, which is in the corpus too.
    Raises RecipeError, BackendError, and DataError for a folder that holds something else, or where more clips were
    rejected than `quality.max_rejected` allows.
    """
    out = Path(out)
    _refuse_foreign(out)
    part = GENERATORS.load(recipe.generator.name)  # before any folder is made
    workers = workers or (cores() if part.single_core else 1)
    clips = plan(recipe)
    work = out / WORK
    with locked(work):
        finished = Corpus(out).record() if (out / SUMS).exists() else None
        parts = _agree(recipe, out, work, clips, clips_per_shard)
        place = out if (out / "data").is_dir() else work
        for torn in work.rglob(".*.part"):
            torn.unlink()
        ledger = Ledger(work)
        fingerprint = recipe.fingerprint()
        todo = [shard for shard in parts if not ledger.intact(place, shard.name, fingerprint)]
        if finished and not todo:
            shutil.rmtree(work)
            return RunRecord(**finished)
        with recording("build", fingerprint) as record:
            done = kept = len(clips) - sum(len(shard.clips) for shard in todo)
            progress(done, len(clips))

            def tick(count: int) -> None:
                nonlocal done
                done += count
                progress(done, len(clips))

            setup = partial(ShardBuilder, recipe, work, place)
            for entry in local(min(workers, max(1, len(todo)))).run(setup, todo, tick):
                ledger.enter(entry)
            footers = [read_footer(place / shard.name) for shard in parts]
            rejected = [row for footer in footers for row in footer["rejected"]]
            _refuse_too_many(recipe, out, rejected, len(clips))
            _refuse_empty(out, footers)
            if place == work:
                (work / "data").rename(out / "data")
            record.rows = len(clips) - len(rejected)
            record.details = {
                "identity": json.loads((work / STATE).read_text(encoding="utf-8")),
                "generator": footers[0]["generator"],
                "clips": record.rows,
                "rejected": len(rejected),
                "retried": sum(footer.get("retried", 0) for footer in footers),
                "made_in_this_session": len(clips) - kept,
                "shards": len(parts),
                "workers": workers,
                "worker_seconds": round(sum(entry.seconds for entry in ledger.entries.values()), 3),
                "audio_seconds": recipe.generator.seconds * record.rows,
            }
        if finished:  # what was mended does not change how the corpus was made
            record = RunRecord(**finished)
            record.details["mended_shards"] = record.details.get("mended_shards", 0) + len(todo)
        _finish(recipe, out, record, ledger, rejected)
    return record


def _refuse_foreign(out: Path) -> None:
    """A folder that holds anything but a corpus of ours is left alone."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder", "choose another --out")
    if (out / WORK).is_dir() or (out / SUMS).exists():
        return
    if any(out.iterdir()):
        raise DataError(f"{out}: is not empty, and what it holds is no corpus", "choose an empty or a new folder")


def _agree(recipe: Recipe, out: Path, work: Path, clips: list[Clip], asked: int | None) -> list[Shard]:
    """The shards to make, as they were begun here before; a recipe that differs from what was begun is refused."""
    identity = {"name": recipe.name, "fingerprint": recipe.fingerprint(), "split": recipe.split.model_dump()}
    state = work / STATE
    if not state.exists() and (out / SUMS).exists():
        _reopen(Corpus(out), work)
    if not state.exists() or not (work / GENERATOR).exists():  # where no generator could be had, nothing is begun
        parts = shards(clips, asked)
        write_text(state, json.dumps({**identity, "clips_per_shard": max(len(part.clips) for part in parts)}))
        return parts
    begun = json.loads(state.read_text(encoding="utf-8"))
    per_shard = begun.pop("clips_per_shard")
    if changed := [key for key in identity if begun.get(key) != identity[key]]:
        raise DataError(
            f"{out}: holds a corpus of another recipe: {begun.get('name')} {begun.get('fingerprint')} there, "
            f"{recipe.name} {recipe.fingerprint()} asked for ({', '.join(changed)} differ)",
            "go back to the recipe that it was begun with, or choose another --out",
        )
    if asked not in (None, per_shard):
        raise DataError(f"{out}: was begun with {per_shard} clips a shard, not {asked}", "leave --clips-per-shard out")
    return shards(clips, per_shard)


def _reopen(corpus: Corpus, work: Path) -> None:
    """Give a finished corpus its state and ledger back, so that shards it has lost can be made again."""
    details = corpus.record().get("details", {})
    if "identity" not in details:
        raise DataError(f"{corpus.root / BUILD_RECORD}: missing or damaged", "build into another --out")
    ledger = Ledger(work)
    for name, digest in corpus.sums().items():
        if name.startswith("data/"):
            ledger.enter(Entry(name, digest, 0.0, 0, corpus.fingerprint))
    write_text(work / GENERATOR, json.dumps(details["generator"]))
    write_text(work / STATE, json.dumps(details["identity"]))


def _refuse_too_many(recipe: Recipe, out: Path, rejected: list[dict[str, Any]], planned: int) -> None:
    path = out / WORK / REJECTED
    if len(rejected) <= recipe.quality.max_rejected * planned:
        return
    write_text(path, _lines(rejected))
    raise DataError(
        f"{len(rejected)} of {planned} clips were rejected, more than quality.max_rejected "
        f"({recipe.quality.max_rejected:.1%}) allows; {path} says which and why. First: {rejected[0]['faults'][0]}",
        "mend the recipe or the generator, or raise quality.max_rejected and run the same command: nothing is remade",
    )


def _refuse_empty(out: Path, footers: list[dict[str, Any]]) -> None:
    """`datasets` cannot read a Parquet file without rows."""
    for footer in footers:
        if footer["planned"] == len(footer["rejected"]):
            raise DataError(
                f"{out}: every clip of {footer['shard']} was rejected; first: {footer['rejected'][0]['faults'][0]}",
                "mend the generator or quality.*, or build anew with more --clips-per-shard",
            )


def _finish(recipe: Recipe, out: Path, record: RunRecord, ledger: Ledger, rejected: list[dict[str, Any]]) -> None:
    """Write everything beside the shards, the sums last; then the folder is a corpus and the work folder goes."""
    for name, content in recipe.portable().items():
        write_bytes(out / name, content)
    if rejected:
        write_text(out / REJECTED, _lines(rejected))
    else:
        (out / REJECTED).unlink(missing_ok=True)
    record.write(out / BUILD_RECORD)
    write_card(out)
    write_sums(out, {name: entry.sha256 for name, entry in ledger.entries.items()})
    shutil.rmtree(out / WORK)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
