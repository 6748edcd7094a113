"""Write a corpus that holds the chosen clips of another one, in every config."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow.parquet as pq

from ..configs import AUDIO
from ..corpus.building.extend import PORTABLE, archive_recipe, write_recipe
from ..corpus.card.card import write_card
from ..corpus.corpus import (
    BUILD_RECORD,
    RECIPE,
    RECIPES,
    REJECTED,
    SUMS,
    Corpus,
    embed_record,
    part_number,
    write_sums,
)
from ..corpus.estimates import CONFIG as ESTIMATES
from ..corpus.estimates import RECORD as ESTIMATES_RECORD
from ..corpus.shards import (
    SELECT_STATE,
    WORK,
    Entry,
    Footer,
    Ledger,
    claim_folder,
    count_rows,
    digest,
    open_shard,
    read_footer,
)
from ..errors import DataError, RecipeError
from ..io.atomic import write_bytes, write_text
from ..io.locks import lock_folder
from ..io.parquet_guard import check_parquet, parquet_errors, read_batches
from ..io.storage import (
    delete_folder,
    delete_temporary_files,
    is_folder,
    is_remote,
    list_files,
    open_for_arrow,
    storage_errors,
    to_path,
)
from ..prompts.grammar import count_clips
from ..recipe import Recipe
from ..records import RunRecord
from .select_clips import BY_RANK, BY_WHERE, ClipChoice, choose_clips

ROWS = 32  # clips at once
REASONS = {BY_WHERE: "select: the expression is not true of it", BY_RANK: "select: others of its genre were kept"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What `select_corpus` kept.

    Attributes:
        corpus: The new corpus.
        kept: Clips by genre.
        left_out: Clips by genre that were left out.
    """

    corpus: Corpus
    kept: dict[str, int]
    left_out: dict[str, int]


def select_corpus(
    source: str | Path,
    out: str | Path,
    where: str | None = None,
    keep: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    recipe: Recipe | None = None,
) -> Selection:
    """Write a corpus that holds the chosen clips of another one, in every config. A run that was stopped resumes.

    The audio is not encoded again. Clips that are left out are listed in rejected.jsonl with the reason.

    Args:
        source: A corpus that `annotate` has measured.
        out: The folder of the new corpus.
        where: An expression over the estimates, the labels (`asked`) and how they agree (`agrees`), see `Where`.
            Default: all clips.
        keep: The share of those clips of each genre that is kept, the best by `choose_clips`. Default: all.
        progress: Called with the number of shards written so far, and of all.
        recipe: The recipe whose `select` this is: as many clips of each genre are kept as its prompts ask for. It
            becomes that of the new corpus; that of the source stays beside it.

    Returns:
        What was kept.

    Raises:
        RecipeError: Nothing is asked for, the expression is not valid, or nothing is kept of a genre or a shard.
        DataError: The corpus has no estimates or is damaged, or `out` holds something else.
    """
    if where is None and keep is None and recipe is None:
        raise RecipeError("select: neither where nor keep is given: every clip would be kept", "give one of them")
    corpus, root = Corpus.open(source), to_path(out)
    if is_remote(root):
        raise DataError(f"{root}: a selection can only be written to a folder of this machine", "give a path")
    if root.resolve() == corpus.root.resolve():
        raise DataError(f"{root}: is the corpus itself", "choose another --out")
    with storage_errors(root), storage_errors(corpus.root):
        choice = choose_clips(corpus.root, where, keep, count_clips(recipe) if recipe else None)
        _check_genres(choice, where)
        sums = corpus.sums()
        listed = "".join(f"{value} {name}\n" for name, value in sorted(sums.items()) if name.endswith(".parquet"))
        state = {"source": hashlib.sha256(listed.encode()).hexdigest(), "where": where, "keep": keep}
        state |= {"recipe": recipe.fingerprint()} if recipe else {}
        if _is_finished(root, state):
            return _describe(Corpus.open(root), choice)
        claim_folder(root, SELECT_STATE, state, "another selection was begun here")
        with lock_folder(root / WORK):
            delete_temporary_files(root)
            _write_selection(corpus, root, choice, state, sums, progress, recipe)
        delete_folder(root / WORK)
    return _describe(Corpus.open(root), choice)


