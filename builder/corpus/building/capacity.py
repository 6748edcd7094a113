"""A corpus of any size on paper: its files, bytes, commits and hours, against the limits that it will meet.

Nothing of that size is made. Counts follow from the rules that a build and an upload go by; time and bytes are those
of a few clips made here, scaled; what planning takes is measured on a part of the plan.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import psutil

from ...clip import Clip
from ...errors import BackendError
from ...prompts.grammar import CLIPS_PER_DESCRIPTION
from ...recipe import Recipe
from ...registry import EMBEDDERS
from ..schema import LabelEncoder, embedding_features, label_features
from ..shards import ROW_GROUP, write_shard
from .build import load_recipe_generator
from .estimate import scale_seconds, time_probe
from .extend import MAX_PARTS
from .plan import MAX_GROWTH_SHARD, MAX_SHARD, MIN_SHARD, TARGET_SHARDS, choose_shard_size, plan_clips

SAMPLE = 100_000  # prompts that are planned to see what planning takes
PLAN_BYTES = 1_150  # a clip in memory, with its prompt: measured on plans of 100,000 and of 1,000,000
GROWN_BYTES = 1_500  # and with what tells old clips from new: measured on a corpus of 60,000 that grew by as many
BESIDE = 40 + 3 * MAX_PARTS  # files at most that are no shards: card, pictures, sums, recipes, records
RAW_BYTES = 64_000  # a second of 16-bit mono at 32 kHz: more than FLAC ever takes but for a few headers
CREWS = (1, 8, 64, 512)  # workers that hours are told for

HUB = "Hub, storage limits: huggingface.co/docs/hub/storage-limits"
UPLOAD = "our upload: builder/hub/upload.py"
LAYOUT = "our layout: builder/corpus/building/plan.py"
HERE = "measured here"


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """A figure of the corpus on paper; with a limit, whether it holds."""

    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    source: str = ""  # of the limit, or else of the figure

    @property
    def holds(self) -> bool | None:
        """Whether the value is under its limit, None where it has none."""
        return None if self.limit is None else self.value <= self.limit


@dataclass
class Capacity:
    """All of it, and what there is to say."""

    recipe: str
    fingerprint: str
    at: int
    rows: list[CapacityRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *row: Any) -> None:
        """One figure more."""
        self.rows.append(CapacityRow(*row))

    def told(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "rows": [asdict(row) | {"holds": row.holds} for row in self.rows]}


@dataclass(frozen=True, slots=True)
class GenerationPace:
    """How fast clips are made and how large they are, and how that is known."""

    clips_per_hour: float  # of one worker
    bytes_per_clip: float
    how_fast: str
    how_large: str


def estimate_capacity(
    recipe: Recipe,
    at: int | None = None,
    workers: int | None = None,
    clips_per_hour: float | None = None,
    clips_per_shard: int | None = None,
) -> Capacity:
    """What `at` clips of a recipe take (default: as many as it asks for). Writes nothing.

    `clips_per_hour` is of one worker, where the generator is not at hand. Raises RecipeError, BackendError.
    """
    counted = recipe.prompts.total or len(recipe.labels.genre_names) * (recipe.prompts.per_genre or 0)
    at = at or counted
    found = Capacity(recipe.name, recipe.fingerprint(), at)
    clock = process_time()
    part = min(at, SAMPLE)
    clips = plan_clips(recipe.with_values({"prompts.per_genre": None, "prompts.total": part}))
    took = process_time() - clock
    pace = measure_pace(recipe, clips, clips_per_hour)

    size = clips_per_shard or choose_shard_size(at)
    held = round(recipe.split.validation * at)
    shards = -(-(at - held) // size) - (-held // size)
    found.add("clips", at)
    found.add("music", at * recipe.generator.seconds / 3600, "h")
    _prompts(found, recipe, clips, at)

    file_bytes = size * pace.bytes_per_clip
    vector = _vector_bytes(recipe, clips[:ROW_GROUP])
    found.add("clips a shard", size, "", None, "--clips-per-shard" if clips_per_shard else LAYOUT)
    found.add("files a folder", shards, "", 9_999, HUB)
    found.add(
        f"... however it grew, in {MAX_PARTS} parts", bound_file_count(at, MAX_PARTS, clips_per_shard), "", 9_999, HUB
    )
    found.add("files, audio and one embedder", 2 * shards + BESIDE, "", 99_999, HUB)
    found.add("embedders that fit beside it", (99_999 - BESIDE) // shards - 1, "", None, HUB)
    found.add("a shard", file_bytes / 1e6, "MB", 200_000, HUB)
    found.add("audio", at * pace.bytes_per_clip / 1e9, "GB", None, pace.how_large)
    found.add(f"embeddings, {recipe.embedder.name}", at * vector / 1e9, "GB", None, HERE)
    found.add("all of it", at * (pace.bytes_per_clip + vector) / 1e9, "GB", 1_000, HUB)
    _upload(found, shards, file_bytes, size * vector)
    found.add("planning, on one core", took * at / part / 60, "min", None, f"{HERE}, on {part:,}")
    memory = psutil.virtual_memory().total
    found.add("planning, memory", at * PLAN_BYTES / 1e9, "GB", memory / 1e9, "this machine's memory")
    found.add("... of a corpus that has grown", at * GROWN_BYTES / 1e9, "GB", memory / 1e9, "this machine's memory")
    for count in (workers,) if workers else CREWS:
        hours = at / pace.clips_per_hour / count
        found.add(f"making it, {count} worker{'s' * (count > 1)}", hours, "h", None, pace.how_fast)
    _advise(found, recipe, counted)
    return found


def measure_pace(recipe: Recipe, clips: Sequence[Clip], clips_per_hour: float | None) -> GenerationPace:
    """The recipe's generator, tried here on a few clips; or what is said of it. Raises BackendError without either."""
    length = recipe.generator.seconds
    try:
        samples = time_probe(load_recipe_generator(recipe), clips, recipe)
    except BackendError as error:
        if clips_per_hour is None:
            raise BackendError(error.message, f"{error.fix}; or say how fast it is: --clips-per-hour N") from error
        raw = RAW_BYTES * recipe.generator.channels
        return GenerationPace(
            clips_per_hour, raw * length, "--clips-per-hour", "at most: FLAC of 16 bits that saves nothing"
        )
    last = samples[-1]
    large = last.flac_bytes / last.clips * length / last.seconds
    if clips_per_hour is not None:
        return GenerationPace(clips_per_hour, large, "--clips-per-hour", HERE)
    return GenerationPace(
        3600 * last.clips / scale_seconds(samples, length), large, f"{HERE}, {last.clips} clip(s)", HERE
    )


