"""Estimate files, bytes, commits and hours of a corpus of any size, and compare them with limits.

Counts follow from the rules of building and uploading. Time and bytes are scaled from a few clips that are made on
this machine. The cost of planning is measured on a part of the plan.
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
from ...generators.base import check_generated_configs
from ...prompts.grammar import CLIPS_PER_DESCRIPTION
from ...recipe import Recipe
from ...registry import EMBEDDERS
from ..schema import LabelEncoder, embedding_features, label_features
from ..shards import ROW_GROUP, write_shard
from .estimate import scale_seconds, time_probe
from .extend import MAX_PARTS
from .plan import MAX_GROWTH_SHARD, MAX_SHARD, MIN_SHARD, TARGET_SHARDS, choose_shard_size, plan_clips
from .shard_builder import load_recipe_generator

SAMPLE = 100_000  # clips that are planned to measure planning
PLAN_BYTES = 1_150  # of memory per planned clip: measured on plans of 100,000 and of 1,000,000
GROWN_BYTES = 1_500  # of memory per clip in an extension: measured on 60,000 clips that were extended by as many
BESIDE = 40 + 3 * MAX_PARTS  # files other than shards at most: card, plots, sums, recipes, records
RAW_BYTES = 2  # of a 16-bit sample: an upper bound for FLAC
WORKERS = (1, 8, 64, 512)  # that hours are estimated for

HUB = "Hub, storage limits: huggingface.co/docs/hub/storage-limits"
UPLOAD = "upload: builder/hub/upload.py"
LAYOUT = "layout: builder/corpus/building/plan.py"
HERE = "measured here"


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """A figure of the estimate.

    Attributes:
        what: What it is.
        value: Its value.
        unit: Unit of value and limit.
        limit: The highest value that is allowed, if there is a limit.
        source: Source of the limit, or else of the value.
    """

    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    source: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its limit, None without one."""
        return None if self.limit is None else self.value <= self.limit