def _check_genres(choice: ClipChoice, where: str | None) -> None:
    """Refuse a choice that keeps no clip of a genre: the classes of the corpus would change."""
    kept = {choice.genres[one] for one in choice.kept}
    if missing := sorted(set(choice.genres.values()) - kept):
        raise RecipeError(f"where: {where!r} is true of no clip of {', '.join(missing)}", "ask for less")


def _is_finished(root: Path, state: dict[str, Any]) -> bool:
    """Whether a folder holds this selection. Raises DataError if it is another corpus."""
    if not (root / SUMS).exists() or (root / WORK / SELECT_STATE).exists():
        return False
    if Corpus.open(root).record().get("details", {}).get("select", {}).get("identity") != state:
        raise DataError(f"{root}: is another corpus", "choose an empty or a new folder")
    return True


def _write_selection(
    corpus: Corpus, root: Path, choice: ClipChoice, state: dict[str, Any], sums: dict[str, str],
    progress: Callable[[int, int], None], recipe: Recipe | None,
) -> None:  # fmt: skip
    ledger = Ledger(root / WORK)
    names = [name for config in corpus.configs() for name in corpus.shards(config)]  # the audio first
    rejected: dict[str, list[dict[str, Any]]] = {}
    for done, name in enumerate(names, 1):
        source = hashlib.sha256(f"{state} {sums.get(name)}".encode()).hexdigest()
        if not ledger.has_intact(root, name, source):
            started = monotonic()
            if sums.get(name) != digest(corpus.root / name):
                raise DataError(
                    f"{corpus.root / name}: damaged or changed, its hash is not the one in SHA256SUMS",
                    f"see how to make it again: synthmir verify {corpus.root}",
                )
            data = f"{AUDIO}/{name.split('/', 1)[1]}"
            made = ledger.entries[data].sha256 if data in ledger.entries and data != name else None
            _filter_shard(corpus.root / name, root / name, choice, made)
            rows = count_rows(root / name)
            ledger.add(Entry(name, digest(root / name), round(monotonic() - started, 3), rows, source))
        if name.startswith(f"{AUDIO}/"):
            rejected[name] = read_footer(root / name)["rejected"]
        progress(done, len(names))
    _copy_recipes(corpus.root, root)
    if recipe is not None:
        archive_recipe(root, Corpus(corpus.root).parts()[-1]["fingerprint"])
        write_recipe(root, recipe)
    _write_records(corpus, root, choice, state, ledger, rejected)
    lines = [json.dumps(row, ensure_ascii=False) for rows in rejected.values() for row in rows]
    write_text(root / REJECTED, "".join(f"{line}\n" for line in lines))
    write_card(root)
    write_sums(root, {name: entry.sha256 for name, entry in ledger.entries.items()})


def _filter_shard(source: Path, target: Path, choice: ClipChoice, audio_sha256: str | None) -> None:
    """Write the rows of a shard whose clips are kept. `audio_sha256`: the new hash of its shard of audio."""
    check_parquet(source)
    with parquet_errors(source):
        schema, footer = pq.read_schema(open_for_arrow(source)), read_footer(source)
        written = 0
        with open_shard(target, schema) as shard:
            for batch in read_batches(source, ROWS, ids=choice.kept):
                shard.write(batch.to_pylist())
                written += len(batch)
            if not written and (rows := count_rows(source)):
                raise RecipeError(
                    f"{source.name}: none of its {rows:,} clips is kept, and `datasets` reads no empty shard",
                    "ask for less, or build the corpus with more --clips-per-shard",
                )
            shard.footer = _change_footer(footer, source, choice, audio_sha256)


def _change_footer(footer: Footer, source: Path, choice: ClipChoice, audio_sha256: str | None) -> Footer:
    if audio_sha256 is None:
        return {**footer, "rejected": [*footer.get("rejected", []), *_list_left_out(source, choice)]}
    return {**footer, "source_sha256": audio_sha256} if "source_sha256" in footer else footer