def bound_file_count(clips: int, parts: int, size: int | None = None) -> int:
    """The most shards that so many clips can come to in one folder, whatever the steps that the corpus grew in.

    A part of n clips that make the corpus T is cut into n / s(T) shards, and one more in each split: the smaller the
    steps, the more, up to the integral of 1 / s. The first part, cut for itself, is worst where it is all there is, or
    as large as the smallest shards still serve. With a `size` of its own for all parts it is n / size.
    """
    if size:
        return -(-clips // size) + 2 * parts
    first = (clips, min(clips, MIN_SHARD * TARGET_SHARDS))
    most = max(start / choose_shard_size(start) + _grown(start, clips) for start in first)
    return math.ceil(most) + 2 * parts


def _grown(start: int, end: int) -> float:
    """The integral over T from start to end of 1 / shard_size(T, growth=True)."""
    low, high = MIN_SHARD * TARGET_SHARDS, MAX_GROWTH_SHARD * TARGET_SHARDS
    small = max(0, min(end, low) - start) / MIN_SHARD
    middle = TARGET_SHARDS * math.log(max(1.0, min(end, high) / max(start, low)))
    return small + middle + max(0, end - max(start, high)) / MAX_GROWTH_SHARD


def _prompts(found: Capacity, recipe: Recipe, clips: Sequence[Clip], at: int) -> None:
    """Distinct prompts, by how often two of the planned ones are one: as birthdays tell how many days there are."""
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        texts[clip.prompt.genre][clip.prompt.description] += 1
    seen = sum(map(len, texts.values()))
    how = HERE
    if recipe.prompts.source.kind == "grammar" and at > len(clips):
        pairs = sum(count.total() * (count.total() - 1) / 2 for count in texts.values())
        again = sum(n * (n - 1) / 2 for count in texts.values() for n in count.values())
        days = pairs / max(again, 1)  # descriptions that a genre's words supply, as many as if all were as likely
        each = at / len(texts)
        seen = round(len(texts) * days * -math.expm1(-each / days))
        how = f"{HERE}: {again:.0f} pairs alike in {len(clips):,}"
    found.add("distinct descriptions, about", seen, "", None, how)
    if recipe.prompts.source.kind == "grammar":
        limit = "the grammar's own: builder/prompts/grammar.py"
        found.add("clips a description", at / seen, "", CLIPS_PER_DESCRIPTION, limit)


def _vector_bytes(recipe: Recipe, clips: Sequence[Clip]) -> float:
    """Bytes that a clip takes in the embedder's config, as one row group of random numbers takes them."""
    import numpy as np

    kind = EMBEDDERS.load(recipe.embedder.name.partition(":")[0])
    dim = int(getattr(kind, "dim", 0) or 768)
    features = embedding_features(label_features(recipe.labels), dim)
    encode = LabelEncoder(recipe.labels)
    numbers = np.random.default_rng(0).standard_normal((len(clips), dim), np.float32)
    rows = [{"id": clip.id, "embedding": vector, **encode(clip)} for clip, vector in zip(clips, numbers, strict=True)]
    with TemporaryDirectory() as folder:
        write_shard(Path(folder) / "one", [rows], features, {})
        one = (Path(folder) / "one").stat().st_size
        write_shard(Path(folder) / "two", [rows, rows], features, {})
        return ((Path(folder) / "two").stat().st_size - one) / len(rows)


def _upload(found: Capacity, shards: int, audio: float, vectors: float) -> None:
    from ...hub.upload import COMMIT_BYTES, COMMIT_FILES

    commits = sum(math.ceil(shards / max(1, min(COMMIT_FILES, COMMIT_BYTES // size))) for size in (audio, vectors))
    found.add("files a commit", max(1, min(COMMIT_FILES, COMMIT_BYTES // audio)), "", 100, f"{HUB} (seen to in 60 s)")
    found.add("bytes a commit", min(COMMIT_BYTES, COMMIT_FILES * audio) / 1e9, "GB", None, UPLOAD)
    found.add("commits", commits, "", 3_000, f"{HUB} (slower after a few thousand)")


def _advise(found: Capacity, recipe: Recipe, counted: int) -> None:
    """What the figures mean."""
    room = 9_999 - 2 * MAX_PARTS
    found.notes.append(
        f"One layout holds to {room * MAX_SHARD:,} clips in up to {MAX_PARTS} parts; then give more --clips-per-shard."
    )
    over = {row.what: row for row in found.rows if row.holds is False}
    if "files a folder" in over:
        per = -(-found.at // room)
        found.notes.append(f"Where the layout must change: build with --clips-per-shard {per} or more.")
    if "all of it" in over:
        found.notes.append("The Hub wants to be asked before 1 TB: a Team or Enterprise plan, or a grant.")
    if {"planning, memory", "... of a corpus that has grown"} & set(over):
        found.notes.append("Plan it on a machine with more memory: the whole plan is held.")
    if "clips a description" in over:
        found.notes.append("The genres' words run out: add sub-genres, words, scenes or productions.")
    if counted != found.at:
        found.notes.append(f"The recipe asks for {counted:,} clips; this is what {found.at:,} of it would take.")


def format_capacity(found: Capacity) -> list[str]:
    """For a terminal: a line a figure, with its limit and where that is from."""
    head = ("what", "", "", "limit", "", "source")
    rows = [
        (row.what, _number(row.value), row.unit, "" if row.limit is None else _number(row.limit),
         {None: "", True: "holds", False: "OVER"}[row.holds], row.source)
        for row in found.rows
    ]  # fmt: skip
    wide = [max(len(cells[i]) for cells in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(cell.rjust(wide[i]) if i in (1, 3) else cell.ljust(wide[i]) for i, cell in enumerate(cells)).rstrip()
        for cells in (head, *rows)
    ]
    return [f"{found.recipe} at {found.at:,} clips", "", *lines, "", *found.notes]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