@dataclass
class Capacity:
    """The estimate of a corpus, and notes on it.

    Attributes:
        recipe: Name of the recipe.
        fingerprint: Its fingerprint.
        at: Number of clips.
        rows: The figures.
        notes: What to do about them.
    """

    recipe: str
    fingerprint: str
    at: int
    rows: list[CapacityRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *row: Any) -> None:
        """Add a figure."""
        self.rows.append(CapacityRow(*row))

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON stores it."""
        return {**asdict(self), "rows": [asdict(row) | {"holds": row.holds} for row in self.rows]}


@dataclass(frozen=True, slots=True)
class GenerationPace:
    """The speed of a generator and the size of its clips.

    Attributes:
        clips_per_hour: Of one worker.
        bytes_per_clip: Size of the audio.
        how_fast: Source of the speed.
        how_large: Source of the size.
        score_bytes: Size of a clip's annotations and stems; 0 where the recipe has none, or the generator is not here.
    """

    clips_per_hour: float
    bytes_per_clip: float
    how_fast: str
    how_large: str
    score_bytes: float = 0.0


def estimate_capacity(
    recipe: Recipe,
    at: int | None = None,
    workers: int | None = None,
    clips_per_hour: float | None = None,
    clips_per_shard: int | None = None,
) -> Capacity:
    """Estimate what a corpus takes. Writes nothing.

    Args:
        recipe: The recipe.
        at: Number of clips. Default: as many as the recipe asks for.
        workers: Number of workers. Default: estimates for 1, 8, 64 and 512.
        clips_per_hour: Speed of one worker, where the generator is not available here.
        clips_per_shard: Default: as a build chooses.

    Raises:
        RecipeError: The recipe cannot be planned.
        BackendError: The generator is not available, and no speed is given.
    """
    counted = recipe.prompts.total or len(recipe.labels.genre_names) * (recipe.prompts.per_genre or 0)
    at = at or counted
    capacity = Capacity(recipe.name, recipe.fingerprint(), at)
    check_generated_configs(recipe)
    clock = process_time()
    part = min(at, SAMPLE)
    clips = plan_clips(recipe.with_values({"prompts.per_genre": None, "prompts.total": part}))
    took = process_time() - clock
    pace = measure_pace(recipe, clips, clips_per_hour)

    size = clips_per_shard or choose_shard_size(at)
    held = round(recipe.split.validation * at)
    shards = -(-(at - held) // size) - (-held // size)
    capacity.add("clips", at)
    capacity.add("music", at * recipe.generator.seconds / 3600, "h")
    _add_prompts(capacity, recipe, clips, at)

    file_bytes = size * pace.bytes_per_clip
    vector = _measure_vector_bytes(recipe, clips[:ROW_GROUP])
    capacity.add("clips a shard", size, "", None, "--clips-per-shard" if clips_per_shard else LAYOUT)
    capacity.add("files a folder", shards, "", 9_999, HUB)
    capacity.add(f"... in any {MAX_PARTS} parts", bound_file_count(at, MAX_PARTS, clips_per_shard), "", 9_999, HUB)
    configs = len(recipe.generated_configs)
    beside = " and ".join(["", *recipe.generated_configs])
    capacity.add(f"files, audio and one embedder{beside}", (2 + configs) * shards + BESIDE, "", 99_999, HUB)
    capacity.add("embedders that fit beside it", (99_999 - BESIDE) // shards - 1 - configs, "", None, HUB)
    capacity.add("a shard", file_bytes / 1e6, "MB", 200_000, HUB)
    capacity.add("audio", at * pace.bytes_per_clip / 1e9, "GB", None, pace.how_large)
    if configs:
        capacity.add(" and ".join(recipe.generated_configs), at * pace.score_bytes / 1e9, "GB", None, HERE)
    capacity.add(f"embeddings, {recipe.embedder.name}", at * vector / 1e9, "GB", None, HERE)
    capacity.add("all files", at * (pace.bytes_per_clip + pace.score_bytes + vector) / 1e9, "GB", 1_000, HUB)
    _add_upload(capacity, shards, file_bytes, size * vector)
    capacity.add("planning, on one core", took * at / part / 60, "min", None, f"{HERE}, on {part:,}")
    memory = psutil.virtual_memory().total
    capacity.add("planning, memory", at * PLAN_BYTES / 1e9, "GB", memory / 1e9, "this machine's memory")
    capacity.add("... of an extended corpus", at * GROWN_BYTES / 1e9, "GB", memory / 1e9, "this machine's memory")
    for count in (workers,) if workers else WORKERS:
        hours = at / pace.clips_per_hour / count
        capacity.add(f"computing time, {count} worker{'s' * (count > 1)}", hours, "h", None, pace.how_fast)
    _advise(capacity, recipe, counted)
    return capacity


def measure_pace(recipe: Recipe, clips: Sequence[Clip], clips_per_hour: float | None) -> GenerationPace:
    """Measure the generator of a recipe on a few clips, or use the given speed.

    Args:
        recipe: The recipe.
        clips: Planned clips, the first of which are made.
        clips_per_hour: Speed of one worker. None: it is measured.

    Returns:
        The speed and the bytes of a clip. Bytes are measured if the generator is available, else an upper bound.

    Raises:
        BackendError: The generator is not available, and no speed is given.
    """
    length = recipe.generator.seconds
    try:
        samples = time_probe(load_recipe_generator(recipe), clips, recipe)
    except BackendError as error:
        if clips_per_hour is None:
            raise BackendError(error.message, f"{error.fix}; or give its speed: --clips-per-hour N") from error
        raw = RAW_BYTES * recipe.audio.sampling_rate * recipe.channels
        return GenerationPace(
            clips_per_hour, raw * length, "--clips-per-hour", "upper bound: 16-bit FLAC without compression"
        )
    last = samples[-1]
    large = last.flac_bytes / last.clips * length / last.seconds
    score = last.score_bytes / last.clips * length / last.seconds
    if clips_per_hour is not None:
        return GenerationPace(clips_per_hour, large, "--clips-per-hour", HERE, score)
    return GenerationPace(
        3600 * last.clips / scale_seconds(samples, length), large, f"{HERE}, {last.clips} clip(s)", HERE, score
    )


def bound_file_count(clips: int, parts: int, size: int | None = None) -> int:
    """An upper bound on the shards in one folder, for extensions in steps of any size.

    A part of n clips that makes a corpus of T clips is cut into n / s(T) shards, and one more in each split. Smaller
    steps give more shards, up to the integral of 1 / s. The first part gives the most where it is the whole corpus, or
    as large as the smallest shards allow.

    Args:
        clips: Number of clips.
        parts: Number of parts at most.
        size: Clips per shard of all parts. Default: as a build chooses.
    """
    if size:
        return -(-clips // size) + 2 * parts
    first = (clips, min(clips, MIN_SHARD * TARGET_SHARDS))
    most = max(start / choose_shard_size(start) + _integrate_growth(start, clips) for start in first)
    return math.ceil(most) + 2 * parts


def _integrate_growth(start: int, end: int) -> float:
    """The integral over T from start to end of 1 / shard_size(T, growth=True)."""
    low, high = MIN_SHARD * TARGET_SHARDS, MAX_GROWTH_SHARD * TARGET_SHARDS
    small = max(0, min(end, low) - start) / MIN_SHARD
    middle = TARGET_SHARDS * math.log(max(1.0, min(end, high) / max(start, low)))
    return small + middle + max(0, end - max(start, high)) / MAX_GROWTH_SHARD


def _add_prompts(capacity: Capacity, recipe: Recipe, clips: Sequence[Clip], at: int) -> None:
    """Estimate distinct prompts from the number of equal pairs in the plan, as in the birthday problem."""
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        texts[clip.prompt.genre][clip.prompt.description] += 1
    seen = sum(map(len, texts.values()))
    how = HERE
    if recipe.prompts.source.kind == "grammar" and at > len(clips):
        pairs = sum(count.total() * (count.total() - 1) / 2 for count in texts.values())
        repeats = sum(n * (n - 1) / 2 for count in texts.values() for n in count.values())
        days = pairs / max(repeats, 1)  # effective number of descriptions of a genre
        per_genre = at / len(texts)
        seen = round(len(texts) * days * -math.expm1(-per_genre / days))
        how = f"{HERE}: {repeats:.0f} equal pairs in {len(clips):,}"
    capacity.add("distinct descriptions, about", seen, "", None, how)
    if recipe.prompts.source.kind == "grammar":
        limit = "grammar: builder/prompts/grammar.py"
        capacity.add("clips a description", at / seen, "", CLIPS_PER_DESCRIPTION, limit)


def _measure_vector_bytes(recipe: Recipe, clips: Sequence[Clip]) -> float:
    """Bytes of a clip in the config of the embedder, measured with a row group of random numbers."""
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


def _add_upload(capacity: Capacity, shards: int, audio: float, vectors: float) -> None:
    from ...hub.upload import COMMIT_BYTES, COMMIT_FILES

    commits = sum(math.ceil(shards / max(1, min(COMMIT_FILES, COMMIT_BYTES // size))) for size in (audio, vectors))
    capacity.add(
        "files a commit", max(1, min(COMMIT_FILES, COMMIT_BYTES // audio)), "", 100, f"{HUB} (processed in 60 s)"
    )
    capacity.add("bytes a commit", min(COMMIT_BYTES, COMMIT_FILES * audio) / 1e9, "GB", None, UPLOAD)
    capacity.add("commits", commits, "", 3_000, f"{HUB} (slower after a few thousand)")


def _advise(capacity: Capacity, recipe: Recipe, counted: int) -> None:
    """Add notes on the figures."""
    room = 9_999 - 2 * MAX_PARTS
    capacity.notes.append(
        f"A folder holds up to {room * MAX_SHARD:,} clips in up to {MAX_PARTS} parts; beyond, raise --clips-per-shard."
    )
    over = {row.what: row for row in capacity.rows if row.holds is False}
    if "files a folder" in over:
        per = -(-capacity.at // room)
        capacity.notes.append(f"Too many files in a folder: build with --clips-per-shard {per} or more.")
    if "all files" in over:
        capacity.notes.append("More than 1 TB needs an agreement with the Hub: a Team or Enterprise plan, or a grant.")
    if {"planning, memory", "... of an extended corpus"} & set(over):
        capacity.notes.append("Plan it on a machine with more memory: the plan is held in memory.")
    if "clips a description" in over:
        capacity.notes.append("The genres have too few descriptions: add sub-genres, words, scenes or productions.")
    if counted != capacity.at:
        capacity.notes.append(f"The recipe asks for {counted:,} clips; this is the estimate for {capacity.at:,}.")


def format_capacity(capacity: Capacity) -> list[str]:
    """Format an estimate for a terminal: one line per figure, with its limit and source."""
    head = ("what", "", "", "limit", "", "source")
    rows = [
        (row.what, _number(row.value), row.unit, "" if row.limit is None else _number(row.limit),
         {None: "", True: "holds", False: "OVER"}[row.holds], row.source)
        for row in capacity.rows
    ]  # fmt: skip
    wide = [max(len(cells[i]) for cells in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(cell.rjust(wide[i]) if i in (1, 3) else cell.ljust(wide[i]) for i, cell in enumerate(cells)).rstrip()
        for cells in (head, *rows)
    ]
    return [f"{capacity.recipe} at {capacity.at:,} clips", "", *lines, "", *capacity.notes]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
