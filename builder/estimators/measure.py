"""Measure clips with several estimators, each decoded once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..errors import BackendError, DataError
from .base import Estimate, Estimator
from .sound import Sound

Row = dict[str, Any]
Opened = tuple[Sound, Estimate]


def measure_clips(
    estimators: Sequence[Estimator], batches: Iterator[list[Row]], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[Row], list[Estimate], dict[int, DataError]]]:
    """Measure clips batch by batch. The next batch is decoded while one is measured; memory holds two.

    Args:
        estimators: What measures.
        batches: Rows with `id`, `audio` ({"bytes"}) and `prompt`.
        pool: The threads that decode, and run light estimators.

    Yields:
        The rows of a batch; their estimates; and why clips cannot be decoded, by their place in the batch, whose
        estimates are empty.

    Raises:
        BackendError: An estimator gave NaN or infinite values.
    """
    light = [one for one in estimators if one.light]
    heavy = [one for one in estimators if not one.light]

    def open_row(row: Row) -> Opened:
        if (row["audio"] or {}).get("bytes") is None:
            raise DataError("there is no audio in this row")
        sound = Sound.decode(row["audio"]["bytes"], str(row["id"]), row["prompt"])
        estimate: Estimate = {}
        for estimator in light:
            estimate |= estimator.estimate([sound])[0]
        sound.release()
        return sound, estimate

    def open_rows(rows: list[Row]) -> list[Future[Opened]]:
        return [pool.submit(open_row, row) for row in rows]

    ahead = ((rows, open_rows(rows)) for rows in batches)
    following = next(ahead, None)
    while following is not None:
        rows, opened = following
        following = next(ahead, None)
        sounds: dict[int, Sound] = {}
        estimates: list[Estimate] = [{} for _ in rows]
        faults: dict[int, DataError] = {}
        for place, future in enumerate(opened):
            try:
                sounds[place], estimates[place] = future.result()
            except DataError as error:
                faults[place] = error
        for estimator in heavy if sounds else ():
            for place, estimate in zip(sounds, estimator.estimate(list(sounds.values())), strict=True):
                estimates[place] |= estimate
        for row, estimate in zip(rows, estimates, strict=True):
            if (column := find_non_finite(estimate)) is not None:
                raise BackendError(f"estimates: {column} of clip {row['id']} is NaN or infinite")
        yield rows, estimates, faults


def find_non_finite(value: Any, name: str = "") -> str | None:
    """The name of the first number in nested values that is NaN or infinite; None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else name
    parts: dict[str, Any] = {}
    if isinstance(value, dict):
        parts = {f"{name}.{key}".strip("."): part for key, part in value.items()}
    elif isinstance(value, list):
        parts = {f"{name}[{place}]": part for place, part in enumerate(value)}
    found = (find_non_finite(part, key) for key, part in parts.items())
    return next((one for one in found if one is not None), None)