def _list_left_out(source: Path, choice: ClipChoice) -> Iterator[dict[str, Any]]:
    """The clips of a shard of audio that are left out, as rows of rejected.jsonl."""
    split = source.name.partition("-")[0]
    for batch in read_batches(source, 1_000, ["id", "prompt", "attempts", "seed"]):
        for row in batch.to_pylist():
            if (reason := choice.reasons.get(row["id"])) is not None:
                yield {
                    "id": row["id"], "split": split, "genre": choice.genres[row["id"]], "prompt": row["prompt"],
                    "attempts": row["attempts"], "last_seed": row["seed"], "faults": [REASONS[reason]],
                }  # fmt: skip


def _copy_recipes(source: Path, root: Path) -> None:
    """Copy the recipe with its files, and those of older parts."""
    older = [f"{RECIPES}/{name}" for name in list_files(source / RECIPES)] if is_folder(source / RECIPES) else []
    for name in (*older, *(name for name in reversed(PORTABLE) if (source / name).exists())):
        write_bytes(root / name, (source / name).read_bytes())
    if not (root / RECIPE).exists():
        raise DataError(f"{source / RECIPE}: missing", "copy the corpus again")


def _write_records(
    corpus: Corpus, root: Path, choice: ClipChoice, state: dict[str, Any], ledger: Ledger,
    rejected: dict[str, list[dict[str, Any]]],
) -> None:  # fmt: skip
    """Write the records of the source with the counts of what was kept."""
    rows = {name: entry.rows for name, entry in ledger.entries.items()}
    build = RunRecord.from_dict(corpus.record())
    _change_build_record(build, corpus, choice, state, rows, rejected).write(root / BUILD_RECORD)
    records = {ESTIMATES: ESTIMATES_RECORD} | {config: embed_record(config) for config in corpus.embeddings()}
    for config, name in records.items():
        if content := corpus.record(name):
            record = RunRecord.from_dict(content)
            record.rows = sum(count for shard, count in rows.items() if shard.startswith(f"{config}/"))
            record.write(root / name)


def _change_build_record(
    record: RunRecord, corpus: Corpus, choice: ClipChoice, state: dict[str, Any], rows: dict[str, int],
    rejected: dict[str, list[dict[str, Any]]],
) -> RunRecord:  # fmt: skip
    parts = []
    for number, part in enumerate(corpus.parts()):
        clips = sum(
            count for name, count in rows.items() if name.startswith(f"{AUDIO}/") and part_number(name) == number
        )
        left_out = sum(len(listed) for name, listed in rejected.items() if part_number(name) == number)
        seconds = part.get("audio_seconds", 0) * clips / max(1, part["clips"])
        parts.append({**part, "clips": clips, "rejected": left_out, "audio_seconds": round(seconds, 3)})
    details = dict(record.details)
    for key in ("clips", "rejected", "audio_seconds"):
        details[key] = round(sum(part[key] for part in parts), 3)
    for name, config in details.get("configs", {}).items():
        there = sum(count for shard, count in rows.items() if shard.startswith(f"{name}/"))
        details["configs"] = {**details["configs"], name: {**config, "rows": there}}
    details["parts"] = parts
    details["select"] = {
        "identity": state,
        "source_fingerprint": corpus.fingerprint,
        "of": len(choice.genres),
        "left_out": dict(Counter(choice.reasons.values())),
        "kept": dict(sorted(Counter(choice.genres[one] for one in choice.kept).items())),
    }
    fingerprint = hashlib.sha256(f"{corpus.fingerprint} {json.dumps(state, sort_keys=True)}".encode()).hexdigest()[:16]
    return replace(record, fingerprint=fingerprint, rows=details["clips"], details=details)


def _describe(corpus: Corpus, choice: ClipChoice) -> Selection:
    kept, left_out = (
        dict(sorted(Counter(choice.genres[one] for one in ids).items())) for ids in (choice.kept, choice.left_out)
    )
    return Selection(corpus, kept, left_out)
