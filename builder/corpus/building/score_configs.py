"""Rows of the configs that come from a generator's score: annotations and stems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ...annotations.annotation import STEMS, annotation_features
from ...audio import decode_audio, encode_flac
from ...clip import Clip
from ...errors import BackendError, DataError
from ...generators.base import AnnotatingGenerator, GeneratorBackend
from ...io.parquet_guard import check_parquet, read_batches
from ..schema import LONGEST, SAMPLING_RATE, stem_features
from ..shards import Row
from .quality import STEM_ROWS, Take, generate_stems

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 1e-3  # of the clip's level, -60 dB: how exactly stems add up to it
ROUNDING = 2.0**-15  # of one 16-bit value


def make_schema(config: str, sampling_rate: int = SAMPLING_RATE) -> pa.Schema:
    """The Arrow schema of a config, "annotations" or "stems", of a corpus of this rate in Hz."""
    return (annotation_features() if config == "annotations" else stem_features(sampling_rate)).arrow_schema


def annotate_clips(generator: GeneratorBackend, clips: Sequence[Clip]) -> list[Row]:
    """Annotate clips that were made: rows of the config `annotations`.

    Raises:
        BackendError: The generator returns the annotation of another clip.
    """
    rows = [cast(AnnotatingGenerator, generator).annotate(clip).to_row() for clip in clips]
    for clip, row in zip(clips, rows, strict=True):
        if row["id"] != clip.id:
            raise BackendError(f"generator {generator.name!r} returned the annotation of {row['id']} for {clip.id}")
    return rows


def make_stem_rows(take: Take, rate: int) -> list[Row]:
    """Encode the stems of a clip: rows of the config `stems`, in the order of `STEMS`.

    Raises:
        BackendError: The stems are not those of the clip.
    """
    stems = take.stems or {}
    if fault := find_stem_fault(take.samples, stems):
        raise BackendError(f"clip {take.clip.id}: {fault}", "report it: the generator's stems are wrong")
    return [
        {
            "id": take.clip.id,
            "stem": number,
            "audio": {"bytes": encode_flac(stems[name], rate), "path": f"{take.clip.id}-{name}.flac"},
        }
        for number, name in enumerate(STEMS)
        if name in stems
    ]


def find_stem_fault(samples: np.ndarray, stems: Mapping[str, np.ndarray]) -> str | None:
    """Describe why stems are not those of a clip, None if they are.

    Args:
        samples: The clip, float32 [samples] or [samples, channels].
        stems: Its stems by name. They are of its shape, finite and in [-1, 1], and add up to it within -60 dB, apart
            from their rounding to 16 bits.
    """
    if not stems:
        return "has no stem"
    if unknown := [name for name in stems if name not in STEMS]:
        return f"has a stem {unknown[0]!r}, which is none of {', '.join(STEMS)}"
    total = np.zeros(samples.shape, np.float32)
    for name, stem in stems.items():
        if stem.shape != samples.shape:
            return f"stem {name!r} has {stem.shape} samples, the clip {samples.shape}"
        if not np.isfinite(stem).all() or np.abs(stem).max() > 1:
            return f"stem {name!r} has samples that are not in [-1, 1]"
        total += stem
    total -= samples
    if _measure_level(total) > TOLERANCE * _measure_level(samples) + ROUNDING:
        return "its stems do not add up to it"
    return None


def _measure_level(samples: np.ndarray) -> float:
    """The root mean square of all samples."""
    flat = samples.ravel()
    return float(np.sqrt(np.dot(flat, flat) / len(flat)))


def read_made_clips(
    planned: Sequence[Clip], path: Path, columns: Sequence[str] = ()
) -> Iterator[list[tuple[Clip, Row]]]:
    """Read the accepted clips of a shard of audio, a few at a time, with the seeds that made them.

    Args:
        planned: The clips that were planned for the shard.
        path: Its file.
        columns: Columns to read beside `id` and `seed`.

    Yields:
        Clips and their rows, in the order of the shard.

    Raises:
        DataError: The shard cannot be read, or holds a clip that was not planned.
    """
    by_id = {clip.id: clip for clip in planned}
    wanted = ["id", "seed", *columns]
    check_parquet(path, wanted)
    for batch in read_batches(path, STEM_ROWS, wanted):
        rows = batch.to_pylist()
        if unknown := [row["id"] for row in rows if row["id"] not in by_id]:
            raise DataError(
                f"{path}: holds the clip {unknown[0]}, which this version of synthmir does not plan for it",
                "use the version that made the corpus",
            )
        yield [(replace(by_id[row["id"]], seed=row["seed"]), row) for row in rows]


def remake_with_stems(generator: GeneratorBackend, made: Sequence[tuple[Clip, Row]]) -> list[Take]:
    """Make clips of a corpus again, with their stems.

    Raises:
        DataError: A clip is not equal to the stored one.
    """
    takes = []
    for (clip, row), (samples, stems) in zip(made, generate_stems(generator, [clip for clip, _ in made]), strict=True):
        stored, _ = decode_audio(row["audio"]["bytes"], LONGEST)
        if stored.size != samples.size or np.abs(stored.reshape(samples.shape) - samples).max() > 2 * ROUNDING:
            raise DataError(
                f"clip {clip.id}: this generator makes other audio of it than the corpus has",
                "make them with the version of synthmir and the packages that made the corpus (its card has them)",
            )
        takes.append(Take(clip, samples, 1, stems=stems))
    return takes
